/* heap.c: typed objects: giving them out and taking them back, their kinds, and whose they are. A place that
 * an object had before a move stands for the object until that is freed. Never calls Lua. */
#include "heap_internal.h"

#include "fork_lock.h"
#include "memory.h"
#include "slot.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SMALLEST_SLAB = 64 << 10, LARGEST_SLAB = 1 << 20, MOST_LOOKS = 64 };

FORK_LOCK(lock)
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* A child of fork must not find it locked by a thread that it does not have. */
static void guard_forks(void)
{
    pthread_atfork(heap_lock, heap_unlock, heap_unlock);
}

void heap_lock(void)
{
    pthread_mutex_lock(&lock);
}

void heap_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

/* Sites: the constants that name types, and the kinds that they stand for --------------------------- */

struct site { const char *type; struct heap_kind *kind; };

static struct { struct site *list; size_t count, capacity; } sites;      /* open addressing */

static struct site *site_of(const char *type)
{
    size_t i = ((uintptr_t)type * 0x9e3779b97f4a7c15u >> 32) & (sites.capacity - 1);
    while (sites.list[i].type && sites.list[i].type != type)
        i = (i + 1) & (sites.capacity - 1);
    return &sites.list[i];
}

static void resize_sites(size_t capacity)
{
    struct site *old = sites.list;
    size_t old_capacity = sites.capacity;
    struct site *list = calloc(capacity, sizeof *list);
    if (!list)
        return;
    sites.list = list;
    sites.capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i].kind)
            *site_of(old[i].type) = old[i];
    free(old);
}

static void add_site(const char *type, struct heap_kind *kind)
{
    if (2 * sites.count >= sites.capacity)
        resize_sites(sites.capacity ? 2 * sites.capacity : 64);
    if (2 * sites.count >= sites.capacity)
        return;
    *site_of(type) = (struct site){type, kind};
    sites.count++;
}

/* Those of an image, or of a kind. */
static void drop_sites(const struct image *image, const struct heap_kind *kind)
{
    bool found = false;
    for (size_t i = 0; i < sites.capacity; i++) {
        struct site *site = &sites.list[i];
        if (!site->kind || (site->kind != kind && !(image && image_contains(image, site->type))))
            continue;
        site->kind = NULL;               /* the place stays taken until the table is made anew */
        sites.count--;
        found = true;
    }
    if (!found)
        return;
    if (sites.count > 0) {
        resize_sites(sites.capacity);
        return;
    }
    free(sites.list);
    sites.list = NULL;
    sites.capacity = 0;
}

/* Kinds --------------------------------------------------------------------------------------------- */

struct heap_kind *heap_kind_of(struct heap *heap, const char *name, uint64_t size, const struct image *image)
{
    for (struct heap_kind *kind = heap->kinds; kind; kind = kind->next)
        if (kind->image == image && kind->size == size && strcmp(kind->name, name) == 0)
            return kind;
    struct heap_kind *kind = calloc(1, sizeof *kind);
    char *copy = strdup(name);
    if (!kind || !copy) {
        free(kind);
        free(copy);
        return NULL;
    }
    *kind = (struct heap_kind){.heap = heap, .next = heap->kinds, .name = copy, .size = size, .image = image};
    heap->kinds = kind;
    return kind;
}

static void free_kind(struct heap_kind *kind)
{
    while (kind->regions) {
        struct heap_region *region = kind->regions;
        kind->regions = region->next;
        heap_free_region(region);
    }
    drop_sites(NULL, kind);
    if (kind->types)
        types_release(kind->types);
    free(kind->name);
    free(kind);
}

static bool is_needed(const struct heap *heap, const struct heap_kind *kind)
{
    bool is_stale = false;
    for (const struct heap_region *region = heap->stale; region && !is_stale; region = region->next)
        is_stale = region->kind == kind;
    return kind->regions || is_stale || heap->is_moving;
}

