/* loader.h: the threads on which files are copied, checked, opened and closed, so that the loop's
 * thread never waits for the dynamic loader; and the one lock around everything that enters it. */
#ifndef HOTLUA_LOADER_H
#define HOTLUA_LOADER_H

/* Run `work(context)` on a loader thread, jobs in the order of the calls. If the job in progress has run
 * longer than 500 ms a further thread takes over the queue: a constructor that hangs holds up
 * nobody else. Never blocks. The threads are not in a forked child: there, do the work directly. */
void loader_run(void (*work)(void *context), void *context);

/* A piece of work that may be done beside the caller's own. */
struct loader_task {
    void (*work)(void *context);
    void *context;
    struct loader_task *next;    /* this and `state` are the loader's own, zero at first */
    int state;
};

/* Offer it to the loader threads, of which as many take tasks as there are processors beside the caller's. The
 * task stays where it is until loader_finish has returned. Does nothing in a forked child. */
void loader_begin(struct loader_task *task);
/* Returns when it is done: waits for the thread that has begun it, or does it here if none has. */
void loader_finish(struct loader_task *task);

/* Wait until no job is in progress or waiting, at most `limit_ms`: before a fork, of which the loader's
 * threads are not part. */
void loader_await_idle(unsigned limit_ms);

/* The lock around dlopen, dlclose, dl_iterate_phdr and fork: a fork while another thread is inside
 * the dynamic loader leaves the child's loader locked for ever. Recursive. Who forks while holding it
 * holds it in both processes and unlocks it in both. */
void loader_lock(void);
void loader_unlock(void);

#endif
