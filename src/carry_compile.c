/* carry_compile.c: compiles how a value of one type becomes one of another: arrays element by
 * element, unions as bytes; structs are in carry_struct.c. Looks at types only. */
#include "carry_compile.h"

#include "memory.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_UNROLLED = 8 };

static void add_value(struct carry_builder *builder, const struct type *from, const struct type *to,
                      struct carry_part place);

/* ---- Memory ---- */

void carry_own(struct carry_compiler *compiler, void *memory)
{
    if (compiler->owned_count == compiler->owned_capacity) {
        size_t capacity = compiler->owned_capacity ? compiler->owned_capacity * 2 : 64;
        void **owned = memory_resize(compiler->owned, capacity * sizeof *owned);
        compiler->owned = owned;
        compiler->owned_capacity = capacity;
    }
    compiler->owned[compiler->owned_count++] = memory;
}

const char *carry_text(struct carry_compiler *compiler, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    char *text = memory_format(format, values);
    va_end(values);
    carry_own(compiler, text);
    return text;
}

void carry_add_step(struct carry_steps *steps, const struct carry_step *step)
{
    if (steps->count == steps->capacity) {
        steps->capacity = steps->capacity ? steps->capacity * 2 : 8;
        steps->list = memory_resize(steps->list, steps->capacity * sizeof *steps->list);
    }
    steps->list[steps->count++] = *step;
}

static void add_step(struct carry_builder *builder, const struct carry_step *step)
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

static struct carry_step step_of(const struct type *from, const struct type *to,
                                 struct carry_part place)
{
    return (struct carry_step){
        .from = place.from, .to = place.to, .from_type = from, .to_type = to, .path = place.path,
        .from_size = from ? from->size : 0, .to_size = to ? to->size : 0, .count = 1,
    };
}

static void add_lost(struct carry_builder *builder, const struct type *from, const struct type *to,
                     struct carry_part place, const char *why)
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
void carry_add_field(struct carry_builder *builder, const struct field *from,
                     const struct field *to,
                      struct carry_part place)
{
    if (!from->bit_size && !to->bit_size) {
        add_value(builder, from->type, to->type, place);
        return;
    }
    const struct type *old = type_complete(from->type->plain),
        *new = type_complete(to->type->plain);
    struct carry_step step = step_of(old, new, place);
    set_bits(from, &step.from, &step.from_size, &step.from_bit, &step.from_bits);
    set_bits(to, &step.to, &step.to_size, &step.to_bit, &step.to_bits);
    carry_compile_scalar(builder->compiler, &step);
    add_step(builder, &step);
}

/* A field that only one of the types has. */
void carry_add_unpaired(struct carry_builder *builder, const struct field *field, bool is_old,
                         struct carry_part place)
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

