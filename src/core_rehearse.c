/* core_rehearse.c: a Lua function run in a forked copy of the process, and the calls that such a copy makes
 * again. */
#include "core.h"

#include "call_record.h"
#include "host.h"
#include "probe.h"
#include "rehearse.h"
#include "slot.h"

#include <lauxlib.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* In the copy: the function at the top of the stack. What it returns, or its error, goes back. */
static char *play(void *context, size_t *size)
{
    lua_State *L = context;
    host_enter_loop(host_of(L), true);   /* the loop is the other process's: nothing may wait here */
    lua_pcall(L, 0, 1, 0);
    const char *text = luaL_tolstring(L, -1, size);
    char *copy = malloc(*size + 1);
    if (copy)
        memcpy(copy, text, *size + 1);
    return copy;
}

static void push_result(lua_State *L, struct rehearsal_result *result)
{
    static const char *const ends[] = {"spoke", "exit", "signal", "late"};
    lua_pushstring(L, ends[result->end]);
    if (result->end == REHEARSAL_SIGNALLED)
        lua_pushfstring(L, "SIG%s", sigabbrev_np(result->code) ? sigabbrev_np(result->code) : "?");
    else
        lua_pushinteger(L, result->code);
    lua_pushlstring(L, result->text ? result->text : "", result->size);
    lua_pushlstring(L, result->output ? result->output : "", result->output_size);
    free(result->text);
    free(result->output);
}

struct waiting {
    struct host *host;
    struct rehearsal *rehearsal;
    unsigned limit_ms;
    int function;                /* registry reference */
    struct rehearsal_result result;
};

static void deliver(lua_State *L, void *context)
{
    struct waiting *waiting = context;
    host_await(waiting->host, -1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, waiting->function);
    luaL_unref(L, LUA_REGISTRYINDEX, waiting->function);
    push_result(L, &waiting->result);
    free(waiting);
    host_call(L, 4, "error in a rehearsal");
}

static void *wait_for_end(void *context)
{
    struct waiting *waiting = context;
    waiting->result = rehearse_end(waiting->rehearsal, waiting->limit_ms);
    host_post(waiting->host, deliver, waiting);
    return NULL;
}

/* False when no thread can be had. */
static bool wait_elsewhere(struct waiting *waiting)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int failure = pthread_create(&thread, NULL, wait_for_end, waiting);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!failure)
        pthread_detach(thread);
    return !failure;
}

/* core.rehearse(f, limit_ms [, done]): f() in a forked copy. Returns, or calls done with, how it ended:
 * "spoke", 0, what f returned, output | "exit", status, "", output | "signal", name, "", output | "late", 0,
 * "", output. Returns nil and a message when there can be no copy, "waiting" when done will be called. */
static int l_rehearse(lua_State *L)
{
    struct error error = {0};
    luaL_checktype(L, 1, LUA_TFUNCTION);
    unsigned limit_ms = (unsigned)luaL_checkinteger(L, 2);
    lua_settop(L, 3);
    lua_pushvalue(L, 1);
    struct rehearsal *rehearsal = rehearse_begin(play, L, &error);
    lua_pop(L, 1);
    if (!rehearsal) {
        lua_pushnil(L);
        lua_pushstring(L, error.text);
        return 2;
    }
    struct waiting *waiting = lua_isnil(L, 3) ? NULL : calloc(1, sizeof *waiting);
    if (waiting) {
        lua_pushvalue(L, 3);
        *waiting = (struct waiting){host_of(L), rehearsal, limit_ms, luaL_ref(L, LUA_REGISTRYINDEX), {0}};
        host_await(waiting->host, 1);
        if (wait_elsewhere(waiting)) {
            lua_pushliteral(L, "waiting");
            return 1;
        }
        host_await(waiting->host, -1);
        luaL_unref(L, LUA_REGISTRYINDEX, waiting->function);
        free(waiting);
    }
    struct rehearsal_result result = rehearse_end(rehearsal, limit_ms);
    push_result(L, &result);
    return 4;
}

static struct plugin *check_plugin(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TLIGHTUSERDATA);
    return lua_touserdata(L, 1);
}

/* core.record_calls(handle, count): from the next commit on keep the arguments of the last calls. */
static int l_record_calls(lua_State *L)
{
    struct plugin *plugin = check_plugin(L);
    plugin->recorder = recorder_new((unsigned)luaL_checkinteger(L, 2));
    return 0;
}

static void push_call(void *context, const char *name, const struct recorded_value *values, unsigned count)
{
    lua_State *L = context;
    lua_createtable(L, (int)count, 2);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "name");
    lua_pushinteger(L, count);
    lua_setfield(L, -2, "n");
    for (unsigned i = 0; i < count; i++) {
        recorder_push(L, &values[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
}

/* core.recorded_calls(handle) -> { { name =, n =, argument, … }, … } oldest first, number of those left out
 * because an argument was no plain value */
static int l_recorded_calls(lua_State *L)
{
    struct plugin *plugin = check_plugin(L);
    unsigned left_out = 0;
    lua_newtable(L);
    if (plugin->recorder)
        left_out = recorder_each(plugin->recorder, push_call, L);
    lua_pushinteger(L, left_out);
    return 2;
}

/* core.end_probes(): in a copy of the process, the helpers that it has started for itself. */
static int l_end_probes(lua_State *L)
{
    (void)L;
    probe_forget_helpers();
    return 0;
}

void core_open_rehearse(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"rehearse", l_rehearse}, {"record_calls", l_record_calls}, {"recorded_calls", l_recorded_calls},
        {"end_probes", l_end_probes}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
