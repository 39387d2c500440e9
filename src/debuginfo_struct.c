/* debuginfo_struct.c: what is inside: members, bit-fields and enumerators of a type, parameters
 * of a function. */
#include "debuginfo_internal.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PARAMETERS = 1024, MAX_BITS = 128, CLANG_CC_SYSV = 0xc2 };

/* ---- Members ---- */

static const char *reason_to_be_opaque(const struct die *die, const struct die *child)
{
    int64_t convention = 0;
    if (!child) {
        die_number(die, AT_CALLING_CONVENTION, &convention);
        if (convention == DW_CC_pass_by_reference)
            return "a C++ class with constructors, destructors or virtual functions";
        return die_has(die, AT_CONTAINING_TYPE) ? "a C++ class with virtual functions" : NULL;
    }
    if (child->tag == DW_TAG_inheritance)
        return "a C++ class with a base class";
    if (child->tag == DW_TAG_variant_part)
        return "a tagged union of another language";
    return NULL;
}

/* Bytes from the start of the struct; absent means 0, as in unions. */
static bool member_location(const struct die *member, int64_t *offset)
{
    Dwarf_Op *operations;
    size_t count;
    *offset = 0;
    if (!die_has(member, AT_MEMBER_LOCATION) || die_number(member, AT_MEMBER_LOCATION, offset))
        return *offset >= 0;
    Dwarf_Attribute attribute = die_attribute(member, AT_MEMBER_LOCATION);
    if (dwarf_getlocation(&attribute, &operations, &count) != 0 || count != 1 ||
        operations[0].atom != DW_OP_plus_uconst)
        return false;
    *offset = (int64_t)operations[0].number;
    return *offset >= 0;
}

/* Bits from the start of the struct to the least significant bit of a bit-field. */
static bool bit_location(const struct die *member, const struct type *type, int64_t bits,
                         int64_t *position)
{
    int64_t offset, size = (int64_t)type->size, from_top;
    if (die_number(member, AT_DATA_BIT_OFFSET, position))
        return *position >= 0;
    if (!member_location(member, &offset) || offset > INT32_MAX)
        return false;
    *position = offset * 8;
    if (!die_number(member, AT_BIT_OFFSET, &from_top))
        return true;
    die_number(member, AT_BYTE_SIZE, &size);  /* DWARF 2 and 3 count from the unit's other end */
    if (member->at[AT_BIT_OFFSET].form == DW_FORM_data4)
        from_top = (int32_t)from_top;
    if (size < 0 || size > MAX_BITS || from_top < -MAX_BITS || from_top > MAX_BITS)
        return false;
    *position += size * 8 - from_top - bits;
    return *position >= 0;
}

/* The same integer, enum or bool with a storage unit of that many bytes. */
static const struct type *with_size(struct types *table, const struct type *type, uint64_t size)
{
    if (type->size == size)
        return type;
    struct type *copy = types_add(table, type->kind);
    *copy = *type->plain;
    copy->plain = copy;
    copy->size = size;
    copy->align = 1;
    return copy;
}

/* Choose the storage unit: the declared type's, aligned, where the field lies in one and that lies
 * in the struct; else a smaller or an unaligned one, as packed structs need. */
static bool place_bits(struct types *table, struct field *field, uint64_t position, uint64_t limit)
{
    uint64_t declared = field->type->size, bits = field->bit_size;
    for (uint64_t size = declared; size > 0; size /= 2) {
        uint64_t aligned = position / 8 / size * size, unaligned = position / 8;
        uint64_t offset = position + bits <= (aligned + size) * 8 ? aligned : unaligned;
        if (offset + size > limit || position + bits > (offset + size) * 8)
            continue;
        field->type = with_size(table, field->type, size);
        field->offset = offset;
        field->bit_offset = (uint16_t)(position - offset * 8);
        return true;
    }
    for (uint64_t size = declared; size > 0; size /= 2) {     /* one that ends with the struct */
        uint64_t offset = limit - size;
        if (size > limit || offset * 8 > position || position + bits > limit * 8)
            continue;
        field->type = with_size(table, field->type, size);
        field->offset = offset;
        field->bit_offset = (uint16_t)(position - offset * 8);
        return true;
    }
    return false;
}

static bool read_bit_field(const struct die *member, struct field *field, int64_t bits, uint64_t limit)
{
    struct debuginfo *debug = member->unit->debug;
    enum type_kind kind = field->type->plain->kind;
    int64_t position;
    bool is_valid = (kind == TYPE_INT || kind == TYPE_ENUM || kind == TYPE_BOOL) && bits > 0 &&
                    bits <= (int64_t)field->type->size * 8 &&
                    bit_location(member, field->type, bits, &position);
    field->bit_size = (uint16_t)bits;
    if (is_valid && place_bits(debug->types, field, (uint64_t)position, limit))
        return true;
    field->bit_size = 0;
    field->type = debuginfo_unsupported(debug, NULL, 0, "a bit-field that no storage unit holds");
    return is_valid;
}

