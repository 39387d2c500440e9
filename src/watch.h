/* watch.h: one thread that tells when files may have changed and when timers are due. It never
 * reads the files: it says "look", and the reload looks. Linux: inotify on directories
 * (watch_linux.c); elsewhere libuv's fs events and a settle time (watch_uv.c). */
#ifndef HOTLUA_WATCH_H
#define HOTLUA_WATCH_H

#include "error.h"

#include <stdint.h>

struct watch;

/* Why the watcher calls. */
enum watch_event {
    WATCH_CHANGED,           /* the file at the path was closed after writing, moved or linked there */
    WATCH_DELETED            /* it is not there any more */
};

/* Runs on the watcher thread with no lock held: post and return. `when_ns` is CLOCK_MONOTONIC at
 * the moment the event was read. */
typedef void watch_callback(void *context, enum watch_event event, uint64_t when_ns);

/* Watch the file at `path` (it need not exist), through every symbolic link on the way: a link
 * re-pointed, also one of a directory, is a change. Callbacks stop for good when watch_stop returns. */
struct watch *watch_file(const char *path, watch_callback *callback, void *context,
                         struct error *error);
/* Watch a directory: the callback gets the name of the entry ("a.so"). One watch serves all. */
typedef void watch_entry_callback(void *context, enum watch_event event, const char *name,
                                  uint64_t when_ns);
struct watch *watch_directory(const char *path, watch_entry_callback *callback, void *context,
                              struct error *error);
void watch_stop(struct watch *watch);

/* When the watched path last had any event, also a write in progress (CLOCK_MONOTONIC ns; 0: never). */
uint64_t watch_last_activity(const struct watch *watch);

/* Call back once on the watcher thread at CLOCK_MONOTONIC `when_ns`. */
struct alarm;
struct alarm *watch_alarm(uint64_t when_ns, void (*callback)(void *context), void *context);
/* Frees it, whether it rang or not; stops callbacks as watch_stop does. */
void watch_alarm_cancel(struct alarm *alarm);

/* In a callback: have this thread do something long when the callbacks are through, while another one
 * goes on watching. Sparing the wake of one more thread is a third of a small reload. */
void watch_later(void (*work)(void *context), void *context);

/* End the threads (at exit); one that is busy with work of watch_later is not waited for. */
void watch_shutdown(void);

#endif
