/* guard_run.c: code of a plugin that no call from Lua runs (destructors, exit handlers), under the same guard
 * as calls: what crashes there or does not end comes back here. */
#include "guard.h"

#include "arch.h"
#include "thread.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>

struct guard_run {
    struct frame *frame;
    struct guard_run *outer;
    jmp_buf way_back;
};

static void land(void *frame)
{
    (void)frame;
    _longjmp(thread_self_record->run->way_back, 1);
}

void (*guard_run_landing(const struct thread *thread, const struct frame *frame))(void *frame)
{
    return thread->run && thread->run->frame == frame ? land : NULL;
}

/* The threads on which files are opened and closed have all signals blocked: a fault would kill. */
static void unblock(sigset_t *before)
{
    sigset_t needed;
    sigemptyset(&needed);
    guard_add_signals(&needed);
    pthread_sigmask(SIG_UNBLOCK, &needed, before);
}

/* With the frame pushed. */
static bool attempt(struct guard_run *run, void (*function)(void *), void *argument)
{
    if (_setjmp(run->way_back) != 0)
        return false;
    arch_save_stack(&run->frame->stack);
    function(argument);
    return true;
}

bool guard_run(struct export *place, void (*function)(void *), void *argument, unsigned limit_ms)
{
    struct thread *thread = thread_self();
    struct frame *frame = thread->top;
    struct guard_run run = {.frame = frame, .outer = thread->run};
    sigset_t before;
    if (frame >= thread->frames + THREAD_FRAMES - 4)
        return false;
    frame->L = thread_lua(thread);
    frame->stack = (uintptr_t)__builtin_frame_address(0) | FRAME_IS_HOST;
    frame_set_image(frame, NULL);
    frame_set_export(frame, place);
    thread_set_top(thread, frame + 1);
    thread->run = &run;
    unblock(&before);
    guard_begin_timed(thread, frame, limit_ms);
    bool is_well = attempt(&run, function, argument);
    frame->stack |= FRAME_IS_HOST;
    guard_end_timed(thread, frame);
    thread->run = run.outer;
    thread_set_top(thread, frame);
    frame_unpin(frame);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return is_well;
}
