/* carry_merge.c: carries one variable: block by block, each either left alone, converted without
 * looking, or merged leaf by leaf. Writes only into the new image. */
#include "carry_heap.h"

#include <stdlib.h>
#include <string.h>

static const struct pristine *old_pristine(const struct carry_run *run)
{
    return run->carry->old_image->pristine;
}

static bool was_not_written(const struct carry_run *run, const char *from, uint64_t size)
{
    return pristine_is_clean(old_pristine(run), run->old_written, from, size);
}

/* The initial value of the new memory, at most CARRY_BLOCK bytes: before a reload it is still there. */
static const char *new_initial(const struct carry_run *run, const char *to, uint64_t size)
{
    const struct pristine *pristine = run->carry->new_image->pristine;
    if (!run->carry->is_return || !pristine_covers(pristine, to, size))
        return to;
    const char *view = pristine_view(pristine, to, size, run->initial);
    return view ? view : carry_zeros;
}

bool carry_is_as_before(const struct carry_run *run, const char *to, uint64_t size)
{
    const struct pristine *pristine = run->carry->new_image->pristine;
    if (!run->carry->is_return || pristine_is_clean(pristine, run->new_written, to, size))
        return true;
    return pristine_is_untouched(pristine, to, size);
}

/* Is the new memory all zero? Pages that nobody wrote are not even read. */
bool carry_is_new_zero(const struct carry_run *run, const char *to, uint64_t size)
{
    const struct pristine *pristine = run->carry->new_image->pristine;
    if (pristine_is_clean(pristine, run->new_written, to, size))
        return !pristine_view(pristine, to, size, run->scratch);
    return memcmp(to, carry_zeros, size) == 0;
}

static const char *bytes_or_zeros(const char *bytes)
{
    return bytes ? bytes : carry_zeros;
}

bool carry_is_initial_same(struct carry_run *run, const struct carry_program *program,
                           const char *base, const char *to, uint64_t count)
{
    uint64_t size = count * program->to_size;
    const char *initial = new_initial(run, to, size);
    bool is_zero = initial == to ? !base && carry_is_new_zero(run, to, size) : initial == carry_zeros;
    if (!base && program->zero_is_zero && is_zero)
        return true;
    if (program->is_plain)
        return memcmp(bytes_or_zeros(base), initial, size) == 0;
    memcpy(run->scratch, initial, size);
    run->is_quiet = true;
    bool is_done = carry_do_steps(run, &program->fast, bytes_or_zeros(base), base, run->scratch,
                                  program,
                                  0, count);
    run->is_quiet = false;
    return is_done && memcmp(run->scratch, initial, size) == 0;
}

/* ---- Leaf by leaf ---- */

struct leaf {                /* both values of a leaf in the new layout */
    char *mine, *initial;
    bool knows_initial;
    char small[128];
};

static bool open_leaf(struct carry_run *run, const struct carry_step *step, const char *base,
                      const char *to, struct leaf *leaf)
{
    leaf->mine = leaf->small;
    if (2 * step->to_size > sizeof leaf->small)
        leaf->mine = malloc(2 * step->to_size);
    if (!leaf->mine)
        return error_set(run->error, "%s: out of memory", run->carry->new_image->source);
    leaf->initial = leaf->mine + step->to_size;
    memcpy(leaf->mine, to, step->to_size);
    memcpy(leaf->initial, to, step->to_size);
    run->is_quiet = true;
    leaf->knows_initial =
        carry_do_leaf(run, step, bytes_or_zeros(base), base, leaf->initial) == VALUE_DONE;
    run->is_quiet = false;
    return true;
}

static void close_leaf(struct leaf *leaf)
{
    if (leaf->mine != leaf->small)
        free(leaf->mine);
}

void carry_report_conflict(struct carry_run *run, const struct carry_step *step)
{
    carry_report(run, CARRY_CONFLICT, step->path,
                 "changed at run time and its initial value in the code: the running value is "
                 "kept");
}

/* The same of one leaf, which may be a bit-field among others. */
static bool is_leaf_as_before(const struct carry_run *run, const struct carry_step *step, const char *to)
{
    struct carry_step there = {.from_bit = step->to_bit, .from_bits = step->to_bits};
    char initial[16];
    if (carry_is_as_before(run, to, step->to_size))
        return true;
    return step->to_bits && pristine_read(run->carry->new_image->pristine, to, initial, step->to_size) &&
           !carry_leaf_differs(&there, to, initial);
}

/* A rollback brings back what was touched in either image, and has no conflicts. */
static bool return_leaf(struct carry_run *run, const struct carry_step *step, const char *from,
                        const char *base, char *to, bool is_touched)
{
    is_touched = is_touched || !is_leaf_as_before(run, step, to);
    return !is_touched || carry_do_leaf(run, step, from, base, to) != VALUE_UNFIT;
}

bool carry_merge_leaf(struct carry_run *run, const struct carry_step *step, const char *from,
                      const char *base, char *to)
{
    struct leaf leaf;
    bool is_touched = carry_leaf_differs(step, from, base);
    if (run->carry->is_return)
        return return_leaf(run, step, from, base, to, is_touched);
    if (!is_touched && run->took_new)
        return true;
    if (!open_leaf(run, step, base, to, &leaf))
        return false;
    bool is_new = !leaf.knows_initial || memcmp(leaf.initial, to, step->to_size) != 0;
    enum carry_result result = VALUE_LOST;
    if (is_touched)
        result = carry_do_leaf(run, step, from, base, leaf.mine);
    else
        run->took_new |= is_new;
    if (result == VALUE_DONE) {
        if (is_new && memcmp(leaf.mine, to, step->to_size) != 0)
            carry_report_conflict(run, step);
        memcpy(to, leaf.mine, step->to_size);
    }
    close_leaf(&leaf);
    return result != VALUE_UNFIT;
}

