/* heap_move.c: objects change their memory: copies are made beside, and take over at the commit or go. What
 * was freed between is free afterwards, whichever address it was freed by. */
#include "heap_internal.h"

#include <string.h>

void heap_begin_move(struct heap *heap)
{
    heap_lock();
    heap->epoch++;
    heap->is_moving = true;
    heap_unlock();
}

static size_t words(const struct heap_region *region)
{
    return (region->used + 63) / 64;
}

struct heap_region *heap_copy_region(struct heap_region *region, struct heap_kind *kind)
{
    heap_lock();
    struct heap_region *copy = NULL;
    if (region->bits)
        copy = heap_new_slab(kind, region->used ? region->used : 1);
    else
        copy = heap_new_array(kind, region->count);
    if (copy) {
        copy->is_pending = true;
        copy->used = region->used;
        copy->alive = region->alive;
        copy->older = region;
        region->newer = copy;
        if (region->bits)
            memcpy(copy->bits, region->bits, words(region) * sizeof *copy->bits);
    }
    heap_unlock();
    return copy;
}

static void take_over(struct heap_region *old, struct heap_region *new, const struct image *left)
{
    struct heap_kind *from = old->kind;
    if (from->open == old)
        from->open = NULL;
    heap_list_remove(&from->regions, old);
    old->is_stale = true;
    old->left = left;
    heap_list_add(&from->heap->stale, old);
    new->is_pending = false;
    heap_list_add(&new->kind->regions, new);
}

void heap_commit(struct heap *heap, const struct heap_pair *pairs, size_t count, const struct image *left)
{
    heap_lock();
    for (size_t i = 0; i < count; i++) {
        take_over(pairs[i].old, pairs[i].new, left);
        heap->has_empty |= pairs[i].new->alive == 0;
    }
    heap_unlock();
}

void heap_abandon(const struct heap_pair *pairs, size_t count)
{
    heap_lock();
    for (size_t i = 0; i < count; i++) {
        pairs[i].old->newer = NULL;
        heap_free_region(pairs[i].new);
    }
    heap_unlock();
}
