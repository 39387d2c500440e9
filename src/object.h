/* object.h (Lua-facing): C values in Lua. Conversion of every C type from and to Lua, and objects:
 * owned values, views of memory somewhere else, pointers, arrays, type objects. */
#ifndef HOTLUA_OBJECT_H
#define HOTLUA_OBJECT_H

#include "image.h"
#include "types.h"

#include <lua.h>

/* Where a value's memory comes from, so that it is never read after it went. */
struct origin {
    struct image *image;     /* retained by the object made from it; NULL: process memory, never checked */
    struct plugin *plugin;   /* with `variable`: a live variable, which follows the plugin from image
                                to image as long as its type stays the same */
    const char *variable;
    int owner;               /* stack index of an object to keep alive with the new one, 0: none */
    bool is_const;
};

/* Push the C value of that type found at `address` as the contract of values says: numbers,
 * booleans, strings are copied; structs, unions and arrays become views (owned copies with
 * `copy`); pointers become pointer objects, nil, strings or callables. [-0 +1] */
void object_push(lua_State *L, const struct type *type, void *address,
                 const struct origin *origin, bool copy);

/* Convert the Lua value at `index` and store it at `address`. On failure false with a text like
 * "number expected, got string" or "number out of range for 'int'"; nothing is half-stored for
 * scalars. May allocate; may raise only on lack of memory. A temporary that the stored pointer
 * leads to (a string, a const table literal, a callback) is pushed on the stack and *pushed is
 * incremented, for the caller to keep there as long as C may use it. `plugin` (may be NULL) is
 * whose lifetime callbacks made here have. */
bool object_store(lua_State *L, int index, const struct type *type, void *address,
                  struct plugin *plugin, int *pushed, struct error *error);

/* The common case of object_store for a parameter of TYPE_POINTER `type`, without the conversions: an
 * object that was passed as this type before. False: nothing is done, call object_store. */
bool object_pointer(lua_State *L, int index, const struct type *type, void **pointer);

/* Assign to a variable or other C memory that outlives the call: as object_store, but refuses what
 * is const or borrowed by somebody else, keeps alive what the stored pointer leads to for as long as
 * it is stored there, and raises with `what` ("variable 'limit'"). [-0 +0] */
void object_assign(lua_State *L, int index, const struct type *type, void *address,
                   const struct origin *origin, const char *what);

/* Push the string or object on the stack, or the owner of one there, whose memory the address lies
 * in. False: there is none, nothing is pushed. */
bool object_push_owner(lua_State *L, const void *address);

/* Has the type values that Lua can have? False with the reason. */
bool object_has_values(const struct type *type, struct error *error);

/* Push a type object (callable, sizeof). [-0 +1] */
void object_push_type(lua_State *L, const struct type *type);
/* The type of the type object or C type expression at index; raises if it is neither. */
const struct type *object_check_type(lua_State *L, int index);

/* The object's memory and type if the value at `index` is one of ours, NULL otherwise. Raises if
 * its memory has gone. For a pointer object: the pointer's own storage. */
void *object_address(lua_State *L, int index, const struct type **type);

/* Adds new, cast, sizeof, offsetof, typeof, string, copy, address to the table on top. [-0 +0] */
void object_open(lua_State *L);

#endif
