/* elf_sections.c: section headers. The dynamic loader never reads them; debuggers, libdw and our
 * reader of types do. They also say what the segments must allow, which the segments themselves
 * do not: a segment that has lost a flag or moved is found out here. A file may have none. */
#include "elf_internal.h"

#include <string.h>

struct names {
    const char *bytes;       /* ends in a NUL */
    size_t size;
};

static Elf64_Shdr read_section(const struct elf *elf, unsigned index)
{
    Elf64_Shdr section;
    memcpy(&section, elf->bytes + elf->header->e_shoff + index * sizeof section, sizeof section);
    return section;
}

static bool find_names(const struct elf *elf, struct names *names)
{
    unsigned index = elf->header->e_shstrndx;
    if (index == SHN_UNDEF || index >= elf->header->e_shnum)
        return elf_damaged(elf, "its section names are in section %u of %u", index, elf->header->e_shnum);
    Elf64_Shdr section = read_section(elf, index);
    if (section.sh_type != SHT_STRTAB || section.sh_size == 0 ||
        elf->bytes[section.sh_offset + section.sh_size - 1] != 0)
        return elf_damaged(elf, "its section names are not strings");
    names->bytes = (const char *)elf->bytes + section.sh_offset;
    names->size = section.sh_size;
    return true;
}

/* Does the segment at the section's address hold its bytes, with the rights it needs? */
static bool fits_segment(const struct elf *elf, const Elf64_Shdr *section)
{
    bool is_empty_in_file = section->sh_type == SHT_NOBITS;
    if (is_empty_in_file && section->sh_flags & SHF_TLS)
        return true;
    const struct load *load = elf_load_at(elf, section->sh_addr);
    if (!load)
        return false;
    if (!elf_range_within(section->sh_addr, section->sh_size, load->start,
                          is_empty_in_file ? load->end : load->file_end))
        return false;
    if (!is_empty_in_file && section->sh_offset - load->offset != section->sh_addr - load->start)
        return false;
    return (!(section->sh_flags & SHF_WRITE) || load->flags & PF_W) &&
           (!(section->sh_flags & SHF_EXECINSTR) || load->flags & PF_X);
}

/* Would the loader make writable data read-only after relocation? */
static bool is_under_relro(const struct elf *elf, const Elf64_Shdr *section, const char *name)
{
    if (!elf->relro || (strcmp(name, ".data") != 0 && strcmp(name, ".bss") != 0))
        return false;
    uint64_t end = (elf->relro->p_vaddr + elf->relro->p_memsz) & ~(elf->page - 1);
    return section->sh_addr < end && section->sh_addr + section->sh_size > elf->relro->p_vaddr;
}

static bool is_debug_info(const char *name)
{
    return strcmp(name, ".debug_info") == 0 || strcmp(name, ".zdebug_info") == 0 ||
           strcmp(name, ".gnu_debuglink") == 0;
}

static bool check_section(const struct elf *elf, unsigned index, const struct names *names)
{
    Elf64_Shdr section = read_section(elf, index);
    if (section.sh_name >= names->size)
        return elf_damaged(elf, "section %u has no name", index);
    if (section.sh_type == SHT_NULL)
        return true;
    const char *name = names->bytes + section.sh_name;
    if (section.sh_link >= elf->header->e_shnum)
        return elf_damaged(elf, "section '%s' refers to section %u of %u", name, section.sh_link,
                           elf->header->e_shnum);
    if (section.sh_flags & SHF_COMPRESSED && section.sh_size < sizeof(Elf64_Chdr))
        return elf_damaged(elf, "section '%s' is compressed but empty", name);
    if (is_debug_info(name))
        elf->facts->has_debug_info = true;
    if (!(section.sh_flags & SHF_ALLOC) || section.sh_size == 0)
        return true;
    if (!fits_segment(elf, &section))
        return elf_damaged(elf, "section '%s' is not in the segment at its address", name);
    if (is_under_relro(elf, &section, name))
        return elf_damaged(elf, "its RELRO segment covers '%s'", name);
    return true;
}

bool elf_check_sections(struct elf *elf)
{
    struct names names = {0};
    if (elf->header->e_shoff == 0 || elf->header->e_shnum == 0)
        return true;
    if (elf->header->e_shentsize != sizeof(Elf64_Shdr))
        return elf_damaged(elf, "its section headers have the wrong size");
    if (!find_names(elf, &names))
        return false;
    for (unsigned i = 0; i < elf->header->e_shnum; i++)
        if (!check_section(elf, i, &names))
            return false;
    return true;
}
