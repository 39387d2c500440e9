/* carry_step.c: the steps of a program, over blocks of elements and on single leaves. Writes only
 * where it is told to; asks nothing of initial values but whether a leaf is another. */
#include "carry_heap.h"

#include <string.h>

struct block {               /* elements of which one step takes its part */
    const char *from, *base; /* base NULL: zeros */
    char *to;
    size_t from_stride, to_stride;
    uint64_t first, count;
};

static void set_index(struct carry_run *run, uint64_t index)
{
    run->frames[run->depth - 1].index = index;
}

/* ---- Is it another value? ---- */

static bool bits_differ(const struct carry_step *step, const char *from, const char *base)
{
    for (unsigned i = step->from_bit; i < step->from_bit + step->from_bits; i++) {
        unsigned now = (unsigned char)from[i / 8] >> i % 8 & 1;
        unsigned was = base ? (unsigned char)base[i / 8] >> i % 8 & 1 : 0;
        if (now != was)
            return true;
    }
    return false;
}

static bool bytes_differ(const char *from, const char *base, uint64_t size)
{
    if (base)
        return memcmp(from, base, size) != 0;
    for (uint64_t done = 0; done < size; ) {
        uint64_t length = size - done < CARRY_BLOCK ? size - done : CARRY_BLOCK;
        if (memcmp(from + done, carry_zeros, length) != 0)
            return true;
        done += length;
    }
    return false;
}

bool carry_leaf_differs(const struct carry_step *step, const char *from, const char *base)
{
    if (step->from_bits)
        return bits_differ(step, from, base);
    return bytes_differ(from, base, step->from_size);
}

/* ---- Leaves ---- */

enum carry_pointing carry_follow(struct carry_run *run, const struct carry_step *step, const char **pointer,
                                 bool is_changed)
{
    char said[160];
    const char *why = said;
    enum carry_pointing pointing = POINTS_ELSEWHERE;
    bool is_in_image = image_contains(run->carry->old_image, *pointer);
    if (is_in_image)
        pointing = carry_repoint(run->carry, pointer, step->from_type->target, said);
    else if (run->carry->heap)
        pointing = carry_heap_repoint(run->carry->heap, pointer, step->from_type->target, &why);
    if (pointing == POINTS_MOVED && is_changed && !run->is_quiet)
        carry_report(run, CARRY_REPOINTED, step->path, why);
    if (pointing == POINTS_STUCK && !run->is_quiet)
        carry_report(run, is_in_image ? CARRY_HELD : CARRY_HELD_OBJECT, step->path, why);
    return pointing;
}

static enum carry_result do_pointer(struct carry_run *run, const struct carry_step *step,
                                    const char *from, const char *base, char *to)
{
    const char *pointer;
    memcpy(&pointer, from, sizeof pointer);
    carry_follow(run, step, &pointer, carry_leaf_differs(step, from, base));
    memcpy(to, &pointer, sizeof pointer);
    return VALUE_DONE;
}

/* A text ends in a NUL also where it had to be cut. */
static enum carry_result do_text(struct carry_run *run, const struct carry_step *step,
                                 const char *from, const char *base, char *to)
{
    if (step->to_size >= step->from_size) {
        memcpy(to, from, step->from_size);
        memset(to + step->from_size, 0, step->to_size - step->from_size);
        return VALUE_DONE;
    }
    size_t length = strnlen(from, step->from_size);
    bool ends_behind = length >= step->to_size && length < step->from_size;
    memcpy(to, from, step->to_size);
    if (ends_behind && step->to_size > 0)
        to[step->to_size - 1] = 0;
    bool is_cut = ends_behind ||
                  bytes_differ(from + step->to_size, NULL, step->from_size - step->to_size);
    if (is_cut && !run->is_quiet && carry_leaf_differs(step, from, base))
        carry_report(run, CARRY_RESET, step->path, "the array is shorter: the text was cut");
    return VALUE_DONE;
}

static enum carry_result do_scalar(struct carry_run *run, const struct carry_step *step,
                                   const char *from, const char *base, char *to)
{
    char said[80] = "";
    enum carry_result result = carry_convert_scalar(step, from, to, said);
    if (run->is_quiet || result == VALUE_DONE)
        return result;
    if (result == VALUE_LOST && carry_leaf_differs(step, from, base))
        carry_report(run, CARRY_RESET, step->path, said);
    if (result == VALUE_UNFIT)
        carry_report_unfit(run, step, said);
    return result;
}

static enum carry_result do_copy(struct carry_run *run, const struct carry_step *step,
                                 const char *from, char *to)
{
    memcpy(to, from, step->from_size);
    if (step->may_hide_pointers && !run->is_quiet)
        carry_scan_bytes(run, step->path, from, step->from_size);
    return VALUE_DONE;
}

enum carry_result carry_do_leaf(struct carry_run *run, const struct carry_step *step,
                                const char *from,
                                const char *base, char *to)
{
    switch (step->kind) {
    case STEP_COPY:
        return do_copy(run, step, from, to);
    case STEP_NUMBER:
        if (step->kernel(from, 0, to, 0, 1) == 1)
            return VALUE_DONE;
        return do_scalar(run, step, from, base, to);
    case STEP_GENERAL:
        return do_scalar(run, step, from, base, to);
    case STEP_TEXT:
        return do_text(run, step, from, base, to);
    case STEP_POINTER:
        return do_pointer(run, step, from, base, to);
    default:
        return VALUE_LOST;
    }
}

