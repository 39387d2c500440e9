/* probe.h: opens a file in another process first, so that one which kills the dynamic loader, or
 * whose constructors crash, hang or call exit, kills only that. A small helper process (this
 * program again) is started at the first probe and forks for each file. */
#ifndef HOTLUA_PROBE_H
#define HOTLUA_PROBE_H

#include "error.h"

struct probe;

/* Open and close the shared object at `path` in a process of its own; `source` is its name in the
 * error's text. Both strings have to live until probe_end. NULL with error: no such process. Any thread. */
struct probe *probe_begin(const char *path, const char *source, unsigned limit_ms, struct error *error);
/* Wait for it and free it. True if that went well, or if the dynamic loader refused the file in words (then
 * opening it here gives the same words). False with error (stage "probe") if it crashed, called exit, or took
 * longer than `limit_ms`, or if there is no probe: the error stands already. */
bool probe_end(struct probe *probe, struct error *error);

/* In a forked copy of the process: the helpers are the process's. Its own end when they are forgotten. */
void probe_forget_helpers(void);

/* The helper's main: serves requests that come through descriptor 3 until the host is gone. */
int probe_serve(void);

/* What main calls probe_serve for, as the only argument. */
#define PROBE_ARGUMENT "--probe-helper"

#endif
