/* carry_objects.c: the objects of each kind during a carry: brought to their copies where the layout
 * changed, looked through for pointers where it did not. An object that stays is written to last, when
 * nothing can fail any more but what comes after the carry. */
#include "carry_heap.h"

#include <string.h>

/* ---- Runs of objects ---- */

struct work {                /* what is done with each run of objects */
    bool (*act)(struct carry_run *run, const struct work *work, uint64_t first, uint64_t place,
                uint64_t count);
    struct heap_region *old, *new;
    const struct carry_watches *watches;
    carry_visitor *visit;
};

/* `next` is the place after the run of objects that begins at or after `place`. False: there is none. */
static bool find_run(const struct heap_region *region, uint64_t *place, uint64_t *next)
{
    while (*place < region->used && !heap_has(region, *place)) {
        uint64_t word = __atomic_load_n(&region->bits[*place / 64], __ATOMIC_RELAXED);
        *place += *place % 64 == 0 && word == 0 ? 64 : 1;
    }
    for (*next = *place; *next < region->used && heap_has(region, *next); )
        ++*next;
    return *place < region->used;
}

/* `first` is the number of the region's first object. */
static bool each_run(struct carry_run *run, const struct work *work, uint64_t first)
{
    const struct heap_region *region = work->old;
    uint64_t next;
    if (!region->bits)
        return region->alive == 0 || work->act(run, work, first, 0, region->count);
    for (uint64_t place = 0; find_run(region, &place, &next); place = next)
        if (!work->act(run, work, first + place, place, next - place))
            return false;
    return true;
}

static bool convert(struct carry_run *run, const struct work *work, uint64_t first, uint64_t place,
                    uint64_t count)
{
    const struct carry_program *program = run->pair->program;
    return carry_elements(run, program, heap_start(work->old) + place * program->from_size,
                          heap_start(work->new) + place * program->to_size, first, count);
}

static bool look(struct carry_run *run, const struct work *work, uint64_t first, uint64_t place,
                 uint64_t count)
{
    const struct carry_program *program = run->pair->program;
    carry_walk(run, program, work->watches, heap_start(work->old) + place * program->from_size, first, count,
               work->visit);
    return true;
}

/* All regions of a kind that were there when the carry began. */
static bool each_region(struct carry_run *run, const struct carry_kind *kind, struct work work)
{
    const struct heap *heap = run->carry->heap->heap;
    uint64_t first = 0;
    for (struct heap_region *region = kind->from->regions; region; region = region->next) {
        if (!heap_is_frozen(region, heap))
            continue;
        work.old = region;
        work.new = region->newer;
        if (!each_run(run, &work, first))
            return false;
        first += region->used;
    }
    return true;
}

/* ---- What is looked for ---- */

static void visit_suspect(struct carry_run *run, const struct carry_step *step, const char *at)
{
    for (uint64_t offset = 0; offset + sizeof(char *) <= step->from_size; offset += sizeof(char *)) {
        const char *word;
        memcpy(&word, at + offset, sizeof word);
        if (!carry_find_moved(run->carry->heap, word))
            continue;
        carry_report(run, CARRY_HELD_OBJECT, step->path,
                     "the address of an object that moved, where no type says pointer: it leads to the old "
                     "object, whose memory stays");
        return;
    }
}

static void add_patch(struct carry_heap *heap, const char **place, const char *now)
{
    if (heap->patch_count == heap->patch_capacity) {
        size_t capacity = heap->patch_capacity ? 2 * heap->patch_capacity : 256, size = sizeof *heap->patches;
        void *list = carry_grow_addresses(heap->patches, heap->patch_capacity * size, capacity * size);
        heap->is_short_of_memory |= !list;
        if (!list)
            return;
        heap->patches = list;
        heap->patch_capacity = capacity;
    }
    heap->patches[heap->patch_count++] = (struct carry_patch){place, *place, now};
}

/* A pointer in an object that stays. */
static void visit_pointer(struct carry_run *run, const struct carry_step *step, const char *at)
{
    const char *pointer;
    memcpy(&pointer, at, sizeof pointer);
    if (carry_follow(run, step, &pointer, true) == POINTS_MOVED)
        add_patch(run->carry->heap, (const char **)(uintptr_t)at, pointer);
}

/* What no type calls a pointer, in an object that stays. */
static void visit_hidden(struct carry_run *run, const struct carry_step *step, const char *at)
{
    if (step->may_hide_pointers)
        carry_scan_bytes(run, step->path, at, step->from_size);
    if (run->carry->heap->moved_count > 0)
        visit_suspect(run, step, at);
}

/* ---- Kinds ---- */

static void begin_kind(struct carry_run *run, const struct carry_pair *pair)
{
    run->pair = pair;
    run->depth = 1;
    run->frames[0] = (struct carry_frame){.path = "", .has_index = true};
    memset(run->listed, 0, sizeof run->listed);
}

static uint64_t count_objects(const struct heap_kind *kind)
{
    uint64_t count = 0;
    for (const struct heap_region *region = kind->regions; region; region = region->next)
        count += region->bits ? region->alive : region->alive * region->count;
    return count;
}

