/* debuginfo_types.c: entries of DWARF to nodes of the type table. Structs, unions and enums are
 * made lazy, and one node stands for the same definition in several units. */
#include "debuginfo_internal.h"

#include <stdio.h>
#include <string.h>

enum { MAX_DIMENSIONS = 32 };

struct type *debuginfo_unsupported(struct debuginfo *debug, const char *name, uint64_t size,
                                   const char *reason)
{
    struct types *table = debug->types;
    name = types_string(table, name);
    reason = types_string(table, reason);
    uint64_t key = (uintptr_t)name * 31 + (uintptr_t)reason * 17 + size;
    void **place = map_claim(&debug->unsupported, key);
    struct type *type = *place;
    if (type && type->name == name && type->reason == reason && type->size == size)
        return type;
    type = types_add(table, TYPE_UNSUPPORTED);
    type->name = name;
    type->reason = reason;
    type->size = size;
    *place = type;
    return type;
}

/* ---- Basic types ---- */

static const struct type *basic_or_unsupported(const struct die *die, const char *spelling,
                                               const char *name, uint64_t size, const char *reason)
{
    struct debuginfo *debug = die->unit->debug;
    const struct type *type = spelling ? types_basic(debug->types, spelling) : NULL;
    if (!type || type->size != size)
        return debuginfo_unsupported(debug, name, size, reason);
    const struct type *named = name ? types_basic(debug->types, name) : NULL;
    bool is_own = named && named->kind == type->kind && named->size == size &&
                  named->is_signed == type->is_signed && named->is_char == type->is_char;
    if (is_own)
        return named;
    bool is_c_name = name && (die->unit->is_c || die->unit->is_cplusplus);
    return is_c_name ? types_aliased(debug->types, type, name) : type;
}

static const char *spelling_of_integer(uint64_t size, bool is_signed)
{
    switch (size) {
    case 1:
        return is_signed ? "signed char" : "unsigned char";
    case 2:
        return is_signed ? "short" : "unsigned short";
    case 4:
        return is_signed ? "int" : "unsigned int";
    case 8:
        return is_signed ? "long" : "unsigned long";
    case 16:
        return is_signed ? "__int128" : "unsigned __int128";
    default:
        return NULL;
    }
}

static const char *spelling_of_float(const char *name, uint64_t size)
{
    bool is_long = name && (strcmp(name, "long double") == 0 || strcmp(name, "_Float64x") == 0);
    if (size == sizeof(float))
        return "float";
    if (size == sizeof(double))
        return "double";
    return is_long ? "long double" : NULL;
}

static const char *spelling_of_complex(const char *name, uint64_t size)
{
    if (size == 2 * sizeof(float))
        return "float _Complex";
    if (size == 2 * sizeof(double))
        return "double _Complex";
    return name && strstr(name, "128") ? NULL : "long double _Complex";
}

static bool is_bit_precise(const char *name)
{
    return name && (strstr(name, "_BitInt") || strstr(name, "_ExtInt"));
}

static const struct type *read_basic(const struct die *die)
{
    int64_t encoding = 0, size = 0;
    const char *name = die_string(die, AT_NAME);
    die_number(die, AT_ENCODING, &encoding);
    die_number(die, AT_BYTE_SIZE, &size);
    bool is_signed = encoding == DW_ATE_signed || encoding == DW_ATE_signed_char;
    const char *spelling = spelling_of_integer((uint64_t)size, is_signed);
    const char *reason = "not a number that C has";
    if (size == 0)
        return types_basic(die->unit->debug->types, "void");
    switch (encoding) {
    case DW_ATE_boolean:
        return basic_or_unsupported(die, size == 1 ? "_Bool" : spelling, name, (uint64_t)size, reason);
    case DW_ATE_signed_char: case DW_ATE_unsigned_char: case DW_ATE_signed: case DW_ATE_unsigned:
    case DW_ATE_UTF:
        if (is_bit_precise(name))
            spelling = NULL;
        return basic_or_unsupported(die, spelling, name, (uint64_t)size, "a bit-precise integer");
    case DW_ATE_float:
        return basic_or_unsupported(die, spelling_of_float(name, (uint64_t)size), name,
                                    (uint64_t)size, "a floating point number that Lua has not");
    case DW_ATE_complex_float:
        spelling = spelling_of_complex(name, (uint64_t)size);
        if (name && spelling && strcmp(name, "complex") == 0)    /* clang's name for all of them */
            name = spelling;
        return basic_or_unsupported(die, spelling, name, (uint64_t)size,
                                    "a complex number that Lua has not");
    case DW_ATE_decimal_float:
        reason = "a decimal floating point number";
        break;
    }
    return debuginfo_unsupported(die->unit->debug, name, (uint64_t)size, reason);
}

