/* loader.c: the queue of jobs for the loader threads, and the lock around the dynamic loader. Knows
 * nothing of what the jobs do. */
#include "loader.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

enum { MAX_JOB_NS = 500 * 1000 * 1000, MAX_IDLE = 2 };

struct job {
    void (*work)(void *context);
    void *context;
    struct job *next;
};

/* The thread whose job began last leads the queue; the others wait until it is done or overdue. */
static struct {
    pthread_once_t once;
    pthread_mutex_t lock;
    pthread_cond_t changed;      /* on CLOCK_MONOTONIC */
    struct job *first, **last;
    unsigned threads, idle, running;
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
    pthread_condattr_destroy(&attributes);
    queue.last = &queue.first;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void wait_until(uint64_t when_ns)
{
    struct timespec when = {(time_t)(when_ns / 1000000000u), (long)(when_ns % 1000000000u)};
    pthread_cond_timedwait(&queue.changed, &queue.lock, &when);
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
    if (--queue.running == 0)
        pthread_cond_broadcast(&queue.changed);
    if (pthread_equal(queue.leader, pthread_self()))
        queue.is_busy = false;
}

static void *serve(void *unused)
{
    (void)unused;
    pthread_setname_np(pthread_self(), "hotlua-loader");
    pthread_mutex_lock(&queue.lock);
    while (queue.first || queue.idle <= MAX_IDLE) {
        if (!queue.first)
            pthread_cond_wait(&queue.changed, &queue.lock);
        else if (queue.is_busy && now_ns() - queue.begun_ns < MAX_JOB_NS)
            wait_until(queue.begun_ns + MAX_JOB_NS);
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

void loader_await_idle(unsigned limit_ms)
{
    uint64_t until = now_ns() + limit_ms * (uint64_t)1000000;
    pthread_once(&queue.once, init_queue);
    pthread_mutex_lock(&queue.lock);
    while ((queue.first || queue.running > 0) && now_ns() < until)
        wait_until(until);
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
