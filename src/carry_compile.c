/* carry_compile.c: compiles how a value of one type becomes one of another: fields by name, arrays
 * element by element, unions as bytes. Looks at types only. */
#include "carry_internal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_UNROLLED = 8, MAX_DEPTH = 64 };

struct builder {
    struct carry_compiler *compiler;
    struct carry_program *program;
    unsigned depth;
};

struct place {               /* where a part of the element is, on both sides */
    uint64_t from, to;
    const char *path;
};

struct member {              /* a field, seen through anonymous structs */
    const struct field *field;
    uint64_t offset;
    bool is_paired;
};

struct members {
    struct member *list;
    size_t count, capacity;
};

static void add_value(struct builder *builder, const struct type *from, const struct type *to,
                      struct place place);

/* ---- Memory ---- */

void carry_own(struct carry_compiler *compiler, void *memory)
{
    if (compiler->owned_count == compiler->owned_capacity) {
        size_t capacity = compiler->owned_capacity ? compiler->owned_capacity * 2 : 64;
        void **owned = realloc(compiler->owned, capacity * sizeof *owned);
        if (!owned)
            abort();
        compiler->owned = owned;
        compiler->owned_capacity = capacity;
    }
    compiler->owned[compiler->owned_count++] = memory;
}

const char *carry_text(struct carry_compiler *compiler, const char *format, ...)
{
    char *text = NULL;
    va_list values;
    va_start(values, format);
    if (vasprintf(&text, format, values) < 0)
        abort();
    va_end(values);
    carry_own(compiler, text);
    return text;
}

void carry_add_step(struct carry_steps *steps, const struct carry_step *step)
{
    if (steps->count == steps->capacity) {
        steps->capacity = steps->capacity ? steps->capacity * 2 : 8;
        steps->list = realloc(steps->list, steps->capacity * sizeof *steps->list);
        if (!steps->list)
            abort();
    }
    steps->list[steps->count++] = *step;
}

static void add_step(struct builder *builder, const struct carry_step *step)
{
    carry_add_step(&builder->program->leaves, step);
}

void carry_free_programs(struct carry_compiler *compiler)
{
    while (compiler->programs) {
        struct carry_program *program = compiler->programs;
        compiler->programs = program->next;
        free(program->leaves.list);
        free(program->fast.list);
        free(program);
    }
    for (size_t i = 0; i < compiler->owned_count; i++)
        free(compiler->owned[i]);
    free(compiler->owned);
    *compiler = (struct carry_compiler){0};
}

/* ---- Scalars and what has no counterpart ---- */

static struct carry_step step_of(const struct type *from, const struct type *to, struct place place)
{
    return (struct carry_step){
        .from = place.from, .to = place.to, .from_type = from, .to_type = to, .path = place.path,
        .from_size = from ? from->size : 0, .to_size = to ? to->size : 0, .count = 1,
    };
}

static void add_lost(struct builder *builder, const struct type *from, const struct type *to,
                     struct place place, const char *why)
{
    struct carry_step step = step_of(from, to, place);
    step.kind = STEP_LOST;
    step.why = why;
    add_step(builder, &step);
}

static void set_bits(const struct field *field, uint64_t *offset, uint64_t *size, uint16_t *bit,
                     uint16_t *bits)
{
    if (!field->bit_size)
        return;
    *offset += field->bit_offset / 8;
    *bit = field->bit_offset % 8;
    *bits = field->bit_size;
    *size = (*bit + *bits + 7u) / 8;
}

/* A field, which may be a bit-field. */
static void add_field(struct builder *builder, const struct field *from, const struct field *to,
                      struct place place)
{
    if (!from->bit_size && !to->bit_size) {
        add_value(builder, from->type, to->type, place);
        return;
    }
    const struct type *old = type_complete(from->type->plain), *new = type_complete(to->type->plain);
    struct carry_step step = step_of(old, new, place);
    set_bits(from, &step.from, &step.from_size, &step.from_bit, &step.from_bits);
    set_bits(to, &step.to, &step.to_size, &step.to_bit, &step.to_bits);
    carry_compile_scalar(builder->compiler, &step);
    add_step(builder, &step);
}

