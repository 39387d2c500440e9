/* carry_heap.c: plans what becomes of each kind of typed objects, makes copies of those whose layout
 * changes, and converts them, whole regions at a time. Old objects are only read; what has to change in one
 * that stays is noted and undone if the reload fails. */
#include "carry_heap.h"

#include "memory.h"

#include <stdlib.h>
#include <string.h>

bool carry_heap_no_memory(struct carry_run *run)
{
    return error_set_stage(run->error, "carry", "%s: out of memory", run->carry->new_image->source);
}

/* ---- Kinds ---- */

/* The layout of that name and size in the image (size 0: any); NULL if it is not known. */
static const struct type *find_layout(struct image *image, const char *name, uint64_t size)
{
    struct error ignored = {0};
    const struct type *type = image_type(image, name, &ignored);
    if (!type)
        return NULL;
    type = type_complete(type->plain);
    return type->is_incomplete || type->size == 0 || (size && type->size != size) ? NULL : type;
}

static void set_layout(struct heap_kind *kind, const struct type *type)
{
    struct types *table = types_retain(type->table);
    heap_lock();
    if (kind->types)
        types_release(kind->types);
    kind->types = table;
    kind->type = type;
    heap_unlock();
}

/* Can such an object point into the old image? Not if nothing there is of a pointee's type. */
static bool may_point_into_image(struct carry *carry, const struct carry_program *program)
{
    return carry_any_pointee(program, carry, carry_may_hold);
}

void carry_heap_prepare(struct carry *carry)
{
    char *names[64];
    uint64_t sizes[64];
    size_t count = 0;
    heap_lock();
    const struct heap_kind *kind = carry->old_image->heap ? carry->old_image->heap->kinds : NULL;
    for (; kind && count < 64; kind = kind->next)
        if (kind->regions && (names[count] = strdup(kind->name))) {
            sizes[count] = kind->size;
            count++;
        }
    heap_unlock();
    for (size_t i = 0; i < count; i++) {
        const struct type *old = find_layout(carry->old_image, names[i], sizes[i]);
        const struct type *new = find_layout(carry->new_image, names[i], 0);
        if (old && new)
            may_point_into_image(carry, carry_compile(&carry->compiler, old, old->size, new, new->size));
        free(names[i]);
    }
}

static void plan_kind(struct carry_heap *heap, struct carry_kind *plan)
{
    struct carry *carry = heap->carry;
    struct heap_kind *kind = plan->from;
    if (!kind->type && kind->image == carry->old_image) {
        const struct type *type = find_layout(carry->old_image, kind->name, kind->size);
        if (type)
            set_layout(kind, type);
    }
    plan->type = find_layout(carry->new_image, kind->name, 0);
    if (!kind->type || !plan->type) {
        plan->why = kind->type ? "the new image has no such type"
            : "its layout is not in the debug info under that name";
        return;
    }
    const struct carry_program *program = carry_compile(&carry->compiler, kind->type, kind->size, plan->type,
                                                        plan->type->size);
    const struct carry_step *first = program->leaves.list;
    if (program->leaves.count == 1 && first->kind == STEP_LOST && !*first->path)
        plan->why = first->why;
    else
        plan->program = program;
}

static bool list_kinds(struct carry_heap *heap)
{
    size_t count = 0;
    heap_lock();
    for (struct heap_kind *kind = heap->heap->kinds; kind; kind = kind->next)
        count += kind->regions != NULL;
    heap->kinds = calloc(count + 1, sizeof *heap->kinds);
    struct heap_kind *kind = heap->kinds ? heap->heap->kinds : NULL;
    for (; kind; kind = kind->next)
        if (kind->regions)
            heap->kinds[heap->kind_count++].from = kind;
    heap_unlock();
    return heap->kinds != NULL;
}

/* ---- Copies ---- */

void carry_free_addresses(void *list, size_t size)
{
    if (list)
        explicit_bzero(list, size);
    free(list);
}

void *carry_grow_addresses(void *list, size_t size, size_t new_size)
{
    void *grown = calloc(1, new_size);
    if (!grown)
        return NULL;
    if (list)
        memcpy(grown, list, size);
    carry_free_addresses(list, size);
    return grown;
}

static bool add_moved(struct carry_heap *heap, const struct carry_moved *moved)
{
    if (heap->moved_count == heap->moved_capacity) {
        size_t capacity = heap->moved_capacity ? 2 * heap->moved_capacity : 64;
        size_t size = sizeof *heap->moved;
        void *list = carry_grow_addresses(heap->moved, heap->moved_capacity * size, capacity * size);
        if (!list)
            return false;
        heap->moved = list;
        heap->moved_capacity = capacity;
    }
    heap->moved[heap->moved_count++] = *moved;
    return true;
}

