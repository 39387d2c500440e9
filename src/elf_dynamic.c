/* elf_dynamic.c: the dynamic section: its tags, its strings, the libraries it needs, and the
 * functions that run at load and unload. Tables that tags lead to are checked by the other parts. */
#include "elf_internal.h"

#include "memory.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static int tag_index(int64_t tag)
{
    if (tag >= 0 && tag < DT_NUM)
        return (int)tag;
    switch (tag) {
    case DT_GNU_HASH: return TAG_GNU_HASH;
    case DT_VERSYM: return TAG_VERSYM;
    case DT_VERDEF: return TAG_VERDEF;
    case DT_VERNEED: return TAG_VERNEED;
    case DT_RELACOUNT: return TAG_RELACOUNT;
    case DT_FLAGS_1: return TAG_FLAGS_1;
    default: return -1;
    }
}

/* The loader reads the section where it lies in memory, up to DT_NULL whatever its size; it writes
 * into it unless the segment's flags say that it may not. Of a repeated tag it uses the last. */
static const Elf64_Dyn *find_entries(struct elf *elf, size_t *count)
{
    const Elf64_Phdr *segment = elf->dynamic_segment;
    const Elf64_Dyn *entries = elf_bytes_at(elf, segment->p_vaddr, segment->p_filesz, 8, NULL);
    if (!entries || (const unsigned char *)entries != elf->bytes + segment->p_offset ||
        (segment->p_flags & PF_W && !elf_has_memory(elf, segment->p_vaddr, segment->p_filesz, PF_W))) {
        elf_damaged(elf, "its dynamic section lies outside of what is loaded");
        return NULL;
    }
    size_t limit = segment->p_filesz / sizeof *entries;
    for (size_t i = 0; i < limit; i++) {
        int index = tag_index(entries[i].d_tag);
        if (entries[i].d_tag == DT_NULL) {
            *count = i;
            return entries;
        }
        if (index >= 0) {
            elf->tags[index] = entries[i].d_un.d_val;
            elf->has_tag[index] = true;
        }
    }
    elf_damaged(elf, "its dynamic section has no end");
    return NULL;
}

static bool find_strings(struct elf *elf)
{
    if (!elf->has_tag[DT_STRTAB] || !elf->has_tag[DT_STRSZ] || !elf->has_tag[DT_SYMTAB])
        return elf_damaged(elf, "it has no dynamic symbols or strings");
    elf->strings = elf_bytes_at(elf, elf->tags[DT_STRTAB], elf->tags[DT_STRSZ], 1, NULL);
    elf->string_size = elf->tags[DT_STRSZ];
    if (!elf->strings || elf->string_size == 0 || elf->strings[elf->string_size - 1] != 0)
        return elf_damaged(elf, "its dynamic strings lie outside of what is loaded");
    return true;
}

/* DT_NEEDED and the other tags that are strings. */
static bool read_strings(struct elf *elf, const Elf64_Dyn *entries, size_t count)
{
    size_t used = 0;
    elf->facts->needed = memory_take_array(MAX_NEEDED + 1, sizeof *elf->facts->needed);
    for (size_t i = 0; i < count; i++) {
        switch (entries[i].d_tag) {
        case DT_NEEDED: case DT_SONAME: case DT_RPATH: case DT_RUNPATH: case DT_AUXILIARY: case DT_FILTER:
            break;
        default:
            continue;
        }
        const char *string = elf_string(elf, entries[i].d_un.d_val);
        if (!string || strnlen(string, 16 * PATH_MAX) == 16 * PATH_MAX)
            return elf_damaged(elf, "a name in its dynamic section lies outside of its strings");
        if (entries[i].d_tag == DT_SONAME)
            elf->facts->soname = string;
        if (entries[i].d_tag == DT_NEEDED && used == MAX_NEEDED)
            return elf_damaged(elf, "it needs more than %d libraries", MAX_NEEDED);
        if (entries[i].d_tag == DT_NEEDED)
            elf->facts->needed[used++] = string;
    }
    return true;
}

static bool check_function(const struct elf *elf, int tag, const char *name)
{
    if (!elf->has_tag[tag] || elf->tags[tag] == 0 || elf_has_memory(elf, elf->tags[tag], 1, PF_X))
        return true;
    return elf_damaged(elf, "%s does not lie in its code", name);
}

/* That each slot comes to point into code is seen when relocations are checked. */
static bool check_array(const struct elf *elf, int tag, int size_tag, const char *name)
{
    if (!elf->has_tag[tag])
        return true;
    uint64_t size = elf->tags[size_tag];
    if (elf->has_tag[size_tag] && size % 8 == 0 &&
        (size == 0 || elf_bytes_at(elf, elf->tags[tag], size, 8, NULL)))
        return true;
    return elf_damaged(elf, "%s lies outside of what is loaded", name);
}

/* The loader asserts these, which ends the process. */
static bool check_entry_sizes(const struct elf *elf)
{
    static const struct { int tag; uint64_t value; } expected[] = {
        {DT_PLTREL, DT_RELA}, {DT_RELAENT, sizeof(Elf64_Rela)}, {DT_RELRENT, sizeof(Elf64_Relr)},
        {DT_SYMENT, sizeof(Elf64_Sym)},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        if (elf->has_tag[expected[i].tag] && elf->tags[expected[i].tag] != expected[i].value)
            return elf_damaged(elf, "a table in its dynamic section has the wrong entry size");
    return true;
}

static bool note_flags(struct elf *elf)
{
    uint64_t flags = elf->tags[DT_FLAGS], flags_1 = elf->tags[TAG_FLAGS_1];
    elf->facts->has_text_relocations = elf->has_tag[DT_TEXTREL] || flags & DF_TEXTREL;
    elf->facts->has_static_tls = (flags & DF_STATIC_TLS) != 0;
    elf->facts->is_nodelete = (flags_1 & DF_1_NODELETE) != 0;
    if (!elf->is_program && (flags_1 & DF_1_PIE || elf->has_tag[DT_DEBUG]))
        return error_set(elf->error, "%s: is an executable, not a shared object; link it with -shared",
                         elf->name);
    if (flags_1 & DF_1_NOOPEN)
        return error_set(elf->error, "%s: was linked with -z nodlopen and may not be loaded at run time",
                         elf->name);
    return true;
}

bool elf_check_dynamic(struct elf *elf)
{
    size_t count;
    const Elf64_Dyn *entries = find_entries(elf, &count);
    return entries && note_flags(elf) && check_entry_sizes(elf) && find_strings(elf) &&
           read_strings(elf, entries, count) && check_function(elf, DT_INIT, "its DT_INIT") &&
           check_function(elf, DT_FINI, "its DT_FINI") &&
           check_array(elf, DT_INIT_ARRAY, DT_INIT_ARRAYSZ, "its list of constructors") &&
           check_array(elf, DT_FINI_ARRAY, DT_FINI_ARRAYSZ, "its list of destructors");
}
