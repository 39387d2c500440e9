/* elf_relink.c: see elf_relink.h. */
#include "elf_relink.h"

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct file {
    unsigned char *bytes;
    size_t size;
    Elf64_Ehdr *header;
    Elf64_Phdr *segments;
    Elf64_Dyn *dynamic;
    uint64_t strings;        /* address of DT_STRTAB */
    uint64_t versions, version_count;    /* DT_VERNEED: address, or 0 */
};

static void use_bytes(struct file *file, unsigned char *bytes, size_t size)
{
    file->bytes = bytes;
    file->size = size;
    file->header = (Elf64_Ehdr *)bytes;
    file->segments = (Elf64_Phdr *)(bytes + file->header->e_phoff);
}

/* The place in the file of an address. */
static unsigned char *at(const struct file *file, uint64_t address)
{
    for (unsigned i = 0; i < file->header->e_phnum; i++) {
        const Elf64_Phdr *segment = &file->segments[i];
        if (segment->p_type == PT_LOAD && address - segment->p_vaddr < segment->p_filesz)
            return file->bytes + segment->p_offset + (address - segment->p_vaddr);
    }
    return NULL;
}

static bool read_dynamic(struct file *file)
{
    file->dynamic = NULL;
    for (unsigned i = 0; i < file->header->e_phnum; i++)
        if (file->segments[i].p_type == PT_DYNAMIC)
            file->dynamic = (Elf64_Dyn *)(file->bytes + file->segments[i].p_offset);
    for (Elf64_Dyn *entry = file->dynamic; entry && entry->d_tag != DT_NULL; entry++) {
        if (entry->d_tag == DT_STRTAB)
            file->strings = entry->d_un.d_ptr;
        else if (entry->d_tag == DT_VERNEED)
            file->versions = entry->d_un.d_ptr;
        else if (entry->d_tag == DT_VERNEEDNUM)
            file->version_count = entry->d_un.d_val;
    }
    return file->dynamic && file->strings;
}

/* Room ------------------------------------------------------------------------------------------- */

static void limit(uint64_t *room, uint64_t end, uint64_t offset, uint64_t size)
{
    if (size > 0 && offset + size > end && (offset < end || offset - end < *room))
        *room = offset < end ? 0 : offset - end;
}

/* Bytes of the file behind the segment that are mapped with it and belong to nothing. */
static uint64_t room_behind(const struct file *file, const Elf64_Phdr *segment)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), end = segment->p_offset + segment->p_filesz;
    uint64_t room = (page - end % page) % page;
    if (segment->p_type != PT_LOAD || segment->p_filesz != segment->p_memsz ||
        segment->p_vaddr + segment->p_filesz <= file->strings)
        return 0;
    if (end + room > file->size)
        room = file->size - end;
    for (unsigned i = 0; i < file->header->e_phnum; i++)
        if (file->segments[i].p_type != PT_GNU_STACK)
            limit(&room, end, file->segments[i].p_offset, file->segments[i].p_filesz);
    const Elf64_Shdr *sections = (const Elf64_Shdr *)(file->bytes + file->header->e_shoff);
    for (unsigned i = 0; file->header->e_shoff && i < file->header->e_shnum; i++)
        if (sections[i].sh_type != SHT_NOBITS && sections[i].sh_type != SHT_NULL)
            limit(&room, end, sections[i].sh_offset, sections[i].sh_size);
    limit(&room, end, file->header->e_shoff, file->header->e_shnum * sizeof *sections);
    return room;
}

/* The segment that takes `size` bytes more, NULL if none does. */
static Elf64_Phdr *find_room(const struct file *file, uint64_t size)
{
    for (unsigned i = 0; i < file->header->e_phnum; i++)
        if (room_behind(file, &file->segments[i]) >= size)
            return &file->segments[i];
    return NULL;
}

/* A new segment at the end, for linkers that leave no room: it takes the place of the header that tells
 * where the headers are, which no shared object needs. NULL: there is none, or memory is out. */
