/* debuginfo_scan.c: walks the entries of a unit as fast as its bytes can be read, since an index
 * looks at all of them and libdw takes ten times as long. Trusts no length, code or offset. */
#include "debuginfo_scan.h"

#include <stdlib.h>

enum entry { ENTRY_BAD, ENTRY_NULL, ENTRY_DIE };

int scan_form_size(const struct unit *unit, unsigned form)
{
    switch (form) {
    case DW_FORM_flag_present: case DW_FORM_implicit_const:
        return 0;
    case DW_FORM_data1: case DW_FORM_flag: case DW_FORM_ref1: case DW_FORM_strx1:
    case DW_FORM_addrx1:
        return 1;
    case DW_FORM_data2: case DW_FORM_ref2: case DW_FORM_strx2: case DW_FORM_addrx2:
        return 2;
    case DW_FORM_strx3: case DW_FORM_addrx3:
        return 3;
    case DW_FORM_data4: case DW_FORM_ref4: case DW_FORM_strx4: case DW_FORM_addrx4:
    case DW_FORM_ref_sup4:
        return 4;
    case DW_FORM_data8: case DW_FORM_ref8: case DW_FORM_ref_sig8: case DW_FORM_ref_sup8:
        return 8;
    case DW_FORM_data16:
        return 16;
    case DW_FORM_addr:
        return (int)unit->address_size;
    case DW_FORM_ref_addr:
        return (int)(unit->version == 2 ? unit->address_size : unit->offset_size);
    case DW_FORM_strp: case DW_FORM_sec_offset: case DW_FORM_line_strp: case DW_FORM_strp_sup:
    case DW_FORM_GNU_ref_alt: case DW_FORM_GNU_strp_alt:
        return (int)unit->offset_size;
    default:
        return -1;
    }
}

static const unsigned char *skip_counted(const unsigned char *at, const unsigned char *end,
                                         unsigned length_size)
{
    if ((size_t)(end - at) < length_size)
        return NULL;
    uint64_t length = scan_bytes(at, length_size);
    at += length_size;
    return length <= (uint64_t)(end - at) ? at + length : NULL;
}

/* The byte after a value of that form, NULL if it does not end before the unit does. */
static const unsigned char *skip_form(const struct unit *unit, unsigned form,
                                      const unsigned char *at)
{
    const unsigned char *end = unit->end;
    int size = scan_form_size(unit, form);
    if (size >= 0)
        return end - at >= size ? at + size : NULL;
    switch (form) {
    case DW_FORM_string:
        at = memchr(at, 0, (size_t)(end - at));
        return at ? at + 1 : NULL;
    case DW_FORM_udata: case DW_FORM_sdata: case DW_FORM_ref_udata: case DW_FORM_strx:
    case DW_FORM_addrx: case DW_FORM_loclistx: case DW_FORM_rnglistx: case DW_FORM_GNU_addr_index:
    case DW_FORM_GNU_str_index:
        scan_unsigned(&at, end);
        return at;
    case DW_FORM_block1:
        return skip_counted(at, end, 1);
    case DW_FORM_block2:
        return skip_counted(at, end, 2);
    case DW_FORM_block4:
        return skip_counted(at, end, 4);
    case DW_FORM_block: case DW_FORM_exprloc: {
        uint64_t length = scan_unsigned(&at, end);
        return at && length <= (uint64_t)(end - at) ? at + length : NULL;
    }
    default:
        return NULL;
    }
}

/* The byte after an attribute, whose form may be another than in the abbreviation (DW_FORM_indirect). */
static inline const unsigned char *skip_attribute(const struct unit *unit,
                                                  const struct abbreviation_attribute *attribute,
                                                  unsigned form, const unsigned char *at)
{
    if (attribute->size < 0)
        return skip_form(unit, form, at);
    return unit->end - at >= attribute->size ? at + attribute->size : NULL;
}

static enum entry read_entry(struct unit *unit, const unsigned char *at, struct die *die)
{
    if (at < unit->start || at >= unit->end)
        return ENTRY_BAD;
    die->unit = unit;
    die->address = at;
    die->has = 0;
    uint64_t code = scan_unsigned(&at, unit->end);
    die->after = at;
    if (!at || code == 0)
        return at ? ENTRY_NULL : ENTRY_BAD;
    const struct abbreviation *abbreviation = abbreviations_find(unit->abbreviations, code);
    if (!abbreviation)
        return ENTRY_BAD;
    die->tag = abbreviation->tag;
    die->has_children = abbreviation->has_children;
    const struct abbreviation_attribute *attribute = unit->abbreviations->attributes + abbreviation->first;
    for (const struct abbreviation_attribute *end = attribute + abbreviation->count; attribute < end;
         attribute++) {
        unsigned form = attribute->form;
        if (form == DW_FORM_indirect) {
            form = (unsigned)scan_unsigned(&at, unit->end);
            if (!at || form == DW_FORM_implicit_const)
                return ENTRY_BAD;
        }
        if (attribute->which < ATTRIBUTES) {
            bool is_implicit = form == DW_FORM_implicit_const;
            die->has |= (uint64_t)1 << attribute->which;
            die->at[attribute->which].form = form;
            die->at[attribute->which].value =
                is_implicit ? unit->abbreviations->bytes + attribute->implicit : at;
        }
        at = skip_attribute(unit, attribute, form, at);
        if (!at)
            return ENTRY_BAD;
    }
    die->after = at;
    return ENTRY_DIE;
}

