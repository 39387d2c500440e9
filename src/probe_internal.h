/* probe_internal.h: what the host and the probe's helper process tell each other; only for probe*.c.
 *
 * The helper forks a child ahead of time, which waits for a path. A child that comes to its end well tells
 * the host so itself; the helper tells when one did not, and forks the next. */
#ifndef HOTLUA_PROBE_INTERNAL_H
#define HOTLUA_PROBE_INTERNAL_H

#include <stdint.h>

enum phase { PHASE_WAITING, PHASE_OPENING, PHASE_CLOSING, PHASE_EXITING, PHASE_DONE };

/* The helper's descriptors. Each message is a packet of its own. */
enum {
    PROBE_WORK = 3,              /* host to child: a path; child to host: one byte, it is well */
    PROBE_CONTROL                /* host to helper: one byte, end the child; helper to host: an answer */
};

enum { PROBE_SAID = 400 };

struct answer {              /* of a child that ended otherwise */
    int32_t status;          /* as of waitpid */
    uint32_t phase;          /* how far it came */
    char said[PROBE_SAID];   /* the end of what it wrote to stdout and stderr */
};

#endif
