/* parcel.h (Lua-facing): Lua values on their way from one Lua state to another: copied out of the one
 * into plain memory, and from there into the other. */
#ifndef HOTLUA_PARCEL_H
#define HOTLUA_PARCEL_H

#include <lua.h>

struct parcel;

/* Copy the values from stack index `first` to the top: nil, booleans, numbers (integers stay integers),
 * strings, pointers, and tables of them without their metatables; a table met twice, also inside itself,
 * is one table at the other end. Raises for anything else, saying which value it is, the first `hidden` ones
 * not counted. The caller frees the parcel. [-0 +0] */
struct parcel *parcel_pack(lua_State *L, int first, int hidden);
/* Push the values and return how many they are. Raises for want of memory only; does not free. */
int parcel_unpack(lua_State *L, const struct parcel *parcel);
void parcel_free(struct parcel *parcel);

#endif
