/* thread.h: what each thread of the process is doing inside plugins: a stack of frames, one for
 * each native call in progress, innermost last. The owner writes it with plain stores; others read
 * it after a membarrier (thread_is_inside). A frame pins the image of its export. */
#ifndef HOTLUA_THREAD_H
#define HOTLUA_THREAD_H

#include "slot.h"

#include <stdint.h>

enum { THREAD_FRAMES = 448 };            /* Lua's limit of nested C calls is 200, of two frames each */

enum { THREAD_NO_ERROR = -2 };           /* LUA_NOREF */

struct frame {
    struct export *volatile export;      /* what is called, from before its arguments are read */
    volatile uintptr_t stack;            /* stack pointer of the caller: a crash returns there. Odd
                                            (FRAME_IS_HOST) while not the plugin's code runs; with
                                            FRAME_IS_NATIVE C called, and a crash goes further down */
    struct lua_State *L;                 /* of the call in progress */
    struct image *volatile image;        /* of a function that has no slot; else NULL */
};

enum { FRAME_IS_HOST = 1, FRAME_IS_NATIVE = 2, FRAME_FLAGS = 3 };

struct thread {
    struct frame *volatile top;          /* the next frame to use */
    int *errno_place;                    /* this thread's errno */
    int kept_errno;                      /* after the last native call: hot.errno() */
    volatile int pending_error;          /* registry reference of a callback's error, or NO_ERROR */
    struct frame *volatile timed;        /* the outermost call with a time limit, NULL: none */
    volatile uint64_t deadline_ns;       /* its end, CLOCK_MONOTONIC */
    uintptr_t stack_low, stack_high;     /* the thread's own stack */
    struct guard *guard;                 /* guard.c's own */
    struct guard_run *run;               /* guard_run.c's own: the innermost, NULL: none */
    unsigned long identity;              /* pthread_t */
    struct thread *next;
    struct frame frames[THREAD_FRAMES] __attribute__((aligned(64)));
};

extern __thread struct thread *thread_self_record;

/* This thread's record; registers it at the first use, with an alternate signal stack. It goes
 * when the thread ends. */
struct thread *thread_register(void);
static inline struct thread *thread_self(void)
{
    struct thread *thread = thread_self_record;
    return __builtin_expect(thread != NULL, 1) ? thread : thread_register();
}

/* The marks that other threads look at. Release and acquire are plain moves on x86-64; that a mark is seen in
 * time is thread_barrier's work. */
static inline void thread_set_top(struct thread *thread, struct frame *top)
{
    __atomic_store_n(&thread->top, top, __ATOMIC_RELEASE);
}

static inline void frame_set_export(struct frame *frame, struct export *export)
{
    __atomic_store_n(&frame->export, export, __ATOMIC_RELEASE);
}

static inline void frame_set_image(struct frame *frame, struct image *image)
{
    __atomic_store_n(&frame->image, image, __ATOMIC_RELEASE);
}

/* Pin what is bound now: from here its image stays. The re-check makes a plain store enough, since
 * who unbinds issues a membarrier before it looks. */
static inline struct export *frame_pin(struct frame *frame, const struct slot *slot)
{
    struct export *export;
    do {
        export = slot_bound(slot);
        frame_set_export(frame, export);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
    } while (__builtin_expect(export != slot_bound(slot), 0));
    return export;
}

static inline void frame_unpin(struct frame *frame)
{
    frame_set_export(frame, NULL);
}

/* Drop the frames of calls that a Lua error has jumped out of (want of memory while arguments were
 * converted). `here`: an address in the caller's C stack frame; live calls are all above it. */
void thread_drop_abandoned(struct thread *thread, uintptr_t here);

/* Host code begins to run inside a call (a callback), called by the C code whose stack begins above `here`:
 * until thread_leave_host a crash is not the plugin's. NULL when calls are nested too deeply. */
static inline struct frame *thread_enter_host_at(struct thread *thread, struct lua_State *L, uintptr_t here)
{
    struct frame *frame = thread->top;
    if (frame > thread->frames && __builtin_expect((frame[-1].stack & ~(uintptr_t)FRAME_FLAGS) <= here, 0)) {
        thread_drop_abandoned(thread, here);
        frame = thread->top;
    }
    if (__builtin_expect(frame >= thread->frames + THREAD_FRAMES - 4, 0))
        return NULL;
    frame_set_export(frame, NULL);
    frame->stack = here | FRAME_IS_HOST;
    frame->L = L;
    thread_set_top(thread, frame + 1);
    return frame;
}
struct frame *thread_enter_host(struct lua_State *L);
static inline void thread_leave_host(struct frame *frame)
{
    thread_set_top(thread_self_record, frame);
}

/* The Lua state of the native call in progress on the thread, NULL if there is none. */
static inline struct lua_State *thread_lua(const struct thread *thread)
{
    return thread->top > thread->frames ? thread->top[-1].L : NULL;
}

/* Every running thread passes a memory barrier before this returns. */
void thread_barrier(void);

/* Is any thread inside a call of this image (also one suspended in a callback)? Issues a membarrier,
 * so that a call which began before is seen. The image must not be bound any more. */
bool thread_is_inside(const struct image *image);

/* Is another thread than the calling one inside a call of this image, which must be mapped? Then `who` says
 * which, and in which function. Issues a membarrier. */
bool thread_is_other_inside(const struct image *image, char *who, size_t size);

/* How many frames of this image the calling thread itself has. */
unsigned thread_depth_in(const struct image *image);

/* Call `each` for every registered thread, under the registry's lock: no thread ends meanwhile. */
void thread_each(void (*each)(struct thread *thread, void *context), void *context);

#endif
