/* types.c: type tables: their memory, their lock, their strings, their life. The nodes in them are
 * types_nodes.c, basic types types_basic.c, comparing and searching types_compare.c. */
#include "types_internal.h"

#include "memory.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_SIZE = 16 * 1024, ALIGNMENT = 16, FIRST_CAPACITY = 64 };

struct block {
    struct block *next;
    char bytes[] __attribute__((aligned(ALIGNMENT)));
};

void *types_must_allocate(size_t size)
{
    void *memory = memory_take(size);
    return memory;
}

struct types *types_new(types_reader *reader, void *context, void (*close_context)(void *))
{
    struct types *table = types_must_allocate(sizeof *table);
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&table->lock, &recursive);
    pthread_mutexattr_destroy(&recursive);
    fork_lock_add(&table->fork_lock, &table->lock, PTHREAD_MUTEX_RECURSIVE);
    table->references = 1;
    table->reader = reader;
    table->context = context;
    table->close_context = close_context;
    table->string_capacity = FIRST_CAPACITY;
    table->strings = types_must_allocate(FIRST_CAPACITY * sizeof *table->strings);
    return table;
}

struct types *types_retain(struct types *table)
{
    __atomic_add_fetch(&table->references, 1, __ATOMIC_RELAXED);
    return table;
}

void types_release(struct types *table)
{
    if (!table || __atomic_sub_fetch(&table->references, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    if (table->close_context)
        table->close_context(table->context);
    while (table->blocks) {
        struct block *block = table->blocks;
        table->blocks = block->next;
        free(block);
    }
    fork_lock_remove(&table->fork_lock);
    pthread_mutex_destroy(&table->lock);
    free(table->strings);
    free(table->memos);
    free(table);
}

void types_lock(struct types *table)
{
    pthread_mutex_lock(&table->lock);
}

void types_unlock(struct types *table)
{
    pthread_mutex_unlock(&table->lock);
}

void *types_allocate(struct types *table, size_t size)
{
    if (size > SIZE_MAX - BLOCK_SIZE)
        abort();
    size = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (size > table->free_size) {
        size_t room = size > BLOCK_SIZE / 4 ? size : BLOCK_SIZE;
        struct block *block = types_must_allocate(sizeof *block + room);
        block->next = table->blocks;
        table->blocks = block;
        if (room == size)                     /* a large piece: go on with the block begun before */
            return block->bytes;
        table->free_space = block->bytes;
        table->free_size = room;
    }
    void *memory = table->free_space;
    table->free_space += size;
    table->free_size -= size;
    return memory;
}

static size_t hash_string(const char *text)
{
    size_t hash = 14695981039346656037u;
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 1099511628211u;
    return hash ^ hash >> 29;
}

static const char **find_string(struct types *table, const char *text)
{
    size_t mask = table->string_capacity - 1, i = hash_string(text) & mask;
    while (table->strings[i] && strcmp(table->strings[i], text) != 0)
        i = (i + 1) & mask;
    return &table->strings[i];
}

static void grow_strings(struct types *table)
{
    const char **old = table->strings;
    size_t old_capacity = table->string_capacity;
    table->string_capacity *= 2;
    table->strings = types_must_allocate(table->string_capacity * sizeof *old);
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i])
            *find_string(table, old[i]) = old[i];
    free(old);
}

const char *types_string(struct types *table, const char *text)
{
    if (!text)
        return NULL;
    types_lock(table);
    if (table->string_count * 2 >= table->string_capacity)
        grow_strings(table);
    const char **place = find_string(table, text);
    if (!*place) {
        size_t size = strlen(text) + 1;
        *place = memcpy(types_allocate(table, size), text, size);
        table->string_count++;
    }
    const char *string = *place;
    types_unlock(table);
    return string;
}