static bool copy_regions(struct carry_heap *heap, struct carry_kind *plan)
{
    heap_lock();
    plan->to = heap_kind_of(heap->heap, plan->from->name, plan->type->size, heap->carry->new_image);
    struct heap_region *region = plan->from->regions;
    heap_unlock();
    if (!plan->to)
        return false;
    if (!plan->to->type)
        set_layout(plan->to, plan->type);
    for (; region; region = region->next) {
        if (!heap_is_frozen(region, heap->heap))
            continue;
        struct carry_moved moved = {.old = region, .kind = plan, .program = plan->program};
        moved.new = heap_copy_region(region, plan->to);
        if (!moved.new)
            return false;
        if (!add_moved(heap, &moved)) {
            heap_abandon(&(struct heap_pair){moved.old, moved.new}, 1);
            return false;
        }
    }
    return true;
}

/* The layout that a region's objects will have. */
static const struct type *coming_layout(const struct carry_heap *heap, const struct heap_region *region)
{
    for (size_t i = 0; i < heap->kind_count; i++)
        if (heap->kinds[i].from == region->kind && heap->kinds[i].program)
            return heap->kinds[i].type;
    return region->kind->type;
}

/* Where objects were before they moved: a pointer that was taken from what nobody could follow may lead
 * there. */
static bool add_stale(struct carry_heap *heap)
{
    for (struct heap_region *region = heap->heap->stale; region; region = region->next) {
        struct heap_region *newest = region;
        while (newest->newer)
            newest = newest->newer;
        const struct type *type = coming_layout(heap, newest), *from = region->kind->type;
        if (newest == region || !type || !from)
            continue;
        struct carry_moved moved = {
            .old = region, .new = newest,
            .program = carry_compile(&heap->carry->compiler, from, from->size, type, type->size),
        };
        if (!add_moved(heap, &moved))
            return false;
    }
    return true;
}

static int compare_moved(const void *a, const void *b)
{
    const struct carry_moved *left = a, *right = b;
    return (left->start > right->start) - (left->start < right->start);
}

static void index_moved(struct carry_heap *heap)
{
    for (size_t i = 0; i < heap->moved_count; i++) {
        struct carry_moved *moved = &heap->moved[i];
        moved->start = heap_start(moved->old);
        moved->end = moved->start + moved->old->used * moved->program->from_size;
    }
    if (heap->moved_count > 0)
        qsort(heap->moved, heap->moved_count, sizeof *heap->moved, compare_moved);
    for (size_t i = 0; i < heap->moved_count; i++) {
        const struct carry_moved *moved = &heap->moved[i];
        heap->low = i == 0 ? moved->start : heap->low;
        heap->high = moved->end > heap->high ? moved->end : heap->high;
    }
}

static bool make_copies(struct carry_heap *heap)
{
    for (size_t i = 0; i < heap->kind_count; i++) {
        struct carry_kind *plan = &heap->kinds[i];
        if (plan->program && !plan->program->is_same && !copy_regions(heap, plan))
            return false;
    }
    if (heap->moved_count == 0)
        return true;
    if (!add_stale(heap))
        return false;
    index_moved(heap);
    return true;
}

bool carry_heap_begin(struct carry_run *run)
{
    struct carry *carry = run->carry;
    if (!carry->old_image->heap)
        return true;
    struct carry_heap *heap = calloc(1, sizeof *heap);
    if (!heap)
        return carry_heap_no_memory(run);
    carry->heap = heap;
    heap->carry = carry;
    heap->heap = carry->old_image->heap;
    if (!list_kinds(heap))
        return carry_heap_no_memory(run);
    for (size_t i = 0; i < heap->kind_count; i++)
        plan_kind(heap, &heap->kinds[i]);
    for (size_t i = 0; i < heap->kind_count && !heap->is_moving; i++) {
        const struct carry_program *program = heap->kinds[i].program;
        heap->is_moving = program && (!program->is_same || may_point_into_image(carry, program));
    }
    if (!heap->is_moving)
        return true;
    heap_begin_move(heap->heap);
    return make_copies(heap) || carry_heap_no_memory(run);
}

/* ---- Following pointers ---- */

/* In a slab: into an object, or just behind one. */
static bool leads_to_place(const struct carry_moved *moved, const char *address)
{
    uint64_t size = moved->program->from_size, offset = (uint64_t)(address - moved->start);
    uint64_t place = offset / size;
    bool is_behind = offset % size == 0 && place > 0 && heap_has(moved->old, place - 1);
    return is_behind || heap_has(moved->old, place);
}

