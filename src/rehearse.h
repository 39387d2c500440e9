/* rehearse.h: a forked copy of the process in which something is tried that may crash, hang or exit. Knows
 * nothing of plugins and Lua. */
#ifndef HOTLUA_REHEARSE_H
#define HOTLUA_REHEARSE_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>

enum rehearsal_end { REHEARSAL_SPOKE, REHEARSAL_EXITED, REHEARSAL_SIGNALLED, REHEARSAL_LATE };

struct rehearsal_result {
    enum rehearsal_end end;
    int code;                /* exit status or signal number */
    char *text;              /* what the copy said at its end, malloc'ed; of REHEARSAL_SPOKE */
    size_t size;
    char *output;            /* its stdout and stderr, malloc'ed, at most REHEARSAL_OUTPUT bytes */
    size_t output_size;
};

enum { REHEARSAL_OUTPUT = 65536 };

struct rehearsal;

/* Fork. In the copy `play(context)` runs, on this thread, which is its only one; the text that it returns
 * (malloc'ed) goes back, and the copy is gone, by _exit alone: no exit handler runs, nothing is flushed or
 * closed that it shares with this process. Its stdin is empty, its stdout and stderr are kept for the result.
 * Holds this thread for the fork only. NULL with error when there is no memory, process or descriptor for
 * it. */
struct rehearsal *rehearse_begin(char *(*play)(void *context, size_t *size), void *context,
                                 struct error *error);
/* Wait until it has ended, or end it after `limit_ms`; frees. Any thread. */
struct rehearsal_result rehearse_end(struct rehearsal *rehearsal, unsigned limit_ms);

#endif
