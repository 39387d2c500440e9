/* native.h: C types as libffi wants them described, for calls and for callbacks. libffi knows no
 * unions, bit-fields or packed structs: these are described by what the calling convention makes of
 * them, or refused. */
#ifndef HOTLUA_NATIVE_H
#define HOTLUA_NATIVE_H

#include "error.h"
#include "types.h"

#include <ffi.h>

/* The descriptions made for one signature; freed together. */
struct native_types;
void native_types_free(struct native_types *list);

/* The description of a type as a parameter. What has to be made is added to *list (which begins as
 * NULL). NULL with error if values of this type cannot be passed. */
ffi_type *native_type(struct native_types **list, const struct type *type, struct error *error);
/* The same as a result. */
ffi_type *native_result(struct native_types **list, const struct type *type, struct error *error);

#endif
