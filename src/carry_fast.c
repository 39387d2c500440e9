/* carry_fast.c: from the leaves of a program the steps that convert without looking: runs of bytes
 * copied together, a whole element where nothing moved. */
#include "carry_internal.h"

#include "memory.h"

#include <stdlib.h>

enum { MAX_GAP = 8 };        /* bytes of padding that are copied along */

static bool is_same_step(const struct carry_step *step)
{
    bool stays = step->from == step->to && step->from_size == step->to_size &&
                 step->from_bit == step->to_bit && step->from_bits == step->to_bits;
    switch (step->kind) {
    case STEP_LOOP:
        return stays && step->from_count == step->to_count && step->inner->is_same;
    case STEP_COPY: case STEP_GENERAL: case STEP_TEXT: case STEP_POINTER:
        return stays && step->is_same;
    default:
        return false;
    }
}

static bool is_plain_step(const struct carry_step *step)
{
    return step->kind != STEP_POINTER && !step->may_hide_pointers &&
           (step->kind != STEP_LOOP || step->inner->is_plain);
}

/* An enumerator 0 may have another value now, or be gone. */
static bool keeps_zero(const struct carry_step *step)
{
    if (step->kind == STEP_LOOP)
        return step->inner->zero_is_zero;
    for (size_t i = 0; step->names && i < step->names->count; i++)
        if (step->names->list[i].from == 0)
            return step->names->list[i].to == 0 && !step->names->list[i].is_gone;
    return true;
}

static void make_claims(struct carry_program *program)
{
    program->is_same = program->from_size == program->to_size;
    program->is_plain = program->is_same;
    program->is_same &= !program->is_regrouped;
    program->zero_is_zero = true;
    for (size_t i = 0; i < program->leaves.count; i++) {
        const struct carry_step *step = &program->leaves.list[i];
        program->is_same &= is_same_step(step);
        program->is_plain &= is_same_step(step) && is_plain_step(step);
        program->zero_is_zero &= keeps_zero(step);
    }
}

static int compare_places(const void *a, const void *b)
{
    const struct carry_step *left = a, *right = b;
    if (left->to != right->to)
        return left->to < right->to ? -1 : 1;
    return (left->from > right->from) - (left->from < right->from);
}

/* What is only bytes to the fast steps. */
static bool is_run(const struct carry_step *step)
{
    if (step->kind == STEP_LOOP)
        return step->inner->is_plain && step->inner->from_size == step->inner->to_size;
    return (step->kind == STEP_COPY && !step->may_hide_pointers) ||
           (step->kind == STEP_TEXT && step->is_same);
}

static struct carry_step run_of(const struct carry_step *step)
{
    uint64_t size = step->kind == STEP_LOOP ? step->count * step->from_size : step->from_size;
    return (struct carry_step){.kind = STEP_COPY, .from = step->from, .to = step->to,
                               .from_size = size, .to_size = size, .count = 1, .path = ""};
}

static bool extends(const struct carry_step *last, const struct carry_step *next)
{
    uint64_t from_end = last->from + last->from_size, to_end = last->to + last->to_size;
    return next->from >= from_end && next->to >= to_end && next->to - to_end <= MAX_GAP &&
           next->from - from_end == next->to - to_end;
}

/* Runs first, in the order of the new type; what has no place there last. */
static void add_fast(struct carry_program *program, const struct carry_step *sorted, size_t count)
{
    bool may_extend = false;
    for (size_t i = 0; i < count; i++) {
        const struct carry_step *step = &sorted[i];
        struct carry_step run = is_run(step) ? run_of(step) : *step;
        struct carry_step *last = may_extend ? &program->fast.list[program->fast.count - 1] : NULL;
        if (step->kind == STEP_GONE)
            continue;
        if (is_run(step) && last && extends(last, &run))
            last->from_size = last->to_size = run.from + run.from_size - last->from;
        else if (step->kind != STEP_NEW)
            carry_add_step(&program->fast, &run);
        may_extend = is_run(step);
    }
    for (size_t i = 0; i < count; i++)
        if (sorted[i].kind == STEP_GONE)
            carry_add_step(&program->fast, &sorted[i]);
}

static void add_whole(struct carry_program *program)
{
    struct carry_step whole = {.kind = STEP_COPY, .from_size = program->from_size,
                               .to_size = program->to_size, .count = 1, .path = ""};
    carry_add_step(&program->fast, &whole);
    for (size_t i = 0; i < program->leaves.count; i++)
        if (!is_plain_step(&program->leaves.list[i]))
            carry_add_step(&program->fast, &program->leaves.list[i]);
}

void carry_optimize(struct carry_program *program)
{
    make_claims(program);
    if (program->is_same) {
        add_whole(program);
        return;
    }
    size_t count = program->leaves.count;
    struct carry_step *sorted = memory_take_array(count + 1, sizeof *sorted);
    for (size_t i = 0; i < count; i++)
        sorted[i] = program->leaves.list[i];
    qsort(sorted, count, sizeof *sorted, compare_places);
    add_fast(program, sorted, count);
    free(sorted);
}
