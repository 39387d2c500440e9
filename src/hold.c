/* hold.c: see hold.h. A thread that waits has no mark in the plugin, so that it holds up nobody. */
#include "hold.h"

#include "call_compile.h"
#include "fork_lock.h"

#include <lua.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

static slot_entry call_held;
static struct export held = {.thunk = call_held, .name = ""};

FORK_LOCK(lock)
static pthread_cond_t released = PTHREAD_COND_INITIALIZER;

/* Who stops ---------------------------------------------------------------------------------- */

void hold_begin(struct plugin *plugin)
{
    __atomic_store_n(&plugin->holder, pthread_self(), __ATOMIC_RELAXED);
    __atomic_store_n(&plugin->is_held, true, __ATOMIC_RELEASE);
    slot_stop(plugin, &held);
}

static unsigned long now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (unsigned long)now.tv_sec * 1000000u + (unsigned long)now.tv_nsec / 1000u;
}

/* The first looks come soon: most calls are short. */
bool hold_await(struct plugin *plugin, unsigned limit_us, char *who, size_t size)
{
    unsigned long began = now_us(), pause_us = 0;
    while (plugin->live && thread_is_other_inside(plugin->live, who, size)) {
        if (now_us() - began >= limit_us)
            return false;
        if (pause_us == 0)
            sched_yield();
        else
            nanosleep(&(struct timespec){.tv_nsec = (long)pause_us * 1000}, NULL);
        pause_us = pause_us < 200 ? pause_us * 2 + 5 : pause_us;
    }
    return true;
}

void hold_end(struct plugin *plugin)
{
    slot_restart(plugin, &held);
    pthread_mutex_lock(&lock);
    __atomic_store_n(&plugin->is_held, false, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&released);
    pthread_mutex_unlock(&lock);
}

/* Who is stopped ----------------------------------------------------------------------------- */

static bool is_held(const struct plugin *plugin)
{
    return __atomic_load_n(&plugin->is_held, __ATOMIC_ACQUIRE);
}

/* A thread inside a held plugin is what the holder waits for: were it stopped, neither would go on.
 * `below`: the frames that count end there. */
static bool may_pass(const struct plugin *plugin, const struct frame *below)
{
    struct thread *thread = thread_self();
    if (__atomic_load_n(&plugin->holder, __ATOMIC_RELAXED) == pthread_self())
        return true;
    for (const struct frame *frame = thread->frames; frame < below; frame++) {
        const struct image *image = frame->export ? frame->export->image : frame->image;
        if (image && image->plugin && is_held(image->plugin) && image == plugin_live(image->plugin))
            return true;
    }
    return false;
}

static void wait_for_release(const struct plugin *plugin)
{
    pthread_mutex_lock(&lock);
    while (is_held(plugin))
        pthread_cond_wait(&released, &lock);
    pthread_mutex_unlock(&lock);
}

/* Mark the export of the live image in the frame as the thunk will do once more; NULL: there is none. */
static struct export *pin_live(struct frame *frame, const struct slot *slot)
{
    struct image *image;
    do {
        image = plugin_live(slot->plugin);
        frame_set_image(frame, image);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
    } while (image != plugin_live(slot->plugin));
    struct export *export = image ? image_find_export(image, slot->name) : NULL;
    frame_set_export(frame, export);
    frame_set_image(frame, NULL);
    return export;
}

/* The call goes on into the image that is live while others are stopped: through a slot made for it. */
static int call_live(struct lua_State *L, struct slot *slot)
{
    struct export *export = pin_live(thread_self()->top, slot);
    struct slot stand_in = {
        .entry = call_lazy, .bound = export, .usual = call_lazy, .name = slot->name, .plugin = slot->plugin,
    };
    if (!export)
        return call_absent(L, slot);
    bool is_timed = export->signature && slot->plugin->timeout_ms > 0;
    return is_timed ? call_timed(L, &stand_in) : export->thunk(L, &stand_in);
}

/* Where the calls of a stopped slot go. */
static int call_held(struct lua_State *L, struct slot *slot)
{
    struct plugin *plugin = slot->plugin;
    thread_drop_abandoned(thread_self(), (uintptr_t)__builtin_frame_address(0));
    if (slot_bound(slot) == &held && plugin_live(plugin) && may_pass(plugin, thread_self()->top))
        return call_live(L, slot);
    while (slot_bound(slot) == &held || slot_usual(slot) == call_held) {
        wait_for_release(plugin);
        sched_yield();
    }
    return slot_usual(slot)(L, slot);
}

bool hold_is_holding(const struct export *export)
{
    return export == &held;
}

struct export *hold_pin(struct frame *frame, struct slot *slot)
{
    struct export *export = &held;
    while (export == &held) {
        frame_unpin(frame);
        if (plugin_live(slot->plugin) && may_pass(slot->plugin, frame)) {
            export = pin_live(frame, slot);
            return export ? export : &slot_absent;
        }
        wait_for_release(slot->plugin);
        sched_yield();
        export = frame_pin(frame, slot);
    }
    return export;
}

/* Marks that are no calls of slots ----------------------------------------------------------- */

void hold_pass_image(struct frame *frame)
{
    struct image *image = frame->image;
    while (is_held(image->plugin) && image == plugin_live(image->plugin) && !may_pass(image->plugin, frame)) {
        struct export *export = frame->export;
        frame_set_image(frame, NULL);
        frame_set_export(frame, NULL);
        wait_for_release(image->plugin);
        frame_set_export(frame, export);
        frame_set_image(frame, image);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
    }
}

struct frame *hold_enter(struct plugin *plugin, struct lua_State *L)
{
    struct frame *frame = thread_enter_host(L);
    if (!frame)
        return NULL;
    for (;;) {
        struct image *image = plugin_live(plugin);
        frame_set_image(frame, image);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        if (image != plugin_live(plugin))
            continue;
        if (!image || !is_held(plugin) || may_pass(plugin, frame))
            return frame;
        frame_set_image(frame, NULL);
        wait_for_release(plugin);
    }
}

void hold_leave(struct frame *frame)
{
    frame_set_image(frame, NULL);
    thread_leave_host(frame);
}
