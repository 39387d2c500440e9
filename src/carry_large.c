/* carry_large.c: what is larger than a block: arrays go block by block, structs leaf by leaf, long
 * texts and unions in pieces. Pages that are still as they were are not touched. */
#include "carry_internal.h"

#include <stdlib.h>
#include <string.h>

static const struct pristine *old_pristine(const struct carry_run *run)
{
    return run->carry->old_image->pristine;
}

/* ---- One leaf of many bytes ---- */

struct span {                /* a leaf of plain bytes, taken in pieces */
    const char *from;
    char *to;
    uint64_t size;           /* what both sides have room for */
    bool has_base;
};

static uint64_t piece_size(const struct span *span, uint64_t at)
{
    return span->size - at < CARRY_BLOCK ? span->size - at : CARRY_BLOCK;
}

/* The initial bytes of a piece, NULL: zeros. */
static const char *piece_base(const struct carry_run *run, const char *from, uint64_t size)
{
    return pristine_view(old_pristine(run), from, size, run->base);
}

static bool is_clean(const struct carry_run *run, const char *from, uint64_t size)
{
    return pristine_is_clean(old_pristine(run), run->old_written, from, size);
}

static bool was_written(const struct carry_run *run, const char *from, uint64_t size)
{
    for (uint64_t at = 0; at < size; at += CARRY_BLOCK) {
        uint64_t length = size - at < CARRY_BLOCK ? size - at : CARRY_BLOCK;
        if (is_clean(run, from + at, length))
            continue;
        const char *base = piece_base(run, from + at, length);
        if (memcmp(from + at, base ? base : carry_zeros, length) != 0)
            return true;
    }
    return false;
}

/* Copy a piece where it differs. Notes whether it did, and whether the code's initial value did. */
static void copy_piece(struct carry_run *run, const struct span *span, uint64_t at, bool *is_other,
                       bool *is_new)
{
    uint64_t size = piece_size(span, at);
    const char *from = span->from + at, *base = span->has_base ? piece_base(run, from, size) : NULL;
    char *to = span->to + at;
    bool is_zero = carry_is_new_zero(run, to, size);
    if (is_zero && span->has_base && !base && is_clean(run, from, size))
        return;
    if (is_zero ? memcmp(from, carry_zeros, size) == 0 : memcmp(from, to, size) == 0)
        return;
    *is_other = true;
    if (span->has_base && !(is_zero && !base))
        *is_new |= memcmp(base ? base : carry_zeros, to, size) != 0;
    memcpy(to, from, size);
}

static void carry_bytes(struct carry_run *run, const struct carry_step *step, const char *from,
                        char *to)
{
    uint64_t size = step->from_size < step->to_size ? step->from_size : step->to_size;
    struct span span = {from, to, size, pristine_covers(old_pristine(run), from, step->from_size)};
    bool is_merged = run->pair->treatment == TREAT_MERGE && span.has_base;
    bool is_other = false, is_new = false;
    if (is_merged && !was_written(run, from, step->from_size) && carry_is_as_before(run, to, step->to_size))
        return;
    run->is_touched = true;
    for (uint64_t at = 0; at < size; at += CARRY_BLOCK)
        copy_piece(run, &span, at, &is_other, &is_new);
    if (is_merged && is_other && is_new && !run->carry->is_return)
        carry_report_conflict(run, step);
    if (step->may_hide_pointers)
        carry_scan_bytes(run, step->path, from, size);
}

/* A text that got longer or shorter is merged as a whole. */
static bool carry_resized(struct carry_run *run, const struct carry_step *step, const char *from,
                          char *to)
{
    bool has_base = pristine_covers(old_pristine(run), from, step->from_size);
    bool is_merged = run->pair->treatment == TREAT_MERGE && has_base;
    if (is_merged && !was_written(run, from, step->from_size) && carry_is_as_before(run, to, step->to_size))
        return true;
    run->is_touched = true;
    char *base = has_base ? malloc(step->from_size) : NULL;
    if (has_base && !base)
        return error_set(run->error, "%s: out of memory", run->carry->new_image->source);
    if (has_base)
        pristine_read(old_pristine(run), from, base, step->from_size);
    bool fits = is_merged ? carry_merge_leaf(run, step, from, base, to)
                          : carry_do_leaf(run, step, from, base, to) == VALUE_DONE;
    free(base);
    return fits;
}

static bool carry_large_leaf(struct carry_run *run, const struct carry_step *step, const char *from,
                             char *to)
{
    if (step->kind == STEP_TEXT && !step->is_same)
        return carry_resized(run, step, from, to);
    bool has_base = pristine_covers(old_pristine(run), from, step->from_size);
    if (step->kind == STEP_TEXT || step->kind == STEP_COPY)
        carry_bytes(run, step, from, to);
    else if (!has_base || was_written(run, from, step->from_size))
        carry_report_lost(run, step, 0);
    return true;
}

/* ---- Steps of a large element ---- */

