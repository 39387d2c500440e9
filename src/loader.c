/* loader.c: the queue of jobs for the loader threads, the tasks they share with others, and the lock around
 * the dynamic loader. Knows nothing of what is done. */
#include "loader.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { MAX_JOB_NS = 500 * 1000 * 1000, MAX_IDLE = 2, TASK_THREADS = 4 };

struct job {
    void (*work)(void *context);
    void *context;
    struct job *next;
};

/* The thread whose job began last leads the queue; the others wait until it is done or overdue. */
static struct {
    pthread_once_t once;
    pthread_mutex_t lock;
    pthread_cond_t changed, is_quiet, task_done;         /* on CLOCK_MONOTONIC */
    struct job *first, **last;
    struct loader_task *tasks, **last_task;
    unsigned threads, idle, running, running_tasks, most_tasks;
    pid_t process;               /* where the threads are: a forked child has none */
    pthread_t leader;
    bool is_busy;                /* the leader is inside a job, since: */
    uint64_t begun_ns;
} queue = {.once = PTHREAD_ONCE_INIT, .lock = PTHREAD_MUTEX_INITIALIZER};

static void init_queue(void)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&queue.changed, &attributes);
    pthread_cond_init(&queue.is_quiet, &attributes);
    pthread_cond_init(&queue.task_done, &attributes);
    pthread_condattr_destroy(&attributes);
    queue.last = &queue.first;
    queue.last_task = &queue.tasks;
    queue.process = getpid();
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        queue.most_tasks = (unsigned)CPU_COUNT(&set) - 1;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void wait_until(pthread_cond_t *condition, uint64_t when_ns)
{
    struct timespec when = {(time_t)(when_ns / 1000000000u), (long)(when_ns % 1000000000u)};
    pthread_cond_timedwait(condition, &queue.lock, &when);
}

static void *serve(void *unused);