/* ---- Structs, unions, enums ---- */

bool debuginfo_is_tagged(unsigned tag, enum type_kind *kind)
{
    switch (tag) {
    case DW_TAG_structure_type: case DW_TAG_class_type: case DW_TAG_interface_type:
        *kind = TYPE_STRUCT;
        return true;
    case DW_TAG_union_type:
        *kind = TYPE_UNION;
        return true;
    case DW_TAG_enumeration_type:
        *kind = TYPE_ENUM;
        return true;
    default:
        return false;
    }
}

static struct type_note *add_note(const struct die *die)
{
    struct debuginfo *debug = die->unit->debug;
    struct type_note *note = types_allocate(debug->types, sizeof *note);
    note->unit = die->unit;
    note->die = die->address;
    *map_claim(&debug->notes, (uintptr_t)die->address) = note;
    return note;
}

static const char *file_of_note(struct type_note *note)
{
    struct die die;
    if (!note->file && die_read(note->unit, note->die, &die))
        note->file = debuginfo_decl_file(&die);
    return note->file;
}

/* A definition already met, from another unit, that this one repeats; or for a declaration
 * any; or a declaration that this definition can complete. */
static struct type_note *find_same(struct type_note *list, struct type_note *note)
{
    for (struct type_note *other = list; other; other = other->same_name) {
        if (note->is_declaration)
            return other;
        if (!other->is_declaration && other->size == note->size && other->line == note->line &&
            file_of_note(other) == file_of_note(note))
            return other;
    }
    for (struct type_note *other = list; other; other = other->same_name)
        if (other->is_declaration && other->type->is_lazy)
            return other;
    return NULL;
}

/* The node of a struct, union or enum; `name` is its tag or that of the typedef around it. */
static const struct type *read_tagged(const struct die *die, struct type_note *note,
                                      const char *name, bool is_typedef_name)
{
    struct debuginfo *debug = die->unit->debug;
    enum type_kind kind = TYPE_STRUCT;
    debuginfo_is_tagged(die->tag, &kind);
    die_number(die, AT_BYTE_SIZE, &note->size);
    die_number(die, AT_DECL_LINE, &note->line);
    note->is_declaration = die_flag(die, AT_DECLARATION);
    void **place = NULL;
    name = types_string(debug->types, name);
    if (name) {
        uint64_t key = (uintptr_t)name * 8 + (uint64_t)kind * 2 + is_typedef_name;
        place = map_claim(&debug->tagged, key);
        struct type_note *same = find_same(*place, note);
        if (same && same->is_declaration && !note->is_declaration) {
            same->unit = note->unit;
            same->die = note->die;
            same->size = note->size;
            same->line = note->line;
            same->file = note->file;
            same->is_declaration = false;
        }
        if (same)
            return note->type = same->type;
    }
    struct type *type = types_add(debug->types, kind);
    type->name = name;
    type->is_typedef_name = is_typedef_name;
    type->is_lazy = true;
    type->cookie = (uintptr_t)note;
    note->type = type;
    if (place) {
        note->same_name = *place;
        *place = note;
    }
    return type;
}

void debuginfo_read_lazy(void *context, struct type *type)
{
    struct debuginfo *debug = context;
    const struct type_note *note = (const void *)(uintptr_t)type->cookie;
    struct die die;
    int64_t size = 0;
    bool is_whole = note && debug->depth < MAX_DEPTH && die_read(note->unit, note->die, &die);
    if (is_whole && die_flag(&die, AT_DECLARATION))
        is_whole = die_refer(&die, AT_SIGNATURE, &die) ||
                   (type->name && debuginfo_find_definition(debug, type->kind, type->name, &die));
    if (is_whole)
        is_whole = die_number(&die, AT_BYTE_SIZE, &size) && size >= 0;
    debug->depth++;
    type->size = (uint64_t)size;
    if (is_whole && type->kind == TYPE_ENUM)
        debuginfo_read_enumerators(&die, type);
    else if (is_whole)
        is_whole = debuginfo_read_fields(&die, type, &type->reason);
    debug->depth--;
    if (!is_whole) {
        type->is_incomplete = true;
        type->size = 0;
    }
}

/* ---- Types made of others ---- */