/* False when the member's place cannot be known. */
static bool read_member(const struct die *member, struct field *field, uint64_t limit)
{
    struct debuginfo *debug = member->unit->debug;
    int64_t bits = 0, offset = 0;
    *field = (struct field){0};
    field->name = types_string(debug->types, die_string(member, AT_NAME));
    field->type = debuginfo_value_type_of(member, false);
    if (die_number(member, AT_BIT_SIZE, &bits))
        return read_bit_field(member, field, bits, limit);
    if (!member_location(member, &offset))
        return false;
    field->offset = (uint64_t)offset;
    if (field->offset > limit || field->type->size > limit - field->offset)
        field->type = debuginfo_unsupported(debug, NULL, 0, "a member outside of its struct");
    return true;
}

/* Alignment is not in the debug info; a packed struct shows by members or a size that do not fit. */
static void measure_alignment(const struct die *die, struct type *type, uint32_t largest)
{
    int64_t given = 0;
    for (uint64_t i = 0; i < type->count; i++) {
        const struct field *field = &type->fields[i];
        uint32_t align = field->type->align;
        while (align > 1 && field->offset % align != 0)
            align /= 2;
        if (align > largest)
            largest = align;
    }
    if (die_number(die, AT_ALIGNMENT, &given) && given > (int64_t)largest && given <= 1 << 20)
        largest = (uint32_t)given;
    while (largest > 1 && type->size % largest != 0)
        largest /= 2;
    type->align = largest;
}

bool debuginfo_read_fields(const struct die *die, struct type *type, const char **reason)
{
    struct field *fields = NULL;
    size_t count = 0, capacity = 0;
    uint32_t align = 1;
    struct walk walk;
    struct die child;
    *reason = reason_to_be_opaque(die, NULL);
    for (walk_start(&walk, die); !*reason && walk_next(&walk, &child); walk_skip(&walk, &child)) {
        int64_t given = 0;
        *reason = reason_to_be_opaque(die, &child);
        if (child.tag != DW_TAG_member || die_flag(&child, AT_DECLARATION) ||
            die_flag(&child, AT_EXTERNAL))
            continue;
        fields = list_grow(fields, count, &capacity, sizeof *fields);
        if (!read_member(&child, &fields[count++], type->size))
            *reason = "its debug info is damaged";
        if (die_number(&child, AT_ALIGNMENT, &given) && given > align && given <= 1 << 20)
            align = (uint32_t)given;
    }
    if (!*reason) {
        struct field *copy = types_allocate(die->unit->debug->types, (count + 1) * sizeof *copy);
        if (count > 0)
            memcpy(copy, fields, count * sizeof *copy);
        type->fields = copy;
        type->count = count;
        measure_alignment(die, type, align);
    }
    free(fields);
    return !*reason;
}

/* ---- Enumerators ---- */

void debuginfo_read_enumerators(const struct die *die, struct type *type)
{
    struct types *table = die->unit->debug->types;
    struct enumerator *list = NULL;
    size_t count = 0, capacity = 0;
    bool has_negative = false;
    struct walk walk;
    struct die child;
    for (walk_start(&walk, die); walk_next(&walk, &child); walk_skip(&walk, &child)) {
        struct enumerator value = {types_string(table, die_string(&child, AT_NAME)), 0};
        if (child.tag != DW_TAG_enumerator || !value.name ||
            !die_number(&child, AT_CONST_VALUE, &value.value))
            continue;
        list = list_grow(list, count, &capacity, sizeof *list);
        list[count++] = value;
        has_negative |= value.value < 0 && child.at[AT_CONST_VALUE].form != DW_FORM_data8;
    }
    struct enumerator *copy = types_allocate(table, (count + 1) * sizeof *copy);
    if (count > 0)
        memcpy(copy, list, count * sizeof *copy);
    free(list);
    type->values = copy;
    type->count = count;
    const struct type *integer = die_has(die, AT_TYPE) ? debuginfo_type_of(die)->plain : NULL;
    if (!integer || integer->kind != TYPE_INT || integer->size != type->size) {
        const char *spelling = type->size == 1 ? has_negative ? "signed char" : "unsigned char" :
                               type->size == 2 ? has_negative ? "short" : "unsigned short" :
                               type->size == 8 ? has_negative ? "long" : "unsigned long" :
                               has_negative ? "int" : "unsigned int";
        integer = types_basic(table, spelling);
    }
    type->target = integer;
    type->is_signed = integer->is_signed;
    type->size = integer->size;
    type->align = integer->align;
}

