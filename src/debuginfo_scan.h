/* debuginfo_scan.h: how entries are walked; only for debuginfo_scan.c, debuginfo_abbreviations.c and
 * debuginfo_die.c. */
#ifndef HOTLUA_DEBUGINFO_SCAN_H
#define HOTLUA_DEBUGINFO_SCAN_H

#include "debuginfo_internal.h"

#include <string.h>

enum { ABBREVIATION_VARIES = UINT16_MAX, NO_SIBLING = UINT16_MAX };

struct abbreviation_attribute {
    uint8_t which;           /* enum attribute, ATTRIBUTES: not looked at */
    int8_t size;             /* bytes of its value, -1: that varies */
    uint16_t form;
    uint32_t implicit;       /* DW_FORM_implicit_const: where its value is in the section */
};

struct abbreviation {
    uint64_t code;
    uint32_t first, count;   /* attributes */
    uint16_t tag;
    uint16_t size;           /* bytes of all attributes, when that is always the same */
    uint16_t sibling;        /* where among those DW_AT_sibling is, in four bytes; NO_SIBLING */
    bool has_children;
};

struct abbreviations {
    const unsigned char *bytes, *end;    /* of the section */
    struct abbreviation *list;           /* sorted by code */
    size_t count, capacity;
    struct abbreviation_attribute *attributes;
    size_t attribute_count, attribute_capacity;
};

/* DW_AT_ code of each enum attribute. */
extern const uint16_t scan_codes[ATTRIBUTES];

/* Both advance *at; they give NULL there when the number does not end before `end`. */
static inline uint64_t scan_unsigned(const unsigned char **at, const unsigned char *end)
{
    uint64_t value = 0;
    for (unsigned shift = 0; *at && *at < end; shift += 7) {
        unsigned char byte = *(*at)++;
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    *at = NULL;
    return 0;
}

static inline int64_t scan_signed(const unsigned char **at, const unsigned char *end)
{
    uint64_t value = 0;
    for (unsigned shift = 0; *at && *at < end; ) {
        unsigned char byte = *(*at)++;
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
        if (!(byte & 0x80)) {
            if (shift < 64 && byte & 0x40)
                value |= ~(uint64_t)0 << shift;
            return (int64_t)value;
        }
    }
    *at = NULL;
    return 0;
}

/* Little-endian, as all machines here are; debuginfo_dwarf refuses others. */
static inline uint64_t scan_bytes(const unsigned char *at, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, at, size);
    return value;
}

/* Bytes of a form that always takes the same, -1 for others. */
int scan_form_size(const struct unit *unit, unsigned form);

/* The abbreviations at `offset` of that section, read once; NULL if there are none. */
struct abbreviations *abbreviations_read(const struct unit *unit, const Elf_Data *section,
                                         uint64_t offset);
const struct abbreviation *abbreviations_find(const struct abbreviations *table, uint64_t code);
void abbreviations_free(struct abbreviations *table);

#endif
