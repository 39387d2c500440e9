/* elf_segments.c: program headers and notes: that what the loader will map is in the file, in order
 * and without overlap; and the lookups from addresses to bytes that the other parts use. */
#include "elf_internal.h"

#include <string.h>

/* More thread-local memory, or a coarser alignment, ends the process in the loader. */
static const uint64_t LARGEST_TLS = (uint64_t)1 << 30, LARGEST_TLS_ALIGNMENT = (uint64_t)1 << 21;

/* Lookups ------------------------------------------------------------------------------------ */

const struct load *elf_load_at(const struct elf *elf, uint64_t address)
{
    unsigned low = 0, high = elf->load_count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        const struct load *load = &elf->loads[middle];
        if (address < load->start)
            high = middle;
        else if (address >= load->end)
            low = middle + 1;
        else
            return load;
    }
    return NULL;
}

bool elf_has_memory(const struct elf *elf, uint64_t address, uint64_t size, uint32_t flags)
{
    const struct load *load = elf_load_at(elf, address);
    return load && size <= load->end - address && (load->flags & flags) == flags;
}

const void *elf_bytes_at(const struct elf *elf, uint64_t address, uint64_t size, uint64_t alignment,
                         uint64_t *available)
{
    const struct load *load = elf_load_at(elf, address);
    if (!load || !(load->flags & PF_R) || !elf_range_within(address, size, load->start, load->file_end))
        return NULL;
    uint64_t offset = load->offset + (address - load->start);
    if (address % alignment != 0 || offset % alignment != 0)
        return NULL;
    if (available)
        *available = load->file_end - address;
    return elf->bytes + offset;
}

const char *elf_string(const struct elf *elf, uint64_t offset)
{
    return offset < elf->string_size ? elf->strings + offset : NULL;
}

/* Segments ----------------------------------------------------------------------------------- */

static uint64_t page_down(const struct elf *elf, uint64_t address)
{
    return address & ~(elf->page - 1);
}

static uint64_t page_up(const struct elf *elf, uint64_t address)
{
    return page_down(elf, address + elf->page - 1);
}

static bool is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

/* The bytes of the file that a segment other than PT_LOAD names must be those at its address. */
static bool agrees_with_loads(const struct elf *elf, const Elf64_Phdr *segment)
{
    const void *bytes = elf_bytes_at(elf, segment->p_vaddr, segment->p_filesz, 1, NULL);
    return bytes == elf->bytes + segment->p_offset;
}

static bool add_load(struct elf *elf, const Elf64_Phdr *segment, unsigned index)
{
    uint64_t end = segment->p_vaddr + segment->p_memsz;
    if (segment->p_memsz == 0 && segment->p_filesz == 0)
        return true;
    if (segment->p_filesz > segment->p_memsz || end < segment->p_vaddr || end > INT64_MAX)
        return elf_damaged(elf, "segment %u has an impossible size", index);
    if (!is_power_of_two(segment->p_align) || segment->p_align % elf->page != 0 ||
        (segment->p_vaddr - segment->p_offset) % segment->p_align != 0)
        return elf_damaged(elf, "segment %u is not aligned to pages", index);
    if (segment->p_filesz == 0 && segment->p_vaddr % elf->page != 0 &&
        page_down(elf, segment->p_offset) >= elf->size)
        return elf_damaged(elf, "segment %u lies outside of the file", index);
    if (elf->load_count > 0) {
        const struct load *previous = &elf->loads[elf->load_count - 1];
        if (page_down(elf, segment->p_vaddr) < page_up(elf, previous->end))
            return elf_damaged(elf, "segment %u overlaps the one before it", index);
    }
    elf->loads[elf->load_count++] = (struct load){
        .start = segment->p_vaddr, .end = end, .file_end = segment->p_vaddr + segment->p_filesz,
        .offset = segment->p_offset, .flags = segment->p_flags,
    };
    return true;
}

static bool check_tls(struct elf *elf, const Elf64_Phdr *segment)
{
    if (segment->p_memsz == 0)
        return true;
    if (elf->tls)
        return elf_damaged(elf, "it has two thread-local segments");
    if (segment->p_filesz > segment->p_memsz || segment->p_memsz > LARGEST_TLS ||
        !is_power_of_two(segment->p_align) || segment->p_align > LARGEST_TLS_ALIGNMENT)
        return elf_damaged(elf, "its thread-local segment has an impossible size or alignment");
    if (segment->p_filesz > 0 && !agrees_with_loads(elf, segment))
        return elf_damaged(elf, "its thread-local segment lies outside of what is loaded");
    elf->tls = segment;
    return true;
}

/* The loader makes the range read-only after relocation, rounded down to pages. */
static bool check_relro(struct elf *elf, const Elf64_Phdr *segment)
{
    const struct load *load = elf_load_at(elf, segment->p_vaddr);
    if (segment->p_memsz == 0)
        return true;
    if (elf->relro || !load || !(load->flags & PF_W) ||
        segment->p_memsz > page_up(elf, load->end) - segment->p_vaddr)
        return elf_damaged(elf, "its RELRO segment lies outside of its data");
    elf->relro = segment;
    return true;
}

