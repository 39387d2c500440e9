/* callback.c: the Lua functions that C may call: one C pointer for each function, type and plugin,
 * for as long as the plugin is loaded; hot.callback. A record and its stub are never unmapped. */
#include "callback_internal.h"

#include "fork_lock.h"
#include "host.h"
#include "memory.h"

#include <pthread.h>
#include <stdlib.h>

/* Registry keys (their addresses): the state's struct callbacks; records by function; by pointer. */
static const char state_key, functions_key, pointers_key;
static const char object_metatable[] = "hotlua.callback";

/* A dead record is used again after so many others died: until then a call by C that still has its
 * pointer is harmless. */
enum { QUARANTINE = 65536 };

FORK_LOCK(dead_lock)
static struct callback *dead_first, **dead_last = &dead_first;
static size_t dead_count;
static struct callback *dead_closures;   /* libffi's: never used again */

static struct callbacks *state_of(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
    struct callbacks *state = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return state;
}

/* The shelf ---------------------------------------------------------------------------------- */

/* Put the value on top into a slot. 0, with the value left there, for want of room. [-(1|0) +0] */
static int shelve(lua_State *L, struct callbacks *state)
{
    lua_State *shelf = state->shelf;
    int slot = state->free_slot;
    if (!slot && !lua_checkstack(shelf, 4))
        return 0;
    lua_xmove(L, shelf, 1);
    if (!slot)
        return lua_gettop(shelf);
    state->free_slot = (int)lua_tointeger(shelf, slot);
    lua_replace(shelf, slot);
    return slot;
}

static void unshelve(struct callbacks *state, int slot)
{
    if (!slot)
        return;
    lua_pushinteger(state->shelf, state->free_slot);
    lua_replace(state->shelf, slot);
    state->free_slot = slot;
}

static void free_slots(struct callbacks *state, struct callback *callback)
{
    unshelve(state, callback->function);
    for (unsigned i = 0; callback->pointers && i < callback->signature->pointers; i++)
        unshelve(state, callback->pointers[i].slot);
    free(callback->pointers);
    callback->pointers = NULL;
    callback->function = 0;
}

/* Give the record its slots, with the function at index in the first. */
static bool fill_slots(lua_State *L, int index, struct callbacks *state, struct callback *callback)
{
    unsigned count = callback->signature->pointers;
    callback->pointers = calloc(count + 1, sizeof *callback->pointers);
    lua_pushvalue(L, index);
    callback->function = callback->pointers ? shelve(L, state) : 0;
    bool ok = callback->function != 0;
    if (!ok)
        lua_pop(L, 1);
    for (unsigned i = 0; ok && i < count; i++) {
        lua_pushnil(L);
        callback->pointers[i].slot = shelve(L, state);
        ok = callback->pointers[i].slot != 0;
        if (!ok)
            lua_pop(L, 1);
    }
    if (!ok)
        free_slots(state, callback);
    return ok;
}

/* Records ------------------------------------------------------------------------------------ */

static void bury(struct callback *callback)
{
    pthread_mutex_lock(&dead_lock);
    callback->next = NULL;
    if (callback->entry) {
        *dead_last = callback;
        dead_last = &callback->next;
        dead_count++;
    } else {
        callback->next = dead_closures;
        dead_closures = callback;
    }
    pthread_mutex_unlock(&dead_lock);
}

/* A dead record whose stub can serve again, NULL if none has been dead for long. */
static struct callback *revive(void)
{
    struct callback *callback = NULL;
    pthread_mutex_lock(&dead_lock);
    if (dead_count > QUARANTINE) {
        callback = dead_first;
        dead_first = callback->next;
        dead_count--;
    }
    pthread_mutex_unlock(&dead_lock);
    return callback;
}

static void link_record(struct callbacks *state, struct callback *callback)
{
    callback->next = state->first;
    callback->link = &state->first;
    if (callback->next)
        callback->next->link = &callback->next;
    state->first = callback;
}

static void unlink_record(struct callback *callback)
{
    *callback->link = callback->next;
    if (callback->next)
        callback->next->link = callback->link;
}

/* "main.lua:12" of the function on top, malloc'ed. [-1 +0] */
static char *describe_function(lua_State *L)
{
    lua_Debug ar;
    char where[LUA_IDSIZE + 16];
    if (!lua_isfunction(L, -1)) {
        lua_pop(L, 1);
        return NULL;
    }
    lua_getinfo(L, ">S", &ar);
    snprintf(where, sizeof where, "%s:%d", ar.short_src, ar.linedefined);
    return memory_copy_text(where);
}

