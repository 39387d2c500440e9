/* carry_walk.c: visits some leaves of many values: pointers, or what may hide one. Writes nothing itself. */
#include "carry_heap.h"

#include "memory.h"

#include <stdlib.h>

struct carry_watches {
    size_t count;
    struct carry_watch {
        const struct carry_step *step;
        const struct carry_watches *inner;   /* of a loop */
    } list[];
};

static bool is_word(const struct carry_step *step)
{
    const struct type *type = step->from_type;
    bool is_whole = type && (type->kind == TYPE_INT || type->kind == TYPE_ENUM);
    return is_whole && step->from_size == sizeof(char *) && !step->from_bits;
}

static bool is_union(const struct carry_step *step)
{
    return step->from_type && step->from_type->kind == TYPE_UNION;
}

static bool is_watched(const struct carry_step *step, unsigned sort)
{
    switch (step->kind) {
    case STEP_POINTER:
        return sort & WATCH_POINTERS;
    case STEP_COPY:
        return sort & WATCH_SUSPECTS && (is_word(step) || is_union(step));
    case STEP_NUMBER: case STEP_GENERAL:
        return sort & WATCH_SUSPECTS && is_word(step);
    default:
        return false;
    }
}

const struct carry_watches *carry_watch(struct carry_compiler *compiler, const struct carry_program *program,
                                        unsigned sort)
{
    size_t count = program->leaves.count;
    struct carry_watches *watches = memory_take(sizeof *watches + count * sizeof *watches->list);
    for (size_t i = 0; i < count; i++) {
        const struct carry_step *step = &program->leaves.list[i];
        struct carry_watch watch = {step, NULL};
        if (step->kind == STEP_LOOP)
            watch.inner = carry_watch(compiler, step->inner, sort);
        if (watch.inner || is_watched(step, sort))
            watches->list[watches->count++] = watch;
    }
    if (watches->count == 0) {
        free(watches);
        return NULL;
    }
    carry_own(compiler, watches);
    return watches;
}

static void walk_element(struct carry_run *run, const struct carry_watches *watches, const char *from,
                         carry_visitor *visit)
{
    for (size_t i = 0; i < watches->count; i++) {
        const struct carry_step *step = watches->list[i].step;
        if (!watches->list[i].inner) {
            visit(run, step, from + step->from);
            continue;
        }
        if (run->depth == CARRY_FRAMES)
            continue;
        run->frames[run->depth++] = (struct carry_frame){step->path, true, 0};
        carry_walk(run, step->inner, watches->list[i].inner, from + step->from, 0, step->count, visit);
        run->depth--;
    }
}

void carry_walk(struct carry_run *run, const struct carry_program *program,
                const struct carry_watches *watches, const char *from, uint64_t first, uint64_t count,
                carry_visitor *visit)
{
    const struct pristine *pristine = run->carry->old_image->pristine;
    uint64_t size = program->from_size, length = size && size < CARRY_BLOCK ? CARRY_BLOCK / size : 1;
    for (uint64_t i = 0; i < count; i += length) {
        uint64_t end = count - i < length ? count : i + length;
        if (pristine_is_clean(pristine, run->old_written, from + i * size, (end - i) * size))
            continue;
        for (uint64_t j = i; j < end; j++) {
            run->frames[run->depth - 1].index = first + j;
            walk_element(run, watches, from + j * size, visit);
        }
    }
}

bool carry_any_pointee(const struct carry_program *program, struct carry *carry,
                       bool (*each)(struct carry *carry, const struct type *pointee))
{
    for (size_t i = 0; i < program->leaves.count; i++) {
        const struct carry_step *step = &program->leaves.list[i];
        if (step->kind == STEP_LOOP && carry_any_pointee(step->inner, carry, each))
            return true;
        if (step->kind == STEP_POINTER && each(carry, step->from_type->target))
            return true;
        if (step->may_hide_pointers)
            return true;
    }
    return false;
}
