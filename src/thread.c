/* thread.c: the records of threads, and the question that unloading asks of all of them. The call
 * path uses thread.h's inline part only. */
#include "thread.h"

#include "fork_lock.h"
#include "guard.h"
#include "memory.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

__thread struct thread *thread_self_record;

FORK_LOCK(threads_lock)
static struct thread *threads;
static pthread_key_t thread_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int barrier_command;

static void unregister(void *record)
{
    struct thread *thread = record;
    pthread_mutex_lock(&threads_lock);
    for (struct thread **at = &threads; *at; at = &(*at)->next)
        if (*at == thread) {
            *at = thread->next;
            break;
        }
    pthread_mutex_unlock(&threads_lock);
    thread_self_record = NULL;
    guard_release_thread(thread);
    free(thread);
}

/* A child of fork has this thread only; the records of the others would pin images for ever. */
static void forget_others(void)
{
    pthread_mutex_init(&threads_lock, NULL);
    threads = thread_self_record;
    if (threads)
        threads->next = NULL;
}

static void start(void)
{
    pthread_key_create(&thread_key, unregister);
    pthread_atfork(NULL, NULL, forget_others);
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0)
        barrier_command = MEMBARRIER_CMD_PRIVATE_EXPEDITED;
    else
        barrier_command = MEMBARRIER_CMD_GLOBAL;
}

static void find_stack(struct thread *thread)
{
    pthread_attr_t attributes;
    void *low;
    size_t size;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
        return;
    pthread_attr_getstack(&attributes, &low, &size);
    pthread_attr_destroy(&attributes);
    thread->stack_low = (uintptr_t)low;
    thread->stack_high = (uintptr_t)low + size;
}

struct thread *thread_register(void)
{
    pthread_once(&once, start);
    struct thread *thread = memory_take_aligned(64, sizeof *thread);
    *thread = (struct thread){
        .errno_place = &errno, .pending_error = THREAD_NO_ERROR, .identity = pthread_self(),
    };
    thread->top = thread->frames;
    find_stack(thread);
    pthread_setspecific(thread_key, thread);
    pthread_mutex_lock(&threads_lock);
    thread->next = threads;
    threads = thread;
    pthread_mutex_unlock(&threads_lock);
    thread_self_record = thread;
    guard_thread(thread);
    return thread;
}

struct frame *thread_enter_host(struct lua_State *L)
{
    return thread_enter_host_at(thread_self(), L, (uintptr_t)__builtin_frame_address(0));
}

/* A plugin may run on a stack of its own making: nothing can be said about that. */
void thread_drop_abandoned(struct thread *thread, uintptr_t here)
{
    if (here < thread->stack_low || here >= thread->stack_high)
        return;
    while (thread->top > thread->frames) {
        struct frame *last = thread->top - 1;
        if ((last->stack & ~(uintptr_t)FRAME_FLAGS) > here || last->stack < thread->stack_low)
            return;
        thread_set_top(thread, last);
        frame_set_export(last, NULL);
        frame_set_image(last, NULL);
    }
}

void thread_each(void (*each)(struct thread *thread, void *context), void *context)
{
    pthread_mutex_lock(&threads_lock);
    for (struct thread *thread = threads; thread; thread = thread->next)
        each(thread, context);
    pthread_mutex_unlock(&threads_lock);
}

/* Without following `export`: another thread's may go while we look. */
static bool is_frame_of(const struct frame *frame, const struct image *image)
{
    uintptr_t export = (uintptr_t)__atomic_load_n(&frame->export, __ATOMIC_ACQUIRE);
    uintptr_t first = (uintptr_t)image->exports;
    return __atomic_load_n(&frame->image, __ATOMIC_ACQUIRE) == image ||
           (export && export - first < image->export_count * sizeof *image->exports);
}

/* The frame at `top` counts: a call pins its image before it raises `top`. */
static unsigned count_frames(struct thread *thread, const struct image *image)
{
    unsigned count = 0;
    const struct frame *end = __atomic_load_n(&thread->top, __ATOMIC_ACQUIRE);
    for (const struct frame *frame = thread->frames; frame <= end; frame++)
        count += is_frame_of(frame, image);
    return count;
}

struct question {
    const struct image *image;
    bool is_inside;
};

static void look(struct thread *thread, void *context)
{
    struct question *question = context;
    if (count_frames(thread, question->image) > 0)
        question->is_inside = true;
}

void thread_barrier(void)
{
    pthread_once(&once, start);
    syscall(SYS_membarrier, barrier_command, 0, 0);
}

/* The asking thread's own frames tell of calls that are still to return; what an error left in the
 * others, also in the one at `top`, which is not in use now, is gone. */
static void forget_abandoned(struct thread *thread)
{
    thread_drop_abandoned(thread, (uintptr_t)__builtin_frame_address(0));
    frame_set_export(thread->top, NULL);
    frame_set_image(thread->top, NULL);
}

bool thread_is_inside(const struct image *image)
{
    struct question question = {.image = image};
    if (thread_self_record)
        forget_abandoned(thread_self_record);
    thread_barrier();
    thread_each(look, &question);
    return question.is_inside;
}

struct search {
    const struct image *image;
    const struct thread *self;
    char *who;               /* empty: nobody yet */
    size_t size;
};

/* "thread 'worker 1' is inside 'update'": the exports are the mapped image's own, so their names stay. */
static void name_thread(const struct search *search, const struct thread *thread, const struct frame *frame)
{
    const struct image *image = search->image;
    uintptr_t export = (uintptr_t)__atomic_load_n(&frame->export, __ATOMIC_ACQUIRE);
    uintptr_t first = (uintptr_t)image->exports;
    size_t index = (export - first) / sizeof *image->exports;
    const char *function = export && index < image->export_count ? image->exports[index].name : "a variable";
    char name[16] = "?";
    pthread_getname_np(thread->identity, name, sizeof name);
    snprintf(search->who, search->size, "thread '%s' is inside '%s'", name, function);
}

static void search_thread(struct thread *thread, void *context)
{
    struct search *search = context;
    const struct frame *end = __atomic_load_n(&thread->top, __ATOMIC_ACQUIRE);
    for (const struct frame *frame = thread->frames; frame <= end; frame++)
        if (thread != search->self && !search->who[0] && is_frame_of(frame, search->image))
            name_thread(search, thread, frame);
}

bool thread_is_other_inside(const struct image *image, char *who, size_t size)
{
    struct search search = {image, thread_self_record, who, size};
    who[0] = 0;
    thread_barrier();
    thread_each(search_thread, &search);
    return who[0] != 0;
}

unsigned thread_depth_in(const struct image *image)
{
    return count_frames(thread_self(), image);
}
