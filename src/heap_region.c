/* heap_region.c: memory for typed objects, and which region an address belongs to: slabs in a sorted list
 * (they are few), arrays in a hash table. All under the heap's lock. */
#include "heap_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

enum { PAGE = 4096, OWN_MAPPING = 64 << 10, FIRST_BUCKETS = 256 };

static const uintptr_t AREA = (uintptr_t)16 << 40, AREA_END = (uintptr_t)64 << 40;

static struct {
    struct heap_region **slabs;          /* sorted by address */
    size_t slab_count, slab_capacity;
    struct heap_region **buckets;        /* arrays by address */
    size_t bucket_count, array_count;
} known;

/* The index ----------------------------------------------------------------------------------------- */

/* The number of slabs that begin at or before the address. */
static size_t slabs_until(const char *address)
{
    size_t low = 0, high = known.slab_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (heap_start(known.slabs[middle]) <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool add_slab(struct heap_region *region)
{
    if (known.slab_count == known.slab_capacity) {
        size_t capacity = known.slab_capacity ? 2 * known.slab_capacity : 64;
        struct heap_region **slabs = realloc(known.slabs, capacity * sizeof *slabs);
        if (!slabs)
            return false;
        known.slabs = slabs;
        known.slab_capacity = capacity;
    }
    size_t at = slabs_until(heap_start(region));
    memmove(known.slabs + at + 1, known.slabs + at, (known.slab_count++ - at) * sizeof *known.slabs);
    known.slabs[at] = region;
    return true;
}

static void remove_slab(const struct heap_region *region)
{
    size_t at = slabs_until(heap_start(region)) - 1;
    memmove(known.slabs + at, known.slabs + at + 1, (--known.slab_count - at) * sizeof *known.slabs);
    if (known.slab_count > 0)
        return;
    free(known.slabs);
    known.slabs = NULL;
    known.slab_capacity = 0;
}

struct heap_region *heap_find_slab(const void *address)
{
    size_t count = slabs_until(address);
    struct heap_region *region = count > 0 ? known.slabs[count - 1] : NULL;
    bool is_inside = region && (uint64_t)((const char *)address - heap_start(region)) <
        region->count * region->kind->size;
    return is_inside ? region : NULL;
}

static struct heap_region **bucket_of(const void *address)
{
    uint64_t hash = ((uintptr_t)address >> 4) * 0x9e3779b97f4a7c15u;
    return &known.buckets[(hash >> 32) & (known.bucket_count - 1)];
}

static bool grow_buckets(void)
{
    size_t old_count = known.bucket_count;
    struct heap_region **old = known.buckets;
    size_t count = old_count ? 2 * old_count : FIRST_BUCKETS;
    struct heap_region **buckets = calloc(count, sizeof *buckets);
    if (!buckets)
        return false;
    known.buckets = buckets;
    known.bucket_count = count;
    for (size_t i = 0; i < old_count; i++)
        while (old[i]) {
            struct heap_region *region = old[i], **bucket = bucket_of(heap_start(region));
            old[i] = region->next_array;
            region->next_array = *bucket;
            *bucket = region;
        }
    free(old);
    return true;
}

static bool add_array(struct heap_region *region)
{
    if (known.array_count >= known.bucket_count && !grow_buckets())
        return false;
    struct heap_region **bucket = bucket_of(heap_start(region));
    region->next_array = *bucket;
    *bucket = region;
    known.array_count++;
    return true;
}

static void remove_array(const struct heap_region *region)
{
    struct heap_region **at = bucket_of(heap_start(region));
    while (*at != region)
        at = &(*at)->next_array;
    *at = region->next_array;
    if (--known.array_count > 0)
        return;
    free(known.buckets);
    known.buckets = NULL;
    known.bucket_count = 0;
}

struct heap_region *heap_find_array(const void *address)
{
    struct heap_region *region = known.bucket_count ? *bucket_of(address) : NULL;
    while (region && heap_start(region) != address)
        region = region->next_array;
    return region;
}

/* Memory -------------------------------------------------------------------------------------------- */

/* Where no image and nobody else's memory comes to be, and never twice at one address where that can be: so
 * heap_sweep does not take what remains of other addresses for ours. */
static char *map_memory(size_t size)
{
    static uintptr_t next;
    uint32_t chance = 0;
    if (next < AREA || next > AREA_END) {
        if (getrandom(&chance, sizeof chance, GRND_NONBLOCK) < 0)
            chance = 0;
        next = AREA + (uintptr_t)chance / 4 * PAGE;
    }
    void *memory = mmap((void *)next, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    next += size;
    return memory == MAP_FAILED ? NULL : memory;
}

/* As aligned as the element's size allows. */
static char *take_memory(size_t size, uint64_t element)
{
    size_t alignment = element ? (size_t)(element & -element) : 64;
    void *memory;
    alignment = alignment < 16 ? 16 : alignment > 64 ? 64 : alignment;
    if (posix_memalign(&memory, alignment, size) != 0)
        return NULL;
    memset(memory, 0, size);
    return memory;
}

static bool take(struct heap_region *region, size_t size)
{
    bool is_mapped = region->bits || size >= OWN_MAPPING;
    if (is_mapped)
        size = region->mapped = (size + PAGE - 1) & -(size_t)PAGE;
    region->hidden = ~(uintptr_t)(is_mapped ? map_memory(size) : take_memory(size, region->kind->size));
    return heap_start(region) != NULL;
}

static void give_back(const struct heap_region *region)
{
    char *start = heap_start(region);
    if (region->mapped > 0 && start)
        munmap(start, region->mapped);
    else
        free(start);
}

struct heap_region *heap_new_slab(struct heap_kind *kind, uint64_t count)
{
    struct heap_region *region = calloc(1, sizeof *region);
    if (!region)
        return NULL;
    *region = (struct heap_region){.kind = kind, .epoch = kind->heap->epoch, .hidden = UINTPTR_MAX};
    uint64_t size = (count * kind->size + PAGE) & -(uint64_t)PAGE;
    region->count = (size - 1) / kind->size;     /* what points behind the last one points to nothing else */
    region->bits = calloc(region->count / 64 + 1, sizeof *region->bits);
    if (region->bits && take(region, size) && add_slab(region))
        return region;
    give_back(region);
    free(region->bits);
    free(region);
    return NULL;
}

struct heap_region *heap_new_array(struct heap_kind *kind, uint64_t count)
{
    struct heap_region *region = calloc(1, sizeof *region);
    size_t size;
    if (!region)
        return NULL;
    *region = (struct heap_region){
        .kind = kind, .epoch = kind->heap->epoch, .hidden = UINTPTR_MAX, .count = count, .used = count,
        .alive = 1,
    };
    if (!__builtin_mul_overflow(count, kind->size, &size) && size < PTRDIFF_MAX && take(region, size + 1) &&
        add_array(region))
        return region;
    give_back(region);
    free(region);
    return NULL;
}

void heap_free_region(struct heap_region *region)
{
    if (region->bits)
        remove_slab(region);
    else
        remove_array(region);
    give_back(region);
    free(region->bits);
    free(region);
}

/* Lists --------------------------------------------------------------------------------------------- */

void heap_list_add(struct heap_region **list, struct heap_region *region)
{
    region->previous = NULL;
    region->next = *list;
    if (*list)
        (*list)->previous = region;
    *list = region;
}

void heap_list_remove(struct heap_region **list, struct heap_region *region)
{
    if (region->next)
        region->next->previous = region->previous;
    if (region->previous)
        region->previous->next = region->next;
    else
        *list = region->next;
}
