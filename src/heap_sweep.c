/* heap_sweep.c: gives back the memory that objects had before they moved, as a conservative garbage
 * collector would: what no word of the process's memory leads to, nobody can use. Reads memory through the
 * kernel, since other threads may unmap it meanwhile; on whatever thread unloads images. */
#include "heap_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PAGE = 4096, PIECE = 256 << 10 };

static const uint64_t WORTH_IT = 16 << 20, MOST_SEARCHED = (uint64_t)16 << 30;

struct candidate {
    struct heap_region *region;
    uintptr_t hidden_start, hidden_end;  /* complements: the search must not find them */
    bool is_array;                       /* a pointer may lead just behind it */
    bool is_found, is_done;              /* an address leads here; its own words were looked at */
};

struct sweep {
    struct candidate *list;              /* sorted by address */
    size_t count, found;
    uintptr_t *piece;                    /* PIECE bytes, a mapping that goes afterwards */
    bool is_blind;                       /* memory may not be read */
    uintptr_t stack;                     /* below this the thread's own stack holds nothing */
};

/* ---- Candidates ---- */

static int compare_candidates(const void *a, const void *b)
{
    const struct candidate *left = a, *right = b;
    return (left->hidden_start < right->hidden_start) - (left->hidden_start > right->hidden_start);
}

static bool take_candidates(const struct heap *heap, struct sweep *sweep)
{
    size_t count = 0;
    for (const struct heap_region *region = heap->stale; region; region = region->next)
        count += !region->left;
    sweep->list = malloc((count + 1) * sizeof *sweep->list);
    for (struct heap_region *region = sweep->list ? heap->stale : NULL; region; region = region->next)
        if (!region->left)
            sweep->list[sweep->count++] = (struct candidate){
                .region = region, .is_array = !region->bits, .hidden_start = region->hidden,
                .hidden_end = region->hidden - heap_bytes(region),
            };
    if (sweep->count > 0)
        qsort(sweep->list, sweep->count, sizeof *sweep->list, compare_candidates);
    return sweep->count > 0;
}

