/* watch_thread.c: the watcher's thread and its alarms. Knows nothing of files: those are the backend's
 * (watch_linux.c, watch_uv.c). */
#include "watch_internal.h"

#include "memory.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct watcher watcher = {
    .lock = PTHREAD_MUTEX_INITIALIZER, .call_ended = PTHREAD_COND_INITIALIZER,
    .turn = PTHREAD_COND_INITIALIZER,
};

uint64_t watcher_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool watcher_is_elsewhere(void)
{
    return watcher.process && watcher.process != getpid();
}

/* Calls --------------------------------------------------------------------------------------- */

void watcher_begin_call(const void *object)
{
    watcher.running = object;
    pthread_mutex_unlock(&watcher.lock);
}

void watcher_end_call(void)
{
    pthread_mutex_lock(&watcher.lock);
    watcher.running = NULL;
    pthread_cond_broadcast(&watcher.call_ended);
}

bool watcher_await_call(const void *object)
{
    if (watcher.running == object && pthread_equal(watcher.thread, pthread_self()))
        return false;
    while (watcher.running == object)
        pthread_cond_wait(&watcher.call_ended, &watcher.lock);
    return true;
}

/* Alarms: a binary heap ------------------------------------------------------------------------ */

static void put(struct alarm *alarm, size_t position)
{
    watcher.heap[position] = alarm;
    alarm->position = position;
}

static void rise(struct alarm *alarm)
{
    size_t at = alarm->position;
    while (at > 1 && watcher.heap[at / 2]->when_ns > alarm->when_ns) {
        put(watcher.heap[at / 2], at);
        at /= 2;
    }
    put(alarm, at);
}

static void sink(struct alarm *alarm)
{
    size_t at = alarm->position;
    for (;;) {
        size_t child = 2 * at;
        if (child < watcher.alarm_count && watcher.heap[child + 1]->when_ns < watcher.heap[child]->when_ns)
            child++;
        if (child > watcher.alarm_count || watcher.heap[child]->when_ns >= alarm->when_ns)
            break;
        put(watcher.heap[child], at);
        at = child;
    }
    put(alarm, at);
}

void alarm_clear(struct alarm *alarm)
{
    size_t position = alarm->position;
    if (position == 0)
        return;
    struct alarm *last = watcher.heap[watcher.alarm_count--];
    alarm->position = 0;
    if (last == alarm)
        return;
    put(last, position);
    rise(last);
    sink(last);
}

void alarm_set(struct alarm *alarm, uint64_t when_ns)
{
    alarm_clear(alarm);
    if (watcher.alarm_count + 2 > watcher.heap_capacity) {
        size_t capacity = watcher.heap_capacity ? 2 * watcher.heap_capacity : 32;
        watcher.heap = memory_resize(watcher.heap, capacity * sizeof *watcher.heap);
        watcher.heap_capacity = capacity;
    }
    alarm->when_ns = when_ns;
    put(alarm, ++watcher.alarm_count);
    rise(alarm);
    if (alarm->position == 1 && !(watcher.is_served && pthread_equal(watcher.thread, pthread_self())))
        watch_backend_wake();
}

static void ring(struct alarm *alarm)
{
    alarm_clear(alarm);
    if (alarm->is_internal) {
        alarm->callback(alarm->context);
        return;
    }
    watcher_begin_call(alarm);
    alarm->callback(alarm->context);
    watcher_end_call();
    if (alarm->is_cancelled)
        free(alarm);
}

static void ring_due(void)
{
    while (watcher.alarm_count > 0 && !watcher.is_stopping && watcher.heap[1]->when_ns <= watcher_now())
        ring(watcher.heap[1]);
}

struct alarm *watch_alarm(uint64_t when_ns, void (*callback)(void *context), void *context)
{
    struct alarm *alarm = memory_take(sizeof *alarm);
    alarm->callback = callback;
    alarm->context = context;
    if (watcher_is_elsewhere())
        return alarm;
    pthread_mutex_lock(&watcher.lock);
    if (watcher_start(NULL))
        alarm_set(alarm, when_ns);
    pthread_mutex_unlock(&watcher.lock);
    return alarm;
}

