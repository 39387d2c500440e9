/* call_record.c: a ring of calls under a lock of its own. */
#include "call_record.h"

#include "call_compile.h"
#include "fork_lock.h"
#include "memory.h"

#include <lauxlib.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_VALUES = 16, MOST_TEXT = 4096 };

struct call {
    const char *name;        /* the slot's; NULL: none yet */
    bool is_whole;
    unsigned count;
    struct recorded_value values[MOST_VALUES];
};

struct recorder {
    pthread_mutex_t lock;
    struct fork_lock fork_lock;
    unsigned capacity;
    uint64_t taken;
    struct call calls[];
};

struct recorder *recorder_new(unsigned count)
{
    struct recorder *recorder = memory_take(sizeof *recorder + count * sizeof *recorder->calls);
    pthread_mutex_init(&recorder->lock, NULL);
    fork_lock_add(&recorder->fork_lock, &recorder->lock, PTHREAD_MUTEX_NORMAL);
    recorder->capacity = count;
    return recorder;
}

static void clear(struct call *call)
{
    for (unsigned i = 0; i < call->count; i++)
        if (call->values[i].type == LUA_TSTRING)
            free(call->values[i].text);
    *call = (struct call){0};
}

/* False for what cannot be given again. */
static bool take_value(lua_State *L, int index, struct recorded_value *value)
{
    const char *text;
    value->type = lua_type(L, index);
    switch (value->type) {
    case LUA_TNIL:
        return true;
    case LUA_TBOOLEAN:
        value->integer = lua_toboolean(L, index);
        return true;
    case LUA_TNUMBER:
        value->is_integer = lua_isinteger(L, index);
        if (value->is_integer)
            value->integer = lua_tointeger(L, index);
        else
            value->number = lua_tonumber(L, index);
        return true;
    case LUA_TSTRING:
        text = lua_tolstring(L, index, &value->size);
        value->text = value->size <= MOST_TEXT ? malloc(value->size + 1) : NULL;
        if (value->text)
            memcpy(value->text, text, value->size + 1);
        break;
    default:
        value->text = NULL;
    }
    if (!value->text)
        value->type = LUA_TNONE;
    return value->text != NULL;
}

/* A copy of the process may find a call that is being noted: it is not whole before its end. */
static void record(lua_State *L, struct recorder *recorder, const char *name)
{
    int count = lua_gettop(L);
    pthread_mutex_lock(&recorder->lock);
    struct call *call = &recorder->calls[recorder->taken++ % recorder->capacity];
    clear(call);
    call->name = name;
    bool is_whole = count <= MOST_VALUES;
    for (int i = 0; is_whole && i < count; i++)
        is_whole = take_value(L, i + 1, &call->values[call->count++]);
    __atomic_store_n(&call->is_whole, is_whole, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&recorder->lock);
}

int call_recorded(lua_State *L, struct slot *slot)
{
    slot_entry *entry = slot_plain_entry(slot);
    if (entry != call_lazy)      /* which comes here again */
        record(L, slot->plugin->recorder, slot->name);
    return entry(L, slot);
}

unsigned recorder_each(struct recorder *recorder,
                       void (*each)(void *context, const char *name, const struct recorded_value *values,
                                    unsigned count),
                       void *context)
{
    unsigned others = 0;
    uint64_t first = recorder->taken > recorder->capacity ? recorder->taken - recorder->capacity : 0;
    for (uint64_t i = first; i < recorder->taken; i++) {
        const struct call *call = &recorder->calls[i % recorder->capacity];
        if (call->is_whole)
            each(context, call->name, call->values, call->count);
        others += !call->is_whole;
    }
    return others;
}

void recorder_push(lua_State *L, const struct recorded_value *value)
{
    if (value->type == LUA_TBOOLEAN)
        lua_pushboolean(L, value->integer != 0);
    else if (value->type == LUA_TSTRING)
        lua_pushlstring(L, value->text, value->size);
    else if (value->type == LUA_TNUMBER && value->is_integer)
        lua_pushinteger(L, value->integer);
    else if (value->type == LUA_TNUMBER)
        lua_pushnumber(L, value->number);
    else
        lua_pushnil(L);
}
