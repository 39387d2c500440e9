/* worker.c: a thread with a Lua state of its own, and the two queues between it and the state that started
 * it. Neither side ever touches the other's Lua state: values travel as parcels. */
#include "worker.h"

#include "host.h"
#include "memory.h"
#include "parcel.h"
#include "thread.h"

#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Counted: the starting state's handle, the thread and each letter to the starter hold it. */
struct worker {
    unsigned references;
    pthread_mutex_t lock;        /* of the rest; taken before a host's own */
    pthread_cond_t ended;
    struct host *parent;         /* NULL: nobody listens any more */
    struct host *host;           /* the worker's own while it is open */
    struct letter *first, **last;            /* to the worker, not taken yet */
    bool is_finished;            /* no more will come */
    bool has_ended;
    bool is_interrupted;         /* perhaps before it has a host */
    struct parcel *start;        /* what its function is called with */
    struct parcel *results;      /* of its end */
    int function;                /* the starter's registry reference: f(kind, ...) */
    pthread_t thread;
    char name[16];
};

struct letter {
    struct worker *worker;       /* to the starter: retained */
    struct parcel *parcel;
    struct letter *next;
};

static const char worker_key = 0, listener_key = 0;      /* registry keys (their addresses) */
static const char metatable[] = "hotlua.worker.handle";

static void release(struct worker *worker)
{
    if (__atomic_sub_fetch(&worker->references, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    while (worker->first) {
        struct letter *letter = worker->first;
        worker->first = letter->next;
        parcel_free(letter->parcel);
        free(letter);
    }
    parcel_free(worker->start);
    parcel_free(worker->results);
    pthread_cond_destroy(&worker->ended);
    pthread_mutex_destroy(&worker->lock);
    free(worker);
}

static struct worker *retain(struct worker *worker)
{
    __atomic_add_fetch(&worker->references, 1, __ATOMIC_RELAXED);
    return worker;
}

/* To the starter ----------------------------------------------------------------------------- */

static int open_letter(lua_State *L)
{
    const struct letter *letter = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, letter->worker->function);
    lua_call(L, parcel_unpack(L, letter->parcel), 0);
    return 0;
}

static void deliver_to_parent(lua_State *L, void *context)
{
    struct letter *letter = context;
    if (letter->worker->function != LUA_NOREF) {
        lua_pushcfunction(L, open_letter);
        lua_pushlightuserdata(L, letter);
        host_call(L, 1, "error in a worker's event");
    }
    parcel_free(letter->parcel);
    release(letter->worker);
    free(letter);
}

/* Takes over the parcel. False: nobody listens any more. */
static bool send_to_parent(struct worker *worker, struct parcel *parcel)
{
    struct letter *letter = memory_take(sizeof *letter);
    *letter = (struct letter){retain(worker), parcel, NULL};
    pthread_mutex_lock(&worker->lock);
    bool is_heard = worker->parent != NULL;
    if (is_heard)
        host_mail(worker->parent, deliver_to_parent, letter);
    pthread_mutex_unlock(&worker->lock);
    if (!is_heard) {
        parcel_free(parcel);
        release(worker);
        free(letter);
    }
    return is_heard;
}

/* To the worker ------------------------------------------------------------------------------ */

/* Something has come, or nothing more will: the worker's Lua side looks. */
static void deliver_to_worker(lua_State *L, void *context)
{
    (void)context;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &listener_key);
    if (lua_isfunction(L, -1))
        host_call(L, 0, "error in a worker");
    else
        lua_pop(L, 1);
}

/* With the lock held. */
static void wake_worker(struct worker *worker)
{
    if (worker->host)
        host_mail(worker->host, deliver_to_worker, NULL);
}

static struct worker *check_worker(lua_State *L)
{
    return *(struct worker **)luaL_checkudata(L, 1, metatable);
}