/* The layouts of an image that goes: they stay for the objects that have them. */
static void leave_kinds(struct heap *heap, const struct image *image)
{
    for (struct heap_kind **at = &heap->kinds; *at; ) {
        struct heap_kind *kind = *at;
        if (kind->image == image)
            kind->image = NULL;
        if (kind->image || is_needed(heap, kind)) {
            at = &kind->next;
            continue;
        }
        *at = kind->next;
        free_kind(kind);
    }
}

/* Whose ---------------------------------------------------------------------------------------------- */

static struct heap *make_heap(void)
{
    struct heap *heap = calloc(1, sizeof *heap);
    if (heap)
        heap->references = 1;
    return heap;
}

static void free_list(struct heap_region *list)
{
    while (list) {
        struct heap_region *region = list;
        list = region->next;
        heap_free_region(region);
    }
}

static void release(struct heap *heap)
{
    if (!heap || --heap->references > 0)
        return;
    free(heap->doomed);
    free_list(heap->stale);
    while (heap->kinds) {
        struct heap_kind *kind = heap->kinds;
        heap->kinds = kind->next;
        free_kind(kind);
    }
    free(heap);
}

static enum heap_freed free_now(const void *object);

static void join(struct heap *heap, struct heap *other)
{
    for (size_t i = 0; i < other->doomed_count; i++)
        free_now((void *)~other->doomed[i]);
    while (other->kinds) {
        struct heap_kind *kind = other->kinds;
        other->kinds = kind->next;
        kind->heap = heap;
        kind->next = heap->kinds;
        heap->kinds = kind;
    }
    release(other);
}

void heap_adopt(struct plugin *plugin, struct image *image)
{
    pthread_once(&once, guard_forks);
    heap_lock();
    if (!plugin->heap)
        plugin->heap = make_heap();
    if (plugin->heap && image->heap != plugin->heap) {
        if (image->heap)
            join(plugin->heap, image->heap);
        image->heap = plugin->heap;
        image->heap->references++;
    }
    heap_unlock();
}

void heap_close(struct plugin *plugin)
{
    heap_lock();
    release(plugin->heap);
    plugin->heap = NULL;
    heap_unlock();
}

void heap_forget(const struct image *image)
{
    heap_lock();
    if (sites.count > 0)
        drop_sites(image, NULL);
    heap_unlock();
}

void heap_leave(struct image *image)
{
    heap_lock();
    struct heap *heap = image->heap;
    image->heap = NULL;
    if (heap)
        leave_kinds(heap, image);
    if (heap && heap->references > 1)
        heap_sweep(heap, image);         /* lets go of the lock meanwhile */
    release(heap);
    heap_unlock();
}

/* Giving out ----------------------------------------------------------------------------------------- */

static bool has_room(const struct heap_region *region)
{
    return region->bits && region->alive < region->count && !region->is_pending &&
           !heap_is_frozen(region, region->kind->heap);
}

/* A slab of the kind with room; the next one is larger the more there are. */
static struct heap_region *open_slab(struct heap_kind *kind)
{
    uint64_t alive = 0;
    unsigned looks = 0;
    if (kind->open && has_room(kind->open))
        return kind->open;
    for (struct heap_region *region = kind->regions; region && looks < MOST_LOOKS; region = region->next) {
        if (has_room(region))
            return kind->open = region;
        alive += region->alive;
        looks++;
    }
    uint64_t size = alive * kind->size;
    size = size < SMALLEST_SLAB ? SMALLEST_SLAB : size > LARGEST_SLAB ? LARGEST_SLAB : size;
    kind->open = heap_new_slab(kind, size / kind->size);
    if (kind->open)
        heap_list_add(&kind->regions, kind->open);
    return kind->open;
}

static uint64_t take_place(struct heap_region *region)
{
    while (region->bits[region->hint] == UINT64_MAX)
        region->hint++;
    uint64_t word = region->bits[region->hint];
    uint64_t place = region->hint * 64 + (uint64_t)__builtin_ctzll(~word);
    __atomic_store_n(&region->bits[place / 64], word | (uint64_t)1 << place % 64, __ATOMIC_RELAXED);
    region->alive++;
    return place;
}