/* ---- Functions ---- */

/* What an argument of that type is passed as when the function has no prototype. */
static const struct type *promoted(struct types *table, const struct type *type)
{
    if (type->kind == TYPE_FLOAT && type->size == sizeof(float))
        return types_basic(table, "double");
    if ((type->kind == TYPE_INT || type->kind == TYPE_BOOL) && type->size < sizeof(int))
        return types_basic(table, "int");
    return type;
}

/* Arrays and functions as parameters are pointers. */
static const struct type *read_parameter(const struct die *die)
{
    struct types *table = die->unit->debug->types;
    struct die holder;
    die_inherit(die, AT_TYPE, &holder);
    const struct type *type = debuginfo_type_of(&holder);
    if (type->kind == TYPE_ARRAY)
        return types_pointer_to(table, type->target);
    if (type->kind == TYPE_FUNCTION)
        return types_pointer_to(table, type);
    return debuginfo_value_type_of(&holder, false);
}

struct parameters {
    struct parameter *list;
    size_t count, capacity;
    bool is_variadic;
};

/* To the end: clang puts the entry of `...` behind the body's. */
static void read_parameters(const struct die *die, struct parameters *parameters)
{
    struct walk walk;
    struct die child;
    for (walk_start(&walk, die); walk_next(&walk, &child); walk_skip(&walk, &child)) {
        if (child.tag == DW_TAG_unspecified_parameters)
            parameters->is_variadic = true;
        if (child.tag != DW_TAG_formal_parameter || parameters->count > MAX_PARAMETERS)
            continue;
        parameters->list = list_grow(parameters->list, parameters->count, &parameters->capacity,
                                     sizeof *parameters->list);
        struct parameter *parameter = &parameters->list[parameters->count++];
        parameter->name = types_string(die->unit->debug->types, die_name(&child));
        parameter->type = read_parameter(&child);
    }
}

/* The entry whose parameters are whole: an instance may lack those that the optimiser removed. */
static void find_signature(const struct die *die, struct die *signature)
{
    struct die child;
    struct walk walk;
    *signature = *die;
    for (int i = 0; i < 8 && die_has(signature, AT_ABSTRACT_ORIGIN); i++)
        if (!die_origin(signature, signature))
            break;
    walk_start(&walk, signature);
    if (!walk_next(&walk, &child) && die_has(signature, AT_SPECIFICATION))
        die_origin(signature, signature);
}

static bool has_own_convention(const struct die *die)
{
    int64_t convention = DW_CC_normal;
    struct die holder;
    if (die_inherit(die, AT_CALLING_CONVENTION, &holder))
        die_number(&holder, AT_CALLING_CONVENTION, &convention);
    return convention != DW_CC_normal && convention != DW_CC_program && convention != CLANG_CC_SYSV;
}

static struct type *make_function(const struct die *die, const struct parameters *parameters,
                                  bool has_prototype)
{
    struct types *table = die->unit->debug->types;
    struct type *type = types_add(table, TYPE_FUNCTION);
    struct parameter *copy = types_allocate(table, (parameters->count + 1) * sizeof *copy);
    for (size_t i = 0; i < parameters->count; i++) {
        copy[i] = parameters->list[i];
        if (!has_prototype)
            copy[i].type = promoted(table, copy[i].type);
    }
    type->parameters = copy;
    type->count = parameters->count;
    type->is_unprototyped = !has_prototype && parameters->count == 0;
    type->is_variadic = parameters->is_variadic && !type->is_unprototyped;
    return type;
}

const struct type *debuginfo_read_function(const struct die *die)
{
    struct debuginfo *debug = die->unit->debug;
    struct parameters parameters = {0};
    struct die signature, holder;
    if (has_own_convention(die))
        return debuginfo_unsupported(debug, NULL, 0, "a function with a calling convention of its own");
    find_signature(die, &signature);
    bool has_prototype = die_inherit(die, AT_PROTOTYPED, &holder) || !signature.unit->is_c;
    read_parameters(&signature, &parameters);
    struct type *type;
    if (parameters.count > MAX_PARAMETERS) {
        type = debuginfo_unsupported(debug, NULL, 0, "a function with too many parameters");
    } else {
        type = make_function(die, &parameters, has_prototype);
        die_inherit(die, AT_TYPE, &holder);
        type->target = debuginfo_value_type_of(&holder, true);
    }
    free(parameters.list);
    return type;
}
