/* users_noted.c: stands before pthread_create, thrd_create, pthread_key_create, pthread_key_delete, timer_create,
 * timer_delete and on_exit, for every library of the process. Adds nothing but the notes. */
#include "users_noted.h"

#include "fork_lock.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <signal.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define INTERPOSED __attribute__((visibility("default"), noinline))
#define CALLER ((uintptr_t)__builtin_return_address(0))

struct note {
    struct noted noted;
    uint64_t number;         /* from 1 */
    uintptr_t maker;         /* who called */
    uintptr_t key;           /* of thread-specific data, or a timer's timer_t */
    struct note *next, **at;
    union {
        void *(*posix)(void *);
        int (*c11)(void *);
    } start;
    void *argument;
};

FORK_LOCK(lock)
static struct note *notes;   /* the newest first */
static uint64_t count;

uint64_t noted_count(void)
{
    pthread_mutex_lock(&lock);
    uint64_t now = count;
    pthread_mutex_unlock(&lock);
    return now;
}

bool noted_find(uintptr_t base, size_t size, uint64_t before, struct noted *found)
{
    bool is_found = false;
    pthread_mutex_lock(&lock);
    for (const struct note *note = notes; note && note->number > before && !is_found; note = note->next) {
        is_found = note->noted.function - base < size || note->maker - base < size;
        if (is_found)
            *found = note->noted;
    }
    pthread_mutex_unlock(&lock);
    return is_found;
}

/* The sanitizers stand there themselves: with them nothing is noted. */
#if !defined __SANITIZE_THREAD__ && !defined __SANITIZE_ADDRESS__

static struct note *new_note(enum noted_kind kind, void *function, uintptr_t maker)
{
    struct note *note = calloc(1, sizeof *note);
    if (!note)
        return NULL;
    note->noted = (struct noted){kind, (uintptr_t)function, 0};
    note->maker = maker;
    pthread_mutex_lock(&lock);
    note->number = ++count;
    note->next = notes;
    note->at = &notes;
    if (notes)
        notes->at = &note->next;
    notes = note;
    pthread_mutex_unlock(&lock);
    return note;
}

static void unlink_note(struct note *note)
{
    *note->at = note->next;
    if (note->next)
        note->next->at = note->at;
}

static void free_note(void *context)
{
    struct note *note = context;
    pthread_mutex_lock(&lock);
    unlink_note(note);
    pthread_mutex_unlock(&lock);
    free(note);
}

/* The C library's own function of that name. */
static void *original(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);
    if (!function)
        abort();
    return function;
}

/* ---- Threads ---- */

static void set_thread(struct note *note)
{
    pthread_mutex_lock(&lock);
    note->noted.thread = gettid();
    pthread_mutex_unlock(&lock);
}

static void *run_posix(void *context)
{
    struct note *note = context;
    void *result;
    set_thread(note);
    pthread_cleanup_push(free_note, note);
    result = note->start.posix(note->argument);
    pthread_cleanup_pop(1);
    return result;
}

static int run_c11(void *context)
{
    struct note *note = context;
    int result;
    set_thread(note);
    pthread_cleanup_push(free_note, note);
    result = note->start.c11(note->argument);
    pthread_cleanup_pop(1);
    return result;
}

INTERPOSED int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                              void *argument)
{
    static int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    uintptr_t maker = CALLER;
    if (!__atomic_load_n(&create, __ATOMIC_RELAXED))
        __atomic_store_n(&create, original("pthread_create"), __ATOMIC_RELAXED);
    struct note *note = new_note(NOTED_THREAD, (void *)start, maker);
    if (!note)
        return create(thread, attributes, start, argument);
    note->start.posix = start;
    note->argument = argument;
    int failure = create(thread, attributes, run_posix, note);
    if (failure)
        free_note(note);
    return failure;
}

INTERPOSED int thrd_create(thrd_t *thread, thrd_start_t start, void *argument)
{
    static int (*create)(thrd_t *, thrd_start_t, void *);
    uintptr_t maker = CALLER;
    if (!__atomic_load_n(&create, __ATOMIC_RELAXED))
        __atomic_store_n(&create, original("thrd_create"), __ATOMIC_RELAXED);
    struct note *note = new_note(NOTED_THREAD, (void *)start, maker);
    if (!note)
        return create(thread, start, argument);
    note->start.c11 = start;
    note->argument = argument;
    int result = create(thread, run_c11, note);
    if (result != thrd_success)
        free_note(note);
    return result;
}

/* ---- Keys ---- */

static void forget(enum noted_kind kind, uintptr_t key)
{
    pthread_mutex_lock(&lock);
    struct note *note = notes;
    while (note && (note->noted.kind != kind || note->key != key))
        note = note->next;
    if (note)
        unlink_note(note);
    pthread_mutex_unlock(&lock);
    free(note);
}

INTERPOSED int pthread_key_create(pthread_key_t *key, void (*destructor)(void *))
{
    static int (*create)(pthread_key_t *, void (*)(void *));
    uintptr_t maker = CALLER;
    if (!__atomic_load_n(&create, __ATOMIC_RELAXED))
        __atomic_store_n(&create, original("pthread_key_create"), __ATOMIC_RELAXED);
    int failure = create(key, destructor);
    struct note *note = failure || !destructor ? NULL : new_note(NOTED_KEY, (void *)destructor, maker);
    if (note)
        note->key = *key;
    return failure;
}

INTERPOSED int pthread_key_delete(pthread_key_t key)
{
    static int (*delete_key)(pthread_key_t);
    if (!__atomic_load_n(&delete_key, __ATOMIC_RELAXED))
        __atomic_store_n(&delete_key, original("pthread_key_delete"), __ATOMIC_RELAXED);
    forget(NOTED_KEY, key);
    return delete_key(key);
}

/* ---- Timers that call a function in a thread of its own ---- */

INTERPOSED int timer_create(clockid_t clock, struct sigevent *event, timer_t *timer)
{
    static int (*create)(clockid_t, struct sigevent *, timer_t *);
    uintptr_t maker = CALLER;
    if (!__atomic_load_n(&create, __ATOMIC_RELAXED))
        __atomic_store_n(&create, original("timer_create"), __ATOMIC_RELAXED);
    int failure = create(clock, event, timer);
    bool calls = !failure && event && event->sigev_notify == SIGEV_THREAD;
    struct note *note = calls ? new_note(NOTED_TIMER, (void *)event->sigev_notify_function, maker) : NULL;
    if (note)
        note->key = (uintptr_t)*timer;
    return failure;
}

INTERPOSED int timer_delete(timer_t timer)
{
    static int (*delete_timer)(timer_t);
    if (!__atomic_load_n(&delete_timer, __ATOMIC_RELAXED))
        __atomic_store_n(&delete_timer, original("timer_delete"), __ATOMIC_RELAXED);
    forget(NOTED_TIMER, (uintptr_t)timer);
    return delete_timer(timer);
}

/* ---- The program's end ---- */

INTERPOSED int on_exit(void (*function)(int, void *), void *argument)
{
    static int (*add)(void (*)(int, void *), void *);
    uintptr_t maker = CALLER;
    if (!__atomic_load_n(&add, __ATOMIC_RELAXED))
        __atomic_store_n(&add, original("on_exit"), __ATOMIC_RELAXED);
    int failure = add(function, argument);
    if (!failure)
        new_note(NOTED_EXIT, (void *)function, maker);
    return failure;
}

#endif
