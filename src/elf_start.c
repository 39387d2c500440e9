/* elf_start.c: is what the compiler's start files run when the file is opened still what they have
 * put there? Of a file that was not written to its end, or was damaged, it may be anything. Knows
 * the code of gcc's start files on x86-64, which clang uses, too; all else counts as not whole. */
#include "elf_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_OPERANDS = 3 };

/* In hexadecimal digits; "@" is an operand of four bytes that counts from its end, "." one of
 * one byte. */
static const char *const init_codes[] = {
    "4883ec08 488b05@ 4885c0 7402 ffd0 4883c408 c3",
    "f30f1efa 4883ec08 488b05@ 4885c0 7402 ffd0 4883c408 c3",
    NULL,
};
static const char *const entry_codes[] = {"f30f1efa e9@", "f30f1efa eb.", "e9@", "eb.", NULL};
static const char *const clones_codes[] = {
    "488d3d@ 488d35@ 4829fe 4889f0 48c1ee3f 48c1f803 4801c6 48d1fe 7414 488b05@ 4885c0 7408 ffe0 "
    "660f1f440000 c3",
    NULL,
};

static uint64_t operand_at(const unsigned char *code, size_t size, uint64_t address)
{
    int32_t distance;
    if (size == 1)
        return address + 1 + (uint64_t)(int64_t)(signed char)*code;
    memcpy(&distance, code, sizeof distance);
    return address + 4 + (uint64_t)(int64_t)distance;
}

static bool is_code(const struct elf *elf, uint64_t address, const char *text,
                    uint64_t operands[MOST_OPERANDS])
{
    uint64_t available = 0;
    const unsigned char *code = elf_bytes_at(elf, address, 1, 1, &available);
    size_t count = 0, at = 0;
    if (!code || !elf_has_memory(elf, address, 1, PF_X))
        return false;
    for (; *text; text++) {
        if (isspace((unsigned char)*text))
            continue;
        size_t size = *text == '@' ? 4 : 1;
        if (size > available - at)
            return false;
        if (*text == '@' || *text == '.') {
            operands[count++] = operand_at(code + at, size, address + at);
        } else {
            char digits[] = {text[0], text[1], 0};
            if (code[at] != strtoul(digits, NULL, 16))
                return false;
            text++;
        }
        at += size;
    }
    return true;
}

static bool is_one_of(const struct elf *elf, uint64_t address, const char *const *codes,
                      uint64_t operands[MOST_OPERANDS])
{
    for (; *codes; codes++)
        if (is_code(elf, address, *codes, operands))
            return true;
    return false;
}

/* The relocation that fills the word, NULL if none of DT_RELA does. */
static const Elf64_Rela *find_relocation(const struct elf *elf, uint64_t address)
{
    uint64_t size = elf->has_tag[DT_RELA] ? elf->tags[DT_RELASZ] : 0;
    const Elf64_Rela *table = size ? elf_bytes_at(elf, elf->tags[DT_RELA], size, 8, NULL) : NULL;
    for (uint64_t i = 0; table && i < size / sizeof *table; i++)
        if (table[i].r_offset == address)
            return &table[i];
    return NULL;
}

/* Does the word hold the address of that function, which nobody has? */
static bool is_absent(const struct elf *elf, uint64_t address, const char *name)
{
    const Elf64_Rela *relocation = find_relocation(elf, address);
    if (!relocation || ELF64_R_TYPE(relocation->r_info) != R_X86_64_GLOB_DAT)
        return false;
    const Elf64_Sym *symbol = &elf->symbols[ELF64_R_SYM(relocation->r_info)];
    const char *found = elf_string(elf, symbol->st_name);
    return found && strcmp(found, name) == 0 && symbol->st_shndx == SHN_UNDEF;
}

/* The only constructor; 0 if it is not to be found. */
static uint64_t entry_of(const struct elf *elf)
{
    uint64_t place = elf->tags[DT_INIT_ARRAY], target = 0;
    const Elf64_Rela *relocation = find_relocation(elf, place);
    const void *bytes = elf_bytes_at(elf, place, sizeof target, 1, NULL);
    if (relocation && ELF64_R_TYPE(relocation->r_info) == R_X86_64_RELATIVE)
        return (uint64_t)relocation->r_addend;
    if (relocation)
        return 0;
    if (bytes && elf->has_tag[DT_RELR])
        memcpy(&target, bytes, sizeof target);
    return target;
}

bool elf_start_is_whole(const struct elf *elf)
{
    uint64_t operands[MOST_OPERANDS] = {0};
    if (elf->header->e_machine != EM_X86_64)
        return false;
    if (elf->has_tag[DT_INIT] && !(is_one_of(elf, elf->tags[DT_INIT], init_codes, operands) &&
                                   is_absent(elf, operands[0], "__gmon_start__")))
        return false;
    if (!elf->has_tag[DT_INIT_ARRAY] || elf->tags[DT_INIT_ARRAYSZ] == 0)
        return true;
    return is_one_of(elf, entry_of(elf), entry_codes, operands) &&
           is_one_of(elf, operands[0], clones_codes, operands) &&
           is_absent(elf, operands[2], "_ITM_registerTMCloneTable");
}