static void *give_single(struct heap_kind *kind)
{
    struct heap_region *region = open_slab(kind);
    if (!region)
        return NULL;
    uint64_t place = take_place(region);
    char *object = heap_start(region) + place * kind->size;
    if (place < region->used)            /* a fresh place is zero */
        memset(object, 0, kind->size);
    else
        region->used = place + 1;
    return object;
}

static void *give_array(struct heap_kind *kind, uint64_t count)
{
    struct heap_region *region = heap_new_array(kind, count);
    if (!region)
        return NULL;
    heap_list_add(&kind->regions, region);
    return heap_start(region);
}

/* Before its first commit an image's objects are its own. */
static struct heap_kind *kind_of_site(const char *type, size_t size, struct image *image)
{
    struct site *site = sites.capacity ? site_of(type) : NULL;
    if (site && site->kind && site->kind->size == size)
        return site->kind;
    if (!image)
        return NULL;
    if (!image->heap)
        image->heap = make_heap();
    struct heap_kind *kind = image->heap ? heap_kind_of(image->heap, type, size, image) : NULL;
    if (kind && !(site && site->kind))
        add_site(type, kind);
    return kind;
}

/* Of code that is in no image: nobody knows its types, and nothing moves. */
static struct heap_kind *kind_of_nobody(size_t size)
{
    static struct heap *nobody;
    if (!nobody)
        nobody = make_heap();
    return nobody ? heap_kind_of(nobody, "?", size, NULL) : NULL;
}

void *heap_allocate(const char *type, size_t size, size_t count)
{
    heap_lock();
    struct heap_kind *kind = kind_of_site(type, size, NULL);
    if (!kind) {
        heap_unlock();
        struct image *image = image_of_address(type);
        if (!image && image_being_opened())
            image = image_retain(image_being_opened());
        heap_lock();
        kind = image ? kind_of_site(type, size, image) : kind_of_nobody(size);
        heap_unlock();
        image_release(image);
        heap_lock();
    }
    bool is_single = count == 1 && size > 0 && size <= HEAP_LARGEST_SINGLE;
    void *object = !kind ? NULL : is_single ? give_single(kind) : give_array(kind, count);
    heap_unlock();
    return object;
}

/* Taking back ---------------------------------------------------------------------------------------- */

void heap_end_region(struct heap_region *region)
{
    heap_list_remove(region->is_stale ? &region->kind->heap->stale : &region->kind->regions, region);
    if (region->newer)
        region->newer->older = region->older;
    if (region->older)
        region->older->newer = region->newer;
    heap_free_region(region);
}

/* Nothing is left in it: it goes, now or when nobody looks at regions any more. */
static void end_region(struct heap_region *region)
{
    struct heap *heap = region->kind->heap;
    if (region->is_pending || region == region->kind->open)
        return;
    if (heap->is_moving || heap->is_swept)
        heap->has_empty = true;
    else
        heap_end_region(region);
}

static void end_empty(struct heap_region *list)
{
    while (list) {
        struct heap_region *region = list;
        list = region->next;
        if (region->alive == 0)
            end_region(region);
    }
}

void heap_end_empty(struct heap *heap)
{
    if (!heap->has_empty || heap->is_moving || heap->is_swept)
        return;
    heap->has_empty = false;
    end_empty(heap->stale);
    for (struct heap_kind *kind = heap->kinds; kind; kind = kind->next)
        end_empty(kind->regions);
}

void heap_end_move(struct heap *heap, const struct image *abandoned)
{
    heap_lock();
    heap->is_moving = false;
    heap_end_empty(heap);
    if (abandoned)
        leave_kinds(heap, abandoned);
    heap_unlock();
}

