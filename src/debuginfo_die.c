/* debuginfo_die.c: the attributes of an entry as text, numbers and other entries. */
#include "debuginfo_scan.h"

enum { MAX_ORIGINS = 16 };

Dwarf_Die die_handle(const struct die *die)
{
    return (Dwarf_Die){.addr = (void *)die->address, .cu = die->unit->cu};
}

Dwarf_Attribute die_attribute(const struct die *die, enum attribute attribute)
{
    return (Dwarf_Attribute){
        .code = scan_codes[attribute], .form = die->at[attribute].form,
        .valp = (unsigned char *)die->at[attribute].value, .cu = die->unit->cu,
    };
}

const char *die_string(const struct die *die, enum attribute attribute)
{
    if (!die_has(die, attribute))
        return NULL;
    Dwarf_Attribute handle = die_attribute(die, attribute);
    const char *text = handle.form == DW_FORM_string ? (const char *)handle.valp : dwarf_formstring(&handle);
    return text && *text ? text : NULL;
}

bool die_number(const struct die *die, enum attribute attribute, int64_t *value)
{
    if (!die_has(die, attribute))
        return false;
    const unsigned char *at = die->at[attribute].value;
    switch (die->at[attribute].form) {
    case DW_FORM_data1: case DW_FORM_flag:
        *value = (int64_t)scan_bytes(at, 1);
        return true;
    case DW_FORM_data2:
        *value = (int64_t)scan_bytes(at, 2);
        return true;
    case DW_FORM_data4:
        *value = (int64_t)scan_bytes(at, 4);
        return true;
    case DW_FORM_data8:
        *value = (int64_t)scan_bytes(at, 8);
        return true;
    case DW_FORM_udata:
        *value = (int64_t)scan_unsigned(&at, die->unit->end);
        return true;
    case DW_FORM_sdata:
        *value = scan_signed(&at, die->unit->end);
        return true;
    case DW_FORM_implicit_const:
        *value = scan_signed(&at, die->unit->abbreviations->end);
        return at != NULL;
    default:
        return false;
    }
}

bool die_flag(const struct die *die, enum attribute attribute)
{
    if (!die_has(die, attribute))
        return false;
    return die->at[attribute].form == DW_FORM_flag_present || *die->at[attribute].value != 0;
}

/* The value of a reference inside the unit, from its start; 0 for references of other kinds. */
static uint64_t local_reference(const struct die *die, enum attribute attribute)
{
    const unsigned char *at = die->at[attribute].value;
    switch (die->at[attribute].form) {
    case DW_FORM_ref1:
        return scan_bytes(at, 1);
    case DW_FORM_ref2:
        return scan_bytes(at, 2);
    case DW_FORM_ref4:
        return scan_bytes(at, 4);
    case DW_FORM_ref8:
        return scan_bytes(at, 8);
    case DW_FORM_ref_udata:
        return scan_unsigned(&at, die->unit->end);
    default:
        return 0;
    }
}

bool die_refer(const struct die *die, enum attribute attribute, struct die *to)
{
    if (!die_has(die, attribute))
        return false;
    struct unit *unit = die->unit;
    uint64_t offset = local_reference(die, attribute);
    if (offset)
        return offset < (uint64_t)(unit->end - unit->start) && die_read(unit, unit->start + offset, to);
    Dwarf_Attribute handle = die_attribute(die, attribute);
    Dwarf_Die target;
    if (!dwarf_formref_die(&handle, &target))
        return false;
    unit = debuginfo_unit(unit->debug, target.cu);
    return unit && die_read(unit, target.addr, to);
}

bool die_origin(const struct die *die, struct die *origin)
{
    return die_refer(die, die_has(die, AT_ABSTRACT_ORIGIN) ? AT_ABSTRACT_ORIGIN : AT_SPECIFICATION, origin);
}

bool die_inherit(const struct die *die, enum attribute attribute, struct die *holder)
{
    *holder = *die;
    for (int i = 0; i < MAX_ORIGINS && !die_has(holder, attribute); i++)
        if (!die_origin(holder, holder))
            return false;
    return die_has(holder, attribute);
}

const char *die_name(const struct die *die)
{
    if (die_has(die, AT_NAME))
        return die_string(die, AT_NAME);
    struct die holder;
    return die_inherit(die, AT_NAME, &holder) ? die_string(&holder, AT_NAME) : NULL;
}