/* handle:send(...) -> true, or false: the worker has ended. */
static int l_send(lua_State *L)
{
    struct worker *worker = check_worker(L);
    struct parcel *parcel = parcel_pack(L, 2, 0);
    struct letter *letter = memory_take(sizeof *letter);
    *letter = (struct letter){.parcel = parcel};
    pthread_mutex_lock(&worker->lock);
    bool is_heard = !worker->has_ended && !worker->is_finished;
    if (is_heard) {
        *worker->last = letter;
        worker->last = &letter->next;
        wake_worker(worker);
    }
    pthread_mutex_unlock(&worker->lock);
    if (!is_heard) {
        parcel_free(parcel);
        free(letter);
    }
    lua_pushboolean(L, is_heard);
    return 1;
}

/* handle:finish(): nothing more will be sent. */
static int l_finish(lua_State *L)
{
    struct worker *worker = check_worker(L);
    pthread_mutex_lock(&worker->lock);
    worker->is_finished = true;
    wake_worker(worker);
    pthread_mutex_unlock(&worker->lock);
    return 0;
}

/* handle:interrupt(): raise an error in the Lua code that it runs. */
static int l_interrupt(lua_State *L)
{
    struct worker *worker = check_worker(L);
    pthread_mutex_lock(&worker->lock);
    worker->is_interrupted = true;
    if (worker->host)
        host_interrupt(worker->host);
    pthread_mutex_unlock(&worker->lock);
    return 0;
}

/* handle:wait(ms) -> has it ended. Nothing that it sends from now on is delivered. */
static int l_wait(lua_State *L)
{
    struct worker *worker = check_worker(L);
    lua_Integer ms = luaL_checkinteger(L, 2);
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += (time_t)(ms / 1000);
    pthread_mutex_lock(&worker->lock);
    worker->parent = NULL;
    while (!worker->has_ended && pthread_cond_timedwait(&worker->ended, &worker->lock, &limit) != ETIMEDOUT)
        ;
    bool has_ended = worker->has_ended;
    pthread_mutex_unlock(&worker->lock);
    lua_pushboolean(L, has_ended);
    return 1;
}

static int l_gc(lua_State *L)
{
    struct worker **handle = luaL_checkudata(L, 1, metatable), *worker = *handle;
    *handle = NULL;
    if (!worker)
        return 0;
    pthread_mutex_lock(&worker->lock);
    worker->parent = NULL;
    worker->is_finished = true;
    wake_worker(worker);
    pthread_mutex_unlock(&worker->lock);
    luaL_unref(L, LUA_REGISTRYINDEX, worker->function);
    worker->function = LUA_NOREF;
    release(worker);
    return 0;
}

/* Inside a worker ---------------------------------------------------------------------------- */

static struct worker *own_worker(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &worker_key);
    struct worker *worker = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return worker;
}

/* core.worker_name() -> name, nil: this state is no worker's. */
static int l_worker_name(lua_State *L)
{
    struct worker *worker = own_worker(L);
    lua_pushstring(L, worker ? worker->name : NULL);
    return 1;
}

/* core.worker_report(kind, ...) -> is there anybody to hear it */
static int l_worker_report(lua_State *L)
{
    struct worker *worker = own_worker(L);
    lua_pushboolean(L, send_to_parent(worker, parcel_pack(L, 1, 1)));
    return 1;
}

static int pack_and_free(lua_State *L)
{
    parcel_free(parcel_pack(L, 1, 0));
    return 0;
}

/* core.can_be_sent(value) -> could it be a message */
static int l_can_be_sent(lua_State *L)
{
    lua_settop(L, 1);
    lua_pushcfunction(L, pack_and_free);
    lua_insert(L, 1);
    lua_pushboolean(L, lua_pcall(L, 1, 0, 0) == LUA_OK);
    return 1;
}

/* core.worker_listen(f): f() is called in the loop whenever something has come or nothing more will. */
static int l_worker_listen(lua_State *L)
{
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &listener_key);
    return 0;
}

/* core.worker_take() -> true, ... of the oldest letter; or false, will more come. */
static int l_worker_take(lua_State *L)
{
    struct worker *worker = own_worker(L);
    pthread_mutex_lock(&worker->lock);
    struct letter *letter = worker->first;
    bool is_finished = worker->is_finished;
    if (letter) {
        worker->first = letter->next;
        if (!worker->first)
            worker->last = &worker->first;
    }
    pthread_mutex_unlock(&worker->lock);
    lua_pushboolean(L, letter != NULL);
    if (!letter) {
        lua_pushboolean(L, !is_finished);
        return 2;
    }
    int count = parcel_unpack(L, letter->parcel);
    parcel_free(letter->parcel);
    free(letter);
    return count + 1;
}

