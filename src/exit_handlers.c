/* exit_handlers.c: stands before __cxa_atexit and __cxa_finalize for every library of the process; keeps what
 * images of plugins register and passes the rest on. */
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

struct kept {
    void (*function)(void *argument);
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

void exit_handlers_drop(uintptr_t base, size_t size)
{
    struct kept *kept;
    while ((kept = take(base, size)))
        free(kept);
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

int __cxa_atexit(void (*function)(void *), void *argument, void *library)
{
    static int (*add)(void (*)(void *), void *, void *);
    struct kept *kept = library && is_plugin(library) ? calloc(1, sizeof *kept) : NULL;
    if (!__atomic_load_n(&add, __ATOMIC_RELAXED))
        __atomic_store_n(&add, original("__cxa_atexit"), __ATOMIC_RELAXED);
    if (!kept)
        return add(function, argument, library);
    *kept = (struct kept){function, argument, (uintptr_t)library, NULL};
    pthread_mutex_lock(&lock);
    kept->next = newest;
    newest = kept;
    pthread_mutex_unlock(&lock);
    return 0;
}

void __cxa_finalize(void *library)
{
    static void (*finalize)(void *);
    struct kept *kept;
    while (library && (kept = take((uintptr_t)library, 1))) {
        struct kept now = *kept;
        free(kept);
        now.function(now.argument);
    }
    if (!__atomic_load_n(&finalize, __ATOMIC_RELAXED))
        __atomic_store_n(&finalize, original("__cxa_finalize"), __ATOMIC_RELAXED);
    finalize(library);
}
