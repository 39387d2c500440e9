/* guard_trap.c: how a call whose time is over is stopped although the plugin's own code is not running: it waits
 * in the kernel, calls the C library again and again, or calls back into Lua. The image's code is made
 * inaccessible; whoever next returns into it faults there, where it is safe to end the call. The fault takes
 * the trap away, so that threads whose time is not over go on at once. Called in signal handlers. */
#include "guard.h"

#include "image.h"
#include "stage.h"

#include <elf.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

enum { TRAPS = 8 };          /* images at once */

enum { UNSET, SET, RELEASED };

static struct trap {
    struct image *volatile image;        /* NULL: free; what follows is then void */
    volatile uintptr_t start;
    volatile size_t size;
    volatile int state;      /* UNSET while it is made, RELEASED while it is taken away */
} traps[TRAPS];

static volatile unsigned releases;       /* so far */
static __thread unsigned retried;        /* the last release after which this thread tried again */

/* The segment of the code, if it holds nothing that is read: a system call that reads there would fail, not
 * fault. That is how linkers lay files out by default (-z separate-code). */
static bool find_code(const struct image *image, uintptr_t *start, size_t *size)
{
    const char *bytes = stage_bytes(image->stage);
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)bytes;
    const Elf64_Phdr *segments = (const Elf64_Phdr *)(bytes + header->e_phoff);
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (unsigned i = 0; i < header->e_phnum; i++) {
        if (segments[i].p_type != PT_LOAD || !(segments[i].p_flags & PF_X))
            continue;
        *start = (image->bias + segments[i].p_vaddr) & -page;
        *size = image->bias + segments[i].p_vaddr + segments[i].p_memsz - *start;
        return segments[i].p_offset >= page && segments[i].p_flags == (PF_R | PF_X);
    }
    return false;
}

/* A free place for the image; NULL if there is none, or a trap for it already. */
static struct trap *take_place(struct image *image)
{
    for (int i = 0; i < TRAPS; i++)
        if (traps[i].image == image)
            return NULL;
    for (int i = 0; i < TRAPS; i++) {
        struct image *none = NULL;
        if (__atomic_compare_exchange_n(&traps[i].image, &none, image, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED))
            return &traps[i];
    }
    return NULL;
}

void guard_trap_set(struct image *image)
{
    uintptr_t start;
    size_t size;
    if (!find_code(image, &start, &size) || (uintptr_t)guard_trap_set - start < size)
        return;
    struct trap *trap = take_place(image);
    if (!trap)
        return;
    trap->start = start;
    trap->size = size;
    mprotect((void *)start, size, PROT_NONE);
    __atomic_store_n(&trap->state, SET, __ATOMIC_RELEASE);
}

/* By one of those that meet it. */
static void release(struct trap *trap)
{
    int set = SET;
    if (!__atomic_compare_exchange_n(&trap->state, &set, RELEASED, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return;
    mprotect((void *)trap->start, trap->size, PROT_READ | PROT_EXEC);
    __atomic_add_fetch(&releases, 1, __ATOMIC_ACQ_REL);
    trap->size = 0;
    trap->state = UNSET;
    __atomic_store_n(&trap->image, NULL, __ATOMIC_RELEASE);
}

/* Code that faulted at a trap which another thread has taken away meanwhile is tried again, once for each that was
 * taken away: what faults there for other reasons does so once more. */
bool guard_trap_release(const void *address, const void *pc)
{
    for (int i = 0; i < TRAPS; i++) {
        struct trap *trap = &traps[i];
        if (!trap->image || (uintptr_t)address - trap->start >= trap->size)
            continue;
        release(trap);
        return true;
    }
    unsigned now = __atomic_load_n(&releases, __ATOMIC_ACQUIRE);
    bool is_late = address == pc && retried != now;
    retried = now;
    return is_late;
}

void guard_trap_forget(const struct image *image)
{
    for (int i = 0; i < TRAPS; i++)
        if (traps[i].image == image)
            release(&traps[i]);
}
