/* carry_string.c: string constants of two images, found by their text. Reads only read-only
 * data. */
#include "carry_places.h"

#include "memory.h"
#include "stage.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

static bool is_read_only_data(const Elf64_Shdr *section, const char *name)
{
    uint64_t forbidden = SHF_WRITE | SHF_EXECINSTR | SHF_TLS;
    bool has_strings = section->sh_flags & SHF_STRINGS || strncmp(name, ".rodata", 7) == 0;
    return section->sh_type == SHT_PROGBITS && section->sh_flags & SHF_ALLOC &&
           !(section->sh_flags & forbidden) && section->sh_size > 0 && has_strings;
}

/* The areas of read-only data in memory; elf_check has proven sections and segments to agree. */
static struct carry_area *find_areas(const struct image *image)
{
    const char *bytes = stage_bytes(image->stage);
    const Elf64_Ehdr *header = (const void *)bytes;
    struct carry_area *areas = memory_take_array(header->e_shnum + 1u, sizeof *areas);
    if (!areas || !header->e_shoff || header->e_shstrndx >= header->e_shnum)
        return areas;
    size_t count = 0;
    for (unsigned i = 0; i < header->e_shnum; i++) {
        Elf64_Shdr section, names;
        memcpy(&section, bytes + header->e_shoff + i * sizeof section, sizeof section);
        memcpy(&names, bytes + header->e_shoff + header->e_shstrndx * sizeof names, sizeof names);
        const char *name = bytes + names.sh_offset + section.sh_name;
        uintptr_t start = image->bias + section.sh_addr;
        if (is_read_only_data(&section, name))
            areas[count++] = (struct carry_area){start, start + section.sh_size};
    }
    return areas;
}

static const struct carry_area *area_of(const struct carry_area *areas, const char *pointer)
{
    for (; areas && areas->start; areas++)
        if (carry_in_area(areas, (uintptr_t)pointer))
            return areas;
    return NULL;
}

static size_t hash_text(const char *text, size_t length)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * 1099511628211u;
    return (size_t)(hash ^ hash >> 29);
}

/* Where the text is in the table, or belongs. */
static const char **place_of(const struct carry_strings *strings, const char *text, size_t length)
{
    size_t mask = strings->capacity - 1, i = hash_text(text, length) & mask;
    while (strings->table[i] && strcmp(strings->table[i], text) != 0)
        i = (i + 1) & mask;
    return &strings->table[i];
}

/* Each text that begins an area or follows a NUL; counts them when there is no table yet. */
static size_t take_area(struct carry_strings *strings, const struct carry_area *area)
{
    size_t count = 0;
    for (uintptr_t at = area->start; at < area->end; ) {
        const char *text = (const char *)at;
        const char *end = memchr(text, 0, area->end - at);
        if (!end)
            break;
        if (end > text) {
            if (strings->table)
                *place_of(strings, text, (size_t)(end - text)) = text;
            count++;
        }
        at = (uintptr_t)end + 1;
    }
    return count;
}

void carry_index_strings(struct carry_strings *strings, const struct image *old_image,
                         const struct image *new_image)
{
    size_t count = 0;
    *strings = (struct carry_strings){.old_image = old_image, .new_image = new_image};
    strings->old_areas = find_areas(old_image);
    strings->new_areas = find_areas(new_image);
    for (struct carry_area *area = strings->new_areas; area && area->start; area++)
        count += take_area(strings, area);
    strings->capacity = 16;
    while (strings->capacity < count * 2)
        strings->capacity *= 2;
    strings->table = memory_take_array(strings->capacity, sizeof *strings->table);
    for (struct carry_area *area = strings->new_areas; strings->table && area &&
         area->start; area++)
        take_area(strings, area);
}

void carry_free_strings(struct carry_strings *strings)
{
    free(strings->table);
    free(strings->old_areas);
    free(strings->new_areas);
}

/* Anywhere, also as the end of another: the linker shares those. */
static const char *search_areas(const struct carry_area *areas, const char *text, size_t length)
{
    for (; areas && areas->start; areas++) {
        const char *found = memmem((const char *)areas->start, areas->end - areas->start, text,
                                   length + 1);
        if (found)
            return found;
    }
    return NULL;
}

const char *carry_find_string(const struct carry_strings *strings, const char *pointer)
{
    const struct carry_area *area = area_of(strings->old_areas, pointer);
    if (!area || !strings->table)
        return NULL;
    const char *end = memchr(pointer, 0, area->end - (uintptr_t)pointer), *start = pointer;
    if (!end)
        return NULL;
    while ((uintptr_t)start > area->start && start[-1])
        start--;
    const char *whole = *start ? *place_of(strings, start, (size_t)(end - start)) : NULL;
    if (whole)
        return whole + (pointer - start);
    return search_areas(strings->new_areas, pointer, (size_t)(end - pointer));
}