/* ---- Arrays ---- */

static bool is_text(const struct type *type)
{
    return type->is_char && type->name && strcmp(type->name, "char") == 0;
}

static bool is_aggregate(const struct type *type)
{
    return type->kind == TYPE_STRUCT || type->kind == TYPE_UNION || type->kind == TYPE_ARRAY;
}

static void add_loop(struct builder *builder, struct carry_step step, uint64_t count)
{
    step.kind = STEP_LOOP;
    step.count = count;
    step.inner = carry_compile(builder->compiler, step.from_type, step.from_size, step.to_type,
                               step.to_size);
    add_step(builder, &step);
}

static void add_elements(struct builder *builder, struct carry_step step)
{
    uint64_t count = step.from_count < step.to_count ? step.from_count : step.to_count;
    struct place place = {step.from, step.to, step.path};
    bool is_small = count <= MAX_UNROLLED && !is_aggregate(step.from_type) && !is_aggregate(step.to_type);
    if (!is_small)
        add_loop(builder, step, count);
    for (uint64_t i = 0; is_small && i < count; i++) {
        struct place element = {
            place.from + i * step.from_size, place.to + i * step.to_size,
            carry_text(builder->compiler, "%s[%llu]", place.path, (unsigned long long)i),
        };
        add_value(builder, step.from_type, step.to_type, element);
    }
    if (step.from_count > count) {
        step.kind = STEP_GONE;
        step.from += count * step.from_size;
        step.count = step.from_count - count;
        step.why = "the array is shorter";
        add_step(builder, &step);
    } else if (step.to_count > count) {
        step.kind = STEP_NEW;
        step.to += count * step.to_size;
        step.count = step.to_count - count;
        add_step(builder, &step);
    }
}

/* `from` and `to` are the elements' types. */
static void add_array(struct builder *builder, const struct type *from, uint64_t from_count,
                      const struct type *to, uint64_t to_count, struct place place)
{
    from = type_complete(from->plain);
    to = type_complete(to->plain);
    struct carry_step step = step_of(from, to, place);
    step.from_count = from_count;
    step.to_count = to_count;
    if (!is_text(from) || !is_text(to)) {
        add_elements(builder, step);
        return;
    }
    step.kind = STEP_TEXT;
    step.from_size = from_count;
    step.to_size = to_count;
    step.is_same = from_count == to_count;
    add_step(builder, &step);
}

/* ---- Unions ---- */

static bool has_pointers(const struct type *type, unsigned depth)
{
    type = type_complete(type->plain);
    if (type->kind == TYPE_POINTER || depth > MAX_DEPTH)
        return true;
    if (type->kind == TYPE_ARRAY)
        return has_pointers(type->target, depth + 1);
    for (uint64_t i = 0; (type->kind == TYPE_STRUCT || type->kind == TYPE_UNION) && i < type->count; i++)
        if (has_pointers(type->fields[i].type, depth + 1))
            return true;
    return false;
}

static bool same_member(struct builder *builder, const struct field *from, const struct field *to)
{
    const struct type *old = type_complete(from->type->plain), *new = type_complete(to->type->plain);
    if (from->offset != to->offset || from->bit_offset != to->bit_offset ||
        from->bit_size != to->bit_size || old->size != new->size || old->kind != new->kind)
        return false;
    return carry_compile(builder->compiler, old, old->size, new, new->size)->is_same;
}

/* Which member is valid nobody knows: its bytes can go over only where all members stay. */
static void add_union(struct builder *builder, const struct type *from, const struct type *to,
                      struct place place)
{
    bool keeps_all = to->size >= from->size;
    for (uint64_t i = 0; keeps_all && i < from->count; i++) {
        const struct field *old = &from->fields[i], *new = NULL;
        for (uint64_t j = 0; !new && j < to->count; j++)
            if (old->name && to->fields[j].name ? strcmp(old->name, to->fields[j].name) == 0
                                                : old->name == to->fields[j].name)
                new = &to->fields[j];
        keeps_all = new && same_member(builder, old, new);
    }
    if (!keeps_all) {
        add_lost(builder, from, to, place, "a union whose members changed: which one is valid is unknown");
        return;
    }
    struct carry_step step = step_of(from, to, place);
    step.kind = STEP_COPY;
    step.to_size = step.from_size;
    step.is_same = from->size == to->size;
    step.may_hide_pointers = has_pointers(from, 0);
    add_step(builder, &step);
    step.kind = STEP_NEW;
    step.to += from->size;
    step.to_size = to->size - from->size;
    if (step.to_size > 0)
        add_step(builder, &step);
}

