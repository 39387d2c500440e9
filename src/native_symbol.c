/* native_symbol.c: see native_symbol.h. Called from plugins, also from their constructors and their own
 * threads. */
#include "native_symbol.h"

#include "arch.h"
#include "hold.h"
#include "memory.h"
#include "types.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

__attribute__((visibility("default"))) void *hot_host_symbol(const char *plugin, const char *name);

/* Stack arguments -------------------------------------------------------------------------------- */

enum { FEWEST_INTEGERS = 6, FLOATS = 8 };        /* argument registers, of the processor that has fewest */
enum { UNKNOWN_STACK = 128, ON_STACK_AT_LEAST = 8 };

struct places {
    size_t integers, floats; /* registers that scalars ask for */
    size_t others;           /* bytes of what may be split, aligned or copied */
};

static void count_parameter(struct places *places, const struct type *type)
{
    const struct type *plain = type_complete(type->plain);
    if (plain->size <= 8 && plain->kind == TYPE_FLOAT) {
        places->floats++;
    } else if (plain->size <= 8 && plain->kind != TYPE_STRUCT && plain->kind != TYPE_UNION) {
        places->integers++;
    } else {
        places->integers += 2;
        places->floats += 4;
        places->others += (plain->size + 15) / 16 * 16 + 16;
    }
}

static size_t beyond(size_t count, size_t registers)
{
    return count > registers ? (count - registers) * ON_STACK_AT_LEAST : 0;
}

/* At least the bytes of arguments that a caller leaves on the stack: more are copied than are used. */
static unsigned stack_size_of(const struct type *type)
{
    struct places places = {0};
    if (!type || type->is_variadic || type->is_unprototyped)
        return UNKNOWN_STACK;
    for (uint64_t i = 0; i < type->count; i++)
        count_parameter(&places, type->parameters[i].type);
    size_t size = beyond(places.integers, FEWEST_INTEGERS) + beyond(places.floats, FLOATS) + places.others;
    return (unsigned)((size + 15) / 16 * 16);
}

/* Who uses whom ---------------------------------------------------------------------------------- */

struct use {
    const struct image *image;           /* not retained: native_symbol_forget */
    struct plugin *plugin;
    struct use *next;
};

static struct use *uses;     /* newest first, under the slots' lock */

static void note_use(const struct image *image, struct plugin *plugin)
{
    struct use *use = uses;
    while (use && !(use->image == image && use->plugin == plugin))
        use = use->next;
    if (use || image->plugin == plugin)
        return;
    use = memory_take(sizeof *use);
    *use = (struct use){image, plugin, uses};
    __atomic_store_n(&uses, use, __ATOMIC_RELAXED);
}

bool native_symbol_any_use(void)
{
    return __atomic_load_n(&uses, __ATOMIC_RELAXED) != NULL;
}

struct plugin *native_symbol_next_used(const struct image *image, const struct plugin *after)
{
    struct plugin *found = NULL;
    bool is_passed = !after;
    slot_lock();
    for (struct use *use = uses; use && !found; use = use->next) {
        if (use->image == image && is_passed)
            found = use->plugin;
        is_passed |= use->image == image && use->plugin == after;
    }
    slot_unlock();
    return found;
}

void native_symbol_forget(const struct image *image)
{
    slot_lock();
    for (struct use **at = &uses; *at;) {
        struct use *use = *at;
        if (use->image == image) {
            *at = use->next;
            free(use);
        } else {
            at = &use->next;
        }
    }
    slot_unlock();
}

/* Addresses -------------------------------------------------------------------------------------- */

static struct image *retain_live(struct plugin *plugin)
{
    slot_lock();
    struct image *live = plugin->live ? image_retain(plugin->live) : NULL;
    slot_unlock();
    return live;
}

/* The image whose code called: one of those that are listed, or the one whose constructors run on this
 * thread. */
static void note_caller(void *caller, struct plugin *plugin)
{
    struct image *image = image_of_address(caller), *user = image ? image : image_being_opened();
    slot_lock();
    if (user)
        note_use(user, plugin);
    slot_unlock();
    image_release(image);
}

static void *jump_of(struct plugin *plugin, const struct export *export)
{
    unsigned stack_size = stack_size_of(export->type);
    slot_lock();
    struct slot *slot = slot_of(plugin, export->name);
    if (stack_size > slot->native_stack)
        __atomic_store_n(&slot->native_stack, stack_size, __ATOMIC_RELAXED);
    if (!slot->jump) {
        slot->native = (void *)native_symbol_entry;
        slot->jump = arch_make_jump(&slot->native);
    }
    void *jump = slot->jump;
    plugin->is_shared = true;
    slot_unlock();
    return jump;
}

/* hot_symbol of hotlua/plugin.h. */
void *hot_host_symbol(const char *plugin_name, const char *name)
{
    int kept_errno = errno;
    void *jump = NULL;
    struct error error;
    struct plugin *plugin = plugin_name && name ? plugin_find(plugin_name) : NULL;
    struct image *live = plugin ? retain_live(plugin) : NULL;
    struct export *export = live ? image_find_export(live, name) : NULL;
    if (plugin)
        note_caller(__builtin_return_address(0), plugin);
    if (export) {
        image_resolve_export(export, &error);
        jump = jump_of(plugin, export);
    }
    image_release(live);
    errno = kept_errno;
    return jump;
}

/* Calls ------------------------------------------------------------------------------------------ */

static void report(struct slot *slot, const char *why)
{
    if (__atomic_exchange_n(&slot->is_missed, true, __ATOMIC_RELAXED))
        return;
    fprintf(stderr, "hotlua: C called '%s' of plugin '%s', %s: it gets 0\n", slot->name, slot->plugin->name,
            why);
}

/* The frame is marked with the export that the call goes to; NULL: there is none. */
static struct export *pin(struct frame *frame, struct slot *slot)
{
    struct export *export = frame_pin(frame, slot);
    if (hold_is_holding(export)) {
        int kept_errno = errno;
        export = hold_pin(frame, slot);
        errno = kept_errno;
    }
    return export == &slot_absent ? NULL : export;
}

void native_symbol_begin(struct native_call *call, void *volatile *place, uintptr_t here)
{
    struct slot *slot = (struct slot *)((char *)place - offsetof(struct slot, native));
    struct thread *thread = thread_self();
    thread_drop_abandoned(thread, here);
    struct frame *frame = thread->top;
    call->target = NULL;
    if (frame >= thread->frames + THREAD_FRAMES - 4) {
        report(slot, "in calls that are nested too deeply");
        return;
    }
    struct export *export = pin(frame, slot);
    if (!export) {
        frame_unpin(frame);
        report(slot, "which is gone");
        return;
    }
    frame->stack = here | FRAME_IS_NATIVE;
    frame->L = frame > thread->frames ? frame[-1].L : NULL;
    thread_set_top(thread, frame + 1);
    *call = (struct native_call){
        .target = export->target, .frame = frame,
        .stack_size = __atomic_load_n(&slot->native_stack, __ATOMIC_RELAXED),
    };
}

void native_symbol_end(struct native_call *call)
{
    thread_set_top(thread_self_record, call->frame);
    frame_unpin(call->frame);
}

#ifndef ARCH_IS_KNOWN
void native_symbol_entry(void)
{
}
#endif
