/* core_watch.c: files and alarms of the watcher thread, for Lua. Each watch and each alarm holds a
 * Lua function until it is stopped; the watcher thread only posts. */
#include "core.h"

#include "host.h"
#include "memory.h"
#include "watch.h"

#include <lauxlib.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* One watch or alarm. Freed on the host's thread when stopped and nothing posted is under way. */
struct listener {
    struct host *host;
    struct watch *watch;
    struct alarm *alarm;
    int function;                /* registry reference, LUA_NOREF once stopped */
    unsigned references;         /* the handle's and one for each posted event */
    pthread_mutex_t lock;        /* of `request`, which the watcher's thread reads */
    struct request *request;     /* retained; what a change begins without being asked, NULL: nothing */
    int loaded;                  /* registry reference of what gets the result, LUA_NOREF: none */
};

struct event {
    struct listener *listener;
    enum watch_event kind;
    uint64_t when_ns;
    char *name;                  /* of a directory's entry, or NULL */
    struct request *request;     /* retained, with `load`: what was begun, and what came of it */
    struct load *load;
};

static void release(struct listener *listener)
{
    if (__atomic_sub_fetch(&listener->references, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    pthread_mutex_destroy(&listener->lock);
    free(listener);
}

static void deliver(lua_State *L, void *context)
{
    struct event *event = context;
    struct listener *listener = event->listener;
    if (listener->function != LUA_NOREF) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, listener->function);
        lua_pushstring(L, event->kind == WATCH_DELETED ? "deleted" : "changed");
        lua_pushinteger(L, (lua_Integer)event->when_ns);
        lua_pushstring(L, event->name);
        host_call(L, 3, "error in a watch");
    }
    release(listener);
    free(event->name);
    free(event);
}

static struct event *new_event(struct listener *listener, enum watch_event kind, const char *name,
                               uint64_t when_ns)
{
    struct event *event = memory_take(sizeof *event);
    *event = (struct event){listener, kind, when_ns, memory_copy_text(name), NULL, NULL};
    __atomic_add_fetch(&listener->references, 1, __ATOMIC_RELAXED);
    return event;
}

static void post(struct listener *listener, enum watch_event kind, const char *name, uint64_t when_ns)
{
    host_post(listener->host, deliver, new_event(listener, kind, name, when_ns));
}

/* A load that a change began -------------------------------------------------------------------- */

/* f(when_ns, ok, image, info) */
static void deliver_load(lua_State *L, void *context)
{
    struct event *event = context;
    struct listener *listener = event->listener;
    host_end_job(listener->host);
    lua_rawgeti(L, LUA_REGISTRYINDEX, listener->loaded);
    lua_pushinteger(L, (lua_Integer)event->when_ns);
    core_push_load(L, event->load);
    if (lua_isfunction(L, -5))
        host_call(L, 4, "error in a reload");
    else
        lua_pop(L, 5);       /* stopped meanwhile: the image goes with its handle */
    core_release_request(event->request);
    release(listener);
    free(event);
}

/* On the watcher's thread, while another one watches. */
static void run_load(void *context)
{
    struct event *event = context;
    event->load = core_run_request(event->request);
    host_post(event->listener->host, deliver_load, event);
}

static struct request *retain_request(struct listener *listener)
{
    pthread_mutex_lock(&listener->lock);
    struct request *request = listener->request ? core_retain_request(listener->request) : NULL;
    pthread_mutex_unlock(&listener->lock);
    return request;
}

static void set_request(struct listener *listener, struct request *request)
{
    pthread_mutex_lock(&listener->lock);
    struct request *before = listener->request;
    listener->request = request;
    pthread_mutex_unlock(&listener->lock);
    core_release_request(before);
}

static void on_file(void *context, enum watch_event kind, uint64_t when_ns)
{
    struct listener *listener = context;
    struct request *request = kind == WATCH_CHANGED ? retain_request(listener) : NULL;
    if (request) {
        struct event *event = new_event(listener, kind, NULL, when_ns);
        event->request = request;
        host_begin_job(listener->host);
        watch_later(run_load, event);
    }
    post(listener, kind, request ? "loading" : NULL, when_ns);
}

/* handle:prefetch(request, f): begin each change of the file with core.take(request) on the watcher's own
 * thread; the function of the watch gets "loading" as its third argument then, and f(when_ns, ok, image,
 * info) gets what came of it. handle:prefetch(): no longer. */
