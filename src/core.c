/* core.c: puts the module hotlua.core together, and what has no better place: loop, time, errors. */
#include "core.h"

#include "borrow.h"
#include "callback.h"
#include "hooks.h"
#include "host.h"
#include "object.h"
#include "thread.h"
#include "worker.h"

#include <lauxlib.h>
#include <unistd.h>

const char core_error_key, core_close_key;

/* core.on_error(f): f(message, what) gets the errors of callbacks. */
static int l_on_error(lua_State *L)
{
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &core_error_key);
    return 0;
}

/* core.on_close(f): f() unloads everything before the state goes. */
static int l_on_close(lua_State *L)
{
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &core_close_key);
    return 0;
}

/* core.now() -> nanoseconds on the monotonic clock. */
static int l_now(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)uv_hrtime());
    return 1;
}

static bool is_ending(struct host *host)
{
    return host_exit_status() || host_was_interrupted(host);
}

/* core.is_ending() -> has a signal asked the program to end, or somebody this state */
static int l_is_ending(lua_State *L)
{
    lua_pushboolean(L, is_ending(host_of(L)));
    return 1;
}

/* core.turn(may_block) -> is anything left; nil if the loop is already running above. Raises
 * "interrupted!" when a signal asked the program to end, or this state is to. */
static int l_turn(lua_State *L)
{
    struct host *host = host_of(L);
    if (host_is_running(host))
        return 0;
    bool more = host_turn(host, lua_toboolean(L, 1));
    host_drain(host, L);
    if (is_ending(host) && !lua_toboolean(L, 2))
        return luaL_error(L, "interrupted!");
    lua_pushboolean(L, more);
    return 1;
}

/* core.drain(): deliver what other threads have posted. */
static int l_drain(lua_State *L)
{
    host_drain(host_of(L), L);
    return 0;
}

/* core.run() -> was it stopped: the loop until nothing is left or core.stop(). */
static int l_run(lua_State *L)
{
    host_run(host_of(L));
    lua_pushboolean(L, host_was_stopped(host_of(L)));
    return 1;
}

static int l_stop(lua_State *L)
{
    host_stop(host_of(L));
    return 0;
}

/* core.is_running() -> are we inside a callback of the loop. */
static int l_is_running(lua_State *L)
{
    lua_pushboolean(L, host_is_running(host_of(L)));
    return 1;
}

/* core.enter_loop(is_running) -> was it: for luv's own uv.run. */
static int l_enter_loop(lua_State *L)
{
    lua_pushboolean(L, host_enter_loop(host_of(L), lua_toboolean(L, 1)));
    return 1;
}

/* core.await(change): +1 keeps the loop alive, -1 lets it go. */
static int l_await(lua_State *L)
{
    host_await(host_of(L), (int)luaL_checkinteger(L, 1));
    return 0;
}

/* core.exit_status() -> 130 or 143 after SIGINT or SIGTERM, else 0. */
static int l_exit_status(lua_State *L)
{
    lua_pushinteger(L, host_exit_status());
    return 1;
}

/* core.loop_address() -> integer, of the uv_loop_t */
static int l_loop_address(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)(uintptr_t)host_loop(host_of(L)));
    return 1;
}

/* core.errno() -> errno as the last native call left it. */
static int l_errno(lua_State *L)
{
    lua_pushinteger(L, thread_self()->kept_errno);
    return 1;
}

/* core.is_terminal(fd) -> boolean */
static int l_is_terminal(lua_State *L)
{
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

int luaopen_hotlua_core(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"on_error", l_on_error}, {"on_close", l_on_close}, {"now", l_now}, {"turn", l_turn},
        {"drain", l_drain}, {"run", l_run}, {"stop", l_stop}, {"is_running", l_is_running},
        {"enter_loop", l_enter_loop}, {"await", l_await}, {"exit_status", l_exit_status}, {"is_ending", l_is_ending},
        {"errno", l_errno}, {"loop_address", l_loop_address}, {"is_terminal", l_is_terminal}, {NULL, NULL},
    };
    luaL_newlib(L, functions);
    core_open_image(L);
    core_open_load(L);
    core_open_carry(L);
    core_open_plugin(L);
    core_open_share(L);
    core_open_leave(L);
    core_open_link(L);
    core_open_watch(L);
    core_open_process(L);
    core_open_rehearse(L);
    core_open_symbol(L);
    core_open_trust(L);
    core_open_path(L);
    core_open_inspect(L);
    object_open(L);
    callback_open(L);
    borrow_open(L);
    hooks_open(L);
    worker_open(L);
    return 1;
}
