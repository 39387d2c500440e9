/* carry_symbols.c: functions and variables of an image's .symtab, with the statics that .dynsym
 * does not have, and the sections of the markers. Trusts no offset of the file. */
#include "carry_internal.h"

#include "memory.h"
#include "stage.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

struct file {
    const struct image *image;
    const char *bytes;
    size_t size;
    const Elf64_Shdr *sections;
    unsigned section_count;
};

static bool open_file(const struct image *image, struct file *file)
{
    *file = (struct file){image, stage_bytes(image->stage), stage_size(image->stage), NULL, 0};
    const Elf64_Ehdr *header = (const void *)file->bytes;
    uint64_t size = (uint64_t)header->e_shnum * sizeof *file->sections;
    bool is_inside = header->e_shoff && header->e_shoff % 8 == 0 && header->e_shoff < file->size &&
                     size <= file->size - header->e_shoff;
    if (!is_inside || header->e_shentsize != sizeof *file->sections)
        return false;
    file->sections = (const void *)(file->bytes + header->e_shoff);
    file->section_count = header->e_shnum;
    return true;
}

/* The bytes of the section, NULL if they are not in the file. */
static const void *section_bytes(const struct file *file, unsigned index, uint64_t *size)
{
    if (index >= file->section_count)
        return NULL;
    const Elf64_Shdr *section = &file->sections[index];
    bool is_inside = section->sh_type != SHT_NOBITS && section->sh_offset < file->size &&
                     section->sh_size <= file->size - section->sh_offset;
    *size = section->sh_size;
    return is_inside ? file->bytes + section->sh_offset : NULL;
}

static const char *string_at(const char *strings, uint64_t size, uint64_t offset)
{
    bool is_string = strings && offset < size && memchr(strings + offset, 0, size - offset);
    return is_string ? strings + offset : NULL;
}

static void find_areas(const struct file *file, struct carry_symbols *symbols)
{
    uint64_t size = 0;
    const Elf64_Ehdr *header = (const void *)file->bytes;
    const char *strings = section_bytes(file, header->e_shstrndx, &size);
    for (unsigned i = 0; i < file->section_count; i++) {
        const Elf64_Shdr *section = &file->sections[i];
        const char *name = string_at(strings, size, section->sh_name);
        if (!name || !(section->sh_flags & SHF_ALLOC))
            continue;
        uintptr_t start = file->image->bias + section->sh_addr;
        struct carry_area area = {start, start + section->sh_size};
        if (strcmp(name, "hot_state") == 0)
            symbols->state = area;
        if (strcmp(name, "hot_transient") == 0)
            symbols->transient = area;
    }
}

static bool is_wanted(const Elf64_Sym *symbol)
{
    int type = ELF64_ST_TYPE(symbol->st_info);
    return symbol->st_shndx != SHN_UNDEF && symbol->st_shndx != SHN_ABS &&
           (type == STT_FUNC || type == STT_OBJECT || type == STT_GNU_IFUNC);
}

/* Files' names come before their local symbols. */
static size_t take_symbols(const struct file *file, unsigned index, struct carry_symbol *list)
{
    uint64_t size = 0, string_size = 0;
    const char *bytes = section_bytes(file, index, &size), *source = NULL;
    const char *strings = section_bytes(file, file->sections[index].sh_link, &string_size);
    size_t used = 0;
    for (uint64_t at = 0; bytes && at + sizeof(Elf64_Sym) <= size; at += sizeof(Elf64_Sym)) {
        Elf64_Sym symbol;
        memcpy(&symbol, bytes + at, sizeof symbol);
        const char *name = string_at(strings, string_size, symbol.st_name);
        if (ELF64_ST_TYPE(symbol.st_info) == STT_FILE)
            source = name;
        if (!name || !*name || !is_wanted(&symbol))
            continue;
        bool is_local = ELF64_ST_BIND(symbol.st_info) == STB_LOCAL;
        if (list)
            list[used] = (struct carry_symbol){
                .name = name, .file = is_local ? source : NULL, .size = symbol.st_size,
                .address = file->image->bias + symbol.st_value, .is_local = is_local,
                .is_function = ELF64_ST_TYPE(symbol.st_info) != STT_OBJECT,
            };
        used++;
    }
    return used;
}

static int compare_names(const void *a, const void *b)
{
    const struct carry_symbol *left = a, *right = b;
    int order = strcmp(left->name, right->name);
    return order ? order : (left->address > right->address) - (left->address < right->address);
}

static int compare_addresses(const void *a, const void *b)
{
    const struct carry_symbol *left = *(const void *const *)a, *right = *(const void *const *)b;
    if (left->address != right->address)
        return left->address < right->address ? -1 : 1;
    return left->is_local - right->is_local;
}

/* The table to read: .symtab, or what is left. */
static int find_table(const struct file *file)
{
    int found = -1;
    for (unsigned i = 0; i < file->section_count; i++) {
        if (file->sections[i].sh_type == SHT_SYMTAB)
            return (int)i;
        if (file->sections[i].sh_type == SHT_DYNSYM)
            found = (int)i;
    }
    return found;
}

bool carry_read_symbols(const struct image *image, struct carry_symbols *symbols)
{
    struct file file;
    int table = open_file(image, &file) ? find_table(&file) : -1;
    *symbols = (struct carry_symbols){0};
    if (file.sections)
        find_areas(&file, symbols);
    if (table < 0)
        return true;
    size_t count = take_symbols(&file, (unsigned)table, NULL);
    symbols->list = malloc((count + 1) * sizeof *symbols->list);
    if (!symbols->list)
        return false;
    symbols->count = take_symbols(&file, (unsigned)table, symbols->list);
    return true;
}

void carry_sort_symbols(struct carry_symbols *symbols)
{
    if (symbols->by_address || symbols->count == 0)
        return;
    symbols->by_address = memory_take(symbols->count * sizeof *symbols->by_address);
    qsort(symbols->list, symbols->count, sizeof *symbols->list, compare_names);
    for (size_t i = 0; i < symbols->count; i++)
        symbols->by_address[i] = &symbols->list[i];
    qsort(symbols->by_address, symbols->count, sizeof *symbols->by_address, compare_addresses);
}

void carry_free_symbols(struct carry_symbols *symbols)
{
    free(symbols->list);
    free(symbols->by_address);
    *symbols = (struct carry_symbols){0};
}

const struct carry_symbol *carry_symbol_at(struct carry_symbols *symbols, uintptr_t address)
{
    carry_sort_symbols(symbols);
    size_t low = 0, high = symbols->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (symbols->by_address[middle]->address < address)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < symbols->count && symbols->by_address[low]->address == address; low++)
        if (!symbols->by_address[low]->is_function)
            return symbols->by_address[low];
    return NULL;
}