static bool merge_leaves(struct carry_run *run, const struct carry_program *program,
                         const char *from,
                         const char *base, char *to, uint64_t first, uint64_t count);

static bool merge_loop(struct carry_run *run, const struct carry_step *step, const char *from,
                       const char *base, char *to)
{
    if (run->depth == CARRY_FRAMES)
        return true;
    run->frames[run->depth++] = (struct carry_frame){step->path, true, 0};
    bool fits = merge_leaves(run, step->inner, from, base, to, 0, step->count);
    run->depth--;
    return fits;
}

static bool merge_step(struct carry_run *run, const struct carry_program *program,
                       const struct carry_step *step, const char *from, const char *base, char *to,
                       uint64_t index)
{
    const char *leaf_base = base ? base + step->from : NULL;
    switch (step->kind) {
    case STEP_NEW:
        return true;
    case STEP_GONE: case STEP_LOST:
        return carry_do_step(run, step, from, base, to, program, index, 1);
    case STEP_LOOP:
        return merge_loop(run, step, from + step->from, leaf_base, to + step->to);
    default:
        return carry_merge_leaf(run, step, from + step->from, leaf_base, to + step->to);
    }
}

static bool merge_leaves(struct carry_run *run, const struct carry_program *program,
                         const char *from,
                         const char *base, char *to, uint64_t first, uint64_t count)
{
    struct carry_frame *frame = &run->frames[run->depth - 1];
    for (uint64_t i = 0; i < count; i++) {
        frame->index = first + i;
        const char *element = from + i * program->from_size;
        const char *initial = base ? base + i * program->from_size : NULL;
        for (size_t j = 0; j < program->leaves.count; j++)
            if (!merge_step(run, program, &program->leaves.list[j], element, initial,
                            to + i * program->to_size, first + i))
                return false;
    }
    return true;
}

/* ---- Blocks ---- */

bool carry_block(struct carry_run *run, const struct carry_program *program, const char *from,
                        char *to, uint64_t first, uint64_t count)
{
    uint64_t size = count * program->from_size;
    bool is_merged = run->pair->treatment == TREAT_MERGE;
    bool has_base = pristine_covers(old_pristine(run), from, size);
    bool may_leave = is_merged && carry_is_as_before(run, to, count * program->to_size);
    if (may_leave && was_not_written(run, from, size))
        return true;
    const char *base = has_base ? pristine_view(old_pristine(run), from, size, run->base) : NULL;
    if (may_leave && has_base && memcmp(from, bytes_or_zeros(base), size) == 0)
        return true;
    run->is_touched = true;
    if (is_merged && has_base && !carry_is_initial_same(run, program, base, to, count))
        return merge_leaves(run, program, from, base, to, first, count);
    return carry_do_steps(run, &program->fast, from, base, to, program, first, count);
}

/* ---- Variables ---- */

/* Variables of unknown type: as bytes, if both have as many. */
static bool carry_bytes(struct carry_run *run, const struct carry_pair *pair)
{
    struct carry_step step = {
        .kind = STEP_COPY, .from_size = pair->from_size, .to_size = pair->to_size, .count = 1,
        .path = "", .may_hide_pointers = true, .is_same = true,
    };
    struct carry_program program = {.from_size = pair->from_size, .to_size = pair->to_size,
                                    .leaves = {&step, 1, 1}, .fast = {&step, 1, 1}};
    return carry_elements(run, &program, pair->from, pair->to, 0, 1);
}

/* What was not touched has the new initial value; it is kept if that is the old one. */
static bool is_kept(struct carry_run *run, const struct carry_pair *pair)
{
    if (run->is_touched || pair->is_initial_same || pair->treatment != TREAT_MERGE)
        return true;
    const struct carry_program *program = pair->program;
    return program && !program->is_plain && pristine_covers(old_pristine(run), pair->from, pair->from_size) &&
           carry_begins_same(run, program, pair->from, pair->to, 1);
}

static void report_pair(struct carry_run *run, const struct carry_pair *pair)
{
    carry_heap_scan(run, pair);
    carry_report_rest(run);
    if (run->is_reset)
        return;
    if (pair->change)
        carry_report(run, CARRY_CONVERTED, "", pair->change);
    else if (is_kept(run, pair))
        carry_report(run, CARRY_KEPT, "", run->took_new
                     ? "merged: what was not touched has its new "
                                                          "initial value" : NULL);
}

bool carry_merge_pair(struct carry_run *run, const struct carry_pair *pair)
{
    run->pair = pair;
    run->depth = 1;
    run->frames[0] = (struct carry_frame){.path = ""};
    memset(run->listed, 0, sizeof run->listed);
    run->is_touched = run->took_new = run->is_reset = false;
    if (pair->treatment == TREAT_RESET) {
        carry_report(run, CARRY_RESET, "", pair->why);
        if (pair->is_restarted)
            carry_report(run, CARRY_RESTARTED, "", NULL);
        return true;
    }
    if (pair->is_ahead) {
        carry_catch_up(pair);
        report_pair(run, pair);
        return true;
    }
    bool fits = pair->program ? carry_elements(run, pair->program, pair->from, pair->to, 0, 1)
                              : carry_bytes(run, pair);
    if (fits)
        report_pair(run, pair);
    return fits;
}
