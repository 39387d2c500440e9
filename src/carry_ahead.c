/* carry_ahead.c: large variables that go over byte for byte are copied while the program still runs; the
 * kernel notes the pages written meanwhile, and the run copies only those again. Needs Linux 6.7; elsewhere,
 * and where the system forbids it, all is copied in the run. */
#include "carry_internal.h"

#include "loader.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

static const uint64_t PAGE = 4096, LEAST = 4 << 20, STRETCH = 2 << 20, WRITTEN = 1 << 1;
static const uint64_t WRITE_PROTECT_ASYNC = 1 << 15, WRITE_PROTECT_UNPOPULATED = 1 << 13;

/* PAGEMAP_SCAN and what it takes and gives, which older headers do not have. */
struct scan {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

struct scanned { uint64_t start, end, categories; };

#define SCAN_PAGES _IOWR('f', 16, struct scan)

struct carry_ahead {
    int tracker;             /* of userfaultfd */
    size_t count, capacity;
    struct stretch { uintptr_t start, end; } *stretches;   /* whole pages of old variables that it tracks */
};

static struct stretch pages_of(const struct carry_pair *pair)
{
    uintptr_t start = (uintptr_t)pair->from, end = start + pair->from_size;
    return (struct stretch){(start + PAGE - 1) & -PAGE, end & -PAGE};
}

/* ---- Before the run ---- */

static int open_tracker(void)
{
    struct uffdio_api api = {.api = UFFD_API, .features = WRITE_PROTECT_ASYNC | WRITE_PROTECT_UNPOPULATED};
    int tracker = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    if (tracker < 0 || ioctl(tracker, UFFDIO_API, &api) == 0)
        return tracker;
    close(tracker);
    return -1;
}

/* From here on the kernel notes which pages are written. */
static bool track(int tracker, struct stretch stretch)
{
    struct uffdio_range range = {stretch.start, stretch.end - stretch.start};
    struct uffdio_register registration = {.range = range, .mode = UFFDIO_REGISTER_MODE_WP};
    struct uffdio_writeprotect protection = {.range = range, .mode = UFFDIO_WRITEPROTECT_MODE_WP};
    return ioctl(tracker, UFFDIO_REGISTER, &registration) == 0 &&
           ioctl(tracker, UFFDIO_WRITEPROTECT, &protection) == 0;
}

/* Both images begin with the same bytes, so that the value is the old one's whatever was touched. */
static bool may_go_ahead(const struct carry_pair *pair)
{
    return pair->treatment == TREAT_MERGE && pair->program && pair->program->is_plain &&
           pair->is_initial_same && pair->from_size >= LEAST;
}

/* Pages that nobody has written are the same in both images. */
static void copy_pages(const struct carry *carry, const struct carry_pair *pair, struct stretch stretch,
                       const unsigned char *written)
{
    for (uintptr_t at = stretch.start; at < stretch.end; at += PAGE)
        if (!pristine_is_clean(carry->old_image->pristine, written, (const void *)at, PAGE))
            memcpy(pair->to + (at - (uintptr_t)pair->from), (const void *)at, PAGE);
}

static bool add_stretch(struct carry_ahead *ahead, struct stretch stretch)
{
    if (ahead->count == ahead->capacity) {
        size_t capacity = 2 * ahead->capacity + 8;
        struct stretch *stretches = realloc(ahead->stretches, capacity * sizeof *stretches);
        if (!stretches)
            return false;
        ahead->stretches = stretches;
        ahead->capacity = capacity;
    }
    if (!track(ahead->tracker, stretch))
        return false;
    ahead->stretches[ahead->count++] = stretch;
    return true;
}

static struct carry_ahead *new_ahead(void)
{
    struct carry_ahead *ahead = calloc(1, sizeof *ahead);
    int tracker = ahead ? open_tracker() : -1;
    if (tracker < 0) {
        free(ahead);
        return NULL;
    }
    ahead->tracker = tracker;
    return ahead;
}

void carry_copy_ahead(struct carry *carry)
{
    for (size_t i = 0; i < carry->pair_count; i++) {
        struct carry_pair *pair = &carry->pairs[i];
        if (!may_go_ahead(pair))
            continue;
        if (!carry->ahead && !(carry->ahead = new_ahead()))
            return;
        if (!add_stretch(carry->ahead, pages_of(pair)))
            continue;
        unsigned char *written = pristine_ask_written(carry->old_image->pristine);
        copy_pages(carry, pair, pages_of(pair), written);
        free(written);
        pair->is_ahead = true;
    }
}

/* ---- In the run ---- */

static void copy_range(const struct carry_pair *pair, uintptr_t start, uintptr_t end)
{
    memcpy(pair->to + (start - (uintptr_t)pair->from), (const void *)start, end - start);
}

/* Copy again what was written since. False: the kernel does not say. */
static bool copy_written(int pagemap, const struct carry_pair *pair, struct stretch stretch)
{
    struct scanned found[128];
    while (stretch.start < stretch.end) {
        struct scan scan = {
            .size = sizeof scan, .start = stretch.start, .end = stretch.end, .vec = (uintptr_t)found,
            .vec_len = 128, .category_mask = WRITTEN, .return_mask = WRITTEN,
        };
        int count = ioctl(pagemap, SCAN_PAGES, &scan);
        if (count < 0 || scan.walk_end <= stretch.start)
            return false;
        for (int i = 0; i < count; i++)
            copy_range(pair, found[i].start, found[i].end);
        stretch.start = scan.walk_end;
    }
    return true;
}

void carry_catch_up(const struct carry_pair *pair)
{
    struct stretch stretch = pages_of(pair);
    uintptr_t start = (uintptr_t)pair->from, end = start + pair->from_size;
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    bool is_done = pagemap >= 0 && copy_written(pagemap, pair, stretch);
    if (pagemap >= 0)
        close(pagemap);
    if (!is_done) {
        copy_range(pair, start, end);
        return;
    }
    copy_range(pair, start, stretch.start);
    copy_range(pair, stretch.end, end);
}

/* ---- Afterwards ---- */

void carry_forget_ahead(struct carry *carry)
{
    for (size_t i = 0; i < carry->pair_count; i++) {
        struct carry_pair *pair = &carry->pairs[i];
        if (pair->is_ahead)
            pristine_restore_part(carry->new_image->pristine, pair->to, pair->to + pair->to_size);
        pair->is_ahead = false;
    }
}

/* By pieces: the kernel holds up page faults of the whole process during each. */
static void release(void *context)
{
    struct carry_ahead *ahead = context;
    for (size_t i = 0; i < ahead->count; i++)
        for (uintptr_t at = ahead->stretches[i].start; at < ahead->stretches[i].end; at += STRETCH) {
            uint64_t rest = ahead->stretches[i].end - at;
            struct uffdio_writeprotect opened = {.range = {at, rest < STRETCH ? rest : STRETCH}};
            ioctl(ahead->tracker, UFFDIO_WRITEPROTECT, &opened);
        }
    close(ahead->tracker);
    free(ahead->stretches);
    free(ahead);
}

void carry_end_ahead(struct carry *carry)
{
    if (carry->ahead)
        loader_run(release, carry->ahead);
    carry->ahead = NULL;
}
