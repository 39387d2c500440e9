/* libraries.c: luaL_openlibs in the place of Lua's own, so that hotlua is found in every Lua state of the
 * process, whoever makes it. Opens nothing of hotlua by itself: `require` does. */
#include "builtin.h"
#include "core.h"
#include "host.h"

#include <lauxlib.h>
#include <lualib.h>

static const char closer_key = 0;

static int close_host(lua_State *L)
{
    struct host **host = lua_touserdata(L, 1);
    if (*host) {
        host_close(*host);
        host_free(*host);
    }
    *host = NULL;
    return 0;
}

/* A state that somebody else made gets its host when it first asks for hotlua; it goes with the state. */
static int open_core(lua_State *L)
{
    if (!host_of(L)) {
        struct host **host = lua_newuserdatauv(L, sizeof *host, 0);
        *host = NULL;
        lua_createtable(L, 0, 1);
        lua_pushcfunction(L, close_host);
        lua_setfield(L, -2, "__gc");
        lua_setmetatable(L, -2);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &closer_key);
        *host = host_open(L);
        if (!*host)
            return luaL_error(L, "no event loop for this Lua state");
        lua_getglobal(L, "require");             /* closed after what luv has in this state */
        lua_pushliteral(L, "luv");
        lua_call(L, 1, 0);
    }
    return luaopen_hotlua_core(L);
}

__attribute__((visibility("default")))
void luaL_openlibs(lua_State *L)
{
    static const luaL_Reg libraries[] = {
        {LUA_GNAME, luaopen_base}, {LUA_LOADLIBNAME, luaopen_package}, {LUA_COLIBNAME, luaopen_coroutine},
        {LUA_TABLIBNAME, luaopen_table}, {LUA_IOLIBNAME, luaopen_io}, {LUA_OSLIBNAME, luaopen_os},
        {LUA_STRLIBNAME, luaopen_string}, {LUA_MATHLIBNAME, luaopen_math}, {LUA_UTF8LIBNAME, luaopen_utf8},
        {LUA_DBLIBNAME, luaopen_debug}, {NULL, NULL},
    };
    for (const luaL_Reg *library = libraries; library->func; library++) {
        luaL_requiref(L, library->name, library->func, 1);
        lua_pop(L, 1);
    }
    builtin_open(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, open_core);
    lua_setfield(L, -2, "hotlua.core");
    lua_pop(L, 1);
}