/* Take the record out of the chain of its function, which is on top. [-1 +0] */
static void forget_function(lua_State *L, struct callback *callback)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &functions_key);
    lua_pushvalue(L, -2);
    lua_rawget(L, -2);
    struct callback *first = lua_touserdata(L, -1), **place = &first;
    while (*place && *place != callback)
        place = &(*place)->same;
    if (*place)
        *place = callback->same;
    lua_pushvalue(L, -3);
    if (first)
        lua_pushlightuserdata(L, first);
    else
        lua_pushnil(L);
    lua_rawset(L, -4);
    lua_pop(L, 3);
}

/* Let the function go; C gets zero from now on. */
static void kill_record(lua_State *L, struct callback *callback)
{
    struct callbacks *state = callback->state;
    struct callback_signature *signature = callback->signature;
    callback_push_slot(L, state, callback->function);
    lua_pushvalue(L, -1);
    forget_function(L, callback);
    char *where = describe_function(L);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &pointers_key);
    lua_pushnil(L);
    lua_rawsetp(L, -2, callback->pointer);
    lua_pop(L, 1);
    free_slots(state, callback);
    luaL_unref(L, LUA_REGISTRYINDEX, callback->kept);
    unlink_record(callback);
    callback_die(callback, where);
    callback_signature_release(state, signature);
    bury(callback);
}

static struct callback *new_record(struct callbacks *state, struct callback_signature *signature,
                                   struct error *error)
{
    struct callback *callback = signature->is_in_registers ? revive() : NULL;
    if (!callback)
        callback = calloc(1, sizeof *callback);
    if (!callback) {
        error_set(error, "not enough memory");
        return NULL;
    }
    callback_reset(callback, signature);
    if (!callback_make_pointer(callback, error)) {
        free(callback);
        return NULL;
    }
    callback->state = state;
    callback->kept = LUA_NOREF;
    return callback;
}

/* Is the record the callback of this type for this plugin? */
static bool serves(const struct callback *callback, const struct type *type, const struct plugin *plugin)
{
    return callback->plugin == plugin &&
           (callback->signature->type == type || types_same(callback->signature->type, type));
}

/* The record for the function at index, found or made. */
static struct callback *record_of(lua_State *L, int index, const struct type *type,
                                  struct plugin *plugin, struct error *error)
{
    struct callbacks *state = state_of(L);
    index = lua_absindex(L, index);
    luaL_checkstack(L, 10, NULL);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &functions_key);
    lua_pushvalue(L, index);
    lua_rawget(L, -2);
    struct callback *first = lua_touserdata(L, -1), *callback = first;
    lua_pop(L, 2);
    while (callback && !serves(callback, type, plugin))
        callback = callback->same;
    if (callback)
        return callback;
    struct callback_signature *signature = callback_signature_of(state, type, error);
    if (!signature)
        return NULL;
    callback = new_record(state, signature, error);
    if (callback && !fill_slots(L, index, state, callback)) {
        callback_die(callback, NULL);
        bury(callback);
        callback = NULL;
        error_set(error, "too many callbacks");
    }
    if (!callback) {
        callback_signature_release(state, signature);
        return NULL;
    }
    callback->plugin = plugin;
    callback->same = first;
    link_record(state, callback);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &functions_key);
    lua_pushvalue(L, index);
    lua_pushlightuserdata(L, callback);
    lua_rawset(L, -3);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &pointers_key);
    lua_pushlightuserdata(L, callback);
    lua_rawsetp(L, -2, callback->pointer);
    lua_pop(L, 2);
    callback->thread = state->thread;
    return callback;
}

void *callback_of(lua_State *L, int index, const struct type *type, struct plugin *plugin,
                  struct error *error)
{
    struct callback *callback = record_of(L, index, type->plain, plugin, error);
    if (!callback)
        return NULL;
    callback->is_implicit = true;
    return callback->pointer;
}

bool callback_push_function(lua_State *L, const void *address)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &pointers_key);
    lua_rawgetp(L, -1, address);
    struct callback *callback = lua_touserdata(L, -1);
    lua_pop(L, 2);
    if (callback)
        callback_push_slot(L, callback->state, callback->function);
    return callback != NULL;
}

void callback_release_plugin(lua_State *L, struct plugin *plugin)
{
    struct callbacks *state = state_of(L);
    struct callback *next;
    for (struct callback *callback = state->first; callback; callback = next) {
        next = callback->next;
        if (callback->plugin == plugin)
            kill_record(L, callback);
    }
}

/* hot.callback ------------------------------------------------------------------------------- */

/* The userdata: a record, or NULL after free(). */
static struct callback **test_object(lua_State *L, int index)
{
    return luaL_testudata(L, index, object_metatable);
}

