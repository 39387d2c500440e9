/* debuginfo_map.c: the hash tables and growing lists behind the readers of debug information. */
#include "debuginfo_internal.h"

#include "memory.h"

#include <stdlib.h>

enum { FIRST_CAPACITY = 64 };

static struct map_entry *find_place(const struct map *map, uint64_t key)
{
    uint64_t hash = key * 0x9e3779b97f4a7c15u;
    size_t mask = map->capacity - 1, i = (hash ^ hash >> 32) & mask;
    while (map->entries[i].value && map->entries[i].key != key)
        i = (i + 1) & mask;
    return &map->entries[i];
}

static void grow(struct map *map)
{
    struct map old = *map;
    map->capacity = old.capacity ? old.capacity * 2 : FIRST_CAPACITY;
    map->entries = memory_take_array(map->capacity, sizeof *map->entries);
    map->count = 0;
    for (size_t i = 0; i < old.capacity; i++)
        if (old.entries[i].value) {
            *find_place(map, old.entries[i].key) = old.entries[i];
            map->count++;
        }
    free(old.entries);
}

void **map_claim(struct map *map, uint64_t key)
{
    if (map->count * 2 >= map->capacity)
        grow(map);
    struct map_entry *entry = find_place(map, key);
    if (!entry->value) {
        entry->key = key;
        map->count++;
    }
    return &entry->value;
}

void *map_get(const struct map *map, uint64_t key)
{
    return map->capacity ? find_place(map, key)->value : NULL;
}

void map_free(struct map *map)
{
    free(map->entries);
    *map = (struct map){0};
}

uint64_t map_hash(const char *text)
{
    uint64_t hash = 14695981039346656037u;
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 1099511628211u;
    return hash;
}

void *list_grow(void *list, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return list;
    *capacity = *capacity ? *capacity * 2 : 16;
    return memory_resize(list, *capacity * size);
}
