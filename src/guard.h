/* guard.h: turns a crash inside a plugin call into a return to the frame that made the call. A
 * crash anywhere else goes to whatever handler was there before, or kills as it always would. */
#ifndef HOTLUA_GUARD_H
#define HOTLUA_GUARD_H

#include <stdbool.h>
#include <stddef.h>

struct frame;
struct image;

enum { GUARD_ROLLBACK, GUARD_ERROR, GUARD_OFF };     /* plugin->crash_policy */

struct crash {               /* of the calling thread, filled by the handler */
    int signal;              /* SIGSEGV ... ; SIGALRM stands for a call that ran out of time */
    bool is_overflow;        /* the stack was used up */
    void *address;           /* the faulting address, NULL if it has none */
    void *pc;                /* where it happened */
    void *trace[32];         /* return addresses above it, innermost first */
    size_t trace_count;
    struct image *image;     /* whose call it was */
    const char *function;    /* the export that was called */
};

/* Install the handlers, once for the process; chains those that are there. */
void guard_install(void);
/* Give the calling thread its alternate signal stack; thread_register calls it. */
void guard_thread(void);

/* The crash that the last jump of this thread came from. Valid until the next one. */
const struct crash *guard_crash(void);
/* "SIGSEGV", "SIGABRT" ... ; "timeout" for a time limit. */
const char *guard_signal_name(const struct crash *crash);

#endif