void *callback_address(lua_State *L, int index)
{
    struct callback **object = test_object(L, index);
    return object && *object ? (*object)->pointer : NULL;
}

/* Is a value of the one passed as one of the other? Pointers are, to whatever they point. */
static bool is_passed_alike(const struct type *a, const struct type *b)
{
    const struct type *x = type_plain(a), *y = type_plain(b);
    bool is_pointer = x->kind == TYPE_POINTER && y->kind == TYPE_POINTER;
    bool is_integer = (x->kind == TYPE_INT || x->kind == TYPE_ENUM) &&
                      (y->kind == TYPE_INT || y->kind == TYPE_ENUM);
    return is_pointer || (is_integer && x->size == y->size && x->is_signed == y->is_signed) ||
           types_same(x, y);
}

bool callback_may_serve(lua_State *L, int index, const struct type *type)
{
    struct callback **object = test_object(L, index);
    const struct type *own = object && *object ? (*object)->signature->type : NULL;
    if (!own || own->count != type->count || !is_passed_alike(own->target, type->target))
        return false;
    for (uint64_t i = 0; i < type->count; i++)
        if (!is_passed_alike(own->parameters[i].type, type->parameters[i].type))
            return false;
    return true;
}

static const struct type *check_function_type(lua_State *L, int index)
{
    const struct type *type = object_check_type(L, index)->plain;
    if (type->kind == TYPE_POINTER)
        type = type->target->plain;
    luaL_argcheck(L, type->kind == TYPE_FUNCTION, index, "a function type expected: int (*)(int)");
    return type;
}

/* hot.callback(function, ctype) -> cb. It lives until cb:free(), not until cb is collected: C may have
 * kept the pointer. */
static int l_callback(lua_State *L)
{
    struct error error = {0};
    luaL_checktype(L, 1, LUA_TFUNCTION);
    const struct type *type = check_function_type(L, 2);
    struct callback **object = lua_newuserdatauv(L, sizeof *object, 0);
    *object = NULL;
    luaL_setmetatable(L, object_metatable);
    *object = record_of(L, 1, type, NULL, &error);
    if (!*object)
        return luaL_error(L, "%s", error.text);
    (*object)->uses++;
    return 1;
}

/* cb:free(): C that calls it afterwards gets zero. */
static int l_free(lua_State *L)
{
    struct callback **object = luaL_checkudata(L, 1, object_metatable);
    struct callback *callback = *object;
    *object = NULL;
    if (callback && callback->state && --callback->uses == 0 && !callback->is_implicit)
        kill_record(L, callback);
    return 0;
}

static int l_tostring(lua_State *L)
{
    char name[256];
    struct callback **object = luaL_checkudata(L, 1, object_metatable);
    if (*object)
        lua_pushfstring(L, "callback %s: %p",
                        object_spell((*object)->signature->type, name, sizeof name), (*object)->pointer);
    else
        lua_pushliteral(L, "callback (freed)");
    return 1;
}

/* Opening and closing ------------------------------------------------------------------------ */

static int state_gc(lua_State *L)
{
    struct callbacks *state = lua_touserdata(L, 1);
    callback_close_requests(state);
    while (state->first) {
        struct callback *callback = state->first;
        struct callback_signature *signature = callback->signature;
        unlink_record(callback);
        free(callback->pointers);
        callback_die(callback, NULL);
        callback_signature_release(state, signature);
        bury(callback);
    }
    callback_signature_sweep(state);
    return 0;
}

static void new_registry_table(lua_State *L, const void *key)
{
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

static void open_state(lua_State *L)
{
    struct callbacks *state = lua_newuserdatauv(L, sizeof *state, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    *state = (struct callbacks){
        .L = lua_tothread(L, -1), .thread = thread_self(), .host = host_of(L),
    };
    lua_pop(L, 1);
    state->shelf = lua_newthread(L);
    lua_setiuservalue(L, -2, 1);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, state_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
    new_registry_table(L, &functions_key);
    new_registry_table(L, &pointers_key);
}

void callback_open(lua_State *L)
{
    static const luaL_Reg methods[] = {{"free", l_free}, {NULL, NULL}};
    if (!state_of(L))
        open_state(L);
    if (luaL_newmetatable(L, object_metatable)) {
        luaL_newlib(L, methods);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, l_tostring);
        lua_setfield(L, -2, "__tostring");
        lua_pushliteral(L, "callback");
        lua_setfield(L, -2, "__name");
    }
    lua_pop(L, 1);
    lua_pushcfunction(L, l_callback);
    lua_setfield(L, -2, "callback");
}
