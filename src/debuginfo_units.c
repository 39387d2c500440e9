/* debuginfo_units.c: libdw's handle of a file and the units in it, made when they are needed, and
 * which unit an address belongs to. */
#include "debuginfo_scan.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_RANGES = 1 << 20 };

Dwarf *debuginfo_dwarf(struct debuginfo *debug, struct error *error)
{
    const struct debug_file *file = debuginfo_file(debug);
    if (!debug->is_open) {
        debug->is_open = true;
        const char *identity = elf_getident(file->elf, NULL);
        if (identity && identity[EI_DATA] == ELFDATA2LSB)
            debug->dwarf = dwarf_begin_elf(file->elf, DWARF_C_READ, NULL);
        if (!debug->dwarf)
            snprintf(debug->failure, sizeof debug->failure, "its debug info is damaged (%s): rebuild it",
                     dwarf_errmsg(-1));
        else if (file_open_alternate(file, debug->source_directory, &debug->alternate))
            debug->alternate_dwarf = dwarf_begin_elf(debug->alternate.elf, DWARF_C_READ, NULL);
        if (debug->alternate_dwarf)
            dwarf_setalt(debug->dwarf, debug->alternate_dwarf);
    }
    if (!debug->dwarf)
        error_set(error, "%s", debug->failure);
    return debug->dwarf;
}

/* ---- Sections ---- */

static void note_section(struct sections *sections, const char *name, Elf_Scn *section)
{
    static const char *const names[SECTIONS] = {
        [SECTION_INFO] = "info", [SECTION_TYPES] = "types", [SECTION_ABBREV] = "abbrev",
        [SECTION_LINE] = "line", [SECTION_LINE_STR] = "line_str", [SECTION_STR] = "str",
    };
    size_t length = strlen(name);
    bool is_dwo = length > 4 && strcmp(name + length - 4, ".dwo") == 0;
    length -= is_dwo ? 4 : 0;
    size_t prefix = strncmp(name, ".debug_", 7) == 0 ? 7 : strncmp(name, ".zdebug_", 8) == 0 ? 8 : 0;
    for (int i = 0; prefix && i < SECTIONS; i++)
        if (strlen(names[i]) == length - prefix && strncmp(name + prefix, names[i], length - prefix) == 0)
            sections->data[i][is_dwo] = elf_rawdata(section, NULL);
}

static const struct sections *find_sections(struct debuginfo *debug, Dwarf *dwarf)
{
    struct sections **place = (struct sections **)map_claim(&debug->sections_by_dwarf, (uintptr_t)dwarf);
    if (*place)
        return *place;
    Elf *elf = dwarf_getelf(dwarf);
    struct sections *sections = *place = types_allocate(debug->types, sizeof *sections);
    size_t names;
    if (elf_getshdrstrndx(elf, &names) != 0)
        return sections;
    for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section)); ) {
        GElf_Shdr header;
        if (!gelf_getshdr(section, &header) || header.sh_type == SHT_NOBITS)
            continue;
        const char *name = elf_strptr(elf, names, header.sh_name);
        if (name)
            note_section(sections, name, section);
    }
    return sections;
}

/* ---- Units ---- */

/* Find the section that the unit lies in and its end there. */
static bool place_unit(struct unit *unit, Dwarf_Off offset_in_unit)
{
    const unsigned char *root = unit->root.addr;
    for (int i = 0; i < 4; i++) {
        const Elf_Data *data = unit->sections->data[i & 1 ? SECTION_TYPES : SECTION_INFO][i >> 1];
        const unsigned char *bytes = data ? data->d_buf : NULL;
        if (!bytes || root < bytes || root >= bytes + data->d_size || offset_in_unit > (size_t)(root - bytes))
            continue;
        unit->start = root - offset_in_unit;
        unit->is_dwo = i >> 1;
        uint64_t room = (uint64_t)(bytes + data->d_size - unit->start), length = 0;
        unsigned length_size = unit->offset_size == 8 ? 12 : 4;
        if (room < length_size)
            return false;
        memcpy(&length, unit->start + (unit->offset_size == 8 ? 4 : 0), unit->offset_size);
        if (length > room - length_size)
            return false;
        unit->end = unit->start + length_size + length;
        return root < unit->end;
    }
    return false;
}