/* Where the value of a DW_AT_sibling leads, NULL unless that is ahead, in the unit. */
static const unsigned char *sibling_at(const struct unit *unit, const unsigned char *value,
                                       const unsigned char *after)
{
    uint64_t offset = scan_bytes(value, 4);
    bool is_inside = offset < (uint64_t)(unit->end - unit->start) && unit->start + offset > after;
    return is_inside ? unit->start + offset : NULL;
}

/* The same without looking at its attributes. Where it says what its next sibling is, its children are
 * skipped, too; *has_children: they come next. */
static enum entry skip_entry(struct unit *unit, const unsigned char **position, bool *has_children)
{
    const unsigned char *at = *position, *sibling = NULL;
    if (at >= unit->end)
        return ENTRY_BAD;
    uint64_t code = scan_unsigned(&at, unit->end);
    const struct abbreviation *abbreviation =
        at && code ? abbreviations_find(unit->abbreviations, code) : NULL;
    if (!abbreviation) {
        *position = at;
        return at && code == 0 ? ENTRY_NULL : ENTRY_BAD;
    }
    *has_children = abbreviation->has_children;
    if (abbreviation->size != ABBREVIATION_VARIES) {
        if (abbreviation->size > unit->end - at)
            return ENTRY_BAD;
        if (abbreviation->sibling != NO_SIBLING)
            sibling = at + abbreviation->sibling;
        at += abbreviation->size;
    } else {
        const struct abbreviation_attribute *attribute =
            unit->abbreviations->attributes + abbreviation->first;
        const struct abbreviation_attribute *end = attribute + abbreviation->count;
        for (; at && attribute < end; attribute++) {
            unsigned form = attribute->form;
            if (attribute->which == AT_SIBLING && form == DW_FORM_ref4)
                sibling = at;
            if (form == DW_FORM_indirect)
                form = (unsigned)scan_unsigned(&at, unit->end);
            if (at)
                at = skip_attribute(unit, attribute, form, at);
        }
    }
    *position = at;
    if (at && *has_children && sibling) {
        sibling = sibling_at(unit, sibling, at);
        *has_children = !sibling;
        *position = sibling ? sibling : at;
    }
    return at ? ENTRY_DIE : ENTRY_BAD;
}

bool die_read(struct unit *unit, const unsigned char *address, struct die *die)
{
    return read_entry(unit, address, die) == ENTRY_DIE;
}

bool die_root(struct unit *unit, struct die *die)
{
    return die_read(unit, unit->root.addr, die);
}

void walk_start(struct walk *walk, const struct die *parent)
{
    *walk = (struct walk){.unit = parent->unit, .at = parent->after, .next_depth = parent->has_children};
}

bool walk_next(struct walk *walk, struct die *die)
{
    while (walk->next_depth > 0) {
        enum entry entry = read_entry(walk->unit, walk->at, die);
        if (entry == ENTRY_BAD)
            break;
        walk->at = die->after;
        if (entry == ENTRY_DIE) {
            walk->depth = walk->next_depth;
            walk->next_depth += die->has_children;
            return true;
        }
        walk->next_depth--;
    }
    walk->next_depth = 0;
    return false;
}

/* Over what lies below the entry at `depth` that was met last. */
static void skip_below(struct walk *walk, unsigned depth)
{
    while (walk->next_depth > depth) {
        bool has_children = false;
        enum entry entry = skip_entry(walk->unit, &walk->at, &has_children);
        if (entry == ENTRY_BAD)
            walk->next_depth = 0;
        else if (entry == ENTRY_NULL)
            walk->next_depth--;
        else
            walk->next_depth += has_children;
    }
}

/* The tag of the entry that comes, 0: none. */
static unsigned next_tag(const struct walk *walk)
{
    const unsigned char *at = walk->at;
    if (at >= walk->unit->end)
        return 0;
    uint64_t code = scan_unsigned(&at, walk->unit->end);
    const struct abbreviation *abbreviation =
        at && code ? abbreviations_find(walk->unit->abbreviations, code) : NULL;
    return abbreviation ? abbreviation->tag : 0;
}

bool walk_next_of(struct walk *walk, bool (*is_wanted)(unsigned tag), struct die *die)
{
    while (walk->next_depth > 0) {
        unsigned tag = next_tag(walk), depth = walk->next_depth;
        if (tag && is_wanted(tag))
            return walk_next(walk, die);
        bool has_children = false;
        enum entry entry = skip_entry(walk->unit, &walk->at, &has_children);
        if (entry == ENTRY_BAD)
            break;
        if (entry == ENTRY_NULL) {
            walk->next_depth--;
            continue;
        }
        walk->next_depth += has_children;
        skip_below(walk, depth);
    }
    walk->next_depth = 0;
    return false;
}

void walk_skip(struct walk *walk, const struct die *die)
{
    if (!die->has_children || walk->next_depth <= walk->depth)
        return;
    Dwarf_Attribute attribute = {0};
    if (die_has(die, AT_SIBLING))
        attribute = die_attribute(die, AT_SIBLING);
    const unsigned char *sibling =
        attribute.form == DW_FORM_ref4 ? sibling_at(walk->unit, attribute.valp, die->after) : NULL;
    if (sibling) {
        walk->at = sibling;
        walk->next_depth = walk->depth;
        return;
    }
    skip_below(walk, walk->depth);
}
