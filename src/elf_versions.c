/* elf_versions.c: the tables of symbol versions, walked as the dynamic loader walks them. */
#include "elf_internal.h"

#include <string.h>

enum { VERSION_MASK = 0x7fff };

/* What the loader reads at the address: `size` bytes that come from the file; NULL outside. */
static const void *read_at(const struct elf *elf, uint64_t address, uint64_t size)
{
    return elf_bytes_at(elf, address, size, 4, NULL);
}

static void note_version(struct elf *elf, unsigned index)
{
    index &= VERSION_MASK;
    if (index > elf->highest_version)
        elf->highest_version = index;
}

static bool check_definitions(struct elf *elf)
{
    uint64_t address = elf->tags[TAG_VERDEF];
    for (;;) {
        const Elf64_Verdef *entry = read_at(elf, address, sizeof *entry);
        const Elf64_Verdaux *name = entry ? read_at(elf, address + entry->vd_aux, sizeof *name) : NULL;
        if (!name || !elf_string(elf, name->vda_name))
            return elf_damaged(elf, "its version definitions lie outside of what is loaded");
        note_version(elf, entry->vd_ndx);
        if (entry->vd_next == 0)
            return true;
        address += entry->vd_next;
    }
}

/* The loader asserts that the library of a needed version is one of those it has loaded for it. */
static bool is_needed(const struct elf *elf, const char *name)
{
    for (const char **needed = elf->facts->needed; name && *needed; needed++)
        if (strcmp(*needed, name) == 0)
            return true;
    return false;
}

static bool check_needed_versions(struct elf *elf, uint64_t address)
{
    for (;;) {
        const Elf64_Vernaux *version = read_at(elf, address, sizeof *version);
        if (!version || !elf_string(elf, version->vna_name))
            return elf_damaged(elf, "its needed versions lie outside of what is loaded");
        note_version(elf, version->vna_other);
        if (version->vna_next == 0)
            return true;
        address += version->vna_next;
    }
}

static bool check_needs(struct elf *elf)
{
    uint64_t address = elf->tags[TAG_VERNEED];
    for (;;) {
        const Elf64_Verneed *entry = read_at(elf, address, sizeof *entry);
        if (!entry)
            return elf_damaged(elf, "its needed versions lie outside of what is loaded");
        if (!is_needed(elf, elf_string(elf, entry->vn_file)))
            return elf_damaged(elf, "it needs a version of a library that it does not need");
        if (!check_needed_versions(elf, address + entry->vn_aux))
            return false;
        if (entry->vn_next == 0)
            return true;
        address += entry->vn_next;
    }
}

bool elf_check_versions(struct elf *elf)
{
    uint64_t available;
    if (elf->has_tag[TAG_VERDEF] && !check_definitions(elf))
        return false;
    if (elf->has_tag[TAG_VERNEED] && !check_needs(elf))
        return false;
    if (!elf->has_tag[TAG_VERSYM])
        return true;
    elf->versions = elf_bytes_at(elf, elf->tags[TAG_VERSYM], sizeof *elf->versions, 2, &available);
    if (!elf->versions || elf->highest_version == 0)
        return elf_damaged(elf, "its symbol versions lie outside of what is loaded");
    elf->version_limit = available / sizeof *elf->versions;
    return true;
}
