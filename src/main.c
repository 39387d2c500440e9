/* main.c: the program: a Lua state, the host around it, the command line; then everything is closed
 * in order. Nothing else ends the process. */
#include "host.h"
#include "interpreter.h"
#include "memory.h"
#include "probe.h"
#include "stage.h"
#include "watch.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct run {
    struct host *host;
    int argc;
    char **argv;
    int status;
};

/* In a protected call, so that no error leaves without a message. */
static int run_protected(lua_State *L)
{
    struct run *run = lua_touserdata(L, 1);
    lua_settop(L, 0);
    run->status = interpreter_run(run->host, L, run->argc, run->argv);
    return 0;
}

static int open_protected(lua_State *L)
{
    luaL_openlibs(L);
    lua_gc(L, LUA_GCGEN, 0, 0);
    return 0;
}

static void remove_copies(void)
{
    static pid_t owner;
    if (owner == 0)
        owner = getpid();
    else if (owner == getpid())          /* a forked child that calls exit leaves them alone */
        stage_cleanup();
}

static int run(struct run *run)
{
    lua_State *L = luaL_newstate();
    if (!L) {
        fprintf(stderr, "hotlua: out of memory\n");
        return 1;
    }
    if (interpreter_ignores_environment(run->argc, run->argv)) {
        lua_pushboolean(L, 1);
        lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
    }
    lua_pushcfunction(L, open_protected);
    bool is_open = lua_pcall(L, 0, 0, 0) == LUA_OK;
    if (!is_open)
        fprintf(stderr, "hotlua: the libraries cannot be opened: %s\n", lua_tostring(L, -1));
    run->host = is_open ? host_open(L) : NULL;
    if (!run->host) {
        lua_close(L);
        return 1;
    }
    lua_pushcfunction(L, run_protected);
    lua_pushlightuserdata(L, run);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        if (host_exit_status() == 0)     /* otherwise a signal ended it: that is no error */
            interpreter_report(L);
        run->status = 1;
    }
    host_close(run->host);
    int asked = host_exit_status();
    lua_close(L);
    host_free(run->host);
    return asked ? asked : run->status;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], PROBE_ARGUMENT) == 0)
        return probe_serve();
    remove_copies();
    atexit(remove_copies);
    if (!memory_is_ready()) {
        fputs("hotlua: out of memory\n", stderr);
        return 1;
    }
    struct run started = {.argc = argc, .argv = argv};
    int status;
    do {
        status = run(&started);
    } while (status == INTERPRETER_AGAIN);
    watch_shutdown();
    return status;
}
