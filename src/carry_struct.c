/* carry_struct.c: pairs the fields of two structs by name, also where some moved into a nested
 * struct
 * or out of one. Looks at types only. */
#include "carry_compile.h"

#include "memory.h"

#include <stdlib.h>
#include <string.h>

struct member {              /* a field, seen through anonymous structs */
    const struct field *field;
    uint64_t offset;
    bool is_paired;
};

struct members {
    struct member *list;
    size_t count, capacity;
};

static void collect(struct members *members, const struct type *type, uint64_t offset,
                    unsigned depth)
{
    type_complete(type);
    for (uint64_t i = 0; i < type->count; i++) {
        const struct field *field = &type->fields[i];
        const struct type *plain = type_complete(field->type->plain);
        if (!field->name && plain->kind == TYPE_STRUCT && depth < CARRY_DEPTH) {
            collect(members, plain, offset + field->offset, depth + 1);
            continue;
        }
        if (members->count == members->capacity) {
            members->capacity = members->capacity ? members->capacity * 2 : 16;
            members->list = memory_resize(members->list, members->capacity * sizeof *members->list);
        }
        members->list[members->count++] = (struct member){field, offset + field->offset, false};
    }
}

/* Do two anonymous unions have a name in common? */
static bool share_name(const struct field *a, const struct field *b)
{
    const struct type *left = a->type->plain, *right = b->type->plain;
    for (uint64_t i = 0; i < left->count; i++)
        if (left->fields[i].name && type_find_field(right, left->fields[i].name, NULL))
            return true;
    return false;
}

/* The first without a partner that has the name; `hint` is where it most likely is. */
static struct member *find_member(struct members *members, const struct field *field, size_t hint)
{
    for (size_t i = 0; i < members->count; i++) {
        struct member *member = &members->list[(hint + i) % members->count];
        if (member->is_paired || !member->field->name != !field->name)
            continue;
        if (field->name ? strcmp(member->field->name, field->name) == 0 : share_name(member->field,
                                                                                     field))
            return member;
    }
    return NULL;
}

static bool is_flexible(const struct member *member)
{
    return member->field->type->plain->kind == TYPE_ARRAY &&
        member->field->type->plain->is_flexible;
}

static void pair_members(struct carry_builder *builder, struct member *from, struct member *to,
                         struct carry_part place, const char *path)
{
    from->is_paired = to->is_paired = true;
    if (is_flexible(from) || is_flexible(to))
        return;
    struct carry_part inner = {place.from + from->offset, place.to + to->offset, path};
    carry_add_field(builder, from->field, to->field, inner);
}

static bool is_named_struct(const struct member *member)
{
    return member->field->name && member->field->type->plain->kind == TYPE_STRUCT;
}

/* How many structs among the rest have a field of that name. */
static unsigned count_holders(const struct members *members, const char *name)
{
    unsigned count = 0;
    for (size_t i = 0; i < members->count; i++)
        count += !members->list[i].is_paired && is_named_struct(&members->list[i]) &&
                 type_find_field(members->list[i].field->type->plain, name, NULL);
    return count;
}

/* Fields that moved into a nested struct, or out of one: `flat` has them, `nested` the struct. */
static void pair_regrouped(struct carry_builder *builder, struct members *flat,
                           struct members *nested,
                           bool is_into, struct carry_part place)
{
    for (size_t i = 0; i < nested->count; i++) {
        struct member *holder = &nested->list[i];
        struct members inner = {0};
        bool found = false;
        if (holder->is_paired || !is_named_struct(holder))
            continue;
        collect(&inner, holder->field->type->plain, holder->offset, 0);
        for (size_t j = 0; j < inner.count; j++) {
            struct member *part = &inner.list[j], *match = NULL;
            if (part->field->name && count_holders(nested, part->field->name) == 1)
                match = find_member(flat, part->field, 0);
            if (!match)
                continue;
            const char *path = carry_join_path(builder, place.path, is_into ? match->field
                                               : holder->field);
            if (!is_into)
                path = carry_join_path(builder, path, part->field);
            pair_members(builder, is_into ? match : part, is_into ? part : match, place, path);
            found = builder->program->is_regrouped = true;
        }
        for (size_t j = 0; found && j < inner.count; j++) {
            struct member *part = &inner.list[j];
            const char *path = carry_join_path(builder, place.path, holder->field);
            struct carry_part at = {place.from + part->offset, place.to + part->offset,
                               carry_join_path(builder, path, part->field)};
            if (!part->is_paired)
                carry_add_unpaired(builder, part->field, !is_into, at);
        }
        holder->is_paired = found;
        free(inner.list);
    }
}

static void add_rest(struct carry_builder *builder, const struct members *members, bool is_old,
                     struct carry_part place)
{
    for (size_t i = 0; i < members->count; i++) {
        const struct member *member = &members->list[i];
        if (member->is_paired)
            continue;
        struct carry_part at = {place.from + member->offset, place.to + member->offset,
                           carry_join_path(builder, place.path, member->field)};
        carry_add_unpaired(builder, member->field, is_old, at);
    }
}

void carry_add_struct(struct carry_builder *builder, const struct type *from, const struct type *to,
                       struct carry_part place)
{
    struct members old = {0}, new = {0};
    collect(&old, from, 0, 0);
    collect(&new, to, 0, 0);
    for (size_t i = 0; i < new.count; i++) {
        struct member *match = old.count ? find_member(&old, new.list[i].field, i) : NULL;
        if (match)
            pair_members(builder, match, &new.list[i], place,
                         carry_join_path(builder, place.path, new.list[i].field));
    }
    if (old.count && new.count) {
        pair_regrouped(builder, &old, &new, true, place);
        pair_regrouped(builder, &new, &old, false, place);
    }
    add_rest(builder, &old, true, place);
    add_rest(builder, &new, false, place);
    free(old.list);
    free(new.list);
}
