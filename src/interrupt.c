/* interrupt.c: see interrupt.h. A hook belongs to one coroutine, and Lua does not tell which one runs: so
 * coroutine.resume and coroutine.wrap, otherwise as in lcorolib.c, note it. */
#include "interrupt.h"

#include <lauxlib.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

enum { GRACE_MS = 100, LOOK = 1000 };    /* what <close> variables get; VM instructions between two looks */

/* Written by the thread itself alone; its signal handler reads and raises. */
static __thread struct {
    lua_State *L;            /* the main one; NULL: none */
    lua_State *volatile running;     /* the coroutine that runs; NULL: L itself */
    volatile sig_atomic_t is_interrupted;
    uint64_t first_ns;       /* when the error was raised first, 0: not yet */
} self;

static int interrupt_signal(void)
{
    return SIGRTMIN + 10;
}

static void raise_in(lua_State *L, lua_Debug *ar);

static void arm(lua_State *L, int instructions)
{
    int mask = instructions == 1 ? LUA_MASKCALL | LUA_MASKCOUNT : LUA_MASKCOUNT;
    lua_sethook(L, raise_in, mask, instructions);
}

static bool is_grace_over(void)
{
    return self.first_ns && uv_hrtime() - self.first_ns >= GRACE_MS * 1000000ull;
}

static void arm_again(lua_State *L)
{
    arm(L, is_grace_over() ? 1 : LOOK);
}

static void raise_in(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    bool is_first = self.first_ns == 0;
    if (is_first)
        self.first_ns = uv_hrtime();
    arm_again(L);
    if (is_first || is_grace_over())
        luaL_error(L, "interrupted!");
}

void interrupt_here(void)
{
    if (!self.L)
        return;
    self.is_interrupted = 1;
    arm(self.L, 1);
    if (self.running)
        arm(self.running, 1);
}

static void on_interrupt(int number)
{
    (void)number;
    interrupt_here();
}

void interrupt_thread(pthread_t thread)
{
    pthread_kill(thread, interrupt_signal());
}

/* Coroutines --------------------------------------------------------------------------------- */

static int move_results(lua_State *L, lua_State *co, int count)
{
    if (!lua_checkstack(L, count + 1)) {
        lua_pop(co, count);
        lua_pushliteral(L, "too many results to resume");
        return -1;
    }
    lua_xmove(co, L, count);
    return count;
}

/* [-arguments +results] -> how many results; -1: one, the error. */
static int resume(lua_State *L, lua_State *co, int arguments)
{
    lua_State *before = self.running;
    int count;
    if (!lua_checkstack(co, arguments)) {
        lua_pushliteral(L, "too many arguments to resume");
        return -1;
    }
    lua_xmove(L, co, arguments);
    self.running = co;
    if (self.is_interrupted)
        arm_again(co);
    int status = lua_resume(co, L, arguments, &count);
    self.running = before;
    if (self.is_interrupted)             /* who catches the error does not go on for long */
        arm_again(L);
    if (status == LUA_OK || status == LUA_YIELD)
        return move_results(L, co, count);
    lua_xmove(co, L, 1);
    return -1;
}

/* coroutine.resume(co, ...) -> true, ...; or false, error */
static int l_resume(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "coroutine");
    int count = resume(L, co, lua_gettop(L) - 1);
    lua_pushboolean(L, count >= 0);
    lua_insert(L, count >= 0 ? -(count + 1) : -2);
    return count >= 0 ? count + 1 : 2;
}

/* The error of a wrapped coroutine is on top. */
static int raise_on(lua_State *L, lua_State *co)
{
    int status = lua_status(co);
    if (status != LUA_OK && status != LUA_YIELD) {
        status = lua_resetthread(co);    /* closes its variables */
        lua_xmove(co, L, 1);
    }
    if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int call_wrapped(lua_State *L)
{
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));
    int count = resume(L, co, lua_gettop(L));
    return count >= 0 ? count : raise_on(L, co);
}

/* coroutine.wrap(f) -> function(...) */
static int l_wrap(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    lua_pushcclosure(L, call_wrapped, 1);
    return 1;
}

/* Opening and closing ------------------------------------------------------------------------ */

void interrupt_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"resume", l_resume}, {"wrap", l_wrap}, {NULL, NULL}};
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigaction(interrupt_signal(), &action, NULL);
    if (lua_getglobal(L, "coroutine") == LUA_TTABLE)
        luaL_setfuncs(L, functions, 0);
    lua_pop(L, 1);
    if (self.L)                          /* a state inside the thread's own */
        return;
    self.running = NULL;
    self.is_interrupted = 0;
    self.first_ns = 0;
    self.L = L;
}

void interrupt_end(lua_State *L)
{
    if (self.L == L) {
        self.is_interrupted = 0;
        self.first_ns = 0;
    }
    lua_sethook(L, NULL, 0, 0);
}

void interrupt_close(lua_State *L)
{
    interrupt_end(L);
    if (self.L == L)
        self.L = NULL;
}
