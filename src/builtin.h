/* builtin.h (Lua-facing): hotlua's own Lua files, which are part of the program. */
#ifndef HOTLUA_BUILTIN_H
#define HOTLUA_BUILTIN_H

#include <lua.h>

/* Have `require` find them: before the files of LUA_PATH, so that no variable of the environment
 * and no file in the working directory replaces one. [-0 +0] */
void builtin_open(lua_State *L);

#endif