static void read_language(struct unit *unit)
{
    switch (dwarf_srclang(&unit->root)) {
    case DW_LANG_C: case DW_LANG_C89: case DW_LANG_C99: case DW_LANG_C11: case DW_LANG_ObjC:
        unit->is_c = true;
        break;
    case DW_LANG_C_plus_plus: case DW_LANG_C_plus_plus_03: case DW_LANG_C_plus_plus_11:
    case DW_LANG_C_plus_plus_14: case DW_LANG_ObjC_plus_plus:
        unit->is_cplusplus = true;
        break;
    case DW_LANG_Rust:
        unit->is_rust = true;
        break;
    case DW_LANG_Mips_Assembler:
        unit->is_assembler = true;
        break;
    }
}

/* Follow a skeleton to the file that has its entries. */
static void find_split(struct unit *unit)
{
    Dwarf_Half version;
    uint8_t kind;
    Dwarf_Die root, split = {0};
    if (dwarf_cu_info(unit->cu, &version, &kind, &root, &split, NULL, NULL, NULL) != 0)
        return;
    unit->is_type_unit = kind == DW_UT_type || kind == DW_UT_split_type;
    if (kind != DW_UT_skeleton)
        return;
    if (split.addr && split.cu != unit->cu)
        unit->split = debuginfo_unit(unit->debug, split.cu);
    Dwarf_Attribute attribute;
    if (!unit->split && (dwarf_attr(&unit->root, DW_AT_dwo_name, &attribute) ||
                         dwarf_attr(&unit->root, DW_AT_GNU_dwo_name, &attribute)))
        unit->missing = dwarf_formstring(&attribute);
}

struct unit *debuginfo_unit(struct debuginfo *debug, Dwarf_CU *cu)
{
    struct unit *unit = map_get(&debug->units_by_cu, (uintptr_t)cu);
    if (unit)
        return unit->abbreviations ? unit : NULL;
    unit = types_allocate(debug->types, sizeof *unit);
    *map_claim(&debug->units_by_cu, (uintptr_t)cu) = unit;
    unit->debug = debug;
    unit->cu = cu;
    Dwarf_Half version;
    Dwarf_Off abbreviations;
    uint8_t address_size, offset_size;
    if (!dwarf_cu_die(cu, &unit->root, &version, &abbreviations, &address_size, &offset_size, NULL, NULL))
        return NULL;
    unit->version = version;
    unit->address_size = address_size;
    unit->offset_size = offset_size;
    unit->sections = find_sections(debug, dwarf_cu_getdwarf(cu));
    if (!place_unit(unit, dwarf_cuoffset(&unit->root)) || (offset_size != 4 && offset_size != 8))
        return NULL;
    read_language(unit);
    const Elf_Data *section = unit->sections->data[SECTION_ABBREV][unit->is_dwo];
    unit->abbreviations = abbreviations_read(unit, section, abbreviations);
    find_split(unit);
    return unit->abbreviations ? unit : NULL;
}

struct unit *const *debuginfo_units(struct debuginfo *debug, size_t *count)
{
    Dwarf *dwarf = debuginfo_dwarf(debug, NULL);
    if (dwarf && !debug->has_units) {
        debug->has_units = true;
        Dwarf_Die root;
        for (Dwarf_CU *cu = NULL; dwarf_get_units(dwarf, cu, &cu, NULL, NULL, &root, NULL) == 0; ) {
            struct unit *unit = debuginfo_unit(debug, cu);
            if (!unit)
                continue;
            debug->units = list_grow(debug->units, debug->unit_count, &debug->unit_capacity,
                                     sizeof *debug->units);
            debug->units[debug->unit_count++] = unit;
        }
    }
    *count = debug->unit_count;
    return debug->units;
}

