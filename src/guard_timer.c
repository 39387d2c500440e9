/* guard_timer.c: time limits of calls. One thread, started with the first limit, looks at the calls
 * in progress and signals those whose time is over; the handler stops a call only while the plugin's
 * own code runs, since leaving the C library half-way would leave its locks held (guard_trap.c). */
#include "guard.h"
#include "thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MS = 1000000, REPEAT_NS = 2 * MS, LONGEST_NS = 100 * MS, IDLE_NS = 1000 * MS };

static struct {
    pthread_mutex_t lock;    /* of the condition */
    pthread_cond_t wake;
    bool is_running;         /* there is a thread */
    bool is_awake;           /* these two are read and written without the lock */
    uint64_t shortest_ns;    /* of all limits seen */
    uint64_t lag_ns;         /* the coarse clock may be behind by so much: a tick that comes late */
} timer = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER,
           .shortest_ns = LONGEST_NS * 4u};
static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char tag;       /* its address in a signal says that it is ours */
static struct sigaction before;

int guard_timer_signal(void)
{
    return SIGRTMIN + 9;
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* When the thread's limited call is to end, 0: there is none. Of any thread: plain moves on x86-64. */
static uint64_t deadline_of(const struct thread *thread)
{
    bool is_timed = __atomic_load_n(&thread->timed, __ATOMIC_ACQUIRE) != NULL;
    return is_timed ? __atomic_load_n(&thread->deadline_ns, __ATOMIC_RELAXED) : 0;
}

static bool is_awake(void)
{
    return __atomic_load_n(&timer.is_awake, __ATOMIC_ACQUIRE);
}

static void set_awake(bool is_awake)
{
    __atomic_store_n(&timer.is_awake, is_awake, __ATOMIC_RELEASE);
}

bool guard_is_late(const struct thread *thread)
{
    uint64_t deadline = deadline_of(thread);
    return deadline && now_ns(CLOCK_MONOTONIC) >= deadline;
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    int kept_errno = errno;
    struct thread *thread = thread_self_record;
    bool is_ours = info->si_code == SI_QUEUE && info->si_value.sival_ptr == &tag;
    if (is_ours && thread && guard_is_late(thread))
        guard_stop_call(context);
    else if (!is_ours && before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(number, info, context);
    else if (!is_ours && before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
        before.sa_handler(number);
    errno = kept_errno;
}

struct look {
    uint64_t now, next;      /* when to look again */
    bool is_any;
};

static void look_at(struct thread *thread, void *context)
{
    struct look *look = context;
    uint64_t next = deadline_of(thread);
    if (!next)
        return;
    look->is_any = true;
    if (next <= look->now) {
        union sigval value = {.sival_ptr = (void *)&tag};
        pthread_sigqueue(thread->identity, guard_timer_signal(), value);
        next = look->now + REPEAT_NS;
    }
    if (next < look->next)
        look->next = next;
}

/* One turn: signals whose time is over; returns when to look again. */
static uint64_t look_at_calls(bool *is_any)
{
    uint64_t pause = __atomic_load_n(&timer.shortest_ns, __ATOMIC_RELAXED) / 4;
    struct look look = {.now = now_ns(CLOCK_MONOTONIC)};
    look.next = look.now + (pause < REPEAT_NS ? REPEAT_NS : pause > LONGEST_NS ? LONGEST_NS : pause);
    thread_each(look_at, &look);
    *is_any = look.is_any;
    return look.next;
}

static void sleep_until(uint64_t when_ns)
{
    struct timespec when = {(time_t)(when_ns / 1000000000u), (long)(when_ns % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL);
}

/* Nobody needs the timer: sleep until somebody does. A call that begins sets `timed` and then reads
 * `is_awake`; here the order is the other way round, with a barrier for all in between. */
static void rest(void)
{
    bool is_any;
    set_awake(false);
    thread_barrier();
    look_at_calls(&is_any);
    pthread_mutex_lock(&timer.lock);
    while (!is_any && !is_awake())
        pthread_cond_wait(&timer.wake, &timer.lock);
    set_awake(true);
    pthread_mutex_unlock(&timer.lock);
}

static void *run(void *unused)
{
    uint64_t last = now_ns(CLOCK_MONOTONIC);
    for (;;) {
        bool is_any;
        uint64_t next = look_at_calls(&is_any);
        if (is_any)
            last = next;
        else if (next > last + IDLE_NS)
            rest();
        sleep_until(next);
    }
    return unused;
}

/* With the lock held. */
static void start_thread(void)
{
    pthread_t thread;
    sigset_t all, kept;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &kept);
    timer.is_running = pthread_create(&thread, NULL, run, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &kept, NULL);
    if (timer.is_running)
        pthread_detach(thread);
}

/* A child of fork has no timer thread. */
static void forget_thread(void)
{
    pthread_mutex_init(&timer.lock, NULL);
    pthread_cond_init(&timer.wake, NULL);
    timer.is_running = false;
    set_awake(false);
}

/* Without SA_RESTART: a call that waits in the kernel comes back to the plugin. */
static void start(void)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    struct timespec tick;
    clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
    timer.lag_ns = 2 * (uint64_t)tick.tv_nsec;
    sigfillset(&action.sa_mask);
    sigaction(guard_timer_signal(), &action, &before);
    pthread_atfork(NULL, NULL, forget_thread);
}

static void wake(void)
{
    pthread_mutex_lock(&timer.lock);
    set_awake(true);
    if (!timer.is_running)
        start_thread();
    pthread_cond_signal(&timer.wake);
    pthread_mutex_unlock(&timer.lock);
}

void guard_begin_timed(struct thread *thread, struct frame *frame, unsigned limit_ms)
{
    uint64_t limit_ns = (uint64_t)limit_ms * MS;
    if (thread->timed)
        return;
    pthread_once(&once, start);
    if (limit_ns < __atomic_load_n(&timer.shortest_ns, __ATOMIC_RELAXED))
        __atomic_store_n(&timer.shortest_ns, limit_ns, __ATOMIC_RELAXED);
    uint64_t deadline = now_ns(CLOCK_MONOTONIC_COARSE) + timer.lag_ns + limit_ns;
    __atomic_store_n(&thread->deadline_ns, deadline, __ATOMIC_RELAXED);
    __atomic_store_n(&thread->timed, frame, __ATOMIC_RELEASE);
    if (!is_awake())
        wake();
}

void guard_end_timed(struct thread *thread, struct frame *frame)
{
    if (thread->timed == frame)
        __atomic_store_n(&thread->timed, NULL, __ATOMIC_RELEASE);
}
