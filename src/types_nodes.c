/* types_nodes.c: the nodes of a type table: new ones, those made from others (each once), and the
 * reading of lazy ones. Knows nothing of where types come from. */
#include "types_internal.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 64 };

enum memo_kind { MEMO_POINTER = 1, MEMO_ARRAY, MEMO_VARIANT };

struct memo {                /* a node already made from `subject` */
    uint64_t kind;           /* memo_kind, with a variant's qualifiers above; 0: an empty place */
    const void *subject;
    uint64_t detail;         /* array: count; variant: address of the alias */
    struct type *type;
};

struct type *types_add(struct types *table, enum type_kind kind)
{
    types_lock(table);
    struct type *type = types_allocate(table, sizeof *type);
    types_unlock(table);
    type->kind = kind;
    type->align = 1;
    type->table = table;
    type->plain = type;
    return type;
}

/* ---- Nodes made from others, remembered by what they were made from ---- */

static struct memo *find_memo(struct types *table, uint64_t kind, const void *subject,
                              uint64_t detail)
{
    uint64_t hash = ((uintptr_t)subject >> 4) * 0x9e3779b97f4a7c15u +
                    detail * 0xff51afd7ed558ccdu + kind;
    size_t mask = table->memo_capacity - 1, i = (hash ^ hash >> 32) & mask;
    for (;; i = (i + 1) & mask) {
        struct memo *memo = &table->memos[i];
        if (!memo->kind)
            return memo;
        if (memo->kind == kind && memo->subject == subject && memo->detail == detail)
            return memo;
    }
}

/* The place of the node made from these three, with type NULL if it is still to be made. */
static struct memo *claim_memo(struct types *table, uint64_t kind, const void *subject,
                               uint64_t detail)
{
    if (table->memo_count * 2 >= table->memo_capacity) {
        struct memo *old = table->memos;
        size_t old_capacity = table->memo_capacity;
        table->memo_capacity = old ? old_capacity * 2 : FIRST_CAPACITY;
        table->memos = types_must_allocate(table->memo_capacity * sizeof *old);
        for (size_t i = 0; i < old_capacity; i++)
            if (old[i].kind)
                *find_memo(table, old[i].kind, old[i].subject, old[i].detail) = old[i];
        free(old);
    }
    struct memo *memo = find_memo(table, kind, subject, detail);
    if (!memo->kind) {
        *memo = (struct memo){.kind = kind, .subject = subject, .detail = detail};
        table->memo_count++;
    }
    return memo;
}

const struct type *types_pointer_to(struct types *table, const struct type *pointee)
{
    types_lock(table);
    struct memo *memo = claim_memo(table, MEMO_POINTER, pointee, 0);
    struct type *type = memo->type;
    if (!type) {
        type = memo->type = types_add(table, TYPE_POINTER);
        type->size = sizeof(void *);
        type->align = _Alignof(void *);
        type->target = pointee;
    }
    types_unlock(table);
    return type;
}

/* Can this node still change, because it is not read or not defined yet? */
static bool is_open(const struct type *type)
{
    bool is_definable = type->kind == TYPE_STRUCT || type->kind == TYPE_UNION ||
                        type->kind == TYPE_ENUM;
    return type->is_lazy || (is_definable && type->is_incomplete);
}

/* Size of an array from its element, now that this is known. */
static void measure_array(struct type *array)
{
    const struct type *element = array->target;
    array->align = element->align;
    if (element->size && array->count > (UINT64_MAX >> 1) / element->size) {
        array->kind = TYPE_UNSUPPORTED;
        array->reason = "an array larger than memory";
        array->count = 0;
    }
    array->size = array->count * element->size;
    array->is_incomplete = element->is_incomplete;
}

const struct type *types_array_of(struct types *table, const struct type *element, uint64_t count)
{
    types_lock(table);
    struct memo *memo = claim_memo(table, MEMO_ARRAY, element, count);
    struct type *type = memo->type;
    if (!type) {
        type = memo->type = types_add(table, TYPE_ARRAY);
        type->target = element;
        type->count = count;
        type->is_flexible = count == 0;
        type->is_const = element->is_const;
        type->is_volatile = element->is_volatile;
        type->is_lazy = is_open(element);
        measure_array(type);
    }
    types_unlock(table);
    return type;
}