void watch_alarm_cancel(struct alarm *alarm)
{
    if (!alarm || watcher_is_elsewhere())
        return;
    pthread_mutex_lock(&watcher.lock);
    alarm_clear(alarm);
    if (watcher_await_call(alarm))
        free(alarm);
    else
        alarm->is_cancelled = true;
    pthread_mutex_unlock(&watcher.lock);
}

/* The threads: one serves, others stand by or do work that a callback left them ---------------- */

struct later {
    void (*work)(void *context);
    void *context;
    struct later *next;
};

void watch_later(void (*work)(void *context), void *context)
{
    struct later *later = memory_take(sizeof *later);
    *later = (struct later){work, context, NULL};
    pthread_mutex_lock(&watcher.lock);
    struct later **end = &watcher.later;
    while (*end)
        end = &(*end)->next;
    *end = later;
    pthread_mutex_unlock(&watcher.lock);
}

/* Events and alarms, until a callback has left work or the end has come. */
static void serve(void)
{
    watcher.is_served = true;
    watcher.thread = pthread_self();
    while (!watcher.is_stopping) {
        ring_due();
        watch_backend_process();
        if (watcher.later)
            break;
        uint64_t due_ns = watcher.alarm_count > 0 ? watcher.heap[1]->when_ns : 0;
        pthread_mutex_unlock(&watcher.lock);
        watch_backend_wait(due_ns);
        pthread_mutex_lock(&watcher.lock);
    }
    watcher.is_served = false;
}

static bool start_thread(void);

/* Do the work on this thread, which the event has woken, while another one serves. */
static void do_later(void)
{
    struct later *later = watcher.later;
    watcher.later = NULL;
    if (watcher.standing_by > 0)
        pthread_cond_broadcast(&watcher.turn);
    else
        start_thread();
    pthread_mutex_unlock(&watcher.lock);
    while (later) {
        struct later *done = later;
        later->work(later->context);
        later = later->next;
        free(done);
    }
    pthread_mutex_lock(&watcher.lock);
}

static void *run_thread(void *unused)
{
    (void)unused;
    pthread_setname_np(pthread_self(), "hotlua-watch");
    pthread_mutex_lock(&watcher.lock);
    while (!watcher.is_stopping) {
        if (watcher.is_served && watcher.standing_by > 0)
            break;
        if (watcher.is_served) {
            watcher.standing_by++;
            pthread_cond_wait(&watcher.turn, &watcher.lock);
            watcher.standing_by--;
            continue;
        }
        serve();
        if (watcher.later)
            do_later();
    }
    watcher.thread_count--;
    pthread_cond_broadcast(&watcher.turn);
    pthread_mutex_unlock(&watcher.lock);
    return NULL;
}

/* With all signals blocked there: they are for the program's own threads. */
static bool start_thread(void)
{
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int failure = pthread_create(&thread, NULL, run_thread, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = failure;
    if (failure)
        return false;
    pthread_detach(thread);
    watcher.thread_count++;
    return true;
}

bool watcher_start(struct error *error)
{
    if (watcher.is_started)
        return true;
    if (!watch_backend_open(error))
        return false;
    if (!start_thread()) {
        watch_backend_close();
        return error_set(error, "cannot start the watcher's thread: %s", strerror(errno));
    }
    watcher.process = getpid();
    watcher.is_started = true;
    return true;
}

void watch_shutdown(void)
{
    if (watcher_is_elsewhere())
        return;
    pthread_mutex_lock(&watcher.lock);
    bool was_started = watcher.is_started;
    watcher.is_stopping = true;
    pthread_mutex_unlock(&watcher.lock);
    if (was_started)
        watch_backend_wake();
    pthread_mutex_lock(&watcher.lock);
    pthread_cond_broadcast(&watcher.turn);
    while (watcher.is_served || watcher.standing_by > 0)
        pthread_cond_wait(&watcher.turn, &watcher.lock);
    if (was_started)
        watch_backend_close();
    while (watcher.alarm_count > 0)
        alarm_clear(watcher.heap[1]);
    free(watcher.heap);
    watcher.heap = NULL;
    watcher.heap_capacity = 0;
    watcher.is_started = watcher.is_stopping = false;
    pthread_mutex_unlock(&watcher.lock);
}