/* One line for the kind as a whole. */
static void report_kind(struct carry_run *run, const struct carry_kind *kind, enum carry_verdict verdict,
                        const char *why)
{
    char said[320];
    unsigned long long count = count_objects(kind->from);
    snprintf(said, sizeof said, "%llu on the heap: %.240s", count, why);
    run->frames[0].has_index = false;
    carry_report(run, verdict, "", said);
}

static bool move_kind(struct carry_run *run, const struct carry_kind *kind)
{
    if (!each_region(run, kind, (struct work){.act = convert}))
        return false;
    const struct carry_watches *suspects = carry_watch(&run->carry->compiler, kind->program, WATCH_SUSPECTS);
    if (suspects)
        each_region(run, kind, (struct work){.act = look, .watches = suspects, .visit = visit_suspect});
    report_kind(run, kind, CARRY_CONVERTED, run->pair->change);
    return true;
}

/* Objects in which nothing can have to change are not read. */
static void patch_kind(struct carry_run *run, const struct carry_kind *kind)
{
    struct carry *carry = run->carry;
    bool may_change = carry->heap->moved_count > 0 || carry_any_pointee(kind->program, carry, carry_may_hold);
    if (!may_change)
        return;
    const struct carry_watches *pointers = carry_watch(&carry->compiler, kind->program, WATCH_POINTERS);
    const struct carry_watches *suspects = carry_watch(&carry->compiler, kind->program, WATCH_SUSPECTS);
    if (pointers)
        each_region(run, kind, (struct work){.act = look, .watches = pointers, .visit = visit_pointer});
    if (suspects)
        each_region(run, kind, (struct work){.act = look, .watches = suspects, .visit = visit_hidden});
}

static bool run_kind(struct carry_run *run, const struct carry_kind *kind)
{
    struct carry_pair pair = {
        .name = kind->from->name, .treatment = TREAT_WHOLE, .program = kind->program,
    };
    bool fits = true;
    begin_kind(run, &pair);
    if (!kind->program) {
        report_kind(run, kind, CARRY_HELD_OBJECT, kind->why);
    } else if (kind->program->is_same) {
        patch_kind(run, kind);
    } else {
        pair.change = carry_describe_change(&run->carry->compiler, kind->program);
        fits = move_kind(run, kind);
    }
    carry_report_rest(run);
    return fits;
}

static void apply_patches(struct carry_heap *heap)
{
    for (size_t i = 0; i < heap->patch_count; i++)
        *heap->patches[i].place = heap->patches[i].now;
    heap->is_patched = true;
}

/* What an image that comes back has kept of its own may lead to where objects were when it was replaced. */
static void follow_own_pointers(struct carry_run *run)
{
    struct carry *carry = run->carry;
    for (size_t i = 0; i < carry->new_count; i++) {
        const struct variable *variable = &carry->new_variables[i];
        if (!variable->is_writable || !variable->address || !variable->type)
            continue;
        struct carry_pair pair = {.name = variable->name, .treatment = TREAT_WHOLE};
        pair.program = carry_compile(&carry->compiler, variable->type, variable->size, variable->type,
                                     variable->size);
        const struct carry_watches *pointers = carry_watch(&carry->compiler, pair.program, WATCH_POINTERS);
        begin_kind(run, &pair);
        run->frames[0].has_index = false;
        if (pointers)
            carry_walk(run, pair.program, pointers, variable->address, 0, 1, visit_pointer);
        carry_report_rest(run);
    }
}

/* What was written below: heap_sweep is not to find old addresses there. */
__attribute__((noinline)) static void clear_stack(void)
{
    char used[16 << 10];
    explicit_bzero(used, sizeof used);
}

bool carry_heap_run(struct carry_run *run)
{
    struct carry_heap *heap = run->carry->heap;
    for (size_t i = 0; heap && i < heap->kind_count; i++)
        if (!run_kind(run, &heap->kinds[i]))
            return false;
    if (heap && heap->moved_count > 0 && run->carry->is_return)
        follow_own_pointers(run);
    if (heap && heap->is_short_of_memory)
        return carry_heap_no_memory(run);
    if (heap)
        apply_patches(heap);
    if (heap && heap->moved_count > 0)
        clear_stack();
    return true;
}

/* ---- Variables ---- */

void carry_heap_scan(struct carry_run *run, const struct carry_pair *pair)
{
    struct carry_heap *heap = run->carry->heap;
    if (!heap || heap->moved_count == 0 || pair->treatment == TREAT_RESET)
        return;
    struct carry_step bytes = {.kind = STEP_COPY, .from_size = pair->from_size, .path = ""};
    run->frames[0] = (struct carry_frame){.path = ""};
    if (!pair->program) {
        visit_suspect(run, &bytes, pair->from);
        return;
    }
    const struct carry_watches *suspects = carry_watch(&run->carry->compiler, pair->program, WATCH_SUSPECTS);
    if (suspects)
        carry_walk(run, pair->program, suspects, pair->from, 0, 1, visit_suspect);
}
