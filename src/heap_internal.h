/* heap_internal.h: what the parts of the typed heap share, with the carry that moves its objects. */
#ifndef HOTLUA_HEAP_INTERNAL_H
#define HOTLUA_HEAP_INTERNAL_H

#include "heap.h"

struct heap_kind;

/* Memory of objects: a slab, with a place for each of many single objects, or one array. */
struct heap_region {
    struct heap_kind *kind;
    uintptr_t hidden;        /* the complement of its address: heap_sweep is not to find it here */
    uint64_t count;          /* slab: places; array: elements */
    uint64_t used;           /* slab: places ever given out; array: elements */
    uint64_t alive;          /* objects: of a slab the bits that are set, of an array 1 or 0 */
    uint64_t *bits;          /* slab: which places hold an object; NULL: an array */
    uint64_t hint;           /* slab: no word of `bits` before this one has room */
    size_t mapped;           /* bytes of its own mapping, 0: from malloc */
    unsigned epoch;          /* of the heap when it was made */
    bool is_pending;         /* the copy of a move that is not committed */
    bool is_stale;           /* the memory that objects had before a move */
    const struct image *left;                /* stale: the image that had it, NULL: that has gone */
    struct heap_region *next, *previous;     /* in its list */
    struct heap_region *next_array;          /* in the index of arrays */
    struct heap_region *newer, *older;       /* the same objects after and before a move */
};

struct heap_kind {           /* objects of one type in one layout */
    struct heap *heap;
    struct heap_kind *next;
    char *name;              /* as the source spells it */
    uint64_t size;
    const struct image *image;               /* whose layout it is, NULL: of one that has gone */
    const struct type *type;                 /* that layout; NULL: not looked up, or unknown */
    struct types *types;                     /* retained for `type` */
    struct heap_region *regions;
    struct heap_region *open;                /* the slab that places are taken from */
};

struct heap {                /* a plugin's objects, or those of an image that is not committed */
    unsigned references;     /* the plugin's, and one for each image */
    struct heap_kind *kinds;
    struct heap_region *stale;
    uintptr_t *doomed;       /* objects of the plugin that an image frees before its commit; complements */
    size_t doomed_count, doomed_capacity;
    unsigned epoch;          /* regions of an older one are frozen while objects move */
    bool is_moving;
    bool has_empty;          /* regions have become empty meanwhile */
    bool is_swept;           /* heap_sweep is at work: no region goes */
    uint64_t sweep_at;       /* bytes of stale memory from which on it is worth a look */
};

void heap_lock(void);
void heap_unlock(void);

/* Bytes of its places or elements. */
static inline uint64_t heap_bytes(const struct heap_region *region)
{
    return region->count * region->kind->size;
}

/* Regions (heap_region.c); all under the lock ------------------------------------------------------- */

enum { HEAP_LARGEST_SINGLE = 4096 };         /* larger objects are regions of their own */

/* A region for `count` places or elements, zeroed, in the index and in no list. NULL: memory is out. */
struct heap_region *heap_new_slab(struct heap_kind *kind, uint64_t count);
struct heap_region *heap_new_array(struct heap_kind *kind, uint64_t count);
void heap_free_region(struct heap_region *region);
/* The slab that the address lies in, the array that begins there; NULL if there is none. */
struct heap_region *heap_find_slab(const void *address);
struct heap_region *heap_find_array(const void *address);
void heap_list_add(struct heap_region **list, struct heap_region *region);
void heap_list_remove(struct heap_region **list, struct heap_region *region);

static inline char *heap_start(const struct heap_region *region)
{
    return (char *)~region->hidden;
}

/* A slab and the ones that its objects were in before may differ in size. */
static inline bool heap_has(const struct heap_region *region, uint64_t place)
{
    if (place >= region->count)
        return false;
    uint64_t word = __atomic_load_n(&region->bits[place / 64], __ATOMIC_RELAXED);
    return word >> place % 64 & 1;
}

static inline bool heap_is_frozen(const struct heap_region *region, const struct heap *heap)
{
    return heap->is_moving && region->epoch < heap->epoch;
}

/* Kinds (heap.c); under the lock -------------------------------------------------------------------- */

/* The kind of that name, size and image, made if there is none. NULL: memory is out. */
struct heap_kind *heap_kind_of(struct heap *heap, const char *name, uint64_t size, const struct image *image);

/* Old memory (heap_sweep.c) ------------------------------------------------------------------------- */

/* The image has gone, and nobody who was inside it is left: give back stale memory that was left with it or
 * before, unless an address of it is anywhere in the memory of the process. Does nothing until there is
 * much. */
void heap_sweep(struct heap *heap, const struct image *image);
/* Take an empty or stale region out of its list and its chain, and free it. Under the lock. */
void heap_end_region(struct heap_region *region);
/* ... those that became empty while it could not be. */
void heap_end_empty(struct heap *heap);

/* Moves (heap_move.c, heap.c); each takes the lock -------------------------------------------------- */

struct heap_pair { struct heap_region *old, *new; };

/* From here until heap_end_move no object's place is used again, and no region goes. */
void heap_begin_move(struct heap *heap);
/* A copy for the region's objects in the layout of `kind`, place for place; only its address is known to
 * heap_free. NULL: memory is out. */
struct heap_region *heap_copy_region(struct heap_region *region, struct heap_kind *kind);
/* The copies take over; the old memory becomes stale, of the image `left`. Objects that were freed
 * meanwhile, by either address, are. */
void heap_commit(struct heap *heap, const struct heap_pair *pairs, size_t count, const struct image *left);
/* The copies go. */
void heap_abandon(const struct heap_pair *pairs, size_t count);
/* `abandoned`: the image that will not be, NULL after a commit. */
void heap_end_move(struct heap *heap, const struct image *abandoned);

#endif