/* The last candidate that begins at or before the address, also if it ends before. */
static struct candidate *candidate_before(const struct sweep *sweep, uintptr_t address)
{
    size_t low = 0, high = sweep->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (~sweep->list[middle].hidden_start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? &sweep->list[low - 1] : NULL;
}

/* ---- Searching ---- */

static void look_at(struct sweep *sweep, size_t count)
{
    uintptr_t low = ~sweep->list[0].hidden_start, high = ~sweep->list[sweep->count - 1].hidden_end;
    for (size_t i = 0; i < count; i++) {
        uintptr_t word = sweep->piece[i];
        if (word < low || word > high)
            continue;
        struct candidate *candidate = candidate_before(sweep, word);
        if (!candidate || candidate->is_found || word >= ~candidate->hidden_end + candidate->is_array)
            continue;
        candidate->is_found = true;
        sweep->found++;
    }
}

static bool read_piece(struct sweep *sweep, uintptr_t start, size_t size)
{
    struct iovec to = {sweep->piece, size}, from = {(void *)start, size};
    ssize_t got = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
    sweep->is_blind |= got < 0 && errno != EFAULT;
    if (got != (ssize_t)size)
        return false;
    look_at(sweep, size / sizeof(uintptr_t));
    return true;
}

/* Memory of which a part cannot be read, or is not there any more, goes page by page. */
static void search(struct sweep *sweep, uintptr_t start, uintptr_t end)
{
    while (start < end && sweep->found < sweep->count && !sweep->is_blind) {
        size_t size = end - start < PIECE ? end - start : PIECE;
        bool is_read = read_piece(sweep, start, size);
        for (size_t at = 0, length; !is_read && at < size; at += length) {
            length = PAGE - (start + at) % PAGE;
            length = length < size - at ? length : size - at;
            read_piece(sweep, start + at, length);
        }
        start += size;
    }
}

/* A mapping, but for the candidates in it and the unused end of this thread's stack. */
static void search_mapping(struct sweep *sweep, uintptr_t start, uintptr_t end)
{
    uintptr_t piece = (uintptr_t)sweep->piece;
    if (sweep->stack > start && sweep->stack < end)
        start = sweep->stack & -sizeof(uintptr_t);
    while (start < end) {
        const struct candidate *next = candidate_before(sweep, start);
        next = next && ~next->hidden_end > start ? next : next ? next + 1 : sweep->list;
        bool is_inside = next < sweep->list + sweep->count && ~next->hidden_start < end;
        uintptr_t stop = is_inside ? ~next->hidden_start : end;
        if (start < piece && piece < stop) {
            search(sweep, start, piece);
            start = piece + PIECE;
        }
        if (start < stop)
            search(sweep, start, stop);
        if (!is_inside)
            return;
        uintptr_t behind = (~next->hidden_end + sizeof(uintptr_t) - 1) & -sizeof(uintptr_t);
        start = behind > start ? behind : start + sizeof(uintptr_t);
    }
}

/* All data that is the process's own; false if that is not known, or too much. */
static bool search_process(struct sweep *sweep)
{
    char line[512], mode[8];
    uintptr_t start, end;
    uint64_t total = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    if (!maps)
        return false;
    while (total <= MOST_SEARCHED && !sweep->is_blind && fgets(line, sizeof line, maps)) {
        bool is_known = sscanf(line, "%lx-%lx %7s", &start, &end, mode) == 3;
        bool is_data = is_known && mode[0] == 'r' && mode[2] != 'x' && (mode[1] == 'w' || mode[3] != 's');
        if (!is_data)
            continue;
        total += end - start;
        if (total <= MOST_SEARCHED)
            search_mapping(sweep, start, end);
    }
    fclose(maps);
    return total <= MOST_SEARCHED && !sweep->is_blind;
}

/* What is kept keeps what it leads to. */
static void search_found(struct sweep *sweep)
{
    for (bool is_over = false; !is_over; ) {
        is_over = true;
        for (size_t i = 0; i < sweep->count; i++) {
            struct candidate *candidate = &sweep->list[i];
            if (!candidate->is_found || candidate->is_done)
                continue;
            candidate->is_done = true;
            is_over = false;
            search(sweep, ~candidate->hidden_start, ~candidate->hidden_end);
        }
    }
}

/* ---- The sweep ---- */

static void leave(struct heap *heap, const struct image *image)
{
    for (struct heap_region *region = heap->stale; region; region = region->next)
        if (region->left == image)
            region->left = NULL;
}

static uint64_t stale_bytes(const struct heap *heap)
{
    uint64_t bytes = 0;
    for (const struct heap_region *region = heap->stale; region; region = region->next)
        bytes += region->left ? 0 : heap_bytes(region);
    return bytes;
}

/* Objects that move right now may be followed through stale memory: then it stays until the next time. */
static void give_back(struct heap *heap, const struct sweep *sweep)
{
    for (size_t i = 0; i < sweep->count && !heap->is_moving; i++)
        if (!sweep->list[i].is_found)
            heap_end_region(sweep->list[i].region);
    uint64_t left = stale_bytes(heap);
    heap->sweep_at = left > WORTH_IT / 2 ? 2 * left : WORTH_IT;
}

void heap_sweep(struct heap *heap, const struct image *image)
{
    struct sweep sweep = {.stack = (uintptr_t)__builtin_frame_address(0)};
    leave(heap, image);
    bool is_worth_it = stale_bytes(heap) >= (heap->sweep_at ? heap->sweep_at : WORTH_IT);
    if (!is_worth_it || heap->is_moving || heap->is_swept || !take_candidates(heap, &sweep)) {
        free(sweep.list);
        return;
    }
    sweep.piece = mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sweep.piece != MAP_FAILED) {
        heap->is_swept = true;
        heap_unlock();
        bool is_known = search_process(&sweep);
        if (is_known)
            search_found(&sweep);
        is_known &= !sweep.is_blind;
        munmap(sweep.piece, PIECE);
        heap_lock();
        heap->is_swept = false;
        if (is_known)
            give_back(heap, &sweep);
        heap_end_empty(heap);
    }
    free(sweep.list);
}