static int l_prefetch(lua_State *L)
{
    struct listener *listener = *(struct listener **)luaL_checkudata(L, 1, "hotlua.listener");
    if (!listener)
        return 0;
    if (lua_isnoneornil(L, 2)) {         /* what is under way is still delivered */
        set_request(listener, NULL);
        return 0;
    }
    set_request(listener, core_read_request(L, 2));
    luaL_unref(L, LUA_REGISTRYINDEX, listener->loaded);
    lua_settop(L, 3);
    listener->loaded = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static void on_entry(void *context, enum watch_event kind, const char *name, uint64_t when_ns)
{
    post(context, kind, name, when_ns);
}

static void on_alarm(void *context)
{
    post(context, WATCH_CHANGED, NULL, 0);
}

/* Push a new handle holding the function at index. [-0 +1] */
static struct listener *new_listener(lua_State *L, int index)
{
    struct listener **handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = NULL;
    luaL_setmetatable(L, "hotlua.listener");
    struct listener *listener = memory_take(sizeof *listener);
    *handle = listener;
    listener->host = host_of(L);
    listener->references = 1;
    listener->loaded = LUA_NOREF;
    pthread_mutex_init(&listener->lock, NULL);
    lua_pushvalue(L, index);
    listener->function = luaL_ref(L, LUA_REGISTRYINDEX);
    return listener;
}

/* handle:stop(), also __gc and __close. */
static int l_stop(lua_State *L)
{
    struct listener **handle = luaL_checkudata(L, 1, "hotlua.listener");
    struct listener *listener = *handle;
    *handle = NULL;
    if (!listener)
        return 0;
    if (listener->watch)
        watch_stop(listener->watch);
    if (listener->alarm)
        watch_alarm_cancel(listener->alarm);
    set_request(listener, NULL);
    luaL_unref(L, LUA_REGISTRYINDEX, listener->function);
    luaL_unref(L, LUA_REGISTRYINDEX, listener->loaded);
    listener->function = listener->loaded = LUA_NOREF;
    release(listener);
    return 0;
}

static int failed(lua_State *L, const struct error *error)
{
    lua_pushnil(L);
    lua_pushstring(L, error->text);
    return 2;
}

/* core.watch_file(path, f) -> handle | nil, message.  f("changed" | "deleted", when_ns) */
static int l_watch_file(lua_State *L)
{
    struct error error = {0};
    const char *path = luaL_checkstring(L, 1);
    struct listener *listener = new_listener(L, 2);
    listener->watch = watch_file(path, on_file, listener, &error);
    return listener->watch ? 1 : failed(L, &error);
}

/* core.watch_directory(path, f) -> handle | nil, message.  f(kind, when_ns, entry name) */
static int l_watch_directory(lua_State *L)
{
    struct error error = {0};
    const char *path = luaL_checkstring(L, 1);
    struct listener *listener = new_listener(L, 2);
    listener->watch = watch_directory(path, on_entry, listener, &error);
    return listener->watch ? 1 : failed(L, &error);
}

/* core.last_activity(handle) -> ns of the watched path's last event, 0: none */
static int l_last_activity(lua_State *L)
{
    struct listener **handle = luaL_checkudata(L, 1, "hotlua.listener");
    bool is_watch = *handle && (*handle)->watch;
    lua_pushinteger(L, is_watch ? (lua_Integer)watch_last_activity((*handle)->watch) : 0);
    return 1;
}

static void on_interrupt(void *context)
{
    const struct listener *listener = context;
    host_interrupt(listener->host);
}

/* core.interrupt_after(ms) -> handle: an error is raised in what this state runs then, whatever that is. */
static int l_interrupt_after(lua_State *L)
{
    lua_Number ms = luaL_checknumber(L, 1);
    lua_pushnil(L);
    struct listener *listener = new_listener(L, lua_gettop(L));
    listener->alarm = watch_alarm(uv_hrtime() + (uint64_t)(ms * 1e6), on_interrupt, listener);
    return 1;
}

/* core.alarm(ms, f) -> handle.  f() once, also at a safe point of a script that never returns to the
 * loop. */
static int l_alarm(lua_State *L)
{
    lua_Number ms = luaL_checknumber(L, 1);
    struct listener *listener = new_listener(L, 2);
    uint64_t delay = ms > 0 ? (uint64_t)(ms * 1e6) : 0;
    listener->alarm = watch_alarm(uv_hrtime() + delay, on_alarm, listener);
    return 1;
}

void core_open_watch(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"watch_file", l_watch_file}, {"watch_directory", l_watch_directory},
        {"last_activity", l_last_activity}, {"alarm", l_alarm},
        {"interrupt_after", l_interrupt_after}, {NULL, NULL},
    };
    luaL_newmetatable(L, "hotlua.listener");
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, l_stop);
    lua_setfield(L, -2, "stop");
    lua_pushcfunction(L, l_prefetch);
    lua_setfield(L, -2, "prefetch");
    lua_pushcfunction(L, l_stop);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, l_stop);
    lua_setfield(L, -2, "__close");
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
