/* elf_machine.c: what the ELF check must know of processors: their names, and which relocations
 * glibc's dynamic loader carries out on this one. */
#include "elf_internal.h"

#include <stddef.h>

#if defined __x86_64__

static const struct relocation_rule rules[] = {
    {R_X86_64_RELATIVE, 8, RELOCATION_RELATIVE}, {R_X86_64_JUMP_SLOT, 8, RELOCATION_SYMBOL},
    {R_X86_64_GLOB_DAT, 8, RELOCATION_SYMBOL}, {R_X86_64_64, 8, RELOCATION_SYMBOL},
    {R_X86_64_DTPMOD64, 8, RELOCATION_TLS}, {R_X86_64_DTPOFF64, 8, RELOCATION_TLS},
    {R_X86_64_TPOFF64, 8, RELOCATION_TLS}, {R_X86_64_TLSDESC, 16, RELOCATION_TLS},
    {R_X86_64_IRELATIVE, 8, RELOCATION_INDIRECT}, {R_X86_64_NONE, 0, RELOCATION_NOTHING},
    {R_X86_64_32, 4, RELOCATION_SYMBOL}, {R_X86_64_PC32, 4, RELOCATION_SYMBOL},
    {R_X86_64_SIZE64, 8, RELOCATION_SYMBOL}, {R_X86_64_SIZE32, 4, RELOCATION_SYMBOL},
    {R_X86_64_COPY, 0, RELOCATION_COPY},
};

const struct elf_machine elf_native = {EM_X86_64, true, rules, sizeof rules / sizeof *rules};

#elif defined __aarch64__

static const struct relocation_rule rules[] = {
    {R_AARCH64_RELATIVE, 8, RELOCATION_RELATIVE}, {R_AARCH64_JUMP_SLOT, 8, RELOCATION_SYMBOL},
    {R_AARCH64_GLOB_DAT, 8, RELOCATION_SYMBOL}, {R_AARCH64_ABS64, 8, RELOCATION_SYMBOL},
    {R_AARCH64_TLS_DTPMOD, 8, RELOCATION_TLS}, {R_AARCH64_TLS_DTPREL, 8, RELOCATION_TLS},
    {R_AARCH64_TLS_TPREL, 8, RELOCATION_TLS}, {R_AARCH64_TLSDESC, 16, RELOCATION_TLS},
    {R_AARCH64_IRELATIVE, 8, RELOCATION_INDIRECT}, {R_AARCH64_NONE, 0, RELOCATION_NOTHING},
    {R_AARCH64_COPY, 0, RELOCATION_COPY},
};

const struct elf_machine elf_native = {EM_AARCH64, false, rules, sizeof rules / sizeof *rules};

#else
#error "add this machine's relocations here"
#endif

const struct relocation_rule *elf_relocation_rule(uint32_t type)
{
    for (unsigned i = 0; i < elf_native.rule_count; i++)
        if (elf_native.rules[i].type == type)
            return &elf_native.rules[i];
    return NULL;
}

const char *elf_machine_name(uint16_t number)
{
    static const struct { uint16_t number; const char *name; } machines[] = {
        {EM_X86_64, "x86-64"}, {EM_AARCH64, "aarch64"}, {EM_386, "i386"}, {EM_ARM, "arm"},
        {EM_RISCV, "riscv"}, {EM_PPC64, "ppc64"}, {EM_PPC, "ppc"}, {EM_S390, "s390"},
        {EM_MIPS, "mips"}, {EM_LOONGARCH, "loongarch"}, {EM_SPARCV9, "sparc64"},
        {EM_IA_64, "ia64"}, {EM_ALPHA, "alpha"}, {EM_BPF, "bpf"},
    };
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++)
        if (machines[i].number == number)
            return machines[i].name;
    return NULL;
}
