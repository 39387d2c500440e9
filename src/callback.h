/* callback.h (Lua-facing): Lua functions as C function pointers. Stubs are libffi closures from a
 * pool that is never unmapped; a freed one gives C zero and reports it. */
#ifndef HOTLUA_CALLBACK_H
#define HOTLUA_CALLBACK_H

#include "error.h"
#include "types.h"

#include <lua.h>

struct plugin;

/* The C function pointer for the Lua function at `index`, called as TYPE_FUNCTION `type`. The same
 * function, type and plugin give the same pointer until callback_release_plugin. `plugin` NULL:
 * until freed by hand. NULL with error if the type cannot be a callback. */
void *callback_of(lua_State *L, int index, const struct type *type, struct plugin *plugin,
                  struct error *error);

/* If `address` is a callback of this state, push its Lua function and return true. [-0 +(0|1)] */
bool callback_push_function(lua_State *L, const void *address);
/* The pointer of the hot.callback object at index, NULL if the value is none (or was freed). */
void *callback_address(lua_State *L, int index);
/* May C call the hot.callback object at index as a function of that type? */
bool callback_may_serve(lua_State *L, int index, const struct type *type);

/* Free all of a plugin's callbacks in this state (when it is closed). */
void callback_release_plugin(lua_State *L, struct plugin *plugin);

/* Called by thunks after a native call: raises the first error of a callback during it, if this was
 * the outermost native call of the thread. */
void callback_raise_pending(lua_State *L);

/* Adds callback() to the table on top. [-0 +0] */
void callback_open(lua_State *L);

#endif
