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

/* native_symbol_gone (native_symbol.h): the jump left the place that it read in r11. */
__asm__(
    ".text\n.p2align 4\n.globl native_symbol_gone\n.hidden native_symbol_gone\n"
    ".type native_symbol_gone, @function\nnative_symbol_gone:\n.cfi_startproc\nendbr64\n"
    "subq $8, %rsp\n.cfi_adjust_cfa_offset 8\nmovq %r11, %rdi\ncall native_symbol_report\n"
    "addq $8, %rsp\n.cfi_adjust_cfa_offset -8\nxorl %eax, %eax\nxorl %edx, %edx\n"
    "xorps %xmm0, %xmm0\nxorps %xmm1, %xmm1\nret\n.cfi_endproc\n"
    ".size native_symbol_gone, . - native_symbol_gone\n"
);

#endif
