/* arch.h: what depends on the processor. One file each: arch_x86_64.c, arch_aarch64.c, and
 * arch_portable.c for the rest, where calls go through Lua closures and crashes are not caught.
 * arch_pool.c hands out the memory for stubs. */
#ifndef HOTLUA_ARCH_H
#define HOTLUA_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined __x86_64__ || defined __aarch64__
#define ARCH_IS_KNOWN 1
#endif

struct slot;

/* Make the stub of a slot: a lua_CFunction that loads slot->entry (offset 0) and jumps to it with
 * the slot as second argument. Lives for ever. NULL where no executable memory may be made: then
 * call_push_slot pushes a closure instead. */
void *arch_make_stub(struct slot *slot);

/* The slot whose stub that is, NULL: it is none. */
struct slot *arch_slot_of_stub(const void *stub);

/* A C function pointer of any signature that jumps to *target on every call (for callbacks into
 * the live image from C). It gets there with `target` itself in r11 (x86-64) or x17 (aarch64). Lives
 * for ever, NULL as above. */
void *arch_make_jump(void *volatile *target);

/* Store this function's stack pointer in a uintptr_t. */
#if defined __x86_64__
#define arch_save_stack(place) __asm__ volatile("movq %%rsp, %0" : "=m"(*(place)))
#elif defined __aarch64__
#define arch_save_stack(place) \
    do { uintptr_t stack_; __asm__ volatile("mov %0, sp" : "=r"(stack_)); *(place) = stack_; } while (0)
#else
#define arch_save_stack(place) (*(place) = (uintptr_t)__builtin_frame_address(0))
#endif

/* Where a signal context (ucontext_t) was executing, and its stack pointer. */
void *arch_context_pc(const void *context);
void *arch_context_sp(const void *context);

/* Make the interrupted code go on, once the handler returns, in function(argument) with the stack
 * below `stack`; it must not return. False where that is not known. */
bool arch_context_call(void *context, void (*function)(void *), void *argument,
                       uintptr_t stack);

/* Pretend that the function which was called at a wrong address has returned at once. */
void arch_context_return(void *context);

/* For arch_pool.c: the bytes of a stub, and how to write one at `code` that reads its slot, or the
 * address of its target, from the word at `data` (both in one mapping). */
enum { ARCH_STUB_SIZE = 16 };
enum arch_stub { ARCH_STUB_SLOT, ARCH_STUB_JUMP, ARCH_STUB_KINDS };
void arch_write_stub(unsigned char *code, enum arch_stub kind, const void *data);

#endif
