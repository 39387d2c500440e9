/* loader.h: the threads on which files are copied, checked, opened and closed, so that the loop's
 * thread never waits for the dynamic loader; and the one lock around everything that enters it. */
#ifndef HOTLUA_LOADER_H
#define HOTLUA_LOADER_H

/* Run `work(context)` on a loader thread, jobs in the order of the calls. If the job in progress has run
 * longer than 500 ms a further thread takes over the queue: a constructor that hangs holds up
 * nobody else. Never blocks. The threads are not in a forked child: there, do the work directly. */
void loader_run(void (*work)(void *context), void *context);

/* Wait until no job is in progress or waiting, at most `limit_ms`: before a fork, of which the loader's
 * threads are not part. */
void loader_await_idle(unsigned limit_ms);

/* The lock around dlopen, dlclose, dl_iterate_phdr and fork: a fork while another thread is inside
 * the dynamic loader leaves the child's loader locked for ever. Recursive. Who forks while holding it
 * holds it in both processes and unlocks it in both. */
void loader_lock(void);
void loader_unlock(void);

#endif
