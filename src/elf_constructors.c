/* elf_constructors.c: does opening or closing the file run any code of its author's? What the compiler's
 * own start files put into every shared object does not count; it is known by its symbols and, where it runs
 * at the opening, by its code (elf_start.c). A stripped file is taken to run some. */
#include "elf_internal.h"

#include <string.h>

/* The start files' symbols, and where they must be for nothing else to run. */
struct start_files {
    uint64_t constructors, destructors, init, fini;
};

static void note_symbol(struct start_files *found, const Elf64_Sym *symbol, const char *name)
{
    if (strcmp(name, "__frame_dummy_init_array_entry") == 0)
        found->constructors = symbol->st_value;
    else if (strcmp(name, "__do_global_dtors_aux_fini_array_entry") == 0)
        found->destructors = symbol->st_value;
    else if (strcmp(name, "_init") == 0)
        found->init = symbol->st_value;
    else if (strcmp(name, "_fini") == 0)
        found->fini = symbol->st_value;
}

static bool read_table(const struct elf *elf, const Elf64_Shdr *table, struct start_files *found)
{
    Elf64_Shdr strings;
    Elf64_Sym symbol;
    memcpy(&strings, elf->bytes + elf->header->e_shoff + table->sh_link * sizeof strings, sizeof strings);
    const char *names = (const char *)elf->bytes + strings.sh_offset;
    if (strings.sh_type != SHT_STRTAB || strings.sh_size == 0 || names[strings.sh_size - 1] != 0)
        return false;
    uint64_t count = table->sh_size / sizeof symbol;
    for (uint64_t i = 0; i < count && i < table->sh_info; i++) {     /* the local ones */
        memcpy(&symbol, elf->bytes + table->sh_offset + i * sizeof symbol, sizeof symbol);
        if (symbol.st_name < strings.sh_size)
            note_symbol(found, &symbol, names + symbol.st_name);
    }
    return true;
}

static bool find_start_files(const struct elf *elf, struct start_files *found)
{
    for (unsigned i = 0; elf->header->e_shoff && i < elf->header->e_shnum; i++) {
        Elf64_Shdr section;
        memcpy(&section, elf->bytes + elf->header->e_shoff + i * sizeof section, sizeof section);
        if (section.sh_type == SHT_SYMTAB)
            return read_table(elf, &section, found);
    }
    return false;
}

static bool has_only(const struct elf *elf, int tag, int size_tag, uint64_t expected)
{
    return !elf->has_tag[tag] || elf->tags[size_tag] == 0 ||
           (elf->tags[size_tag] == 8 && elf->tags[tag] == expected);
}

bool elf_is_everywhere(const char *library)
{
    static const char *const known[] = {
        "libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libgcc_s.so.1",
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(library, known[i]) == 0)
            return true;
    return strncmp(library, "ld-linux", 8) == 0;
}

static bool has_resolver(const struct elf *elf)
{
    for (size_t i = 0; i < elf->facts->symbol_count; i++)
        if (elf->facts->symbols[i].kind == SYMBOL_INDIRECT)
            return true;
    return elf->has_resolver;
}

bool elf_runs_code(const struct elf *elf)
{
    struct start_files found = {0};
    for (const char **needed = elf->facts->needed; *needed; needed++)
        if (!elf_is_everywhere(*needed))
            return true;
    if (has_resolver(elf) || !find_start_files(elf, &found))
        return true;
    return !has_only(elf, DT_INIT_ARRAY, DT_INIT_ARRAYSZ, found.constructors) ||
           !has_only(elf, DT_FINI_ARRAY, DT_FINI_ARRAYSZ, found.destructors) ||
           (elf->has_tag[DT_INIT] && elf->tags[DT_INIT] != found.init) ||
           (elf->has_tag[DT_FINI] && elf->tags[DT_FINI] != found.fini) || !elf_start_is_whole(elf);
}