static bool carry_loop(struct carry_run *run, const struct carry_step *step, const char *from,
                       char *to)
{
    if (run->depth == CARRY_FRAMES)
        return true;
    run->frames[run->depth++] = (struct carry_frame){step->path, true, 0};
    bool fits = carry_elements(run, step->inner, from + step->from, to + step->to, 0, step->count);
    run->depth--;
    return fits;
}

/* `moved` is room for the step as one whose element begins with it. */
static struct carry_program alone(const struct carry_step *step, struct carry_step *moved)
{
    *moved = *step;
    moved->from = moved->to = 0;
    return (struct carry_program){
        .from_type = step->from_type, .to_type = step->to_type, .from_size = step->from_size,
        .to_size = step->to_size, .leaves = {moved, 1, 1}, .fast = {moved, 1, 1},
    };
}

/* A leaf that fits a block is one of its own. */
static bool carry_small_leaf(struct carry_run *run, const struct carry_step *step, const char *from,
                             char *to)
{
    struct carry_step moved;
    struct carry_program program = alone(step, &moved);
    return carry_block(run, &program, from + step->from, to + step->to,
                       run->frames[run->depth - 1].index, 1);
}

static bool carry_step(struct carry_run *run, const struct carry_step *step, const char *from,
                       char *to);

/* Elements that have no place any more, one by one: they may be many. */
static bool carry_gone(struct carry_run *run, const struct carry_step *step, const char *from,
                       char *to)
{
    struct carry_step one = *step;
    one.count = 1;
    for (uint64_t i = 0; i < step->count; i++) {
        carry_step(run, &one, from, to);
        one.from += step->from_size;
        one.to_count++;
    }
    return true;
}

static bool carry_step(struct carry_run *run, const struct carry_step *step, const char *from,
                       char *to)
{
    if (step->kind == STEP_NEW)
        return true;
    if (step->kind == STEP_LOOP)
        return carry_loop(run, step, from, to);
    if (step->kind == STEP_GONE && step->count > 1)
        return carry_gone(run, step, from, to);
    if (step->from_size <= CARRY_BLOCK && step->to_size <= CARRY_BLOCK)
        return carry_small_leaf(run, step, from, to);
    return carry_large_leaf(run, step, from + step->from, to + step->to);
}

bool carry_elements(struct carry_run *run, const struct carry_program *program, const char *from, char *to,
                    uint64_t first, uint64_t count)
{
    uint64_t size = program->from_size > program->to_size ? program->from_size : program->to_size;
    uint64_t length = size == 0 || size > CARRY_BLOCK ? 1 : CARRY_BLOCK / size;
    bool fits = true;
    for (uint64_t i = 0; fits && i < count; i += length) {
        const char *element = from + i * program->from_size;
        char *place = to + i * program->to_size;
        run->frames[run->depth - 1].index = first + i;
        if (size <= CARRY_BLOCK)
            fits = carry_block(run, program, element, place, first + i, count - i < length ? count - i
                               : length);
        for (size_t j = 0; fits && size > CARRY_BLOCK && j < program->leaves.count; j++)
            fits = carry_step(run, &program->leaves.list[j], element, place);
    }
    return fits;
}

/* ---- Initial values ---- */

static bool bytes_begin_same(struct carry_run *run, const char *from, const char *to, uint64_t size)
{
    bool is_same = true;
    for (uint64_t at = 0; is_same && at < size; at += CARRY_BLOCK) {
        uint64_t length = size - at < CARRY_BLOCK ? size - at : CARRY_BLOCK;
        const char *base = piece_base(run, from + at, length);
        is_same = memcmp(base ? base : carry_zeros, to + at, length) == 0;
    }
    return is_same;
}

static bool step_begins_same(struct carry_run *run, const struct carry_step *step, const char *from,
                             const char *to)
{
    struct carry_step moved;
    if (step->kind == STEP_LOOP)
        return carry_begins_same(run, step->inner, from, to, step->count);
    if (step->from_size > CARRY_BLOCK)
        return bytes_begin_same(run, from, to, step->from_size);
    struct carry_program program = alone(step, &moved);
    return carry_is_initial_same(run, &program, piece_base(run, from, step->from_size), to, 1);
}

bool carry_begins_same(struct carry_run *run, const struct carry_program *program, const char *from,
                       const char *to, uint64_t count)
{
    uint64_t size = program->from_size, length = size == 0 || size > CARRY_BLOCK ? 1 : CARRY_BLOCK / size;
    bool is_same = true;
    for (uint64_t i = 0; is_same && i < count; i += length) {
        const char *element = from + i * size, *place = to + i * size;
        uint64_t some = count - i < length ? count - i : length;
        if (size <= CARRY_BLOCK)
            is_same = carry_is_initial_same(run, program, piece_base(run, element, some * size), place, some);
        for (size_t j = 0; is_same && size > CARRY_BLOCK && j < program->leaves.count; j++) {
            const struct carry_step *step = &program->leaves.list[j];
            is_same = step_begins_same(run, step, element + step->from, place + step->to);
        }
    }
    return is_same;
}