const struct carry_moved *carry_find_moved(struct carry_heap *heap, const char *address)
{
    if (!heap || address < heap->low || address > heap->high || heap->moved_count == 0)
        return NULL;
    const struct carry_moved *moved = heap->last;
    if (!moved || address < moved->start || address >= moved->end) {
        size_t low = 0, high = heap->moved_count;
        while (low < high) {
            size_t middle = (low + high) / 2;
            if (heap->moved[middle].start <= address)
                low = middle + 1;
            else
                high = middle;
        }
        moved = low > 0 ? &heap->moved[low - 1] : NULL;
    }
    if (!moved || address > moved->end)
        return NULL;
    heap->last = moved;
    bool has_object = moved->old->bits ? leads_to_place(moved, address) : moved->old->alive > 0;
    return has_object ? moved : NULL;
}

static bool is_start_mapped(struct carry_kind *kind, const struct carry_program *program,
                            const struct type *pointee)
{
    uint64_t offset;
    if (kind->pointee != pointee) {
        kind->pointee = pointee;
        kind->is_start_mapped = carry_map_offset(program, 0, pointee, &offset) && offset == 0;
    }
    return kind->is_start_mapped;
}

enum carry_pointing carry_heap_repoint(struct carry_heap *heap, const char **pointer,
                                       const struct type *pointee, const char **why)
{
    const struct carry_moved *moved = carry_find_moved(heap, *pointer);
    if (!moved)
        return POINTS_ELSEWHERE;
    const struct carry_program *program = moved->program;
    uint64_t at = (uint64_t)(*pointer - moved->start);
    uint64_t place = at / program->from_size, inside = at % program->from_size, offset = 0;
    pointee = type_complete(pointee->plain);
    *why = "a void * to an object that moved: it leads to the old object, whose memory stays";
    if (pointee->kind == TYPE_VOID)
        return POINTS_STUCK;
    *why = "what it points to in an object that moved has no counterpart: the old object's memory stays";
    bool is_start = inside == 0 && moved->kind && is_start_mapped(moved->kind, program, pointee);
    bool is_end = *pointer == moved->end || (moved->old->bits && !heap_has(moved->old, place));
    if (!is_start && !is_end && !carry_map_offset(program, inside, pointee, &offset))
        return POINTS_STUCK;
    *pointer = heap_start(moved->new) + place * program->to_size + offset;
    *why = moved->old->kind->name;
    return POINTS_MOVED;
}

/* ---- The end ---- */

/* The copies that were made, in place of the list of what moved. */
static size_t take_pairs(struct carry_heap *heap, struct heap_pair **pairs)
{
    size_t count = 0;
    *pairs = memory_take_array(heap->moved_count + 1, sizeof **pairs);
    for (size_t i = 0; i < heap->moved_count; i++)
        if (heap->moved[i].kind)
            (*pairs)[count++] = (struct heap_pair){heap->moved[i].old, heap->moved[i].new};
    return count;
}

void carry_heap_commit(struct carry_heap *heap)
{
    struct heap_pair *pairs;
    size_t count = take_pairs(heap, &pairs);
    heap_commit(heap->heap, pairs, count, heap->carry->old_image);
    free(pairs);
    for (size_t i = 0; i < heap->kind_count; i++) {
        const struct carry_kind *plan = &heap->kinds[i];
        if (!plan->program || !plan->program->is_same)
            continue;
        plan->from->image = heap->carry->new_image;
        set_layout(plan->from, plan->type);
    }
    if (heap->is_moving)
        heap_end_move(heap->heap, NULL);
    heap->is_committed = true;
}

/* A place that holds something else meanwhile was written by the program. */
static void undo_patches(struct carry_heap *heap)
{
    for (size_t i = heap->patch_count; heap->is_patched && i-- > 0; ) {
        const struct carry_patch *patch = &heap->patches[i];
        if (*patch->place == patch->now)
            *patch->place = patch->was;
    }
}

void carry_heap_free(struct carry_heap *heap)
{
    if (!heap)
        return;
    if (!heap->is_committed && heap->is_moving) {
        struct heap_pair *pairs;
        size_t count = take_pairs(heap, &pairs);
        undo_patches(heap);
        heap_abandon(pairs, count);
        heap_end_move(heap->heap, heap->carry->new_image);
        free(pairs);
    }
    carry_free_addresses(heap->moved, heap->moved_capacity * sizeof *heap->moved);
    carry_free_addresses(heap->patches, heap->patch_capacity * sizeof *heap->patches);
    free(heap->kinds);
    carry_free_addresses(heap, sizeof *heap);
}
