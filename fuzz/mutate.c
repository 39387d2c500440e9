/* mutate.c: where in an ELF file to change bytes, and to what. */
#include "mutate.h"

#include <elf.h>
#include <string.h>

enum { MAX_RANGES = 64 };

struct range {
    size_t start, size;
};

struct ranges {
    struct range list[MAX_RANGES];
    unsigned count;
};

static void add(struct ranges *ranges, size_t limit, uint64_t start, uint64_t size)
{
    if (size == 0 || start > limit || size > limit - start || ranges->count == MAX_RANGES)
        return;
    ranges->list[ranges->count++] = (struct range){start, size};
}

static bool is_debug(const char *name)
{
    return strncmp(name, ".debug", 6) == 0 || strncmp(name, ".zdebug", 7) == 0;
}

/* Sections by their names, as far as the headers can be believed. */
static void find_ranges(const uint8_t *bytes, size_t size, bool in_debug, struct ranges *ranges)
{
    Elf64_Ehdr header;
    if (size < sizeof header)
        return;
    memcpy(&header, bytes, sizeof header);
    uint64_t sections_size = header.e_shnum * sizeof(Elf64_Shdr);
    if (!in_debug) {
        add(ranges, size, 0, sizeof header);
        add(ranges, size, header.e_phoff, header.e_phnum * sizeof(Elf64_Phdr));
        add(ranges, size, header.e_shoff, sections_size);
    }
    if (header.e_shoff > size || sections_size > size - header.e_shoff || header.e_shstrndx >= header.e_shnum)
        return;
    const uint8_t *table = bytes + header.e_shoff;
    Elf64_Shdr names, section;
    memcpy(&names, table + header.e_shstrndx * sizeof names, sizeof names);
    if (names.sh_offset > size || names.sh_size > size - names.sh_offset || names.sh_size == 0)
        return;
    for (unsigned i = 0; i < header.e_shnum; i++) {
        memcpy(&section, table + i * sizeof section, sizeof section);
        if (section.sh_name >= names.sh_size || section.sh_type == SHT_NOBITS)
            continue;
        char name[16] = "";
        size_t left = names.sh_size - section.sh_name;
        memcpy(name, bytes + names.sh_offset + section.sh_name, left < 15 ? left : 15);
        bool is_table = section.sh_flags & SHF_ALLOC && !(section.sh_flags & SHF_EXECINSTR);
        if (in_debug ? is_debug(name) : is_table)
            add(ranges, size, section.sh_offset, section.sh_size);
    }
}

static unsigned next(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void change(uint8_t *at, size_t left, unsigned *seed)
{
    static const uint8_t values[] = {0, 1, 2, 4, 8, 0x7f, 0x80, 0xff};
    switch (next(seed) % 6) {
    case 0: *at = (uint8_t)next(seed); break;
    case 1: *at ^= (uint8_t)(1u << next(seed) % 8); break;
    case 2: *at = values[next(seed) % sizeof values]; break;
    case 3: *at = (uint8_t)(*at + 1 - 2 * (next(seed) % 2)); break;
    case 4: memset(at, values[next(seed) % sizeof values], left < 8 ? left : 8); break;
    default: memset(at, 0, left < 64 ? left : 64); break;
    }
}

bool mutate_elf(uint8_t *bytes, size_t size, bool in_debug, unsigned seed)
{
    struct ranges ranges = {.count = 0};
    find_ranges(bytes, size, in_debug, &ranges);
    if (ranges.count == 0)
        return false;
    for (unsigned left = 1 + next(&seed) % 4; left > 0; left--) {
        const struct range *range = &ranges.list[next(&seed) % ranges.count];
        size_t at = (((size_t)next(&seed) << 16) ^ next(&seed)) % range->size;
        change(bytes + range->start + at, range->size - at, &seed);
    }
    return true;
}
