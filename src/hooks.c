/* hooks.c: events and log lines that plugins raise. On the thread of the Lua state that loaded the plugin
 * they are delivered at once; from elsewhere they are posted. Never lets a Lua error into plugin code. */
#include "hooks.h"

#include "heap.h"
#include "host.h"
#include "image.h"
#include "memory.h"
#include "slot.h"
#include "thread.h"

#include <lauxlib.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOOK __attribute__((visibility("default")))
HOOK void hot_host_emit(const char *name, const char *types, va_list values);
HOOK void hot_host_log(const char *level, const char *text);
HOOK void *hot_host_allocate(const char *type, size_t size, size_t count);
HOOK void hot_host_free(void *object, const char *where);

enum { MOST_VALUES = 32 };

struct value {
    char type;               /* a letter of hot_emit */
    union {
        long long integer;
        double number;
        char *text;          /* owned, NULL: nil */
        void *pointer;
    };
};

struct emitted {
    struct plugin *plugin;
    const char *key;         /* registry key of the Lua function */
    char *name;
    unsigned count;
    struct value values[MOST_VALUES];
};

static const char emit_key = 0, log_key = 0;

static void free_emitted(struct emitted *emitted)
{
    for (unsigned i = 0; i < emitted->count; i++)
        if (emitted->values[i].type == 's')
            free(emitted->values[i].text);
    free(emitted->name);
    free(emitted);
}

static void push_value(lua_State *L, const struct value *value)
{
    switch (value->type) {
    case 'i': case 'l': lua_pushinteger(L, value->integer); break;
    case 'd': lua_pushnumber(L, value->number); break;
    case 'b': lua_pushboolean(L, value->integer != 0); break;
    case 's': lua_pushstring(L, value->text); break;
    default:
        if (value->pointer)
            lua_pushlightuserdata(L, value->pointer);
        else
            lua_pushnil(L);
    }
}

static void deliver(lua_State *L, void *context)
{
    struct emitted *emitted = context;
    luaL_checkstack(L, MOST_VALUES + 4, NULL);
    lua_rawgetp(L, LUA_REGISTRYINDEX, emitted->key);
    if (lua_isfunction(L, -1)) {
        lua_pushlightuserdata(L, emitted->plugin);
        lua_pushstring(L, emitted->name);
        for (unsigned i = 0; i < emitted->count; i++)
            push_value(L, &emitted->values[i]);
        int count = 2 + (int)emitted->count;
        free_emitted(emitted);
        host_call(L, count, "error in an 'emit' handler");
        return;
    }
    lua_pop(L, 1);
    free_emitted(emitted);
}

static int deliver_protected(lua_State *L)
{
    deliver(L, lua_touserdata(L, 1));
    return 0;
}

/* On the stack of the call in progress, from below plugin code. */
static void deliver_now(lua_State *L, struct emitted *emitted)
{
    struct frame *frame = thread_enter_host(L);
    if (!frame) {
        free_emitted(emitted);
        return;
    }
    if (lua_checkstack(L, 4)) {
        lua_pushcfunction(L, deliver_protected);
        lua_pushlightuserdata(L, emitted);
        if (lua_pcall(L, 1, 0, 0) != LUA_OK)
            lua_pop(L, 1);
    }
    thread_leave_host(frame);
}

static void pass_on(struct emitted *emitted, struct plugin *plugin)
{
    const struct thread *thread = thread_self_record;
    lua_State *L = thread ? thread_lua(thread) : NULL;
    emitted->plugin = plugin;
    if (L && host_of(L) == plugin->owner) {
        deliver_now(L, emitted);
        return;
    }
    slot_lock();                 /* its owner does not go meanwhile */
    if (plugin->owner)
        host_post(plugin->owner, deliver, emitted);
    else
        free_emitted(emitted);
    slot_unlock();
}

/* The plugin whose code called: the image of the return address. */
static struct plugin *plugin_of(void *caller)
{
    struct image *image = image_of_address(caller);
    struct plugin *plugin = image ? image_owner(image) : NULL;
    if (image)
        image_release(image);
    return plugin;
}

static bool add_value(struct emitted *emitted, char type, va_list *values)
{
    struct value *value = &emitted->values[emitted->count];
    const char *text;
    value->type = type;
    switch (type) {
    case 'i': case 'b': value->integer = va_arg(*values, int); break;
    case 'l': value->integer = va_arg(*values, long long); break;
    case 'd': value->number = va_arg(*values, double); break;
    case 'p': value->pointer = va_arg(*values, void *); break;
    case 's':
        text = va_arg(*values, const char *);
        value->text = memory_copy_text(text);
        break;
    default: return false;
    }
    emitted->count++;
    return true;
}

void hot_host_emit(const char *name, const char *types, va_list given)
{
    struct plugin *plugin = plugin_of(__builtin_return_address(0));
    struct emitted *emitted = plugin ? memory_take(sizeof *emitted) : NULL;
    if (!emitted)
        return;
    va_list values;
    va_copy(values, given);
    emitted->key = &emit_key;
    emitted->name = memory_copy_text(name ? name : "");
    for (const char *type = types ? types : ""; *type && emitted->count < MOST_VALUES; type++)
        if (!add_value(emitted, *type, &values))
            break;
    va_end(values);
    pass_on(emitted, plugin);
}

static void write_log(struct plugin *plugin, const char *level, const char *text)
{
    struct emitted *emitted = plugin ? memory_take(sizeof *emitted) : NULL;
    if (!emitted) {
        fprintf(stderr, "hotlua: %s: %s\n", level, text);
        return;
    }
    emitted->key = &log_key;
    emitted->name = memory_copy_text(level ? level : "info");
    emitted->count = 1;
    emitted->values[0] = (struct value){.type = 's', .text = memory_copy_text(text ? text : "")};
    pass_on(emitted, plugin);
}

void hot_host_log(const char *level, const char *text)
{
    write_log(plugin_of(__builtin_return_address(0)), level, text);
}

/* Typed objects -------------------------------------------------------------------------------- */

void *hot_host_allocate(const char *type, size_t size, size_t count)
{
    return heap_allocate(type, size, count);
}

/* `where` is a constant of the caller's image: the return address may be another's, after a tail call. */
void hot_host_free(void *object, const char *where)
{
    char text[160];
    enum heap_freed freed = object ? heap_free(object, where) : HEAP_FREED;
    if (freed == HEAP_FREED)
        return;
    snprintf(text, sizeof text, "hot_free(%p): %s; nothing was done", object,
             freed == HEAP_WAS_FREED ? "the object was freed already"
                                     : "not an object of hot_new or hot_new_array, or freed already");
    write_log(plugin_of((void *)where), "error", text);
}

static int l_on_emit(lua_State *L)
{
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &emit_key);
    return 0;
}

static int l_on_log(lua_State *L)
{
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &log_key);
    return 0;
}

void hooks_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"on_emit", l_on_emit}, {"on_log", l_on_log}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
