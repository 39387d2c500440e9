/* image_end.c: runs what the dynamic loader would run in dlclose, and takes it away from the loader. It is
 * left to the loader where the image may survive its dlclose (thread-local destructors, GNU unique symbols,
 * nodelete), since then it has not come to its end. */
#include "image_end.h"

#include "debuginfo.h"
#include "exit_handlers.h"
#include "guard.h"
#include "memory.h"
#include "slot.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LIMIT_MS = 5000 };

struct ending {              /* what the loader has of it, in memory */
    Elf64_Dyn *array_size, *final;       /* DT_FINI_ARRAYSZ, DT_FINI */
    void (**array)(void);
    size_t count;
    const char *strings;
    size_t strings_size;
    uintptr_t bias;
};

/* glibc stores addresses in an image's dynamic section, or offsets, as the system has it. */
static uintptr_t address_of(const struct ending *ending, Elf64_Addr value)
{
    return value < ending->bias ? value + ending->bias : value;
}

static struct ending read_dynamic(const struct image *image)
{
    struct link_map *map = NULL;
    struct ending ending = {.bias = image->bias};
    if (dlinfo(image->handle, RTLD_DI_LINKMAP, &map) != 0)
        return ending;
    for (Elf64_Dyn *entry = map->l_ld; entry->d_tag != DT_NULL; entry++)
        switch (entry->d_tag) {
        case DT_FINI_ARRAY:
            ending.array = (void (**)(void))(image->bias + entry->d_un.d_ptr);
            break;
        case DT_FINI_ARRAYSZ: ending.array_size = entry; break;
        case DT_FINI: ending.final = entry; break;
        case DT_STRTAB: ending.strings = (const char *)address_of(&ending, entry->d_un.d_ptr); break;
        case DT_STRSZ: ending.strings_size = entry->d_un.d_val; break;
        }
    if (ending.array && ending.array_size)
        ending.count = ending.array_size->d_un.d_val / sizeof *ending.array;
    return ending;
}

/* May dlclose leave it mapped, and its destructors for later? */
static bool may_survive(const struct image *image, const struct ending *ending)
{
    static const char name[] = "__cxa_thread_atexit";
    return image->facts.has_unique || image->facts.is_nodelete ||
           (ending->strings && memmem(ending->strings, ending->strings_size, name, sizeof name - 1));
}

/* Taking it away from the loader --------------------------------------------------------------- */

static void nothing(void)
{
}

/* The dynamic section is read-only when the loader has relocated it. */
static bool make_writable(void *place)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)place & -page;
    uintptr_t end = (uintptr_t)place + sizeof(Elf64_Dyn);
    return mprotect((void *)start, end - start, PROT_READ | PROT_WRITE) == 0;
}

static void disarm(const struct ending *ending)
{
    if (ending->array_size && make_writable(ending->array_size))
        ending->array_size->d_un.d_val = 0;
    if (ending->final && make_writable(ending->final))
        ending->final->d_un.d_ptr = (uintptr_t)nothing - ending->bias;
}

/* Running it ----------------------------------------------------------------------------------- */

static void describe(const struct image *image, char *why, size_t size)
{
    const struct crash *crash = guard_crash();
    struct debug_line line = {0};
    const char *place = crash->pc;
    for (size_t i = 0; i < crash->trace_count && !image_contains(image, place); i++)
        place = (const char *)crash->trace[i] - 1;
    if (image->debug && image_contains(image, place))
        debuginfo_line(image->debug, (uintptr_t)place - image->bias, &line);
    int length = snprintf(why, size, "a destructor or exit handler did not end well: %s in '%s'",
                          guard_signal_name(crash), line.function ? line.function : "a function");
    if (line.file && (size_t)length < size)
        snprintf(why + length, size - (size_t)length, " at %s:%d", line.file, line.line);
}

static void call(void *function)
{
    ((void (*)(void))function)();
}

/* One that refuses to end is followed by none. */
static bool run(struct image *image, const struct ending *ending, struct export *place)
{
    for (size_t i = ending->count; i-- > 0;)
        if (ending->array[i] && !guard_run(place, call, (void *)ending->array[i], LIMIT_MS))
            return false;
    return !ending->final ||
           guard_run(place, call, (void *)(image->bias + ending->final->d_un.d_ptr), LIMIT_MS);
}

bool image_end(struct image *image, char *why, size_t size)
{
    struct ending ending = read_dynamic(image);
    if (image->has_moved_on) {
        exit_handlers_drop(image->base, image->size);
        disarm(&ending);
        return true;
    }
    if (may_survive(image, &ending))
        return true;
    if (!image->ending)
        image->ending = memory_take(sizeof *image->ending);
    *image->ending = (struct export){.name = "destructor", .image = image};
    bool is_well = run(image, &ending, image->ending);
    if (!is_well)
        describe(image, why, size);
    exit_handlers_drop(image->base, image->size);
    disarm(&ending);
    return is_well;
}
