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

/* native_symbol_entry (native_symbol.h): the jump left the place that it read in x17. Below x29: a struct
 * native_call, then the registers of arguments, later those of results. */
__asm__(
    ".text\n.p2align 4\n.globl native_symbol_entry\n.hidden native_symbol_entry\n"
    ".type native_symbol_entry, %function\nnative_symbol_entry:\n.cfi_startproc\nhint #34\n"
    "stp x29, x30, [sp, #-16]!\n.cfi_def_cfa_offset 16\n.cfi_offset 29, -16\n.cfi_offset 30, -8\n"
    "mov x29, sp\n.cfi_def_cfa_register 29\nsub sp, sp, #240\n"
    "stp x0, x1, [sp, #32]\nstp x2, x3, [sp, #48]\nstp x4, x5, [sp, #64]\nstp x6, x7, [sp, #80]\n"
    "str x8, [sp, #96]\nstp q0, q1, [sp, #112]\nstp q2, q3, [sp, #144]\nstp q4, q5, [sp, #176]\n"
    "stp q6, q7, [sp, #208]\n"
    "mov x0, sp\nmov x1, x17\nmov x2, x29\nbl native_symbol_begin\n"
    "ldp x9, x10, [sp]\ncbz x9, 3f\nsub sp, sp, x10\ncbz x10, 2f\n"
    "mov x11, #0\nadd x12, x29, #16\n"
    "1:\nldr x13, [x12, x11]\nstr x13, [sp, x11]\nadd x11, x11, #8\ncmp x11, x10\nb.lo 1b\n"
    "2:\nsub x12, x29, #240\nldp x0, x1, [x12, #32]\nldp x2, x3, [x12, #48]\nldp x4, x5, [x12, #64]\n"
    "ldp x6, x7, [x12, #80]\nldr x8, [x12, #96]\nldp q0, q1, [x12, #112]\nldp q2, q3, [x12, #144]\n"
    "ldp q4, q5, [x12, #176]\nldp q6, q7, [x12, #208]\n"
    "blr x9\n"
    "sub x12, x29, #240\nstp x0, x1, [x12, #32]\nstp q0, q1, [x12, #112]\nstp q2, q3, [x12, #144]\n"
    "mov x0, x12\nbl native_symbol_end\n"
    "sub x12, x29, #240\nldp x0, x1, [x12, #32]\nldp q0, q1, [x12, #112]\nldp q2, q3, [x12, #144]\n"
    "b 4f\n"
    "3:\nmov x0, #0\nmov x1, #0\nmovi v0.2d, #0\nmovi v1.2d, #0\nmovi v2.2d, #0\nmovi v3.2d, #0\n"
    "4:\nmov sp, x29\n.cfi_def_cfa_register 31\nldp x29, x30, [sp], #16\n.cfi_def_cfa_offset 0\n"
    ".cfi_restore 29\n.cfi_restore 30\nret\n.cfi_endproc\n"
    ".size native_symbol_entry, . - native_symbol_entry\n"
);

#endif
