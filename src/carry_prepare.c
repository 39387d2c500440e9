/* carry_prepare.c: memory for large variables, made ready before the carry on whatever thread plans
 * it, all at once: page faults one by one cost more than the copy. Only what is full in the old
 * image. Large pages are not asked for: the kernel may take long to find some. */
#include "carry_internal.h"

#include <stdlib.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static const uint64_t PAGE = 4096, STRETCH = 2 << 20;

/* Has more than half of the range been written? */
static bool is_mostly_written(const struct pristine *pristine, const unsigned char *written,
                              const char *start, uint64_t size)
{
    uint64_t count = 0;
    for (uint64_t at = 0; at < size; at += PAGE)
        count += !pristine_is_clean(pristine, written, start + at, at + PAGE <= size ? PAGE
                                    : size - at);
    return count * PAGE > size / 2;
}

/* The bytes of the old variable that the new one's from `at` on come from, if sizes are in
 * proportion. */
static bool will_be_written(const struct carry *carry, const struct carry_pair *pair,
                            const unsigned char *written, uint64_t at)
{
    double scale = (double)pair->from_size / (double)pair->to_size;
    uint64_t start = (uint64_t)((double)at * scale), size = (uint64_t)((double)STRETCH * scale);
    if (start >= pair->from_size)
        return false;
    size = size < pair->from_size - start ? size : pair->from_size - start;
    return is_mostly_written(carry->old_image->pristine, written, pair->from + start, size);
}

static void make_ready(char *start, char *end)
{
    if (start == end)
        return;
    madvise(start, (size_t)(end - start), MADV_POPULATE_WRITE);
}

static void prepare_pair(const struct carry *carry, const struct carry_pair *pair,
                         const unsigned char *written)
{
    char *first = (char *)(((uintptr_t)pair->to + STRETCH - 1) & -STRETCH);
    char *end = (char *)(((uintptr_t)pair->to + pair->to_size) & -STRETCH), *start = first;
    for (char *at = first; at < end; at += STRETCH)
        if (!will_be_written(carry, pair, written, (uint64_t)(at - pair->to))) {
            make_ready(start, at);
            start = at + STRETCH;
        }
    if (start < end)
        make_ready(start, end);
}

void carry_prepare_memory(const struct carry *carry)
{
    unsigned char *written = NULL;
    for (size_t i = 0; i < carry->pair_count; i++) {
        const struct carry_pair *pair = &carry->pairs[i];
        bool is_large = pair->treatment != TREAT_RESET && pair->to_size >= 2 * STRETCH;
        if (!is_large || !pristine_covers(carry->old_image->pristine, pair->from,
                                          pair->from_size) ||
            !pristine_covers(carry->new_image->pristine, pair->to, pair->to_size))
            continue;
        if (!written)
            written = pristine_ask_written(carry->old_image->pristine);
        if (!written)
            return;
        prepare_pair(carry, pair, written);
    }
    free(written);
}
