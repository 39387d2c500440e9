/* users.c: looks for users of an image that is about to go. Signal handlers and other plugins' variables are
 * looked up; threads, keys and handlers of the program's end are noted when they are made (users_noted.c). */
#include "users.h"
#include "users_noted.h"

#include "debuginfo.h"
#include "pristine.h"
#include "slot.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "its function 'on_int'", as far as names are known. */
static const char *name_function(const struct image *image, uintptr_t address, char text[128])
{
    struct debug_line line = {0};
    const char *name = NULL;
    uint64_t in_file = address - image->bias;
    if (image->debug && debuginfo_line(image->debug, in_file, &line))
        name = line.function;
    for (size_t i = 0; !name && i < image->facts.symbol_count; i++)
        if (image->facts.symbols[i].address == in_file)
            name = image->facts.symbols[i].name;
    if (name)
        snprintf(text, 128, "its function '%.90s'", name);
    else
        snprintf(text, 128, "its code at 0x%llx", (unsigned long long)in_file);
    return text;
}

static bool find_signal(const struct image *image, char *why, size_t size)
{
    char function[128];
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) != 0)
            continue;
        uintptr_t handler = (uintptr_t)action.sa_sigaction;
        if (!image_contains(image, (void *)handler))
            continue;
        const char *name = sigabbrev_np(number);
        snprintf(why, size, "%s handles the signal %s%s", name_function(image, handler, function),
                 name ? "SIG" : "", name ? name : "");
        return true;
    }
    return false;
}

static bool find_noted(const struct image *image, char *why, size_t size)
{
    static const char *const does[] = {
        [NOTED_THREAD] = "is running in thread %ld, which it started: end it in before_unload",
        [NOTED_KEY] =
            "is to be called at a thread's end (pthread_key_create): delete the key in before_unload",
        [NOTED_TIMER] = "is to be called by a timer (timer_create, SIGEV_THREAD): delete it in before_unload",
        [NOTED_EXIT] = "is to be called at the program's end (on_exit)",
    };
    char function[128], rest[160];
    struct noted found;
    if (!noted_find(image->base, image->size, image->noted_before, &found))
        return false;
    if (image_contains(image, (void *)found.function))
        name_function(image, found.function, function);
    else
        snprintf(function, sizeof function, "a function");
    snprintf(rest, sizeof rest, does[found.kind], found.thread);
    snprintf(why, size, "%s %s", function, rest);
    return true;
}

enum { BLOCK = 16 };         /* words looked at together, with one branch */

const void *users_find_pointer(const struct image *image, const void *bytes, size_t size)
{
    const char *at = (const char *)(((uintptr_t)bytes + sizeof(void *) - 1) & -sizeof(void *));
    const char *end = (const char *)bytes + size;
    uintptr_t words[BLOCK], base = image->base, limit = image->size;
    for (; at + sizeof words <= end; at += sizeof words) {
        uintptr_t found = 0;
        memcpy(words, at, sizeof words);
        for (int i = 0; i < BLOCK; i++)
            found |= words[i] - base < limit;
        if (found)
            break;
    }
    for (; at + sizeof(void *) <= end; at += sizeof(void *)) {
        memcpy(words, at, sizeof(void *));
        if (words[0] - base < limit)
            return at;
    }
    return NULL;
}

/* ---- Variables of other plugins ---- */

struct search {
    const struct image *image;
    const void *found;
};

static bool search_range(void *context, const void *start, size_t size)
{
    struct search *search = context;
    search->found = users_find_pointer(search->image, start, size);
    return search->found == NULL;
}

static bool find_variable(const struct image *image, struct image *other, char *why, size_t size)
{
    struct search search = {image, NULL};
    size_t count;
    if (image_state_of(other) != IMAGE_LIVE || other->plugin == image->plugin || !other->pristine)
        return false;        /* the carry has seen to the plugin's own */
    pristine_each_written(other->pristine, search_range, &search);
    if (!search.found)
        return false;
    const struct variable *list = image_variables(other, &count), *best = NULL;
    for (size_t i = 0; i < count; i++)
        if (list[i].address && (uintptr_t)search.found - (uintptr_t)list[i].address < list[i].size)
            best = &list[i];
    snprintf(why, size, "'%.80s' of plugin '%.80s' points into it", best ? best->name : "a variable",
             other->plugin->name);
    return true;
}

bool users_find(const struct image *image, char *why, size_t size)
{
    if (find_noted(image, why, size) || find_signal(image, why, size))
        return true;
    bool is_found = false;
    struct image **others = image_list_mapped();
    for (size_t i = 0; others && others[i]; i++) {
        struct image *other = others[i];
        if (!is_found && other != image && image_begin_reading(other)) {
            is_found = find_variable(image, other, why, size);
            image_end_reading(other);
        }
        image_release(other);
    }
    free(others);
    return is_found;
}

/* ---- Everything ---- */

enum { MOST_LINES = 20 };

static bool is_searched(const char *flags, const char *name)
{
    return strncmp(flags, "rw-p", 4) == 0 && strncmp(name, "[v", 2) != 0;
}

/* The part below the stack pointer of this thread's stack holds what is over. */
static uintptr_t skip_dead_stack(uintptr_t start, uintptr_t end)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    return here >= start && here < end ? here & -sizeof(void *) : start;
}

static size_t scan_mapping(const struct image *image, uintptr_t start, uintptr_t end, const char *name,
                           size_t lines)
{
    size_t count = 0;
    char function[128];
    start = skip_dead_stack(start, end);
    while (start < end) {
        const void *found = users_find_pointer(image, (void *)start, end - start);
        if (!found)
            break;
        uintptr_t word;
        memcpy(&word, found, sizeof word);
        if (lines + count++ < MOST_LINES)
            fprintf(stderr, "hotlua: scan:   %p in %s: %s\n", found, *name ? name : "anonymous memory",
                    name_function(image, word, function));
        start = (uintptr_t)found + sizeof word;
    }
    return count;
}

__attribute__((no_sanitize("address", "thread")))
void users_scan(const struct image *image)
{
    char line[4400], flags[8], name[4200];
    unsigned long start, end;
    size_t count = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    if (!maps)
        return;
    fprintf(stderr, "hotlua: scan: what points into %s, generation %u:\n", image->source, image->generation);
    while (fgets(line, sizeof line, maps)) {
        name[0] = 0;
        int fields = sscanf(line, "%lx-%lx %7s %*s %*s %*s %4199[^\n]", &start, &end, flags, name);
        bool is_own = start - image->base < image->size;
        if (fields >= 3 && !is_own && is_searched(flags, name))
            count += scan_mapping(image, start, end, name, count);
    }
    fclose(maps);
    fprintf(stderr, "hotlua: scan: %zu words%s; hotlua's own records of the image are among them\n", count,
            count > MOST_LINES ? ", of which the first are listed" : "");
}
