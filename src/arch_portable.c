/* arch_portable.c: for processors that nobody has written for: no stubs, no caught crashes. */
#include "arch.h"

#ifndef ARCH_IS_KNOWN

void *arch_make_stub(struct slot *slot)
{
    (void)slot;
    return NULL;
}

struct slot *arch_slot_of_stub(const void *stub)
{
    (void)stub;
    return NULL;
}

void *arch_make_jump(void *volatile *target)
{
    (void)target;
    return NULL;
}

void *arch_context_pc(const void *context)
{
    (void)context;
    return NULL;
}

void *arch_context_sp(const void *context)
{
    (void)context;
    return NULL;
}

bool arch_context_call(void *context, void (*function)(void *), void *argument, uintptr_t stack)
{
    (void)context, (void)function, (void)argument, (void)stack;
    return false;
}

void arch_context_return(void *context)
{
    (void)context;
}

#endif
