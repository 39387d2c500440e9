/* builtin.c: the searcher for the Lua files that the Makefile put into builtin.S. */
#include "builtin.h"

#include <lauxlib.h>
#include <string.h>

struct builtin_file {        /* as the Makefile's builtin.S lays it out */
    const char *name;        /* "hotlua.task"; NULL ends the table */
    const char *text;
    size_t size;             /* bytes */
};

extern const struct builtin_file builtin_files[];

/* "=hotlua/task.lua", as messages name it. */
static void push_chunk_name(lua_State *L, const char *name)
{
    lua_pushfstring(L, "=%s.lua", luaL_gsub(L, name, ".", "/"));
    lua_remove(L, -2);
}

static int search(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    for (const struct builtin_file *file = builtin_files; file->name; file++) {
        if (strcmp(file->name, name) != 0)
            continue;
        push_chunk_name(L, name);
        if (luaL_loadbufferx(L, file->text, file->size, lua_tostring(L, -1), "t") != LUA_OK)
            return lua_error(L);
        lua_pushliteral(L, ":builtin:");
        return 2;
    }
    return 0;
}

void builtin_open(lua_State *L)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "searchers");
    for (lua_Integer i = luaL_len(L, -1); i >= 2; i--) {
        lua_rawgeti(L, -1, i);
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushcfunction(L, search);
    lua_rawseti(L, -2, 2);               /* after package.preload */
    lua_pop(L, 2);
}
