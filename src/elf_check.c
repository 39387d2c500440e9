/* elf_check.c: the ELF check's entry: whether a file is a shared object for this machine at all, and
 * as long as its headers say; then the other parts in order. Never calls the dynamic loader. */
#include "elf_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CLASS_BYTE = EI_CLASS, TYPE_OFFSET = 16, MACHINE_OFFSET = 18 };

/* A file that claims to be longer than this is damaged, not truncated. */
static const uint64_t LARGEST_CLAIM = (uint64_t)1 << 36;
bool elf_damaged(const struct elf *elf, const char *format, ...)
{
    char what[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return error_set(elf->error, "%s: damaged: %s; build it again", elf->name, what);
}

/* Identity ----------------------------------------------------------------------------------- */

static bool starts_with(const struct elf *elf, const char *prefix)
{
    size_t length = strlen(prefix);
    return elf->size >= length && memcmp(elf->bytes, prefix, length) == 0;
}

static const char *guess_kind(const struct elf *elf)
{
    static const struct { const char *prefix, *kind; } kinds[] = {
        {"!<arch>\n", "it is a static library (.a): link its objects with -shared"},
        {"#!", "it is a script"}, {"/* GNU ld script", "it is a linker script"},
        {"BC\xc0\xde", "it is LLVM bitcode"}, {"MZ", "it is a Windows program"},
        {"\xcf\xfa\xed\xfe", "it is a macOS library"}, {"\x1f\x8b", "it is a gzip file"},
        {"\x1bLua", "it is a compiled Lua chunk"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (starts_with(elf, kinds[i].prefix))
            return kinds[i].kind;
    size_t zeros = 0;
    while (zeros < elf->size && zeros < 64 && elf->bytes[zeros] == 0)
        zeros++;
    return zeros == 64 || zeros == elf->size ? "it begins with zeros: is it still being written?"
                                             : "its first bytes are not those of a library";
}

static bool refuse_truncated(const struct elf *elf, uint64_t needed)
{
    return error_set(elf->error, "%s: truncated: %zu bytes are there, %llu are needed; is it still "
                     "being written?", elf->name, elf->size, (unsigned long long)needed);
}

static bool refuse_foreign(const struct elf *elf, unsigned machine)
{
    bool is_small = elf->bytes[EI_CLASS] == ELFCLASS32, is_big = elf->bytes[EI_DATA] == ELFDATA2MSB;
    const char *name = elf_machine_name((uint16_t)machine);
    char number[32];
    snprintf(number, sizeof number, "machine %u", machine);
    return error_set(elf->error, "%s: built for %s%s%s, this program is %s%s; build it for this machine",
                     elf->name, name ? name : number, is_small ? " (32-bit)" : "",
                     is_big ? " (big-endian)" : "", elf_machine_name(elf_native.number),
                     is_small ? " (64-bit)" : "");
}

static bool check_identity(struct elf *elf)
{
    const unsigned char *bytes = elf->bytes;
    if (elf->size == 0)
        return error_set(elf->error, "%s: is empty; is it still being written?", elf->name);
    if (memcmp(bytes, ELFMAG, elf->size < SELFMAG ? elf->size : SELFMAG) != 0)
        return error_set(elf->error, "%s: is not an ELF file: %s", elf->name, guess_kind(elf));
    if (elf->size < MACHINE_OFFSET + 2)
        return refuse_truncated(elf, sizeof(Elf64_Ehdr));
    bool is_big = bytes[EI_DATA] == ELFDATA2MSB;
    unsigned machine = (unsigned)(bytes[MACHINE_OFFSET + is_big] | bytes[MACHINE_OFFSET + !is_big] << 8);
    if (bytes[EI_CLASS] != ELFCLASS64 && bytes[EI_CLASS] != ELFCLASS32)
        return elf_damaged(elf, "its ELF class is %u", bytes[EI_CLASS]);
    if (bytes[EI_DATA] != ELFDATA2LSB && !is_big)
        return elf_damaged(elf, "its byte order is %u", bytes[EI_DATA]);
    if (bytes[EI_CLASS] != ELFCLASS64 || is_big || machine != elf_native.number)
        return refuse_foreign(elf, machine);
    if (bytes[EI_OSABI] != ELFOSABI_SYSV && bytes[EI_OSABI] != ELFOSABI_GNU)
        return error_set(elf->error, "%s: built for another operating system (ABI %u)", elf->name,
                         bytes[EI_OSABI]);
    if (elf->size < sizeof(Elf64_Ehdr))
        return refuse_truncated(elf, sizeof(Elf64_Ehdr));
    return true;
}

static bool check_type(const struct elf *elf)
{
    const char *kind;
    switch (elf->header->e_type) {
    case ET_DYN: return true;
    case ET_EXEC: kind = "an executable"; break;
    case ET_REL: kind = "an object file (.o)"; break;
    case ET_CORE:
        return error_set(elf->error, "%s: is a core dump, not a shared object", elf->name);
    default:
        return elf_damaged(elf, "its ELF type is %u", elf->header->e_type);
    }
    if (elf->is_program && elf->header->e_type == ET_EXEC)
        return true;
    return error_set(elf->error, "%s: is %s, not a shared object; link it with -shared", elf->name, kind);
}

static bool check_header(struct elf *elf)
{
    const Elf64_Ehdr *header = elf->header = (const void *)elf->bytes;
    if (!check_type(elf))
        return false;
    if (header->e_version != EV_CURRENT || header->e_ident[EI_VERSION] != EV_CURRENT)
        return elf_damaged(elf, "its ELF version is %u", header->e_version);
    if (header->e_ehsize != sizeof *header || header->e_phentsize != sizeof(Elf64_Phdr))
        return elf_damaged(elf, "its headers have the wrong size");
    if (header->e_phnum == 0 || header->e_phnum > MAX_SEGMENTS || header->e_phoff % 8 != 0)
        return elf_damaged(elf, "it has %u program headers at offset %llu", header->e_phnum,
                           (unsigned long long)header->e_phoff);
    return true;
}

/* Length ------------------------------------------------------------------------------------- */

/* The largest end of a range seen so far; UINT64_MAX when one overflows. */
static void extend(uint64_t *needed, uint64_t offset, uint64_t size)
{
    uint64_t end = offset + size < offset ? UINT64_MAX : offset + size;
    if (end > *needed)
        *needed = end;
}

/* Is the file as long as its tables say? A table that is cut off itself is not read. */
static bool check_length(struct elf *elf)
{
    const Elf64_Ehdr *header = elf->header;
    uint64_t needed = sizeof *header;
    extend(&needed, header->e_phoff, header->e_phnum * sizeof(Elf64_Phdr));
    if (needed <= elf->size) {
        elf->segments = (const void *)(elf->bytes + header->e_phoff);
        for (unsigned i = 0; i < header->e_phnum; i++)
            if (elf->segments[i].p_type != PT_NULL)
                extend(&needed, elf->segments[i].p_offset, elf->segments[i].p_filesz);
    }
    uint64_t sections_end = 0;
    if (header->e_shoff)
        extend(&sections_end, header->e_shoff, header->e_shnum * sizeof(Elf64_Shdr));
    extend(&needed, sections_end, 0);
    for (unsigned i = 0; sections_end <= elf->size && i < header->e_shnum && header->e_shoff; i++) {
        Elf64_Shdr section;
        memcpy(&section, elf->bytes + header->e_shoff + i * sizeof section, sizeof section);
        if (section.sh_type != SHT_NOBITS && section.sh_type != SHT_NULL)
            extend(&needed, section.sh_offset, section.sh_size);
    }
    if (needed <= elf->size)
        return true;
    if (needed > LARGEST_CLAIM)
        return elf_damaged(elf, "a header points outside of the file (%zu bytes)", elf->size);
    return refuse_truncated(elf, needed);
}

/* Entry -------------------------------------------------------------------------------------- */

static bool check(struct elf *elf)
{
    if (!check_identity(elf) || !check_header(elf) || !check_length(elf) || !elf_check_segments(elf) ||
        !elf_check_sections(elf) || !elf_check_dynamic(elf) || !elf_check_versions(elf) ||
        !elf_check_symbols(elf) || !elf_check_relocations(elf))
        return false;
    if (!elf_list_symbols(elf))
        return error_set(elf->error, "%s: out of memory", elf->name);
    elf->facts->runs_code = elf_runs_code(elf);
    return true;
}

static bool check_as(const void *bytes, size_t size, const char *name, bool is_program,
                     struct elf_facts *facts, struct error *error)
{
    struct elf elf = {
        .bytes = bytes, .size = size, .name = name, .error = error, .facts = facts,
        .is_program = is_program, .page = (uint64_t)sysconf(_SC_PAGESIZE),
    };
    *facts = (struct elf_facts){0};
    if (check(&elf))
        return true;
    elf_facts_free(facts);
    return false;
}

bool elf_check(const void *bytes, size_t size, const char *name, struct elf_facts *facts,
               struct error *error)
{
    return check_as(bytes, size, name, false, facts, error);
}

bool elf_check_program(const void *bytes, size_t size, const char *name, struct elf_facts *facts,
                       struct error *error)
{
    return check_as(bytes, size, name, true, facts, error);
}

void elf_facts_free(struct elf_facts *facts)
{
    free(facts->needed);
    free(facts->symbols);
    *facts = (struct elf_facts){0};
}

const struct symbol *elf_find_symbol(const struct elf_facts *facts, const char *name)
{
    size_t low = 0, high = facts->symbol_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(name, facts->symbols[middle].name);
        if (order == 0)
            return &facts->symbols[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
