/* types_compare.c: are two types the same, and which field or enumerator has a name. Only reads
 * types (lazy ones are read on the way). */
#include "types.h"

#include "memory.h"

#include <stdlib.h>
#include <string.h>

struct pair {
    const struct type *a, *b;        /* plain nodes; a NULL: an empty place */
};

/* Pairs are taken to be the same while they are looked at, which is what makes cycles end; each
 * is looked at once. A list instead of recursion, for a chain of structs may be long. */
struct comparison {
    struct pair *list;               /* in the order in which they were met */
    size_t count, done, capacity;
    uint32_t *places;                /* open addressing: 1 + index in the list, 0: empty */
};

enum { MAX_ANONYMOUS_DEPTH = 64 };

static size_t find_place(const struct comparison *comparison, struct pair pair)
{
    uint64_t hash = ((uintptr_t)pair.a >> 4) * 0x9e3779b97f4a7c15u ^
                    ((uintptr_t)pair.b >> 4) * 0xff51afd7ed558ccdu;
    size_t mask = comparison->capacity * 2 - 1, i = (hash ^ hash >> 32) & mask;
    for (; comparison->places[i]; i = (i + 1) & mask) {
        const struct pair *met = &comparison->list[comparison->places[i] - 1];
        if (met->a == pair.a && met->b == pair.b)
            break;
    }
    return i;
}

static void grow(struct comparison *comparison)
{
    size_t capacity = comparison->capacity ? comparison->capacity * 2 : 32;
    uint32_t *places = memory_take_array(capacity * 2, sizeof *places);
    comparison->list = memory_resize(comparison->list, capacity * sizeof *comparison->list);
    free(comparison->places);
    comparison->places = places;
    comparison->capacity = capacity;
    for (size_t i = 0; i < comparison->count; i++)
        places[find_place(comparison, comparison->list[i])] = (uint32_t)i + 1;
}

/* Note that a and b, qualifiers apart, have to be the same. False when they cannot be. */
static bool expect_same(struct comparison *comparison, const struct type *a, const struct type *b)
{
    struct pair pair = {a->plain, b->plain};
    if (pair.a == pair.b)
        return true;
    if (pair.a->kind != pair.b->kind)
        return false;
    if (comparison->count == comparison->capacity)
        grow(comparison);
    size_t place = find_place(comparison, pair);
    if (!comparison->places[place]) {
        comparison->list[comparison->count++] = pair;
        comparison->places[place] = (uint32_t)comparison->count;
    }
    return true;
}

/* The same for a type below the top level, where const counts. */
static bool expect_same_const(struct comparison *comparison, const struct type *a,
                              const struct type *b)
{
    return a->is_const == b->is_const && expect_same(comparison, a, b);
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* Bits of a bit-field; 0 for one as wide as its type: some compilers call that a whole member. */
static unsigned bits_of(const struct field *field)
{
    bool is_whole = field->bit_offset == 0 && field->bit_size == field->type->size * 8;
    return is_whole ? 0 : field->bit_size;
}

static bool same_fields(struct comparison *comparison, const struct type *a, const struct type *b)
{
    for (uint64_t i = 0; i < a->count; i++) {
        const struct field *x = &a->fields[i], *y = &b->fields[i];
        if (x->offset != y->offset || x->bit_offset != y->bit_offset || bits_of(x) != bits_of(y))
            return false;
        if (!same_text(x->name, y->name) || !expect_same_const(comparison, x->type, y->type))
            return false;
    }
    return true;
}

static bool same_enumerators(const struct type *a, const struct type *b)
{
    for (uint64_t i = 0; i < a->count; i++) {
        const struct enumerator *x = &a->values[i], *y = &b->values[i];
        if (x->value != y->value || !same_text(x->name, y->name))
            return false;
    }
    return true;
}

static bool same_parameters(struct comparison *comparison, const struct type *a,
                            const struct type *b)
{
    if (a->is_variadic != b->is_variadic || a->is_unprototyped != b->is_unprototyped)
        return false;
    for (uint64_t i = 0; i < a->count; i++)
        if (!expect_same(comparison, a->parameters[i].type, b->parameters[i].type))
            return false;
    return true;
}

/* A struct that one side has not seen defined is the same as any of its name, as C has it. */
static bool same_tagged(struct comparison *comparison, const struct type *a, const struct type *b)
{
    if (!same_text(a->name, b->name))
        return false;
    if (a->is_incomplete || b->is_incomplete)
        return true;
    if (a->size != b->size || a->count != b->count)
        return false;
    if (a->kind == TYPE_ENUM)
        return a->is_signed == b->is_signed && same_enumerators(a, b);
    return same_fields(comparison, a, b);
}

/* Compare two plain nodes themselves, and note what they lead to. */
static bool same_node(struct comparison *comparison, const struct type *a, const struct type *b)
{
    type_complete(a);
    type_complete(b);
    if (a->kind != b->kind)                   /* reading may have found it unsupported */
        return false;
    switch (a->kind) {
    case TYPE_VOID:
        return true;
    case TYPE_BOOL: case TYPE_FLOAT: case TYPE_COMPLEX:
        return a->size == b->size;
    case TYPE_INT:
        return a->size == b->size && a->is_signed == b->is_signed && a->is_char == b->is_char;
    case TYPE_ENUM: case TYPE_STRUCT: case TYPE_UNION:
        return same_tagged(comparison, a, b);
    case TYPE_POINTER:
        return expect_same_const(comparison, a->target, b->target);
    case TYPE_ARRAY:
        return a->count == b->count && a->size == b->size &&
               expect_same(comparison, a->target, b->target);
    case TYPE_FUNCTION:
        return a->count == b->count && expect_same(comparison, a->target, b->target) &&
               same_parameters(comparison, a, b);
    case TYPE_UNSUPPORTED:
        return a->size == b->size && same_text(a->name, b->name) && same_text(a->reason, b->reason);
    }
    return false;
}

bool types_same(const struct type *a, const struct type *b)
{
    struct comparison comparison = {0};
    bool same = expect_same(&comparison, a, b);
    while (same && comparison.done < comparison.count) {
        struct pair pair = comparison.list[comparison.done++];
        same = same_node(&comparison, pair.a, pair.b);
    }
    free(comparison.list);
    free(comparison.places);
    return same;
}

static const struct field *find_field(const struct type *type, const char *name, uint64_t *offset,
                                      int depth)
{
    type_complete(type);
    if ((type->kind != TYPE_STRUCT && type->kind != TYPE_UNION) || depth > MAX_ANONYMOUS_DEPTH)
        return NULL;
    for (uint64_t i = 0; i < type->count; i++) {
        const struct field *field = &type->fields[i];
        if (field->name && strcmp(field->name, name) == 0) {
            *offset = field->offset;
            return field;
        }
        const struct field *inner = NULL;
        if (!field->name)
            inner = find_field(field->type, name, offset, depth + 1);
        if (inner) {
            *offset += field->offset;
            return inner;
        }
    }
    return NULL;
}

const struct field *type_find_field(const struct type *type, const char *name, uint64_t *offset)
{
    uint64_t ignored;
    return find_field(type, name, offset ? offset : &ignored, 0);
}

const struct enumerator *type_find_enumerator(const struct type *type, const char *name)
{
    type_complete(type);
    for (uint64_t i = 0; type->kind == TYPE_ENUM && i < type->count; i++)
        if (strcmp(type->values[i].name, name) == 0)
            return &type->values[i];
    return NULL;
}
