/* arch_aarch64.c: stubs and signal contexts for 64-bit ARM, AAPCS64 on Linux. */
#include "arch.h"

#ifdef __aarch64__

#include <string.h>
#include <ucontext.h>

enum { FRAME_POINTER = 29, LINK_REGISTER = 30 };
enum { BRANCH_TYPE = 3 << 10, SINGLE_STEP = 1 << 21 };   /* of PSTATE */

/* ldr xN, [pc + distance]: 19 bits of words */
static uint32_t load_literal(unsigned number, const unsigned char *at, const void *data)
{
    ptrdiff_t words = ((const unsigned char *)data - at) / 4;
    return 0x58000000u | ((uint32_t)words & 0x7ffffu) << 5 | number;
}

/* bti c; slot: ldr x1, data; ldr x16, [x1]; br x16    jump: ldr x17, data; ldr x16, [x17]; br x16 */
void arch_write_stub(unsigned char *code, enum arch_stub kind, const void *data)
{
    unsigned number = kind == ARCH_STUB_SLOT ? 1 : 17;
    const uint32_t words[] = {
        0xd503245fu, load_literal(number, code + 4, data), 0xf9400010u | number << 5, 0xd61f0200u,
    };
    memcpy(code, words, sizeof words);
}

static mcontext_t *registers(const void *context)
{
    return &((ucontext_t *)context)->uc_mcontext;
}

void *arch_context_pc(const void *context)
{
    return (void *)registers(context)->pc;
}

void *arch_context_sp(const void *context)
{
    return (void *)registers(context)->sp;
}

bool arch_context_call(void *context, void (*function)(void *), void *argument, uintptr_t stack)
{
    mcontext_t *set = registers(context);
    set->sp = stack & ~(uintptr_t)15;
    set->regs[0] = (uintptr_t)argument;
    set->regs[FRAME_POINTER] = set->regs[LINK_REGISTER] = 0;
    set->pc = (uintptr_t)function;
    set->pstate &= ~(unsigned long long)(BRANCH_TYPE | SINGLE_STEP);
    return true;
}

void arch_context_return(void *context)
{
    mcontext_t *set = registers(context);
    set->pc = set->regs[LINK_REGISTER];
}

/* native_symbol_gone (native_symbol.h): the jump left the place that it read in x17. */
__asm__(
    ".text\n.p2align 4\n.globl native_symbol_gone\n.hidden native_symbol_gone\n"
    ".type native_symbol_gone, %function\nnative_symbol_gone:\n.cfi_startproc\nhint #34\n"
    "stp x29, x30, [sp, #-16]!\n.cfi_def_cfa_offset 16\n.cfi_offset 29, -16\n.cfi_offset 30, -8\n"
    "mov x0, x17\nbl native_symbol_report\nmov x0, #0\nmov x1, #0\nfmov d0, xzr\nfmov d1, xzr\n"
    "ldp x29, x30, [sp], #16\n.cfi_def_cfa_offset 0\nret\n.cfi_endproc\n"
    ".size native_symbol_gone, . - native_symbol_gone\n"
);

#endif
