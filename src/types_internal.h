/* types_internal.h: what a type table is made of; only for types*.c. */
#ifndef HOTLUA_TYPES_INTERNAL_H
#define HOTLUA_TYPES_INTERNAL_H

#include "types.h"

#include "fork_lock.h"

#include <pthread.h>

enum { TYPES_BASIC_COUNT = 21 };

struct memo;

struct reading {             /* a node that is being read further up on the C stack */
    const struct type *type;
    struct reading *outer;
};

struct types {
    unsigned references;
    pthread_mutex_t lock;
    struct fork_lock fork_lock;
    types_reader *reader;
    void *context;
    void (*close_context)(void *);
    struct block *blocks;
    char *free_space;        /* in the newest block */
    size_t free_size;
    const char **strings;    /* interned, open addressing, capacity a power of two */
    size_t string_count, string_capacity;
    struct memo *memos;      /* nodes made from other nodes, the same */
    size_t memo_count, memo_capacity;
    struct reading *reading;
    const struct type *basics[TYPES_BASIC_COUNT];
};

/* Zeroed memory. A table cannot be half-filled in any useful way and no caller can go on without
 * it, so lack of memory ends the process. */
void *types_must_allocate(size_t size);

#endif