const char *carry_join_path(struct carry_builder *builder, const char *path,
                            const struct field *field)
{
    return field->name ? carry_text(builder->compiler, "%s.%s", path, field->name) : path;
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

static void add_loop(struct carry_builder *builder, struct carry_step step, uint64_t count)
{
    step.kind = STEP_LOOP;
    step.count = count;
    step.inner = carry_compile(builder->compiler, step.from_type, step.from_size, step.to_type,
                               step.to_size);
    add_step(builder, &step);
}

static void add_elements(struct carry_builder *builder, struct carry_step step)
{
    uint64_t count = step.from_count < step.to_count ? step.from_count : step.to_count;
    struct carry_part place = {step.from, step.to, step.path};
    bool is_small = count <= MAX_UNROLLED && !is_aggregate(step.from_type) &&
        !is_aggregate(step.to_type);
    if (!is_small)
        add_loop(builder, step, count);
    for (uint64_t i = 0; is_small && i < count; i++) {
        struct carry_part element = {
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
static void add_array(struct carry_builder *builder, const struct type *from, uint64_t from_count,
                      const struct type *to, uint64_t to_count, struct carry_part place)
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
    if (type->kind == TYPE_POINTER || depth > CARRY_DEPTH)
        return true;
    if (type->kind == TYPE_ARRAY)
        return has_pointers(type->target, depth + 1);
    for (uint64_t i = 0; (type->kind == TYPE_STRUCT || type->kind == TYPE_UNION) &&
         i < type->count; i++)
        if (has_pointers(type->fields[i].type, depth + 1))
            return true;
    return false;
}

static bool same_member(struct carry_builder *builder, const struct field *from,
                        const struct field *to)
{
    const struct type *old = type_complete(from->type->plain),
        *new = type_complete(to->type->plain);
    if (from->offset != to->offset || from->bit_offset != to->bit_offset ||
        from->bit_size != to->bit_size || old->size != new->size || old->kind != new->kind)
        return false;
    return carry_compile(builder->compiler, old, old->size, new, new->size)->is_same;
}

/* Which member is valid nobody knows: its bytes can go over only where all members stay. */
static void add_union(struct carry_builder *builder, const struct type *from, const struct type *to,
                      struct carry_part place)
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
        add_lost(builder, from, to, place,
                 "a union whose members changed: which one is valid is unknown");
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

/* ---- Values ---- */

static void add_value(struct carry_builder *builder, const struct type *from, const struct type *to,
                      struct carry_part place)
{
    from = type_complete(from->plain);
    to = type_complete(to->plain);
    if (from->is_incomplete || to->is_incomplete) {
        add_lost(builder, from, to, place, "the debug info does not define the type");
    } else if (is_aggregate(from) || is_aggregate(to)) {
        builder->depth++;
        if (from->kind != to->kind || builder->depth > CARRY_DEPTH)
            add_lost(builder, from, to, place, "the types have nothing in common");
        else if (from->kind == TYPE_ARRAY)
            add_array(builder, from->target, from->count, to->target, to->count, place);
        else if (from->kind == TYPE_UNION)
            add_union(builder, from, to, place);
        else
            carry_add_struct(builder, from, to, place);
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
    const struct field *last = type->kind == TYPE_STRUCT && type->count
        ? &type->fields[type->count - 1] : NULL;
    bool is_flexible_end = last && last->type->plain->kind == TYPE_ARRAY &&
        last->type->plain->is_flexible;
    return is_flexible_end ? last : NULL;
}

static void add_flexible_end(struct carry_builder *builder, uint64_t from_size, uint64_t to_size)
{
    const struct field *old = flexible_end(builder->program->from_type);
    const struct field *new = flexible_end(builder->program->to_type);
    if (!old || !new)
        return;
    uint64_t from_element = type_complete(old->type->plain->target->plain)->size;
    uint64_t to_element = type_complete(new->type->plain->target->plain)->size;
    if (from_size <= old->offset || to_size <= new->offset || !from_element || !to_element)
        return;
    struct carry_part place = {old->offset, new->offset, carry_join_path(builder, "", new)};
    add_array(builder, old->type->plain->target, (from_size - old->offset) / from_element,
              new->type->plain->target, (to_size - new->offset) / to_element, place);
}

/* The sizes may be those of variables, larger than their types. */
static void add_whole(struct carry_builder *builder)
{
    const struct carry_program *program = builder->program;
    const struct type *from = program->from_type, *to = program->to_type;
    struct carry_part place = {0, 0, ""};
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
                                          uint64_t from_size, const struct type *to,
                                              uint64_t to_size)
{
    from = type_complete(from->plain);
    to = type_complete(to->plain);
    for (struct carry_program *known = compiler->programs; known; known = known->next)
        if (known->from_type == from && known->to_type == to && known->from_size == from_size &&
            known->to_size == to_size)
            return known;
    struct carry_program *program = memory_take(sizeof *program);
    *program = (struct carry_program){.from_type = from, .to_type = to, .from_size = from_size,
        .to_size = to_size};
    struct carry_builder builder = {.compiler = compiler, .program = program};
    add_whole(&builder);
    carry_optimize(program);
    program->next = compiler->programs;
    compiler->programs = program;
    return program;
}
