/* types.h: the model of C types that DWARF and C declarations are both read into, and that calls,
 * objects, carry, inspect and stubs are driven by. Knows nothing of where types come from.
 *
 * Types belong to a `struct types` table (an arena, reference-counted); a type lives as long as its
 * table. Qualifiers and typedef names are variants: a `const int` or a `size_t` is a node of its
 * own whose `plain` leads to the unqualified, unaliased node; `plain` of a plain node is itself.
 * Two plain nodes of one table may still describe the same C type; compare with types_same.
 *
 * A struct, union or enum that is only reached through a pointer (or an array of such) is read when
 * someone looks: call type_complete before touching size, align, count or fields/values of a type
 * you did not get by value; what it holds by value is then complete too. */
#ifndef HOTLUA_TYPES_H
#define HOTLUA_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum type_kind {
    TYPE_VOID, TYPE_BOOL, TYPE_INT, TYPE_FLOAT, TYPE_COMPLEX, TYPE_ENUM, TYPE_POINTER, TYPE_ARRAY,
    TYPE_STRUCT, TYPE_UNION, TYPE_FUNCTION,
    TYPE_UNSUPPORTED         /* `reason` says why: a vector, a C++ reference, a decimal float ... */
};

struct types;

struct field {               /* of a struct or union */
    const char *name;        /* NULL: an anonymous member; its fields are reached as its parent's */
    const struct type *type;
    uint64_t offset;         /* bytes from the start of the struct (a bit-field: of its unit) */
    uint16_t bit_offset;     /* bit-field: bits from the least significant bit of that unit */
    uint16_t bit_size;       /* 0: not a bit-field */
};

struct parameter {           /* of a function */
    const char *name;        /* NULL if the source gives none */
    const struct type *type;
};

struct enumerator {
    const char *name;
    int64_t value;
};

struct type {
    enum type_kind kind;
    bool is_signed;          /* int, and the values of an enum */
    bool is_char;            /* plain, signed or unsigned `char`: a pointer to it may be a string */
    bool is_const, is_volatile;
    bool is_variadic;        /* function: ends in `...` */
    bool is_unprototyped;    /* function: declared `f()` before C23; its parameters are unknown */
    bool is_incomplete;      /* struct, union, enum, array: declared, defined nowhere seen */
    bool is_typedef_name;    /* struct, union, enum: `name` is a typedef's, the tag is absent */
    bool is_flexible;        /* array `[]`: a flexible member or an unknown bound; count is 0 */
    volatile bool is_lazy;   /* not read yet: type_complete */
    uint32_t align;          /* bytes */
    uint64_t size;           /* bytes; 0 for void, function, incomplete */
    uint64_t count;          /* array: elements; others: length of the list below */
    const char *name;        /* tag, base type's spelling ("unsigned int"), or NULL */
    const char *alias;       /* the typedef name this variant was spelled with, or NULL */
    const char *reason;      /* TYPE_UNSUPPORTED: why, in words */
    const struct type *plain;   /* without qualifiers and typedef names */
    const struct type *target;  /* pointee, element, result of a function, integer of an enum */
    union {
        const struct field *fields;
        const struct parameter *parameters;
        const struct enumerator *values;
    };
    struct types *table;
    uint64_t cookie;         /* the reader's own note (a DIE offset); nobody else looks */
};

/* Read a lazy type; installed by the table's maker, called with the table's lock held. */
typedef void types_reader(void *context, struct type *type);

/* A new table with one reference. `reader` may be NULL; `context` is passed to it, and to
 * `close_context` when the last reference goes. */
struct types *types_new(types_reader *reader, void *context, void (*close_context)(void *));
struct types *types_retain(struct types *table);
void types_release(struct types *table);

/* The table's lock: a reader adds types only while holding it. Recursive. */
void types_lock(struct types *table);
void types_unlock(struct types *table);

/* Make nodes. What is made from other nodes is made once per table; a node made by types_add is
 * filled by its maker: plain nodes only, before anyone else sees it or under the lock (a struct may
 * be is_incomplete until then; its variants follow). types_allocate: only under the lock. */
struct type *types_add(struct types *table, enum type_kind kind);
const char *types_string(struct types *table, const char *text);   /* interned; NULL gives NULL */
void *types_allocate(struct types *table, size_t size);   /* zeroed, lives as long as the table */
/* The basic type of that C spelling ("unsigned int", "long", "double", "_Bool" ...), shared within
 * the table; NULL when unknown. */
const struct type *types_basic(struct types *table, const char *spelling);
const struct type *types_pointer_to(struct types *table, const struct type *pointee);
/* An array; count 0 makes a flexible one. Its is_const is its element's. */
const struct type *types_array_of(struct types *table, const struct type *element, uint64_t count);
/* Variants; return the same node when nothing changes. A const array is an array of const; a
 * function stays as it is; a typedef that is the struct's own name adds nothing. */
const struct type *types_qualified(struct types *table, const struct type *type,
                                   bool is_const, bool is_volatile);
const struct type *types_aliased(struct types *table, const struct type *type, const char *alias);

/* Read what is lazy in this node (not what it points to). Safe from any thread. Returns type. */
const struct type *type_complete(const struct type *type);

/* Do two types describe the same C type: same kind, size, names, offsets, and the same again for
 * all they reach (cycles included)? Qualifiers and typedef names do not count at the top level;
 * a pointee's const counts. Tables may differ. */
bool types_same(const struct type *a, const struct type *b);

/* The field of that name, looking through anonymous members, NULL if there is none. `offset`
 * receives its offset from the start of `type` in bytes. */
const struct field *type_find_field(const struct type *type, const char *name, uint64_t *offset);
const struct enumerator *type_find_enumerator(const struct type *type, const char *name);

#endif