static Elf64_Phdr *add_segment(struct file *file, uint64_t size)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), align = page, end = 0;
    uint64_t offset = (file->size + page - 1) / page * page;
    unsigned last = 0, spare = file->header->e_phnum;
    for (unsigned i = 0; i < file->header->e_phnum; i++) {
        const Elf64_Phdr *segment = &file->segments[i];
        if (segment->p_type == PT_PHDR)
            spare = i;
        if (segment->p_type != PT_LOAD)
            continue;
        last = i;
        end = segment->p_vaddr + segment->p_memsz;
        align = segment->p_align > align ? segment->p_align : align;
    }
    unsigned char *bytes = spare < last ? realloc(file->bytes, offset + size) : NULL;
    if (!bytes)
        return NULL;
    memset(bytes + file->size, 0, offset + size - file->size);
    use_bytes(file, bytes, offset + size);
    memmove(&file->segments[spare], &file->segments[spare + 1], (last - spare) * sizeof *file->segments);
    file->segments[last] = (Elf64_Phdr){
        .p_type = PT_LOAD, .p_flags = PF_R, .p_offset = offset, .p_vaddr = (end + align - 1) / align * align,
        .p_align = page,
    };
    file->segments[last].p_paddr = file->segments[last].p_vaddr;
    return &file->segments[last];
}

/* Names ------------------------------------------------------------------------------------------ */

static const char *string_at(const struct file *file, uint64_t offset)
{
    return (const char *)at(file, file->strings + offset);
}

/* A needed version names its library by the same string. */
static void rename_versions(const struct file *file, uint64_t from, uint64_t to)
{
    unsigned char *place = file->versions ? at(file, file->versions) : NULL;
    for (uint64_t i = 0; place && i < file->version_count; i++) {
        Elf64_Verneed *entry = (Elf64_Verneed *)place;
        if (strcmp(string_at(file, entry->vn_file), string_at(file, from)) == 0)
            entry->vn_file = (Elf64_Word)to;
        if (entry->vn_next == 0)
            return;
        place += entry->vn_next;
    }
}

static void rename_needed(const struct file *file, const char *needed, uint64_t to)
{
    for (Elf64_Dyn *entry = file->dynamic; entry->d_tag != DT_NULL; entry++) {
        uint64_t from = entry->d_un.d_val;
        if (entry->d_tag != DT_NEEDED || strcmp(string_at(file, from), needed) != 0)
            continue;
        rename_versions(file, from, to);
        entry->d_un.d_val = to;
    }
}

static bool relink(struct file *file, const struct elf_link *links, size_t count)
{
    uint64_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += strlen(links[i].path) + 1;
    Elf64_Phdr *segment = find_room(file, size);
    if (!segment)
        segment = add_segment(file, size);
    if (!segment || !read_dynamic(file))
        return false;
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(links[i].path) + 1;
        uint64_t address = segment->p_vaddr + segment->p_filesz;
        memcpy(file->bytes + segment->p_offset + segment->p_filesz, links[i].path, length);
        segment->p_filesz += length;
        segment->p_memsz += length;
        rename_needed(file, links[i].needed, address - file->strings);
    }
    return true;
}

unsigned char *elf_relink(const void *bytes, size_t *size, const struct elf_link *links, size_t count,
                          struct error *error)
{
    struct file file = {.size = 0};
    unsigned char *copy = malloc(*size);
    if (!copy) {
        error_set(error, "out of memory");
        return NULL;
    }
    memcpy(copy, bytes, *size);
    use_bytes(&file, copy, *size);
    if (read_dynamic(&file) && relink(&file, links, count)) {
        *size = file.size;
        return file.bytes;
    }
    error_set(error, "there is no room in it for the place of plugin '%s', with which it is linked: link it "
              "with -Wl,-z,separate-code, or use hot_symbol", links[0].needed);
    free(file.bytes);
    return NULL;
}