/* ---- Structs ---- */

static void collect(struct members *members, const struct type *type, uint64_t offset, unsigned depth)
{
    type_complete(type);
    for (uint64_t i = 0; i < type->count; i++) {
        const struct field *field = &type->fields[i];
        const struct type *plain = type_complete(field->type->plain);
        if (!field->name && plain->kind == TYPE_STRUCT && depth < MAX_DEPTH) {
            collect(members, plain, offset + field->offset, depth + 1);
            continue;
        }
        if (members->count == members->capacity) {
            members->capacity = members->capacity ? members->capacity * 2 : 16;
            members->list = realloc(members->list, members->capacity * sizeof *members->list);
            if (!members->list)
                abort();
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
        if (field->name ? strcmp(member->field->name, field->name) == 0 : share_name(member->field, field))
            return member;
    }
    return NULL;
}

static bool is_flexible(const struct member *member)
{
    return member->field->type->plain->kind == TYPE_ARRAY && member->field->type->plain->is_flexible;
}

static const char *join_path(struct builder *builder, const char *path, const struct field *field)
{
    return field->name ? carry_text(builder->compiler, "%s.%s", path, field->name) : path;
}

static void pair_members(struct builder *builder, struct member *from, struct member *to,
                         struct place place, const char *path)
{
    from->is_paired = to->is_paired = true;
    if (is_flexible(from) || is_flexible(to))
        return;
    struct place inner = {place.from + from->offset, place.to + to->offset, path};
    add_field(builder, from->field, to->field, inner);
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

/* A field that only one of the types has. */
static void add_unpaired(struct builder *builder, const struct field *field, bool is_old,
                         struct place place)
{
    const struct type *type = type_complete(field->type->plain);
    struct carry_step step = step_of(type, type, place);
    step.kind = is_old ? STEP_GONE : STEP_NEW;
    step.why = "the new type has no such field";
    if (is_old)
        set_bits(field, &step.from, &step.from_size, &step.from_bit, &step.from_bits);
    else
        set_bits(field, &step.to, &step.to_size, &step.to_bit, &step.to_bits);
    add_step(builder, &step);
}

/* Fields that moved into a nested struct, or out of one: `flat` has them, `nested` the struct. */
static void pair_regrouped(struct builder *builder, struct members *flat, struct members *nested,
                           bool is_into, struct place place)
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
            const char *path = join_path(builder, place.path, is_into ? match->field : holder->field);
            if (!is_into)
                path = join_path(builder, path, part->field);
            pair_members(builder, is_into ? match : part, is_into ? part : match, place, path);
            found = true;
        }
        for (size_t j = 0; found && j < inner.count; j++) {
            struct member *part = &inner.list[j];
            const char *path = join_path(builder, place.path, holder->field);
            struct place at = {place.from + part->offset, place.to + part->offset,
                               join_path(builder, path, part->field)};
            if (!part->is_paired)
                add_unpaired(builder, part->field, !is_into, at);
        }
        holder->is_paired = found;
        free(inner.list);
    }
}

static void add_rest(struct builder *builder, const struct members *members, bool is_old,
                     struct place place)
{
    for (size_t i = 0; i < members->count; i++) {
        const struct member *member = &members->list[i];
        if (member->is_paired)
            continue;
        struct place at = {place.from + member->offset, place.to + member->offset,
                           join_path(builder, place.path, member->field)};
        add_unpaired(builder, member->field, is_old, at);
    }
}

