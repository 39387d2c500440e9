/* call_compile.h: what services need of the calls: choosing a thunk for an export. No Lua here. */
#ifndef HOTLUA_CALL_COMPILE_H
#define HOTLUA_CALL_COMPILE_H

#include "slot.h"

/* Choose the thunk and compile the signature for a function type that image_resolve_export found.
 * Sets export->thunk, signature, refusal. Any thread. */
void call_compile(struct export *export);
/* Would it find a way to call it? False with the reason. Changes nothing; any thread. */
bool call_is_possible(const struct export *export, struct error *error);
void call_free_signature(struct export *export);

/* Thunks of exports that are not simply callable. Each raises or resolves, then calls. */
slot_entry call_lazy;        /* type not read yet: reads it, sets the thunk, calls */
slot_entry call_refused;     /* no or unsupported signature: says why and what helps */
slot_entry call_absent;      /* gone, or plugin closed: says since which generation */
slot_entry call_timed;       /* a callable export of a plugin that has timeout_ms */

#endif