static void drop(struct heap_region *region, uint64_t place)
{
    struct heap_kind *kind = region->kind;
    if (region->bits && heap_has(region, place)) {
        uint64_t rest = region->bits[place / 64] & ~((uint64_t)1 << place % 64);
        __atomic_store_n(&region->bits[place / 64], rest, __ATOMIC_RELAXED);
        region->alive--;
        region->hint = place / 64 < region->hint ? place / 64 : region->hint;
        if (!region->is_stale && has_room(region) && (!kind->open || !has_room(kind->open)))
            kind->open = region;
    } else if (!region->bits)
        region->alive = 0;
    if (region->alive == 0)
        end_region(region);
}

/* Of an address in a slab, or that an array begins at. */
static uint64_t place_of(const struct heap_region *region, const void *address)
{
    uint64_t offset = (uint64_t)((const char *)address - heap_start(region));
    return region->bits ? offset / region->kind->size : 0;
}

static bool is_object(const struct heap_region *region, const void *address)
{
    uint64_t place = place_of(region, address);
    bool is_start = !region->bits || heap_start(region) + place * region->kind->size == address;
    return is_start && (region->bits ? heap_has(region, place) : region->alive > 0);
}

static enum heap_freed free_at(struct heap_region *region, const void *object)
{
    uint64_t place = place_of(region, object);
    if (!is_object(region, object))
        return region->bits && heap_start(region) + place * region->kind->size != object ? HEAP_FOREIGN
            : HEAP_WAS_FREED;
    while (region->newer)
        region = region->newer;
    while (region) {
        struct heap_region *older = region->older;
        drop(region, place);
        region = older;
    }
    return HEAP_FREED;
}

static struct heap_region *find_region(const void *object)
{
    struct heap_region *region = heap_find_slab(object);
    return region ? region : heap_find_array(object);
}

static enum heap_freed free_now(const void *object)
{
    struct heap_region *region = find_region(object);
    return region ? free_at(region, object) : HEAP_FOREIGN;
}

/* Until its commit the image may still be refused: then the object is the old image's again. */
static enum heap_freed free_at_commit(const void *object, struct image *image)
{
    if (!image->heap)
        image->heap = make_heap();
    struct heap *heap = image->heap;
    if (!heap)
        return free_now(object);
    if (heap->doomed_count == heap->doomed_capacity) {
        heap->doomed_capacity = heap->doomed_capacity ? 2 * heap->doomed_capacity : 64;
        heap->doomed = memory_resize(heap->doomed, heap->doomed_capacity * sizeof *heap->doomed);
    }
    heap->doomed[heap->doomed_count++] = ~(uintptr_t)object;
    return HEAP_FREED;
}

enum heap_freed heap_free(void *object, const void *where)
{
    struct image *image = NULL;
    heap_lock();
    const struct heap_region *region = find_region(object);
    bool may_wait = region && region->kind->heap->is_moving;
    heap_unlock();
    if (may_wait)
        image = image_of_address(where);
    heap_lock();
    region = find_region(object);
    bool must_wait = image && !image->plugin && region && region->kind->heap != image->heap &&
        is_object(region, object);
    enum heap_freed freed = must_wait ? free_at_commit(object, image) : free_now(object);
    heap_unlock();
    image_release(image);
    return freed;
}

/* Counting ------------------------------------------------------------------------------------------- */

struct heap_counts heap_count(const struct plugin *plugin)
{
    struct heap_counts counts = {0};
    heap_lock();
    const struct heap_kind *kind = plugin->heap ? plugin->heap->kinds : NULL;
    for (; kind; kind = kind->next)
        for (const struct heap_region *region = kind->regions; region; region = region->next) {
            counts.objects += region->alive;
            counts.bytes += region->bits ? region->alive * kind->size : heap_bytes(region);
        }
    const struct heap_region *stale = plugin->heap ? plugin->heap->stale : NULL;
    for (; stale; stale = stale->next)
        counts.old_bytes += heap_bytes(stale);
    heap_unlock();
    return counts;
}
