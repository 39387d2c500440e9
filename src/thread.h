/* thread.h: what each thread of the process is doing inside plugins: a stack of frames, one for
 * each native call in progress, innermost last. The owner writes it with plain stores; others read
 * it after a membarrier (thread_is_inside). A frame pins the image of its export. */
#ifndef HOTLUA_THREAD_H
#define HOTLUA_THREAD_H

#include "slot.h"

#include <stdint.h>

enum { THREAD_FRAMES = 250 };            /* Lua's own limit of nested C calls is 200 */

struct frame {
    struct export *volatile export;      /* what is called; NULL: host code inside a callback */
    volatile int is_armed;               /* 1: a crash now is the plugin's and unwinds to `jump` */
    struct lua_State *L;                 /* of the call in progress */
    volatile uint64_t deadline_ns;       /* CLOCK_MONOTONIC; 0: none */
    void *jump[8];                       /* of the arch's setjmp */
};

struct thread {
    struct frame *volatile top;          /* the next frame to use */
    struct frame frames[THREAD_FRAMES];
    int kept_errno;                      /* after the last native call: hot.errno() */
    int pending_error;                   /* registry reference of a callback's error, LUA_NOREF if none */
    unsigned long identity;              /* pthread_t */
    struct thread *next;
};

extern __thread struct thread *thread_self_record;

/* This thread's record; registers it at the first use, with an alternate signal stack. */
struct thread *thread_register(void);
static inline struct thread *thread_self(void)
{
    struct thread *thread = thread_self_record;
    return thread ? thread : thread_register();
}

/* Is any thread inside a call of this image (also one suspended in a callback)? Issues a membarrier,
 * so that a call which began before is seen. The image must not be bound any more. */
bool thread_is_inside(const struct image *image);

/* How many frames of this image the calling thread itself has. */
unsigned thread_depth_in(const struct image *image);

#endif
