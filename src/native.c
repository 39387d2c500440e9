/* native.c: libffi descriptions of C types. */
#include "native.h"

#include "cdecl.h"
#include "memory.h"

#include <stdlib.h>
#include <string.h>

/* Aggregates above this are passed in memory or by reference by every convention, whatever is in
 * them. */
enum { LARGEST_IN_REGISTERS = 64 };

/* What libffi aligns the stack to. */
enum { LARGEST_ALIGNMENT = 16 };

struct native_types {
    struct native_types *next;
    ffi_type type;
    ffi_type *elements[LARGEST_IN_REGISTERS + 1];
};

void native_types_free(struct native_types *list)
{
    while (list) {
        struct native_types *next = list->next;
        free(list);
        list = next;
    }
}

static void *refuse(const struct type *type, const char *why, struct error *error)
{
    char name[256];
    cdecl_print(name, sizeof name, type, "");
    error_set(error, "'%s' %s", name, why);
    return NULL;
}

/* A type without a name would be spelled as its reason. */
static void *refuse_unsupported(const struct type *type, const struct type *plain,
                                struct error *error)
{
    char name[256];
    if (!type->alias && !plain->name)
        return error_set(error, "a type is not supported: %s", plain->reason), NULL;
    cdecl_print(name, sizeof name, type, "");
    return error_set(error, "'%s' is not supported: %s", name, plain->reason), NULL;
}

/* Scalars ------------------------------------------------------------------------------------ */

static ffi_type *integer_of(uint64_t size, bool is_signed)
{
    switch (size) {
    case 1: return is_signed ? &ffi_type_sint8 : &ffi_type_uint8;
    case 2: return is_signed ? &ffi_type_sint16 : &ffi_type_uint16;
    case 4: return is_signed ? &ffi_type_sint32 : &ffi_type_uint32;
    case 8: return is_signed ? &ffi_type_sint64 : &ffi_type_uint64;
    default: return NULL;
    }
}

static ffi_type *float_of(const struct type *plain)
{
    if (plain->size == sizeof(float))
        return &ffi_type_float;
    if (plain->size == sizeof(double))
        return &ffi_type_double;
    return plain->name && strcmp(plain->name, "long double") == 0 ? &ffi_type_longdouble : NULL;
}

static ffi_type *complex_of(const struct type *plain)
{
#ifdef FFI_TARGET_HAS_COMPLEX_TYPE
    if (plain->size == 2 * sizeof(float))
        return &ffi_type_complex_float;
    if (plain->size == 2 * sizeof(double))
        return &ffi_type_complex_double;
    if (plain->size == 2 * sizeof(long double))
        return &ffi_type_complex_longdouble;
#endif
    (void)plain;
    return NULL;
}

static ffi_type *scalar_of(const struct type *plain)
{
    switch (plain->kind) {
    case TYPE_VOID: return &ffi_type_void;
    case TYPE_BOOL: return &ffi_type_uint8;
    case TYPE_INT: case TYPE_ENUM: return integer_of(plain->size, plain->is_signed);
    case TYPE_FLOAT: return float_of(plain);
    case TYPE_COMPLEX: return complex_of(plain);
    case TYPE_POINTER: return &ffi_type_pointer;
    default: return NULL;
    }
}

/* Aggregates --------------------------------------------------------------------------------- */

/* On x86-64 a long double is passed in memory and returned on the x87 stack, alone in a struct too.
 * With something else in the same bytes (a union) the whole is returned in memory. */
#ifdef __x86_64__
enum { EXTENDED_IS_APART = true };
#else
enum { EXTENDED_IS_APART = false };
#endif

struct leaf {
    uint64_t offset;
    ffi_type *type;          /* NULL: bits, of which only the place is known */
    uint64_t size;
};

/* The scalars of an aggregate, as far as they matter. */
struct leaves {
    struct leaf list[LARGEST_IN_REGISTERS];
    size_t count;
    bool is_full;            /* more than the list takes (empty arrays and unions of many) */
    bool has_overlap;        /* a union or bit-fields */
    bool is_misaligned;      /* packed */
    bool has_extended;       /* a long double, which x86-64 has registers of their own for */
    const struct type *refused;
};

static void add_leaf(struct leaves *leaves, uint64_t offset, ffi_type *type, uint64_t size)
{
    if (leaves->count == LARGEST_IN_REGISTERS) {
        leaves->is_full = true;
        return;
    }
    leaves->list[leaves->count++] = (struct leaf){offset, type, size};
}

static void add_field(struct leaves *leaves, const struct field *field, uint64_t offset);

static void add_leaves(struct leaves *leaves, const struct type *type, uint64_t offset)
{
    const struct type *plain = type_complete(type->plain);
    if (plain->kind == TYPE_STRUCT || plain->kind == TYPE_UNION) {
        if (plain->kind == TYPE_UNION)
            leaves->has_overlap = true;
        for (uint64_t i = 0; i < plain->count; i++)
            add_field(leaves, &plain->fields[i], offset);
    } else if (plain->kind == TYPE_ARRAY) {
        uint64_t size = type_complete(plain->target)->plain->size;
        for (uint64_t i = 0; i < plain->count && !leaves->is_full; i++)
            add_leaves(leaves, plain->target, offset + i * size);
    } else {
        ffi_type *scalar = scalar_of(plain);
        if (!scalar || scalar->size == 0)
            leaves->refused = type;
        else if (offset % scalar->alignment != 0)
            leaves->is_misaligned = true;
        if (scalar == &ffi_type_longdouble)
            leaves->has_extended = true;
        add_leaf(leaves, offset, scalar, plain->size);
    }
}

