/* guard.c: the signal handlers. They touch nothing but this thread's record and the interrupted
 * context: no locks, no allocation. The way out is the context itself: the handler returns into the
 * landing, on the stack of the thunk, so that no jump buffer is needed and a call costs nothing. */
#include "guard.h"

#include "arch.h"
#include "memory.h"
#include "thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

enum { STACK_SIZE = 128 * 1024, NEAR_LIMIT = 64 * 1024, FAR_BELOW = 64 * 1024 * 1024 };

struct guard {
    struct crash crash;
    char *stack;             /* the alternate one, above a page that cannot be touched */
    size_t page;
    const char *exit;        /* "exit" ...: its caller is to be taken for a crash */
    int exit_status;
    volatile bool is_busy;   /* a crash is being looked at: another one now comes from looking */
    sigset_t mask;           /* of the crashed code */
};

static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
enum { FAULTS = sizeof faults / sizeof *faults };

static struct sigaction previous[NSIG];
static void (*land)(void *frame);
static pid_t process;        /* a child that a plugin forks dies of its own faults */

/* The trace ---------------------------------------------------------------------------------- */

struct walk {
    struct crash *crash;
    uintptr_t end;           /* the thunk's stack pointer */
    bool is_above;           /* the signal frame is passed */
};

static _Unwind_Reason_Code note_frame(struct _Unwind_Context *context, void *argument)
{
    struct walk *walk = argument;
    struct crash *crash = walk->crash;
    int is_exact = 0;
    void *address = (void *)_Unwind_GetIPInfo(context, &is_exact);
    if (_Unwind_GetCFA(context) >= walk->end && walk->is_above)
        return _URC_NORMAL_STOP;
    if (walk->is_above && crash->trace_count < GUARD_TRACE)
        crash->trace[crash->trace_count++] = address;
    if (is_exact && address == crash->pc)
        walk->is_above = true;
    return crash->trace_count < GUARD_TRACE ? _URC_NO_REASON : _URC_NORMAL_STOP;
}

/* A call through a bad pointer has no frame of its own: then look from where it came. */
static void take_trace(struct crash *crash, const struct frame *frame, void *context)
{
    struct walk walk = {.crash = crash, .end = frame->stack};
    crash->trace_count = 0;
    _Unwind_Backtrace(note_frame, &walk);
    if (crash->trace_count > 0 || crash->address != crash->pc)
        return;
    void *bad = crash->pc;
    arch_context_return(context);
    crash->pc = arch_context_pc(context);
    walk.is_above = false;
    _Unwind_Backtrace(note_frame, &walk);
    if (crash->trace_count < GUARD_TRACE)
        crash->trace_count++;
    for (size_t i = crash->trace_count - 1; i > 0; i--)
        crash->trace[i] = crash->trace[i - 1];
    crash->trace[0] = crash->pc;
    crash->pc = bad;
}

/* The handlers ------------------------------------------------------------------------------- */

static struct image *image_of(const struct frame *frame)
{
    return frame->image ? frame->image : frame->export->image;
}

/* The call whose plugin is running on this thread, NULL if it is host code that runs, or if no call from Lua
 * is below those that C made. */
static struct frame *running_frame(struct thread *thread)
{
    if (!thread || thread->top == thread->frames || getpid() != process)
        return NULL;
    struct frame *frame = thread->top - 1;
    while (frame->stack & FRAME_IS_NATIVE) {
        if (frame == thread->frames)
            return NULL;
        frame--;
    }
    if (frame->stack & FRAME_IS_HOST || !frame->export)
        return NULL;
    return frame;
}

/* Is it the plugin's own fault, and may it be caught? */
static bool is_to_catch(const struct frame *frame, const siginfo_t *info)
{
    const struct image *image = image_of(frame);
    bool is_sent = info->si_code == SI_USER || info->si_code == SI_QUEUE;
    if (is_sent && info->si_pid != getpid())
        return false;
    return !image || !image_owner(image) || image_owner(image)->crash_policy != GUARD_OFF;
}

static void pass_on(int number, siginfo_t *info, void *context)
{
    const struct sigaction *before = &previous[number];
    if (before->sa_flags & SA_SIGINFO) {
        before->sa_sigaction(number, info, context);
    } else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN) {
        before->sa_handler(number);
    } else if (before->sa_handler == SIG_DFL || info->si_code > 0) {
        signal(number, SIG_DFL);             /* the instruction is tried again, and kills */
        if (info->si_code <= 0)
            syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), number);
    }
}

static bool is_stack_used_up(const struct thread *thread, const struct crash *crash, uintptr_t sp)
{
    uintptr_t address = (uintptr_t)crash->address, low = thread->stack_low;
    bool is_near_end = sp < low + NEAR_LIMIT && sp + FAR_BELOW > low;
    return crash->has_address && is_near_end && address < low + NEAR_LIMIT && address + FAR_BELOW > low;
}

static void leave(struct thread *thread, struct frame *frame, void *context)
{
    struct guard *guard = thread->guard;
    ((ucontext_t *)context)->uc_sigmask = guard->mask;
    guard->is_busy = false;
    void (*own)(void *) = guard_run_landing(thread, frame);
    arch_context_call(context, own ? own : land, frame, frame->stack);
}