/* See that somebody waits to take over from the leader. False if there is no thread at all. */
static bool ensure_successor(void)
{
    pthread_t thread;
    sigset_t all, before;
    if (queue.idle > 0)
        return true;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    if (pthread_create(&thread, NULL, serve, NULL) == 0) {
        pthread_detach(thread);
        queue.threads++;
        queue.idle++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return queue.threads > 0;
}

static void run_first(void)
{
    struct job *job = queue.first;
    queue.first = job->next;
    if (!queue.first)
        queue.last = &queue.first;
    queue.leader = pthread_self();
    queue.is_busy = true;
    queue.begun_ns = now_ns();
    queue.idle--;
    queue.running++;
    if (queue.first)
        ensure_successor();
    pthread_mutex_unlock(&queue.lock);
    job->work(job->context);
    free(job);
    pthread_mutex_lock(&queue.lock);
    queue.idle++;
    queue.running--;
    pthread_cond_broadcast(&queue.is_quiet);
    if (pthread_equal(queue.leader, pthread_self()))
        queue.is_busy = false;
}

enum task_state { TASK_NEW, TASK_WAITING, TASK_RUNNING, TASK_DONE };

static bool may_run_task(void)
{
    return queue.tasks && queue.running_tasks < queue.most_tasks;
}

/* Read also without the lock. */
static void set_state(struct loader_task *task, enum task_state state)
{
    __atomic_store_n(&task->state, state, __ATOMIC_RELEASE);
}

static void take_task(struct loader_task **at)
{
    struct loader_task *task = *at;
    *at = task->next;
    if (!*at)
        queue.last_task = at;
    set_state(task, TASK_RUNNING);
}

static void run_task(void)
{
    struct loader_task *task = queue.tasks;
    take_task(&queue.tasks);
    queue.idle--;
    queue.running_tasks++;
    pthread_mutex_unlock(&queue.lock);
    task->work(task->context);
    pthread_mutex_lock(&queue.lock);
    set_state(task, TASK_DONE);
    queue.idle++;
    queue.running_tasks--;
    pthread_cond_broadcast(&queue.task_done);
    pthread_cond_broadcast(&queue.is_quiet);
}

static void *serve(void *unused)
{
    (void)unused;
    pthread_setname_np(pthread_self(), "hotlua-loader");
    pthread_mutex_lock(&queue.lock);
    while (queue.first || queue.tasks || queue.idle <= MAX_IDLE) {
        if (may_run_task())
            run_task();
        else if (!queue.first)
            pthread_cond_wait(&queue.changed, &queue.lock);
        else if (queue.is_busy && now_ns() - queue.begun_ns < MAX_JOB_NS)
            wait_until(&queue.changed, queue.begun_ns + MAX_JOB_NS);
        else
            run_first();
    }
    queue.idle--;
    queue.threads--;
    pthread_mutex_unlock(&queue.lock);
    return NULL;
}

void loader_run(void (*work)(void *context), void *context)
{
    struct job *job = malloc(sizeof *job);
    bool is_queued = false;
    pthread_once(&queue.once, init_queue);
    pthread_mutex_lock(&queue.lock);
    if (job && ensure_successor()) {
        *job = (struct job){work, context, NULL};
        *queue.last = job;
        queue.last = &job->next;
        is_queued = true;
        pthread_cond_signal(&queue.changed);
    }
    pthread_mutex_unlock(&queue.lock);
    if (!is_queued) {            /* no memory or no thread to be had: slow is better than never */
        free(job);
        work(context);
    }
}

void loader_begin(struct loader_task *task)
{
    pthread_once(&queue.once, init_queue);
    if (queue.process != getpid() || queue.most_tasks == 0)
        return;
    pthread_mutex_lock(&queue.lock);
    if (queue.threads >= TASK_THREADS || ensure_successor()) {
        set_state(task, TASK_WAITING);
        task->next = NULL;
        *queue.last_task = task;
        queue.last_task = &task->next;
        if (may_run_task())
            pthread_cond_signal(&queue.changed);
    }
    pthread_mutex_unlock(&queue.lock);
}

void loader_finish(struct loader_task *task)
{
    bool is_ours = __atomic_load_n(&task->state, __ATOMIC_ACQUIRE) == TASK_NEW;  /* nobody else has it */
    if (!is_ours) {
        pthread_mutex_lock(&queue.lock);
        is_ours = task->state == TASK_WAITING;
        struct loader_task **at = &queue.tasks;
        while (is_ours && *at != task)
            at = &(*at)->next;
        if (is_ours)
            take_task(at);
        while (!is_ours && task->state != TASK_DONE)
            pthread_cond_wait(&queue.task_done, &queue.lock);
        pthread_mutex_unlock(&queue.lock);
    }
    if (!is_ours)
        return;
    task->work(task->context);
    set_state(task, TASK_DONE);
}

void loader_await_idle(unsigned limit_ms)
{
    uint64_t until = now_ns() + limit_ms * (uint64_t)1000000;
    pthread_once(&queue.once, init_queue);
    pthread_mutex_lock(&queue.lock);
    while ((queue.first || queue.running + queue.running_tasks > 0) && now_ns() < until)
        wait_until(&queue.is_quiet, until);
    pthread_mutex_unlock(&queue.lock);
}

/* The loader's lock --------------------------------------------------------------------------- */

/* Not PTHREAD_MUTEX_RECURSIVE: that remembers the thread by its kernel id, which is another one in a
 * forked child, so the child could neither enter nor leave it. */
static pthread_mutex_t loader_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_t loader_holder;          /* 0: nobody */
static unsigned loader_depth;            /* the holder's */

void loader_lock(void)
{
    pthread_t self = pthread_self();
    if (__atomic_load_n(&loader_holder, __ATOMIC_RELAXED) != self) {
        pthread_mutex_lock(&loader_mutex);
        __atomic_store_n(&loader_holder, self, __ATOMIC_RELAXED);
    }
    loader_depth++;
}

void loader_unlock(void)
{
    if (--loader_depth == 0) {
        __atomic_store_n(&loader_holder, 0, __ATOMIC_RELAXED);
        pthread_mutex_unlock(&loader_mutex);
    }
}