void debuginfo_close_units(struct debuginfo *debug)
{
    for (size_t i = 0; i < debug->units_by_cu.capacity; i++) {
        struct unit *unit = debug->units_by_cu.entries[i].value;
        if (unit) {
            free(unit->functions);
            free(unit->globals);
            free(unit->files);
            map_free(&unit->names);
        }
    }
    for (size_t i = 0; i < debug->abbreviation_tables.capacity; i++)
        if (debug->abbreviation_tables.entries[i].value)
            abbreviations_free(debug->abbreviation_tables.entries[i].value);
    map_free(&debug->units_by_cu);
    map_free(&debug->sections_by_dwarf);
    map_free(&debug->abbreviation_tables);
    free(debug->units);
    free(debug->ranges);
    if (debug->dwarf)
        dwarf_end(debug->dwarf);
    if (debug->alternate_dwarf)
        dwarf_end(debug->alternate_dwarf);
}

/* ---- Addresses ---- */

static struct unit *find_by_aranges(struct debuginfo *debug, Dwarf *dwarf, uint64_t address)
{
    Dwarf_Aranges *ranges;
    size_t count;
    Dwarf_Off offset;
    Dwarf_Die root;
    if (dwarf_getaranges(dwarf, &ranges, &count) != 0)
        return NULL;
    Dwarf_Arange *range = dwarf_getarange_addr(ranges, address);
    if (!range || dwarf_getarangeinfo(range, NULL, NULL, &offset) != 0 ||
        !dwarf_offdie(dwarf, offset, &root))
        return NULL;
    return debuginfo_unit(debug, root.cu);
}

static void add_ranges(struct debuginfo *debug, struct unit *unit)
{
    Dwarf_Addr base, low, high;
    ptrdiff_t offset = 0;
    while (debug->range_count < MAX_RANGES &&
           (offset = dwarf_ranges(&unit->root, offset, &base, &low, &high)) > 0) {
        if (low >= high || low == 0)          /* code that the linker dropped is left at 0 */
            continue;
        debug->ranges = list_grow(debug->ranges, debug->range_count, &debug->range_capacity,
                                  sizeof *debug->ranges);
        debug->ranges[debug->range_count++] = (struct unit_range){low, high, 0, unit};
    }
}

static int compare_ranges(const void *a, const void *b)
{
    const struct unit_range *x = a, *y = b;
    return (x->low > y->low) - (x->low < y->low);
}

static void list_ranges(struct debuginfo *debug)
{
    size_t count;
    struct unit *const *units = debuginfo_units(debug, &count);
    for (size_t i = 0; i < count; i++)
        if (!units[i]->is_type_unit)
            add_ranges(debug, units[i]);
    if (debug->range_count > 0)
        qsort(debug->ranges, debug->range_count, sizeof *debug->ranges, compare_ranges);
    uint64_t highest = 0;
    for (size_t i = 0; i < debug->range_count; i++) {
        if (debug->ranges[i].high > highest)
            highest = debug->ranges[i].high;
        debug->ranges[i].highest = highest;
    }
}

static struct unit *find_by_ranges(struct debuginfo *debug, uint64_t address)
{
    if (!debug->has_ranges) {
        debug->has_ranges = true;
        list_ranges(debug);
    }
    size_t low = 0, high = debug->range_count;
    while (low < high) {                      /* the first that begins after the address */
        size_t middle = (low + high) / 2;
        if (debug->ranges[middle].low <= address)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low > 0 && debug->ranges[low - 1].highest > address; low--)
        if (debug->ranges[low - 1].high > address)
            return debug->ranges[low - 1].unit;
    return NULL;
}

struct unit *debuginfo_unit_of_address(struct debuginfo *debug, uint64_t address)
{
    Dwarf *dwarf = debuginfo_dwarf(debug, NULL);
    if (!dwarf)
        return NULL;
    struct unit *unit = find_by_aranges(debug, dwarf, address);
    return unit ? unit : find_by_ranges(debug, address);
}