/* The loader reads GNU properties without looking at the segment's end. */
static bool check_properties(const struct elf *elf, const Elf64_Phdr *segment)
{
    if (segment->p_memsz > segment->p_filesz || !agrees_with_loads(elf, segment))
        return elf_damaged(elf, "its notes lie outside of what is loaded");
    uint64_t at = 0;
    while (segment->p_align == 8 && segment->p_filesz - at >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr note;
        memcpy(&note, elf->bytes + segment->p_offset + at, sizeof note);
        uint64_t body = sizeof note + (((uint64_t)note.n_namesz + 3) & ~(uint64_t)3);
        uint64_t whole = (body + note.n_descsz + 7) & ~(uint64_t)7;
        if (body + note.n_descsz > segment->p_filesz - at)
            return elf_damaged(elf, "a note is longer than its segment");
        if (whole >= segment->p_filesz - at)
            break;
        at += whole;
    }
    return true;
}

static bool check_program_table(const struct elf *elf, const Elf64_Phdr *segment)
{
    if (segment->p_offset == elf->header->e_phoff && agrees_with_loads(elf, segment) &&
        segment->p_filesz >= elf->header->e_phnum * sizeof(Elf64_Phdr))
        return true;
    return elf_damaged(elf, "its program headers are not where it says");
}

static bool check_segment(struct elf *elf, const Elf64_Phdr *segment)
{
    switch (segment->p_type) {
    case PT_DYNAMIC:
        if (elf->dynamic_segment)
            return elf_damaged(elf, "it has two dynamic sections");
        elf->dynamic_segment = segment;
        return true;
    case PT_TLS:
        return check_tls(elf, segment);
    case PT_GNU_RELRO:
        return check_relro(elf, segment);
    case PT_PHDR:
        return check_program_table(elf, segment);
    case PT_NOTE: case PT_GNU_PROPERTY:
        return check_properties(elf, segment);
    case PT_GNU_EH_FRAME:
        if (segment->p_filesz > 0 && !agrees_with_loads(elf, segment))
            return elf_damaged(elf, "its unwind table lies outside of what is loaded");
        return true;
    default:
        return true;
    }
}

/* Facts -------------------------------------------------------------------------------------- */

static void find_build_id(struct elf *elf, const Elf64_Phdr *segment)
{
    static const char gnu[4] = "GNU";
    uint64_t alignment = segment->p_align == 8 ? 8 : 4, at = 0;
    while (segment->p_filesz - at >= sizeof(Elf64_Nhdr)) {
        const unsigned char *bytes = elf->bytes + segment->p_offset + at;
        uint64_t left = segment->p_filesz - at;
        Elf64_Nhdr note;
        memcpy(&note, bytes, sizeof note);
        uint64_t body = sizeof note + (((uint64_t)note.n_namesz + 3) & ~(uint64_t)3);
        uint64_t whole = (body + note.n_descsz + alignment - 1) & ~(alignment - 1);
        if (body + note.n_descsz > left)
            return;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == sizeof gnu &&
            memcmp(bytes + sizeof note, gnu, sizeof gnu) == 0 &&
            note.n_descsz <= sizeof elf->facts->build_id) {
            memcpy(elf->facts->build_id, bytes + body, note.n_descsz);
            elf->facts->build_id_size = note.n_descsz;
        }
        if (whole >= left)
            return;
        at += whole;
    }
}

static void note_segment_facts(struct elf *elf)
{
    struct elf_facts *facts = elf->facts;
    facts->lowest_address = page_down(elf, elf->loads[0].start);
    facts->loaded_size = page_up(elf, elf->loads[elf->load_count - 1].end) - facts->lowest_address;
    facts->tls_size = elf->tls ? elf->tls->p_memsz : 0;
    facts->has_executable_stack = elf_native.stack_is_executable;
    for (unsigned i = 0; i < elf->load_count; i++) {
        const struct load *load = &elf->loads[i];
        uint64_t end = load->offset + (load->file_end - load->start);
        if (end > facts->file_loaded_end)
            facts->file_loaded_end = end;
        if ((load->flags & (PF_W | PF_X)) == (PF_W | PF_X))
            facts->has_writable_code = true;
    }
    for (unsigned i = 0; i < elf->header->e_phnum; i++) {
        if (elf->segments[i].p_type == PT_GNU_STACK)
            facts->has_executable_stack = (elf->segments[i].p_flags & PF_X) != 0;
        if (elf->segments[i].p_type == PT_NOTE)
            find_build_id(elf, &elf->segments[i]);
    }
}

bool elf_check_segments(struct elf *elf)
{
    for (unsigned i = 0; i < elf->header->e_phnum; i++)
        if (elf->segments[i].p_type == PT_LOAD && !add_load(elf, &elf->segments[i], i))
            return false;
    if (elf->load_count == 0)
        return elf_damaged(elf, "it has no segment to load");
    for (unsigned i = 0; i < elf->header->e_phnum; i++)
        if (!check_segment(elf, &elf->segments[i]))
            return false;
    note_segment_facts(elf);
    if (elf->dynamic_segment && elf->dynamic_segment->p_filesz > 0)
        return true;
    return error_set(elf->error, "%s: has no dynamic section: it is not a shared object, or only the "
                     "debug information of one; link it with -shared", elf->name);
}