/* A type that is held by value must be known; what is opaque is unsupported there. */
static const struct type *by_value(struct debuginfo *debug, const struct type *type, bool is_result)
{
    type_complete(type);
    const struct type *plain = type->plain;
    if (is_result ? plain->kind == TYPE_ARRAY : plain->kind == TYPE_VOID)
        return debuginfo_unsupported(debug, NULL, 0, "not a type that C has there");
    if (plain->kind == TYPE_FUNCTION)
        return debuginfo_unsupported(debug, NULL, 0, "a function that is not behind a pointer");
    bool is_tagged = plain->kind == TYPE_STRUCT || plain->kind == TYPE_UNION || plain->kind == TYPE_ENUM;
    if (is_tagged && (plain->is_lazy || plain->is_incomplete)) {
        const struct type_note *note = (const void *)(uintptr_t)plain->cookie;
        uint64_t size = note && plain->is_incomplete ? (uint64_t)note->size : 0;
        const char *reason = plain->is_lazy ? "it contains itself" :
                             plain->reason ? plain->reason : "it is declared but defined nowhere";
        return debuginfo_unsupported(debug, plain->name, size, reason);
    }
    if (plain->kind == TYPE_ARRAY) {
        const struct type *element = by_value(debug, plain->target, false);
        if (element != plain->target)
            return debuginfo_unsupported(debug, NULL, element->size * plain->count, element->reason);
    }
    return type;
}

/* The type that the attribute refers to, which may have a unit of its own (-fdebug-types-section). */
static const struct type *read_elsewhere(const struct die *die, enum attribute attribute)
{
    struct die target;
    Dwarf_Attribute handle = die_attribute(die, attribute);
    if (die_refer(die, attribute, &target))
        return debuginfo_read_type(&target);
    return debuginfo_unsupported(die->unit->debug, die_string(die, AT_NAME), 0,
        handle.form != DW_FORM_ref_sig8 ? "its debug info is damaged" :
        "its definition is in a type unit that cannot be read: compile without -fdebug-types-section");
}

const struct type *debuginfo_type_of(const struct die *die)
{
    if (!die_has(die, AT_TYPE))
        return types_basic(die->unit->debug->types, "void");
    return read_elsewhere(die, AT_TYPE);
}

const struct type *debuginfo_value_type_of(const struct die *die, bool is_result)
{
    return by_value(die->unit->debug, debuginfo_type_of(die), is_result);
}

static const struct type *read_pointer(const struct die *die)
{
    int64_t size = sizeof(void *);
    struct debuginfo *debug = die->unit->debug;
    die_number(die, AT_BYTE_SIZE, &size);
    if (size != sizeof(void *))
        return debuginfo_unsupported(debug, NULL, (uint64_t)size, "a pointer of another size");
    const struct type *target = debuginfo_type_of(die);
    const char *name = die->unit->is_rust ? die_string(die, AT_NAME) : NULL;
    bool is_shared = name && name[0] == '&' && strncmp(name, "&mut ", 5) != 0;
    if (name && (is_shared || strncmp(name, "*const ", 7) == 0))   /* Rust says it only here */
        target = types_qualified(debug->types, target, true, false);
    return types_pointer_to(debug->types, target);
}

static const struct type *read_typedef(const struct die *die)
{
    struct die target;
    enum type_kind kind;
    struct debuginfo *debug = die->unit->debug;
    const char *name = die_string(die, AT_NAME);
    bool is_anonymous = name && die_refer(die, AT_TYPE, &target) &&
                        debuginfo_is_tagged(target.tag, &kind) && !die_has(&target, AT_NAME) &&
                        !map_get(&debug->notes, (uintptr_t)target.address);
    if (is_anonymous)
        read_tagged(&target, add_note(&target), name, true);
    return types_aliased(debug->types, debuginfo_type_of(die), name);
}

/* Elements of one dimension; 0 when it is open. */
static uint64_t count_of_dimension(const struct die *dimension)
{
    int64_t count = 0, lower = 0, upper = 0;
    if (die_number(dimension, AT_COUNT, &count))
        return count < 0 ? 0 : (uint64_t)count;
    if (!die_number(dimension, AT_UPPER_BOUND, &upper))
        return 0;
    bool is_none = dimension->at[AT_UPPER_BOUND].form == DW_FORM_data4 && upper == UINT32_MAX;
    die_number(dimension, AT_LOWER_BOUND, &lower);
    return is_none || upper < lower ? 0 : (uint64_t)(upper - lower) + 1;
}

