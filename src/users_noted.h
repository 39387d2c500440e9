/* users_noted.h: threads, keys and handlers of the program's end, noted when they are made. The functions of
 * the C library that make them are the program's own here, which the dynamic loader finds first. */
#ifndef HOTLUA_USERS_NOTED_H
#define HOTLUA_USERS_NOTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum noted_kind { NOTED_THREAD, NOTED_KEY, NOTED_TIMER, NOTED_EXIT };

struct noted {
    enum noted_kind kind;
    uintptr_t function;      /* the thread's first one, the destructor, the timer's, the handler */
    long thread;             /* its id, as the kernel has it */
};

/* How much has been noted so far. */
uint64_t noted_count(void);

/* Something noted and not over whose function, or whose maker, lies in those `size` bytes. What is among the
 * first `before` notes is left out: it is of what lay there earlier. */
bool noted_find(uintptr_t base, size_t size, uint64_t before, struct noted *found);

#endif
