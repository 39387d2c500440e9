/* exit_handlers.c: stands before __cxa_atexit, __cxa_finalize and __register_atfork for every library of the
 * process; keeps what images of plugins register for their end and passes the rest on. */
#include "exit_handlers.h"

#include "fork_lock.h"
#include "image.h"
#include "stage.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#define INTERPOSED __attribute__((visibility("default"), noinline))
INTERPOSED int __cxa_atexit(void (*function)(void *), void *argument, void *library);
INTERPOSED void __cxa_finalize(void *library);
INTERPOSED int __register_atfork(void (*prepare)(void), void (*parent)(void),
                                 void (*child)(void), void *library);

struct kept {
    void (*function)(void *argument);    /* NULL: it has handlers of fork, which the C library keeps */
    void *argument;
    uintptr_t library;       /* __dso_handle: an address in the image */
    struct kept *next;       /* registered before this one */
};

FORK_LOCK(lock)
static struct kept *newest;

/* The newest one of those bytes, no longer in the list; NULL: there is none. */
static struct kept *take(uintptr_t base, size_t size)
{
    pthread_mutex_lock(&lock);
    struct kept **at = &newest;
    while (*at && (*at)->library - base >= size)
        at = &(*at)->next;
    struct kept *found = *at;
    if (found)
        *at = found->next;
    pthread_mutex_unlock(&lock);
    return found;
}

/* The C library's own function of that name. */
static void *original(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);
    if (!function)
        abort();
    return function;
}

/* Is it that of a plugin, perhaps of the image whose constructors are running? */
static bool is_plugin(void *library)
{
    Dl_info info;
    const struct image *opening = image_being_opened();
    struct image *image = image_of_address(library);
    if (image)
        image_release(image);
    return image || (opening && dladdr(library, &info) != 0 && info.dli_fname &&
                     strcmp(info.dli_fname, stage_path(opening->stage)) == 0);
}

/* Has the C library take back the library's handlers of fork; others it does not have. */
static void finalize(void *library)
{
    static void (*function)(void *);
    if (!__atomic_load_n(&function, __ATOMIC_RELAXED))
        __atomic_store_n(&function, original("__cxa_finalize"), __ATOMIC_RELAXED);
    function(library);
}

void exit_handlers_drop(uintptr_t base, size_t size)
{
    struct kept *kept;
    while ((kept = take(base, size))) {
        if (!kept->function)
            finalize((void *)kept->library);
        free(kept);
    }
}

static void keep(struct kept *kept)
{
    pthread_mutex_lock(&lock);
    kept->next = newest;
    newest = kept;
    pthread_mutex_unlock(&lock);
}

int __cxa_atexit(void (*function)(void *), void *argument, void *library)
{
    static int (*add)(void (*)(void *), void *, void *);
    struct kept *kept = library && is_plugin(library) ? calloc(1, sizeof *kept) : NULL;
    if (!__atomic_load_n(&add, __ATOMIC_RELAXED))
        __atomic_store_n(&add, original("__cxa_atexit"), __ATOMIC_RELAXED);
    if (!kept)
        return add(function, argument, library);
    *kept = (struct kept){function, argument, (uintptr_t)library, NULL};
    keep(kept);
    return 0;
}

/* TSan registers handlers before it can watch anybody: with it they stay. */
#ifndef __SANITIZE_THREAD__

int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *library)
{
    static int (*add)(void (*)(void), void (*)(void), void (*)(void), void *);
    struct kept *kept = library && is_plugin(library) ? calloc(1, sizeof *kept) : NULL;
    if (!__atomic_load_n(&add, __ATOMIC_RELAXED))
        __atomic_store_n(&add, original("__register_atfork"), __ATOMIC_RELAXED);
    if (kept) {
        *kept = (struct kept){NULL, NULL, (uintptr_t)library, NULL};
        keep(kept);
    }
    return add(prepare, parent, child, library);
}

#endif

void __cxa_finalize(void *library)
{
    struct kept *kept;
    while (library && (kept = take((uintptr_t)library, 1))) {
        struct kept now = *kept;
        free(kept);
        if (now.function)
            now.function(now.argument);
    }
    finalize(library);
}
