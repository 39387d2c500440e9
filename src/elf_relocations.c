/* elf_relocations.c: what the dynamic loader will write, and where; and that each constructor and
 * destructor comes to point into code. */
#include "elf_internal.h"

#include <stdlib.h>
#include <string.h>

/* The slots of constructors and destructors, and which of them a relocation fills. */
struct slots {
    uint64_t start[2], size[2];          /* DT_INIT_ARRAY, DT_FINI_ARRAY: addresses, bytes */
    uint64_t filled;
};

static bool is_slot(const struct slots *slots, uint64_t address)
{
    for (int i = 0; i < 2; i++)
        if (address - slots->start[i] < slots->size[i])
            return true;
    return false;
}

static bool fill_slot(const struct elf *elf, struct slots *slots, uint64_t address, uint64_t target)
{
    if (!is_slot(slots, address))
        return true;
    slots->filled++;
    return elf_has_memory(elf, target, 1, PF_X) ||
           elf_damaged(elf, "a constructor or destructor does not lie in its code");
}

/* DT_RELA and DT_JMPREL ---------------------------------------------------------------------- */

static bool check_target(struct elf *elf, const Elf64_Rela *relocation,
                         const struct relocation_rule *rule)
{
    size_t index = ELF64_R_SYM(relocation->r_info);
    if (index >= elf->symbol_limit)
        return elf_damaged(elf, "a relocation names symbol %zu of %zu", index, elf->symbol_limit);
    if (index != 0 && !elf_check_symbol(elf, index, true))
        return false;
    switch (rule->class) {
    case RELOCATION_INDIRECT:
        elf->has_resolver = true;
        return elf_has_memory(elf, (uint64_t)relocation->r_addend, 1, PF_X) ||
               elf_damaged(elf, "a relocation calls a resolver outside of its code");
    case RELOCATION_TLS:
        return index != 0 || elf->tls ||
               elf_damaged(elf, "a relocation needs thread-local memory that it does not have");
    case RELOCATION_COPY:
        return error_set(elf->error, "%s: is an executable, not a shared object; link it with -shared",
                         elf->name);
    default:
        return true;
    }
}

static bool check_relocation(struct elf *elf, const Elf64_Rela *relocation, struct slots *slots)
{
    const struct relocation_rule *rule = elf_relocation_rule(ELF64_R_TYPE(relocation->r_info));
    if (!rule)
        return elf_damaged(elf, "it has a relocation of unknown type %u",
                           (unsigned)ELF64_R_TYPE(relocation->r_info));
    if (rule->class == RELOCATION_NOTHING)
        return true;
    uint32_t rights = elf->facts->has_text_relocations ? 0 : PF_W;
    if (!elf_has_memory(elf, relocation->r_offset, rule->width, rights))
        return elf_damaged(elf, "a relocation writes outside of its data");
    if (!check_target(elf, relocation, rule))
        return false;
    uint64_t target = (uint64_t)relocation->r_addend;
    if (rule->class == RELOCATION_SYMBOL) {
        const Elf64_Sym *symbol = &elf->symbols[ELF64_R_SYM(relocation->r_info)];
        if (symbol->st_shndx == SHN_UNDEF) {     /* a function of another library */
            slots->filled += is_slot(slots, relocation->r_offset);
            return true;
        }
        target += symbol->st_value;
    }
    return fill_slot(elf, slots, relocation->r_offset, target);
}

/* The loader takes the first DT_RELACOUNT entries to be relative without looking. */
static bool check_table(struct elf *elf, int tag, int size_tag, uint64_t relative_count,
                        struct slots *slots)
{
    if (!elf->has_tag[tag] || (elf->has_tag[size_tag] && elf->tags[size_tag] == 0))
        return true;
    uint64_t size = elf->tags[size_tag];
    const Elf64_Rela *table = elf_bytes_at(elf, elf->tags[tag], size, 8, NULL);
    if (!elf->has_tag[size_tag] || !table || size % sizeof *table != 0)
        return elf_damaged(elf, "its relocations lie outside of what is loaded");
    for (uint64_t i = 0; i < size / sizeof *table; i++) {
        const struct relocation_rule *rule = elf_relocation_rule(ELF64_R_TYPE(table[i].r_info));
        if (i < relative_count && (!rule || rule->class != RELOCATION_RELATIVE))
            return elf_damaged(elf, "relocation %llu is not of the kind that it should be",
                               (unsigned long long)i);
        if (!check_relocation(elf, &table[i], slots))
            return false;
    }
    return true;
}

/* DT_RELR: addresses, each followed by bitmaps of the 63 words after it --------------------- */

static bool check_relative(const struct elf *elf, uint64_t address, struct slots *slots)
{
    if (!elf_has_memory(elf, address, 8, PF_W))
        return elf_damaged(elf, "a relocation writes outside of its data");
    const void *place = elf_bytes_at(elf, address, 8, 1, NULL);
    uint64_t target = 0;
    if (place)
        memcpy(&target, place, sizeof target);
    return fill_slot(elf, slots, address, target);
}

static bool check_compact(const struct elf *elf, struct slots *slots)
{
    uint64_t size = elf->tags[DT_RELRSZ], next = 0;
    const Elf64_Relr *table = elf_bytes_at(elf, elf->tags[DT_RELR], size, 8, NULL);
    if (!table || size % sizeof *table != 0)
        return elf_damaged(elf, "its relocations lie outside of what is loaded");
    for (uint64_t i = 0; i < size / sizeof *table; i++) {
        if (!(table[i] & 1)) {
            if (!check_relative(elf, table[i], slots))
                return false;
            next = table[i] + 8;
            continue;
        }
        for (unsigned bit = 1; bit < 64; bit++)
            if (table[i] >> bit & 1 && !check_relative(elf, next + 8 * (bit - 1), slots))
                return false;
        next += 63 * 8;
    }
    return true;
}

bool elf_check_relocations(struct elf *elf)
{
    struct slots slots = {
        .start = {elf->tags[DT_INIT_ARRAY], elf->tags[DT_FINI_ARRAY]},
        .size = {elf->tags[DT_INIT_ARRAYSZ], elf->tags[DT_FINI_ARRAYSZ]},
    };
    if (elf->is_program)
        return true;
    if (!check_table(elf, DT_RELA, DT_RELASZ, elf->tags[TAG_RELACOUNT], &slots) ||
        !check_table(elf, DT_JMPREL, DT_PLTRELSZ, 0, &slots))
        return false;
    if (elf->has_tag[DT_RELR] && !check_compact(elf, &slots))
        return false;
    if (slots.filled < (slots.size[0] + slots.size[1]) / 8)
        return elf_damaged(elf, "a constructor or destructor has no address");
    return true;
}