/* Make a variant say what its plain node says, but for its own name and qualifiers. */
static void copy_plain(struct type *variant)
{
    const struct type *plain = variant->plain;
    variant->kind = plain->kind;
    variant->is_signed = plain->is_signed;
    variant->is_char = plain->is_char;
    variant->is_const |= plain->is_const;
    variant->is_volatile |= plain->is_volatile;
    variant->is_variadic = plain->is_variadic;
    variant->is_unprototyped = plain->is_unprototyped;
    variant->is_incomplete = plain->is_incomplete;
    variant->is_typedef_name = plain->is_typedef_name;
    variant->is_flexible = plain->is_flexible;
    variant->align = plain->align;
    variant->size = plain->size;
    variant->count = plain->count;
    variant->name = plain->name;
    variant->reason = plain->reason;
    variant->target = plain->target;
    variant->fields = plain->fields;
    variant->cookie = plain->cookie;
    __atomic_store_n(&variant->is_lazy, is_open(plain), __ATOMIC_RELEASE);
}

static const struct type *find_variant(struct types *table, const struct type *plain,
                                       const char *alias, bool is_const, bool is_volatile)
{
    types_lock(table);
    uint64_t kind = MEMO_VARIANT | (uint64_t)is_const << 8 | (uint64_t)is_volatile << 9;
    struct memo *memo = claim_memo(table, kind, plain, (uintptr_t)alias);
    struct type *type = memo->type;
    if (!type) {
        type = memo->type = types_add(table, plain->kind);
        type->plain = plain;
        type->alias = alias;
        type->is_const = is_const;
        type->is_volatile = is_volatile;
        type->is_lazy = true;
    }
    if (type->is_lazy)
        copy_plain(type);
    types_unlock(table);
    return type;
}

const struct type *types_qualified(struct types *table, const struct type *type,
                                   bool is_const, bool is_volatile)
{
    is_const |= type->is_const;
    is_volatile |= type->is_volatile;
    bool is_same = is_const == type->is_const && is_volatile == type->is_volatile;
    if (is_same || type->kind == TYPE_FUNCTION)
        return type;
    if (type->kind == TYPE_ARRAY) {           /* in C it is the elements that are qualified */
        const struct type *element = types_qualified(table, type->target, is_const, is_volatile);
        return types_array_of(table, element, type->count);
    }
    return find_variant(table, type->plain, type->alias, is_const, is_volatile);
}

const struct type *types_aliased(struct types *table, const struct type *type, const char *alias)
{
    if (!alias || (type->alias && strcmp(type->alias, alias) == 0))
        return type;
    bool is_own_name = type->is_typedef_name && !type->alias && type->name;
    if (is_own_name && strcmp(type->name, alias) == 0)
        return type;
    return find_variant(table, type->plain, types_string(table, alias), type->is_const,
                        type->is_volatile);
}

/* ---- Reading what is lazy ---- */

static bool is_being_read(const struct types *table, const struct type *type)
{
    for (const struct reading *reading = table->reading; reading; reading = reading->outer)
        if (reading->type == type)
            return true;
    return false;
}

static void read_node(struct types *table, struct type *type)
{
    if (type->plain != type) {
        type_complete(type->plain);
        copy_plain(type);
    } else if (type->kind == TYPE_ARRAY) {
        const struct type *element = type_complete(type->target);
        measure_array(type);
        __atomic_store_n(&type->is_lazy, is_open(element), __ATOMIC_RELEASE);
    } else {
        if (table->reader)
            table->reader(table->context, type);
        __atomic_store_n(&type->is_lazy, false, __ATOMIC_RELEASE);
    }
}

/* A variant of a struct that is read but defined nowhere: nothing to do, until a later declaration
 * defines it. */
static bool is_opaque_variant(const struct type *type)
{
    const struct type *plain = type->plain;
    return plain != type && !__atomic_load_n(&plain->is_lazy, __ATOMIC_ACQUIRE) && is_open(plain);
}

const struct type *type_complete(const struct type *type)
{
    if (!__atomic_load_n(&type->is_lazy, __ATOMIC_ACQUIRE) || is_opaque_variant(type))
        return type;
    struct types *table = type->table;
    types_lock(table);
    if (type->is_lazy && !is_being_read(table, type)) {
        struct reading reading = {type, table->reading};
        table->reading = &reading;
        read_node(table, (struct type *)type);
        table->reading = reading.outer;
    }
    types_unlock(table);
    return type;
}
