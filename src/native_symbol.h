/* native_symbol.h: addresses of plugins' functions for other plugins' C code, valid across reloads. A jump
 * stub (arch.h) leads to native_symbol_entry (arch_*.c), which has the call marked as a call from Lua is,
 * and makes it in a frame of its own, with the caller's registers and a copy of its stack arguments. */
#ifndef HOTLUA_NATIVE_SYMBOL_H
#define HOTLUA_NATIVE_SYMBOL_H

#include <stdbool.h>
#include <stdint.h>

struct frame;
struct image;
struct plugin;

/* What native_symbol_entry keeps in its frame; it knows the offsets of the first two. */
struct native_call {
    void *target;            /* NULL: it is gone, the call gives 0 */
    uint64_t stack_size;     /* bytes of arguments on the stack, a multiple of 16 */
    struct frame *frame;     /* the mark */
};

/* Called by native_symbol_entry: `place` is what the stub read, `here` the entry's frame address. Mark the
 * call; waits while the plugin is held (hold.h). */
void native_symbol_begin(struct native_call *call, void *volatile *place, uintptr_t here);
void native_symbol_end(struct native_call *call);
void native_symbol_entry(void);

/* Has any? */
bool native_symbol_any_use(void);
/* The plugins that this image's code has asked for functions of, one after the other: NULL starts and
 * ends. */
struct plugin *native_symbol_next_used(const struct image *image, const struct plugin *after);
/* Forget what an image that goes has asked for. */
void native_symbol_forget(const struct image *image);

#endif
