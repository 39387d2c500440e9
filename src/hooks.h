/* hooks.h (Lua-facing): the host's side of hotlua/plugin.h: what plugins call. */
#ifndef HOTLUA_HOOKS_H
#define HOTLUA_HOOKS_H

#include <lua.h>

/* Adds on_emit(f) and on_log(f) to the table on top: f(plugin handle, name, ...) for each event that a
 * plugin of this state raised, f(plugin handle, level, text) for each line of its log. [-0 +0] */
void hooks_open(lua_State *L);

#endif