static void add_field(struct leaves *leaves, const struct field *field, uint64_t offset)
{
    uint64_t first = field->offset + field->bit_offset / 8;
    uint64_t last = field->offset + (field->bit_offset + field->bit_size + 7u) / 8;
    if (field->bit_size == 0) {
        add_leaves(leaves, field->type, offset + field->offset);
        return;
    }
    leaves->has_overlap = true;
    add_leaf(leaves, offset + first, NULL, last - first);
}

static bool is_float(const ffi_type *type)
{
    return type == &ffi_type_float || type == &ffi_type_double;
}

/* The one floating type that all of it consists of, NULL if it does not. */
static ffi_type *common_float(const struct leaves *leaves)
{
    ffi_type *common = leaves->count > 0 ? leaves->list[0].type : NULL;
    for (size_t i = 0; i < leaves->count; i++)
        if (leaves->list[i].type != common)
            return NULL;
    return common && is_float(common) ? common : NULL;
}

/* Is there an integer, or nothing at all, in the eight bytes there? */
static bool is_integer_word(const struct leaves *leaves, uint64_t word)
{
    bool is_empty = true;
    for (size_t i = 0; i < leaves->count; i++) {
        const struct leaf *leaf = &leaves->list[i];
        if (leaf->offset >= word + 8 || leaf->offset + leaf->size <= word)
            continue;
        is_empty = false;
        if (!leaf->type || !is_float(leaf->type))
            return true;
    }
    return is_empty;
}

/* Overlapping members: each eight bytes go into one register, a floating one if nothing else is
 * there. */
static void describe_words(struct native_types *made, const struct type *plain,
                           const struct leaves *leaves)
{
    ffi_type *common = common_float(leaves);
    uint64_t unit = plain->align < 8 ? plain->align : 8;
    size_t used = 0;
    for (uint64_t at = 0; at < plain->size;) {
        ffi_type *element = common;
        if (!element && is_integer_word(leaves, at / 8 * 8))
            element = integer_of(unit, false);
        else if (!element)
            element = unit == 8 ? &ffi_type_double : &ffi_type_float;
        made->elements[used++] = element;
        at += element->size;
    }
}

/* Members one behind the other, as libffi lays them out itself. False if it would not get the same
 * offsets. */
static bool describe_members(struct native_types *made, const struct leaves *leaves)
{
    uint64_t end = 0;
    for (size_t i = 0; i < leaves->count; i++) {
        ffi_type *type = leaves->list[i].type;
        uint64_t place = (end + type->alignment - 1) / type->alignment * type->alignment;
        if (place != leaves->list[i].offset)
            return false;
        made->elements[i] = type;
        end = place + type->size;
    }
    return true;
}

static ffi_type *aggregate_of(struct native_types **list, const struct type *type,
                              const struct type *plain, struct error *error)
{
    struct leaves leaves = {.count = 0};
    bool is_large = plain->size > LARGEST_IN_REGISTERS;
    if (plain->is_incomplete)
        return refuse(type, "is incomplete: it cannot be passed by value", error);
    if (plain->size == 0)
        return refuse(type, "is empty: it cannot be passed by value", error);
    if (plain->align > LARGEST_ALIGNMENT)
        return refuse(type, "is aligned to more than 16 bytes: it cannot be passed by value; pass "
                      "a pointer", error);
    if (!is_large)
        add_leaves(&leaves, plain, 0);
    if (leaves.refused)
        return refuse(leaves.refused, "inside a struct cannot be passed by value", error);
    if (leaves.is_misaligned || leaves.is_full)
        return refuse(type, "is packed: it cannot be passed by value; pass a pointer", error);
    struct native_types *made = memory_take(sizeof *made);
    *made = (struct native_types){.next = *list};
    *list = made;
    made->type = (ffi_type){
        .size = plain->size, .alignment = (unsigned short)plain->align, .type = FFI_TYPE_STRUCT,
        .elements = made->elements,
    };
    if (is_large)
        made->elements[0] = &ffi_type_uint8;
    else if (EXTENDED_IS_APART && leaves.has_extended && plain->size == sizeof(long double))
        made->elements[0] = &ffi_type_longdouble;
    else if (leaves.has_overlap || !describe_members(made, &leaves)) {
        memset(made->elements, 0, sizeof made->elements);
        describe_words(made, plain, &leaves);
    }
    return &made->type;
}

ffi_type *native_type(struct native_types **list, const struct type *type, struct error *error)
{
    const struct type *plain = type_complete(type->plain);
    if (plain->kind == TYPE_UNSUPPORTED)
        return refuse_unsupported(type, plain, error);
    if (plain->kind == TYPE_STRUCT || plain->kind == TYPE_UNION)
        return aggregate_of(list, type, plain, error);
    ffi_type *scalar = scalar_of(plain);
    if (!scalar)
        return refuse(type, "cannot be passed by value", error);
    return scalar;
}

/* Does the aggregate consist of nothing but a long double? */
static bool is_extended_only(const struct type *plain)
{
    struct leaves leaves = {.count = 0};
    add_leaves(&leaves, plain, 0);
    for (size_t i = 0; i < leaves.count; i++)
        if (leaves.list[i].type != &ffi_type_longdouble)
            return false;
    return true;
}

ffi_type *native_result(struct native_types **list, const struct type *type, struct error *error)
{
    ffi_type *native = native_type(list, type, error);
    if (!native || !EXTENDED_IS_APART || native->type != FFI_TYPE_STRUCT ||
        native->size != sizeof(long double) || native->elements[0] != &ffi_type_longdouble)
        return native;
    if (is_extended_only(type_complete(type->plain)))
        return &ffi_type_longdouble;
    return refuse(type, "has a long double and something else in the same bytes: it cannot be "
                  "returned by value", error);
}
