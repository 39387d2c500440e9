/* arch_x86_64.c: stubs and signal contexts for x86-64, System V calling convention. */
#include "arch.h"

#ifdef __x86_64__

#include <string.h>
#include <ucontext.h>

enum { RED_ZONE = 128, DIRECTION_FLAG = 0x400, TRAP_FLAG = 0x100 };

/* slot: mov rsi, [rip + data]; jmp [rsi]      jump: mov r11, [rip + data]; jmp [r11] */
void arch_write_stub(unsigned char *code, enum arch_stub kind, const void *data)
{
    static const unsigned char load[ARCH_STUB_KINDS][3] = {{0x48, 0x8b, 0x35}, {0x4c, 0x8b, 0x1d}};
    static const unsigned char jump[ARCH_STUB_KINDS][3] = {{0xff, 0x26, 0xcc}, {0x41, 0xff, 0x23}};
    int32_t distance = (int32_t)((const unsigned char *)data - (code + 7));
    memset(code, 0xcc, ARCH_STUB_SIZE);
    memcpy(code, load[kind], 3);
    memcpy(code + 3, &distance, 4);
    memcpy(code + 7, jump[kind], 3);
}

static greg_t *registers(const void *context)
{
    return ((ucontext_t *)context)->uc_mcontext.gregs;
}

void *arch_context_pc(const void *context)
{
    return (void *)registers(context)[REG_RIP];
}

void *arch_context_sp(const void *context)
{
    return (void *)registers(context)[REG_RSP];
}

bool arch_context_call(void *context, void (*function)(void *), void *argument, uintptr_t stack)
{
    greg_t *set = registers(context);
    uintptr_t *top = (uintptr_t *)((stack - RED_ZONE) & ~(uintptr_t)15);
    *--top = 0;              /* the return address: unwinding ends here */
    set[REG_RSP] = (greg_t)top;
    set[REG_RBP] = 0;
    set[REG_RDI] = (greg_t)argument;
    set[REG_RIP] = (greg_t)function;
    set[REG_EFL] &= ~(greg_t)(DIRECTION_FLAG | TRAP_FLAG);
    return true;
}

void arch_context_return(void *context)
{
    greg_t *set = registers(context);
    set[REG_RIP] = *(greg_t *)set[REG_RSP];
    set[REG_RSP] += sizeof(void *);
}

/* native_symbol_entry (native_symbol.h): the jump left the place that it read in r11. Below rbp: a struct
 * native_call, then the registers of arguments and the static chain, later those of results. */
__asm__(
    ".text\n.p2align 4\n.globl native_symbol_entry\n.hidden native_symbol_entry\n"
    ".type native_symbol_entry, @function\nnative_symbol_entry:\n.cfi_startproc\nendbr64\n"
    "pushq %rbp\n.cfi_def_cfa_offset 16\n.cfi_offset %rbp, -16\n"
    "movq %rsp, %rbp\n.cfi_def_cfa_register %rbp\nsubq $240, %rsp\n"
    "movq %rdi, 32(%rsp)\nmovq %rsi, 40(%rsp)\nmovq %rdx, 48(%rsp)\nmovq %rcx, 56(%rsp)\n"
    "movq %r8, 64(%rsp)\nmovq %r9, 72(%rsp)\nmovq %rax, 80(%rsp)\nmovq %r10, 88(%rsp)\n"
    "movups %xmm0, 96(%rsp)\nmovups %xmm1, 112(%rsp)\nmovups %xmm2, 128(%rsp)\nmovups %xmm3, 144(%rsp)\n"
    "movups %xmm4, 160(%rsp)\nmovups %xmm5, 176(%rsp)\nmovups %xmm6, 192(%rsp)\nmovups %xmm7, 208(%rsp)\n"
    "movq %rsp, %rdi\nmovq %r11, %rsi\nmovq %rbp, %rdx\ncall native_symbol_begin\n"
    "movq (%rsp), %r11\nmovq 8(%rsp), %rcx\ntestq %r11, %r11\nje 2f\n"
    "subq %rcx, %rsp\ntestq %rcx, %rcx\nje 1f\n"
    "leaq 16(%rbp), %rsi\nmovq %rsp, %rdi\nshrq $3, %rcx\nrep movsq\n"
    "1:\nmovq -208(%rbp), %rdi\nmovq -200(%rbp), %rsi\nmovq -192(%rbp), %rdx\nmovq -184(%rbp), %rcx\n"
    "movq -176(%rbp), %r8\nmovq -168(%rbp), %r9\nmovq -160(%rbp), %rax\nmovq -152(%rbp), %r10\n"
    "movups -144(%rbp), %xmm0\nmovups -128(%rbp), %xmm1\nmovups -112(%rbp), %xmm2\nmovups -96(%rbp), %xmm3\n"
    "movups -80(%rbp), %xmm4\nmovups -64(%rbp), %xmm5\nmovups -48(%rbp), %xmm6\nmovups -32(%rbp), %xmm7\n"
    "call *%r11\n"
    "movq %rax, -208(%rbp)\nmovq %rdx, -200(%rbp)\nmovups %xmm0, -144(%rbp)\nmovups %xmm1, -128(%rbp)\n"
    "leaq -240(%rbp), %rdi\ncall native_symbol_end\n"
    "movq -208(%rbp), %rax\nmovq -200(%rbp), %rdx\nmovups -144(%rbp), %xmm0\nmovups -128(%rbp), %xmm1\n"
    ".cfi_remember_state\nleave\n.cfi_def_cfa %rsp, 8\nret\n.cfi_restore_state\n"
    "2:\nxorl %eax, %eax\nxorl %edx, %edx\nxorps %xmm0, %xmm0\nxorps %xmm1, %xmm1\n"
    "leave\n.cfi_def_cfa %rsp, 8\nret\n.cfi_endproc\n.size native_symbol_entry, . - native_symbol_entry\n"
);

#endif
