/* arch.h: what depends on the processor. One file each: arch_x86_64.c, arch_aarch64.c, and
 * arch_portable.c for the rest, where stubs are Lua closures and jumps are setjmp's. */
#ifndef HOTLUA_ARCH_H
#define HOTLUA_ARCH_H

#include <stddef.h>

struct slot;
struct lua_State;

/* Make the stub of a slot: a lua_CFunction that loads slot->entry (offset 0) and jumps to it with
 * the slot as second argument. Lives for ever. NULL where no executable memory may be made: then
 * call_push_slot pushes a closure instead. */
void *arch_make_stub(struct slot *slot);

/* A C function pointer of any signature that jumps to *target on every call (for callbacks into
 * the live image from C). Lives for ever, NULL as above. */
void *arch_make_jump(void *volatile *target);

/* Where a signal context (ucontext_t) was executing, and its stack pointer. */
void *arch_context_pc(const void *context);
void *arch_context_sp(const void *context);

#endif