static void add_struct(struct builder *builder, const struct type *from, const struct type *to,
                       struct place place)
{
    struct members old = {0}, new = {0};
    collect(&old, from, 0, 0);
    collect(&new, to, 0, 0);
    for (size_t i = 0; i < new.count; i++) {
        struct member *match = old.count ? find_member(&old, new.list[i].field, i) : NULL;
        if (match)
            pair_members(builder, match, &new.list[i], place,
                         join_path(builder, place.path, new.list[i].field));
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

/* ---- Values ---- */

static void add_value(struct builder *builder, const struct type *from, const struct type *to,
                      struct place place)
{
    from = type_complete(from->plain);
    to = type_complete(to->plain);
    if (from->is_incomplete || to->is_incomplete) {
        add_lost(builder, from, to, place, "the debug info does not define the type");
    } else if (is_aggregate(from) || is_aggregate(to)) {
        builder->depth++;
        if (from->kind != to->kind || builder->depth > MAX_DEPTH)
            add_lost(builder, from, to, place, "the types have nothing in common");
        else if (from->kind == TYPE_ARRAY)
            add_array(builder, from->target, from->count, to->target, to->count, place);
        else if (from->kind == TYPE_UNION)
            add_union(builder, from, to, place);
        else
            add_struct(builder, from, to, place);
        builder->depth--;
    } else {
        struct carry_step step = step_of(from, to, place);
        carry_compile_scalar(builder->compiler, &step);
        add_step(builder, &step);
    }
}

/* The flexible array at the end of a struct, NULL if it has none. */
static const struct field *flexible_end(const struct type *type)
{
    const struct field *last = type->kind == TYPE_STRUCT && type->count ? &type->fields[type->count - 1] : NULL;
    bool is_flexible_end = last && last->type->plain->kind == TYPE_ARRAY && last->type->plain->is_flexible;
    return is_flexible_end ? last : NULL;
}

static void add_flexible_end(struct builder *builder, uint64_t from_size, uint64_t to_size)
{
    const struct field *old = flexible_end(builder->program->from_type);
    const struct field *new = flexible_end(builder->program->to_type);
    if (!old || !new)
        return;
    uint64_t from_element = type_complete(old->type->plain->target->plain)->size;
    uint64_t to_element = type_complete(new->type->plain->target->plain)->size;
    if (from_size <= old->offset || to_size <= new->offset || !from_element || !to_element)
        return;
    struct place place = {old->offset, new->offset, join_path(builder, "", new)};
    add_array(builder, old->type->plain->target, (from_size - old->offset) / from_element,
              new->type->plain->target, (to_size - new->offset) / to_element, place);
}

/* The sizes may be those of variables, larger than their types. */
static void add_whole(struct builder *builder)
{
    const struct carry_program *program = builder->program;
    const struct type *from = program->from_type, *to = program->to_type;
    struct place place = {0, 0, ""};
    if (from->kind != TYPE_ARRAY || to->kind != TYPE_ARRAY) {
        add_value(builder, from, to, place);
        add_flexible_end(builder, program->from_size, program->to_size);
        return;
    }
    uint64_t from_element = type_complete(from->target->plain)->size;
    uint64_t to_element = type_complete(to->target->plain)->size;
    if (from_element && to_element)
        add_array(builder, from->target, program->from_size / from_element,
                  to->target, program->to_size / to_element, place);
}

const struct carry_program *carry_compile(struct carry_compiler *compiler, const struct type *from,
                                          uint64_t from_size, const struct type *to, uint64_t to_size)
{
    from = type_complete(from->plain);
    to = type_complete(to->plain);
    for (struct carry_program *known = compiler->programs; known; known = known->next)
        if (known->from_type == from && known->to_type == to && known->from_size == from_size &&
            known->to_size == to_size)
            return known;
    struct carry_program *program = calloc(1, sizeof *program);
    if (!program)
        abort();
    *program = (struct carry_program){.from_type = from, .to_type = to, .from_size = from_size, .to_size = to_size};
    struct builder builder = {.compiler = compiler, .program = program};
    add_whole(&builder);
    carry_optimize(program);
    program->next = compiler->programs;
    compiler->programs = program;
    return program;
}