void carry_scan_bytes(struct carry_run *run, const char *path, const char *from, uint64_t size)
{
    uint64_t start = -(uintptr_t)from % sizeof(char *);
    for (uint64_t at = start; at + sizeof(char *) <= size; at += sizeof(char *)) {
        const char *word;
        memcpy(&word, from + at, sizeof word);
        if (image_contains(run->carry->old_image, word)) {
            carry_report(run, CARRY_HELD, path,
                         "an address of the old image where no type says pointer");
            return;
        }
    }
}

/* ---- Steps over blocks ---- */

#define COPY_BLOCK(size)                                                                        \
    for (uint64_t i = 0; i < block.count; i++)                                                  \
        memcpy(block.to + i * block.to_stride, block.from + i * block.from_stride, size)

static void copy_block(struct block block, uint64_t size)
{
    if (size == block.from_stride && size == block.to_stride) {
        memcpy(block.to, block.from, size * block.count);
        return;
    }
    switch (size) {
    case 1: COPY_BLOCK(1); break;
    case 2: COPY_BLOCK(2); break;
    case 4: COPY_BLOCK(4); break;
    case 8: COPY_BLOCK(8); break;
    case 12: COPY_BLOCK(12); break;
    case 16: COPY_BLOCK(16); break;
    case 24: COPY_BLOCK(24); break;
    case 32: COPY_BLOCK(32); break;
    default: COPY_BLOCK(size);
    }
}

static bool do_numbers(struct carry_run *run, const struct carry_step *step, struct block block)
{
    for (uint64_t done = 0; done < block.count; done++) {
        const char *from = block.from + done * block.from_stride;
        char *to = block.to + done * block.to_stride;
        done += step->kernel(from, block.from_stride, to, block.to_stride, block.count - done);
        if (done == block.count)
            return true;
        set_index(run, block.first + done);
        from = block.from + done * block.from_stride;
        const char *base = block.base ? block.base + done * block.from_stride : NULL;
        if (do_scalar(run, step, from, base, block.to + done * block.to_stride) == VALUE_UNFIT)
            return false;
    }
    return true;
}

static bool do_leaves(struct carry_run *run, const struct carry_step *step, struct block block)
{
    for (uint64_t i = 0; i < block.count; i++) {
        const char *base = block.base ? block.base + i * block.from_stride : NULL;
        set_index(run, block.first + i);
        enum carry_result result = carry_do_leaf(run, step, block.from + i * block.from_stride,
                                                 base,
                                                 block.to + i * block.to_stride);
        if (result == VALUE_UNFIT || (result == VALUE_LOST && run->is_quiet))
            return false;
    }
    return true;
}

static bool do_loop(struct carry_run *run, const struct carry_step *step, struct block block)
{
    const struct carry_program *inner = step->inner;
    bool is_whole = true;
    if (run->depth == CARRY_FRAMES)
        return true;
    run->frames[run->depth++] = (struct carry_frame){step->path, true, 0};
    for (uint64_t i = 0; is_whole && i < block.count; i++) {
        const char *base = block.base ? block.base + i * block.from_stride : NULL;
        run->frames[run->depth - 2].index = block.first + i;
        is_whole = carry_do_steps(run, &inner->fast, block.from + i * block.from_stride, base,
                                  block.to + i * block.to_stride, inner, 0, step->count);
    }
    run->depth--;
    return is_whole;
}

void carry_report_lost(struct carry_run *run, const struct carry_step *step, uint64_t element)
{
    char path[512];
    if (run->listed[CARRY_RESET] >= CARRY_LISTED || step->from_count == 0) {
        carry_report(run, CARRY_RESET, step->path, step->why);
        return;
    }
    snprintf(path, sizeof path, "%s[%llu]", step->path, (unsigned long long)(step->to_count + element));
    carry_report(run, CARRY_RESET, path, step->why);
}

/* Report the elements' values that get lost and are not the initial ones. */
static void list_lost(struct carry_run *run, const struct carry_step *step, struct block block)
{
    for (uint64_t i = 0; !run->is_quiet && i < block.count; i++) {
        set_index(run, block.first + i);
        for (uint64_t j = 0; j < step->count; j++) {
            uint64_t at = i * block.from_stride + j * step->from_size;
            if (carry_leaf_differs(step, block.from + at, block.base ? block.base + at : NULL))
                carry_report_lost(run, step, j);
        }
    }
}

bool carry_do_step(struct carry_run *run, const struct carry_step *step, const char *from,
                   const char *base, char *to, const struct carry_program *strides, uint64_t first,
                   uint64_t count)
{
    struct block block = {
        from + step->from, base ? base + step->from : NULL, to + step->to,
        strides->from_size, strides->to_size, first, count,
    };
    switch (step->kind) {
    case STEP_COPY:
        if (step->may_hide_pointers)
            return do_leaves(run, step, block);
        copy_block(block, step->from_size);
        return true;
    case STEP_NUMBER:
        return do_numbers(run, step, block);
    case STEP_LOOP:
        return do_loop(run, step, block);
    case STEP_GONE: case STEP_LOST:
        list_lost(run, step, block);
        return true;
    case STEP_NEW:
        return true;
    default:
        return do_leaves(run, step, block);
    }
}

bool carry_do_steps(struct carry_run *run, const struct carry_steps *steps, const char *from,
                    const char *base, char *to, const struct carry_program *strides, uint64_t first,
                    uint64_t count)
{
    for (size_t i = 0; i < steps->count; i++)
        if (!carry_do_step(run, &steps->list[i], from, base, to, strides, first, count))
            return false;
    return true;
}
