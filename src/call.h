/* call.h (Lua-facing): the way from Lua into a native function. Thunks per signature class for what
 * is common, a call by register classes for the rest that fits in registers, libffi for structs by
 * value, variadics and stack arguments. Nothing is looked up on the way. */
#ifndef HOTLUA_CALL_H
#define HOTLUA_CALL_H

#include "call_compile.h"

#include <lua.h>

/* Push the function that Lua keeps for this slot. [-0 +1] */
void call_push_slot(lua_State *L, struct slot *slot);

/* Push a function that calls the native function at `address` with that TYPE_FUNCTION, now and for
 * as long as `image` is mapped (NULL: for ever). For function pointers, old images' api, bare
 * symbols. The image is retained by it. [-0 +1] */
void call_push_function(lua_State *L, void *address, const struct type *type, struct image *image,
                        const char *name);

/* The address of the native function that the Lua function at index calls now; NULL if it is none of ours.
 * Raises if it has gone. */
void *call_native(lua_State *L, int index);
/* The same, with its type, for the callable of a function pointer only: a plugin's function is another one
 * after a reload. */
void *call_native_pointer(lua_State *L, int index, const struct type **type);

/* Make thread-local state and handlers ready for this Lua state. */
void call_open(lua_State *L);

/* After a crash (`what` says which) was caught in a call of `image`: the host decides (rolls back),
 * then the error is raised. Set by core_plugin.c; NULL: only the error. */
extern void (*call_on_crash)(lua_State *L, struct image *image, const char *what);

#endif