static void record(struct thread *thread, int signal, void *context)
{
    struct guard *guard = thread->guard;
    const struct frame *innermost = thread->top - 1;
    struct crash *crash = &guard->crash;
    guard->is_busy = true;
    guard->mask = ((ucontext_t *)context)->uc_sigmask;
    *crash = (struct crash){
        .signal = signal, .pc = arch_context_pc(context), .image = image_of(innermost),
        .function = innermost->export->name,
    };
}

/* Does the thread run a call that the end of the program would be the end of, and nothing else? */
static bool is_call_to_end(struct thread *thread)
{
    struct image *image = running_frame(thread) ? image_of(thread->top - 1) : NULL;
    return image && !(image_owner(image) && image_owner(image)->crash_policy == GUARD_OFF);
}

void guard_end_call(const char *function, int status)
{
    struct thread *thread = thread_self_record;
    if (!is_call_to_end(thread))
        return;
    thread->guard->exit = function;
    thread->guard->exit_status = status;
    raise(SIGABRT);
    thread->guard->exit = NULL;          /* somebody else handles that signal */
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    int kept_errno = errno;
    struct thread *thread = thread_self_record;
    if (number == SIGSEGV && info->si_code > 0 && guard_trap_release(info->si_addr, arch_context_pc(context))) {
        if (thread && guard_is_late(thread))
            guard_stop_call(context);
        errno = kept_errno;
        return;
    }
    struct frame *frame = running_frame(thread);
    if (!frame || !is_to_catch(thread->top - 1, info)) {
        pass_on(number, info, context);
        errno = kept_errno;
        return;
    }
    if (!thread->guard->is_busy) {
        record(thread, number, context);
        struct crash *crash = &thread->guard->crash;
        crash->exit = thread->guard->exit;
        crash->exit_status = thread->guard->exit_status;
        thread->guard->exit = NULL;
        crash->has_address = (number == SIGSEGV || number == SIGBUS) && info->si_code > 0 &&
                             info->si_code != SI_KERNEL;
        crash->address = crash->has_address ? info->si_addr : NULL;
        crash->is_overflow = is_stack_used_up(thread, crash, (uintptr_t)arch_context_sp(context));
        take_trace(crash, frame, context);
    }
    leave(thread, frame, context);
}

void guard_stop_call(void *context)
{
    struct thread *thread = thread_self_record;
    struct frame *frame = running_frame(thread);
    struct image *image = frame ? image_of(thread->top - 1) : NULL;
    if (thread->guard->is_busy)
        return;
    if (!image || !image_contains(image, arch_context_pc(context))) {
        guard_trap_set(image ? image : image_of(thread->timed));
        return;
    }
    record(thread, SIGALRM, context);
    take_trace(&thread->guard->crash, frame, context);
    leave(thread, frame, context);
}

void guard_add_signals(sigset_t *set)
{
    for (int i = 0; i < FAULTS; i++)
        sigaddset(set, faults[i]);
    sigaddset(set, guard_timer_signal());
}

/* Installing --------------------------------------------------------------------------------- */

/* Who reached the C library's exit without passing ours: err(3), for one. */
static void on_program_end(int status, void *unused)
{
    (void)unused;
    if (!is_call_to_end(thread_self_record))
        return;
    on_exit(on_program_end, NULL);       /* also for the next */
    guard_end_call("exit", status);
}

static void install(void)
{
    on_exit(on_program_end, NULL);
    process = getpid();
    struct sigaction action = {
        .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER,
    };
    sigfillset(&action.sa_mask);
    for (int i = 0; i < FAULTS; i++)
        sigdelset(&action.sa_mask, faults[i]);
    for (int i = 0; i < FAULTS; i++)
        sigaction(faults[i], &action, &previous[faults[i]]);
}

void guard_install(void (*landing)(void *frame))
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    land = landing;
#ifdef ARCH_IS_KNOWN
    pthread_once(&once, install);
#else
    (void)once, (void)install;
#endif
}

void guard_adopt_process(void)
{
    process = getpid();
}

void guard_thread(struct thread *thread)
{
    stack_t stack = {0};
    struct guard *guard = memory_take(sizeof *guard);
    guard->page = (size_t)sysconf(_SC_PAGESIZE);
    guard->stack = mmap(NULL, guard->page + STACK_SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    thread->guard = guard;
    if (guard->stack == MAP_FAILED) {    /* a stack overflow of this thread is not to be survived */
        guard->stack = NULL;
        return;
    }
    mprotect(guard->stack, guard->page, PROT_NONE);
    stack.ss_sp = guard->stack + guard->page;
    stack.ss_size = STACK_SIZE;
    sigaltstack(&stack, NULL);
}

void guard_release_thread(struct thread *thread)
{
    stack_t none = {.ss_flags = SS_DISABLE};
    sigaltstack(&none, NULL);
    if (thread->guard->stack)
        munmap(thread->guard->stack, thread->guard->page + STACK_SIZE);
    free(thread->guard);
}

const struct crash *guard_crash(void)
{
    return &thread_self()->guard->crash;
}

const char *guard_signal_name(const struct crash *crash)
{
    if (crash->exit)
        return crash->exit;
    switch (crash->signal) {
    case SIGSEGV: return "SIGSEGV";
    case SIGBUS: return "SIGBUS";
    case SIGFPE: return "SIGFPE";
    case SIGILL: return "SIGILL";
    case SIGTRAP: return "SIGTRAP";
    case SIGABRT: return "SIGABRT";
    default: return "timeout";
    }
}
