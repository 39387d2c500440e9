/* carry_heap.h: typed heap objects during a carry: copies of those whose layout changed are made beside them,
 * typed pointers follow, and the commit lets the copies take over. Of the carry only. */
#ifndef HOTLUA_CARRY_HEAP_H
#define HOTLUA_CARRY_HEAP_H

#include "carry_internal.h"

#include "heap_internal.h"

struct carry_kind {          /* objects of one type, and what becomes of them */
    struct heap_kind *from, *to;         /* to NULL: they stay where they are */
    const struct type *type;             /* in the new image, NULL: unknown there */
    const struct carry_program *program; /* NULL: they are not looked at */
    const char *why;                     /* ... because */
    const struct type *pointee;          /* that was met last, pointing to the start of an object */
    bool is_start_mapped;                /* it points to the start of the new one, too */
};

struct carry_moved {         /* a region of objects that get another address, or have got one before */
    struct heap_region *old, *new;
    const char *start, *end;
    const struct carry_program *program;
    struct carry_kind *kind; /* NULL: stale, to be followed only */
};

struct carry_patch { const char **place, *was, *now; };

struct carry_heap {
    struct carry *carry;
    struct heap *heap;
    struct carry_kind *kinds;
    size_t kind_count;
    struct carry_moved *moved;           /* sorted by address once there are copies */
    size_t moved_count, moved_capacity;
    const struct carry_moved *last;      /* that was found */
    const char *low, *high;              /* addresses of all that moved */
    struct carry_patch *patches;         /* of pointers in objects that stay */
    size_t patch_count, patch_capacity;
    bool is_moving, is_patched, is_committed;
    bool is_short_of_memory;             /* a patch could not be noted */
};

/* Read the types of what is on the heap, so that the run need not: reads no object. */
void carry_heap_prepare(struct carry *carry);
/* Make copies where layouts change; carry->heap is NULL where no object is. False with error: no memory. */
bool carry_heap_begin(struct carry_run *run);
/* Bring the objects to their copies, and have pointers in those that stay follow. */
bool carry_heap_run(struct carry_run *run);
/* List addresses of moved objects in what is not a pointer, in an old variable. */
void carry_heap_scan(struct carry_run *run, const struct carry_pair *pair);
void carry_heap_commit(struct carry_heap *heap);
/* Undoes everything that was not committed. */
void carry_heap_free(struct carry_heap *heap);

/* Sets the run's error: memory is out. Returns false. */
bool carry_heap_no_memory(struct carry_run *run);
/* Memory that holds addresses of old objects is cleared before it is freed, so that heap_sweep does not find
 * them there. The new memory is zeroed beyond the old. */
void *carry_grow_addresses(void *list, size_t size, size_t new_size);
void carry_free_addresses(void *list, size_t size);

/* The region of moved objects that has an object at the address, NULL if none has. */
const struct carry_moved *carry_find_moved(struct carry_heap *heap, const char *address);
/* As carry_repoint, for objects that moved; `why` receives the type, or the reason. */
enum carry_pointing carry_heap_repoint(struct carry_heap *heap, const char **pointer,
                                       const struct type *pointee, const char **why);

/* Walking values (carry_walk.c) ----------------------------------------------------------------------- */

enum { WATCH_POINTERS = 1, WATCH_SUSPECTS = 2 };     /* suspects: may hold an address, no type says so */

/* The leaves of a program that are of that sort; NULL when there are none. Goes with the programs. */
const struct carry_watches *carry_watch(struct carry_compiler *compiler, const struct carry_program *program,
                                        unsigned sort);
typedef void carry_visitor(struct carry_run *run, const struct carry_step *step, const char *at);
/* Visit the watched leaves of `count` elements, but for pages of the old image that nobody wrote. */
void carry_walk(struct carry_run *run, const struct carry_program *program,
                const struct carry_watches *watches, const char *from, uint64_t first, uint64_t count,
                carry_visitor *visit);
/* Calls `each` for the pointee of every pointer. Stops and returns true when it does. */
bool carry_any_pointee(const struct carry_program *program, struct carry *carry,
                       bool (*each)(struct carry *carry, const struct type *pointee));

#endif