static const struct type *read_array(const struct die *die)
{
    struct debuginfo *debug = die->unit->debug;
    const struct type *type = debuginfo_type_of(die);
    if (die_flag(die, AT_VECTOR))
        return debuginfo_unsupported(debug, NULL, 0, "a vector");
    if (die_has(die, AT_BYTE_STRIDE))
        return debuginfo_unsupported(debug, NULL, 0, "an array with gaps");
    uint64_t counts[MAX_DIMENSIONS];
    unsigned count = 0;
    struct walk walk;
    struct die dimension;
    for (walk_start(&walk, die); walk_next(&walk, &dimension); walk_skip(&walk, &dimension))
        if (dimension.tag == DW_TAG_subrange_type && count < MAX_DIMENSIONS)
            counts[count++] = count_of_dimension(&dimension);
    if (count == 0)
        counts[count++] = 0;
    while (count > 0)
        type = types_array_of(debug->types, type, counts[--count]);
    return type;
}

/* The first child with that tag, and with that name unless it is NULL. */
static bool find_child(const struct die *die, unsigned tag, const char *name, struct die *child)
{
    struct walk walk;
    for (walk_start(&walk, die); walk_next(&walk, child); walk_skip(&walk, child)) {
        const char *own = name && child->tag == tag ? die_string(child, AT_NAME) : NULL;
        if (child->tag == tag && (!name || (own && strcmp(own, name) == 0)))
            return true;
    }
    return false;
}

/* Rust's c_void, which is C's void, and an Option of a pointer, which is a pointer that may be NULL; of other
 * types NULL. */
static const struct type *read_rust(const struct die *die)
{
    struct die some, member, target;
    int64_t size = 0;
    const char *name = die_string(die, AT_NAME);
    if (!name)
        return NULL;
    if (die->tag == DW_TAG_enumeration_type)
        return strcmp(name, "c_void") == 0 ? types_basic(die->unit->debug->types, "void") : NULL;
    bool is_pointer = die->tag == DW_TAG_structure_type && strncmp(name, "Option<", 7) == 0 &&
                      die_number(die, AT_BYTE_SIZE, &size) && size == sizeof(void *) &&
                      find_child(die, DW_TAG_structure_type, "Some", &some) &&
                      find_child(&some, DW_TAG_member, NULL, &member) &&
                      die_refer(&member, AT_TYPE, &target) && target.tag == DW_TAG_pointer_type;
    return is_pointer ? debuginfo_read_type(&target) : NULL;
}

static const struct type *read_new(const struct die *die, struct type_note *note)
{
    const struct type *special = die->unit->is_rust ? read_rust(die) : NULL;
    if (special)
        return special;
    struct types *table = die->unit->debug->types;
    switch (die->tag) {
    case DW_TAG_base_type:
        return read_basic(die);
    case DW_TAG_pointer_type:
        return read_pointer(die);
    case DW_TAG_typedef: case DW_TAG_template_alias:
        return read_typedef(die);
    case DW_TAG_const_type:
        return types_qualified(table, debuginfo_type_of(die), true, false);
    case DW_TAG_volatile_type:
        return types_qualified(table, debuginfo_type_of(die), false, true);
    case DW_TAG_restrict_type: case DW_TAG_atomic_type: case DW_TAG_packed_type:
    case DW_TAG_subrange_type:
        return debuginfo_type_of(die);
    case DW_TAG_array_type:
        return read_array(die);
    case DW_TAG_structure_type: case DW_TAG_class_type: case DW_TAG_interface_type:
    case DW_TAG_union_type: case DW_TAG_enumeration_type:
        return read_tagged(die, note, die_string(die, AT_NAME), false);
    case DW_TAG_subroutine_type:
        return debuginfo_read_function(die);
    }
    const char *reason = "a type that C does not have";
    if (die->tag == DW_TAG_reference_type || die->tag == DW_TAG_rvalue_reference_type)
        reason = "a C++ reference";
    else if (die->tag == DW_TAG_ptr_to_member_type)
        reason = "a C++ pointer to a member";
    return debuginfo_unsupported(die->unit->debug, die_string(die, AT_NAME), 0, reason);
}

const struct type *debuginfo_read_type(const struct die *die)
{
    struct debuginfo *debug = die->unit->debug;
    struct type_note *note = map_get(&debug->notes, (uintptr_t)die->address);
    if (note && note->type)
        return note->type;
    if (note)
        return debuginfo_unsupported(debug, die_string(die, AT_NAME), 0, "it refers to itself");
    if (debug->depth >= MAX_DEPTH)
        return debuginfo_unsupported(debug, die_string(die, AT_NAME), 0, "it is nested too deeply");
    note = add_note(die);
    debug->depth++;
    note->type = die_has(die, AT_SIGNATURE) ? read_elsewhere(die, AT_SIGNATURE) : read_new(die, note);
    debug->depth--;
    return note->type;
}