/* The thread --------------------------------------------------------------------------------- */

/* require("hotlua.worker").run(...) -> what becomes of it, for the starter. */
static int run_protected(lua_State *L)
{
    struct worker *worker = lua_touserdata(L, 1);
    lua_settop(L, 0);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "hotlua.worker");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "run");
    lua_replace(L, 1);
    lua_call(L, parcel_unpack(L, worker->start), LUA_MULTRET);
    worker->results = parcel_pack(L, 1, 2);
    return 0;
}

/* What went wrong outside the worker's own function. */
static void set_failure(lua_State *L, struct worker *worker)
{
    const char *text = lua_tostring(L, -1);
    lua_settop(L, 0);
    lua_pushliteral(L, "ended");
    lua_pushboolean(L, false);
    lua_pushstring(L, text ? text : "the worker failed");
    worker->results = parcel_pack(L, 1, 2);
}

static void set_host(struct worker *worker, struct host *host)
{
    pthread_mutex_lock(&worker->lock);
    worker->host = host;
    if (host && worker->is_interrupted)
        host_interrupt(host);
    pthread_mutex_unlock(&worker->lock);
}

static void run_state(struct worker *worker, lua_State *L)
{
    luaL_openlibs(L);
    lua_gc(L, LUA_GCGEN, 0, 0);
    struct host *host = host_open(L);
    if (!host) {
        lua_pushliteral(L, "no event loop for the worker");
        set_failure(L, worker);
        lua_close(L);
        return;
    }
    lua_pushlightuserdata(L, worker);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &worker_key);
    set_host(worker, host);
    lua_pushcfunction(L, run_protected);
    lua_pushlightuserdata(L, worker);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        set_failure(L, worker);
    set_host(worker, NULL);
    host_close(host);
    lua_close(L);
    host_free(host);
}

static void *run(void *context)
{
    struct worker *worker = context;
    lua_State *L = luaL_newstate();
    pthread_setname_np(pthread_self(), worker->name);
    if (L)
        run_state(worker, L);
    struct parcel *results = worker->results;
    worker->results = NULL;
    if (results)
        send_to_parent(worker, results);
    pthread_mutex_lock(&worker->lock);
    worker->has_ended = true;
    pthread_cond_broadcast(&worker->ended);
    pthread_mutex_unlock(&worker->lock);
    release(worker);
    return NULL;
}

/* core.worker_start(name, f, ...) -> handle: runs hotlua.worker's run(...) in a new thread. In the loop, f
 * gets what it reports, and last "ended", ok, results... */
static int l_worker_start(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    struct parcel *start = parcel_pack(L, 3, 4);
    struct worker **handle = lua_newuserdatauv(L, sizeof *handle, 0);
    struct worker *worker = *handle = memory_take(sizeof *worker);
    worker->references = 2;
    worker->last = &worker->first;
    worker->start = start;
    worker->parent = host_of(L);
    snprintf(worker->name, sizeof worker->name, "%s", name);
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->ended, NULL);
    lua_pushvalue(L, 2);
    worker->function = luaL_ref(L, LUA_REGISTRYINDEX);
    luaL_setmetatable(L, metatable);
    int failure = pthread_create(&worker->thread, NULL, run, worker);
    if (failure) {
        release(worker);
        return luaL_error(L, "cannot start a thread: %s", strerror(failure));
    }
    pthread_detach(worker->thread);
    return 1;
}

void worker_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"worker_start", l_worker_start}, {"worker_name", l_worker_name}, {"worker_report", l_worker_report},
        {"worker_listen", l_worker_listen}, {"worker_take", l_worker_take}, {"can_be_sent", l_can_be_sent},
        {NULL, NULL},
    };
    static const luaL_Reg methods[] = {
        {"send", l_send}, {"finish", l_finish}, {"interrupt", l_interrupt}, {"wait", l_wait},
        {"__gc", l_gc}, {NULL, NULL},
    };
    luaL_newmetatable(L, metatable);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
