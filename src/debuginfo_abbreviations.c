/* debuginfo_abbreviations.c: tables of abbreviations, which say how the entries of a unit are
 * written. Read once, used by every unit that shares them. */
#include "debuginfo_scan.h"

#include "memory.h"

#include <stdlib.h>

const uint16_t scan_codes[ATTRIBUTES] = {
    [AT_NAME] = DW_AT_name, [AT_LINKAGE_NAME] = DW_AT_linkage_name, [AT_TYPE] = DW_AT_type,
    [AT_SIBLING] = DW_AT_sibling, [AT_DECLARATION] = DW_AT_declaration,
    [AT_SPECIFICATION] = DW_AT_specification, [AT_ABSTRACT_ORIGIN] = DW_AT_abstract_origin,
    [AT_SIGNATURE] = DW_AT_signature, [AT_LOW_PC] = DW_AT_low_pc, [AT_RANGES] = DW_AT_ranges,
    [AT_LOCATION] = DW_AT_location, [AT_EXTERNAL] = DW_AT_external,
    [AT_ARTIFICIAL] = DW_AT_artificial, [AT_BYTE_SIZE] = DW_AT_byte_size,
    [AT_BIT_SIZE] = DW_AT_bit_size, [AT_BIT_OFFSET] = DW_AT_bit_offset,
    [AT_DATA_BIT_OFFSET] = DW_AT_data_bit_offset,
    [AT_MEMBER_LOCATION] = DW_AT_data_member_location, [AT_CONST_VALUE] = DW_AT_const_value,
    [AT_ENCODING] = DW_AT_encoding, [AT_COUNT] = DW_AT_count, [AT_UPPER_BOUND] = DW_AT_upper_bound,
    [AT_LOWER_BOUND] = DW_AT_lower_bound, [AT_BYTE_STRIDE] = DW_AT_byte_stride,
    [AT_PROTOTYPED] = DW_AT_prototyped, [AT_VECTOR] = DW_AT_GNU_vector,
    [AT_ALIGNMENT] = DW_AT_alignment, [AT_CALLING_CONVENTION] = DW_AT_calling_convention,
    [AT_CONTAINING_TYPE] = DW_AT_containing_type, [AT_DECL_FILE] = DW_AT_decl_file,
    [AT_DECL_LINE] = DW_AT_decl_line,
};

static uint8_t attribute_of_code(uint64_t code)
{
    uint8_t which = 0;
    if (code == DW_AT_MIPS_linkage_name)
        return AT_LINKAGE_NAME;
    while (which < ATTRIBUTES && scan_codes[which] != code)
        which++;
    return which;
}

/* Read one abbreviation's attributes; the place after them, NULL if they are not whole. */
static const unsigned char *read_attributes(struct abbreviations *table, const struct unit *unit,
                                            const unsigned char *at,
                                            struct abbreviation *abbreviation)
{
    int size = 0;
    abbreviation->first = (uint32_t)table->attribute_count;
    abbreviation->sibling = NO_SIBLING;
    for (;;) {
        uint64_t code = scan_unsigned(&at, table->end), form = scan_unsigned(&at, table->end);
        if (!at || form > UINT16_MAX)
            return NULL;
        if (code == 0 && form == 0)
            break;
        int bytes = scan_form_size(unit, (unsigned)form);
        struct abbreviation_attribute attribute = {attribute_of_code(code), (int8_t)bytes, (uint16_t)form, 0};
        if (form == DW_FORM_implicit_const) {
            attribute.implicit = (uint32_t)(at - table->bytes);
            scan_signed(&at, table->end);
        }
        if (attribute.which == AT_SIBLING && form == DW_FORM_ref4 && size >= 0)
            abbreviation->sibling = (uint16_t)size;
        size = bytes < 0 || size < 0 || size + bytes >= ABBREVIATION_VARIES ? -1 : size + bytes;
        table->attributes = list_grow(table->attributes, table->attribute_count,
                                      &table->attribute_capacity, sizeof *table->attributes);
        table->attributes[table->attribute_count++] = attribute;
        abbreviation->count++;
    }
    abbreviation->size = size < 0 ? ABBREVIATION_VARIES : (uint16_t)size;
    return at;
}

static int compare_codes(const void *a, const void *b)
{
    const struct abbreviation *x = a, *y = b;
    return (x->code > y->code) - (x->code < y->code);
}

static void read_abbreviations(struct abbreviations *table, const struct unit *unit,
                               const unsigned char *at)
{
    bool is_sorted = true;
    while (at && at < table->end) {
        struct abbreviation abbreviation = {.code = scan_unsigned(&at, table->end)};
        if (!at || abbreviation.code == 0)
            break;
        abbreviation.tag = (uint16_t)scan_unsigned(&at, table->end);
        if (!at || at == table->end)
            break;
        abbreviation.has_children = *at++ == DW_CHILDREN_yes;
        at = read_attributes(table, unit, at, &abbreviation);
        if (!at)
            break;
        if (table->count > 0 && table->list[table->count - 1].code >= abbreviation.code)
            is_sorted = false;
        table->list = list_grow(table->list, table->count, &table->capacity, sizeof *table->list);
        table->list[table->count++] = abbreviation;
    }
    if (!is_sorted)
        qsort(table->list, table->count, sizeof *table->list, compare_codes);
}

const struct abbreviation *abbreviations_find(const struct abbreviations *table, uint64_t code)
{
    if (code - 1 < table->count && table->list[code - 1].code == code)   /* 1, 2, 3 ... as all do */
        return &table->list[code - 1];
    struct abbreviation key = {.code = code};
    return table->count ? bsearch(&key, table->list, table->count, sizeof key, compare_codes) : NULL;
}

struct abbreviations *abbreviations_read(const struct unit *unit, const Elf_Data *section,
                                              uint64_t offset)
{
    if (!section || !section->d_buf || offset >= section->d_size)
        return NULL;
    const unsigned char *bytes = section->d_buf;
    uint64_t key = (uintptr_t)(bytes + offset) | (uint64_t)unit->offset_size << 60 |
                   (uint64_t)(unit->version == 2) << 59;
    struct abbreviations **place =
        (struct abbreviations **)map_claim(&unit->debug->abbreviation_tables, key);
    if (!*place) {
        struct abbreviations *table = memory_take(sizeof *table);
        *place = table;
        table->bytes = bytes;
        table->end = bytes + section->d_size;
        read_abbreviations(table, unit, bytes + offset);
    }
    return *place;
}

void abbreviations_free(struct abbreviations *table)
{
    free(table->list);
    free(table->attributes);
    free(table);
}
