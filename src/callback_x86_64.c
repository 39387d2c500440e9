/* callback_x86_64.c: where a callback's stub jumps to (System V calling convention). The stub leaves
 * the record in r11; the argument registers are saved in the order of callback_entry.h. */
#include "callback_entry.h"
#include "callback_internal.h"

#include <stddef.h>

#ifdef __x86_64__

_Static_assert(offsetof(struct callback, thunk) == 8, "the entries of thunks know its place");

#define BEGIN(name) \
    ".text\n.p2align 4\n.globl " #name "\n.hidden " #name "\n.type " #name ", @function\n" #name ":\n" \
    ".cfi_startproc\nendbr64\npushq %rbp\n.cfi_def_cfa_offset 16\n.cfi_offset %rbp, -16\n" \
    "movq %rsp, %rbp\n.cfi_def_cfa_register %rbp\nsubq $128, %rsp\n" \
    "movq %rdi, 0(%rsp)\nmovq %rsi, 8(%rsp)\nmovq %rdx, 16(%rsp)\n" \
    "movq %rcx, 24(%rsp)\nmovq %r8, 32(%rsp)\nmovq %r9, 40(%rsp)\n"

#define END(name) \
    "movq %r11, %rdi\nmovq %rsp, %rsi\nleaq 112(%rsp), %rdx\ncall callback_invoke\n" \
    "movq 112(%rsp), %rax\nmovq 112(%rsp), %xmm0\nleave\n.cfi_def_cfa %rsp, 8\nret\n" \
    ".cfi_endproc\n.size " #name ", . - " #name "\n"

__asm__(
    BEGIN(callback_entry_integers)
    END(callback_entry_integers)
    BEGIN(callback_entry_all)
    "movsd %xmm0, 48(%rsp)\nmovsd %xmm1, 56(%rsp)\nmovsd %xmm2, 64(%rsp)\nmovsd %xmm3, 72(%rsp)\n"
    "movsd %xmm4, 80(%rsp)\nmovsd %xmm5, 88(%rsp)\nmovsd %xmm6, 96(%rsp)\nmovsd %xmm7, 104(%rsp)\n"
    END(callback_entry_all)
);

/* offsetof(struct callback, thunk) */
#define THUNK(name, place) \
    ".p2align 4\n.globl " #name "\n.hidden " #name "\n.type " #name ", @function\n" #name ":\n" \
    ".cfi_startproc\nendbr64\nmovq %r11, " place "\njmp *8(%r11)\n" \
    ".cfi_endproc\n.size " #name ", . - " #name "\n"

__asm__(
    ".text\n"
    THUNK(callback_entry_thunk_0, "%rdi")
    THUNK(callback_entry_thunk_1, "%rsi")
    THUNK(callback_entry_thunk_2, "%rdx")
    THUNK(callback_entry_thunk_3, "%rcx")
);

void callback_entry_thunk_0(void);
void callback_entry_thunk_1(void);
void callback_entry_thunk_2(void);
void callback_entry_thunk_3(void);

void (*const callback_entry_thunk[])(void) = {
    callback_entry_thunk_0, callback_entry_thunk_1, callback_entry_thunk_2, callback_entry_thunk_3,
};

#endif
