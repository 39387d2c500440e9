/* watch_internal.h: what the files of the watcher share; only for watch*.c. Everything here is used with
 * the watcher's lock held, where nothing else is said. */
#ifndef HOTLUA_WATCH_INTERNAL_H
#define HOTLUA_WATCH_INTERNAL_H

#include "watch.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The thread and its alarms (watch_thread.c) ---------------------------------------------------- */

struct alarm {
    uint64_t when_ns;
    void (*callback)(void *context);
    void *context;
    size_t position;             /* in the heap, from 1; 0: not set */
    bool is_internal;            /* the callback runs with the lock held */
    bool is_cancelled;           /* by its own callback: the thread frees it */
};

struct watcher {                 /* the one of this process */
    pthread_mutex_t lock;
    pthread_cond_t call_ended;
    pthread_cond_t turn;         /* to serve, or to see that the end has come */
    pthread_t thread;            /* that serves */
    bool is_served;
    unsigned thread_count, standing_by;
    struct later *later;         /* what callbacks of the thread that serves have left to do */
    pid_t process;               /* in which the thread runs: a forked child has none */
    bool is_started, is_stopping;
    const void *running;         /* the watch or alarm whose callback runs now, without the lock */
    struct alarm **heap;         /* from index 1, earliest first */
    size_t alarm_count, heap_capacity;
};
extern struct watcher watcher;

uint64_t watcher_now(void);
/* Start the thread if it does not run. */
bool watcher_start(struct error *error);
/* Is this a forked child, which has the memory but not the thread? Needs no lock, and there it must
 * not be taken. */
bool watcher_is_elsewhere(void);
/* Around the callback of a watch or alarm, on the watcher's thread: gives up the lock, takes it again. */
void watcher_begin_call(const void *object);
void watcher_end_call(void);
/* Before freeing the object: wait for its callback. False if this is its callback: then the thread has
 * to free it. */
bool watcher_await_call(const void *object);

void alarm_set(struct alarm *alarm, uint64_t when_ns);
void alarm_clear(struct alarm *alarm);

/* What the thread needs of the system's files (watch_linux.c or watch_uv.c). */
bool watch_backend_open(struct error *error);
void watch_backend_close(void);
void watch_backend_wake(void);               /* from any thread; no lock needed */
void watch_backend_wait(uint64_t until_ns);  /* without the lock; 0: for ever */
void watch_backend_process(void);            /* read what happened, call back */

/* Directories of inotify and who is interested in them (watch_inotify.c) ------------------------- */

struct link {                    /* an entry of a hash table: first member of what is kept there */
    struct link *next;
    uint64_t key;
};

struct table {
    struct link **buckets;
    size_t count, capacity;      /* capacity: a power of two, or 0 */
};

void table_add(struct table *table, struct link *link, uint64_t key);
void table_remove(struct table *table, struct link *link);
struct link *table_first(const struct table *table, uint64_t key);
struct link *table_next(struct link *link);
uint64_t table_hash(uint64_t seed, const char *text);

/* How much is asked of a directory; each level includes those before it. */
enum level {
    LEVEL_SELF,                  /* it was moved or deleted itself */
    LEVEL_STRUCTURE,             /* entries came, went or were renamed */
    LEVEL_FILES,                 /* files in it were closed after writing */
    LEVEL_WRITES                 /* files in it are being written */
};

struct directory;
struct interest;
struct inotify_event;

/* Told of each event; may only take notes: no interest may be added or removed in it. */
typedef void interest_notice(struct interest *interest, const struct inotify_event *event);

struct interest {                /* of one owner in one directory */
    struct link link;            /* by directory and name */
    struct interest *next_here, **here_at;   /* without a name: in the directory's list */
    struct interest *sibling;    /* the owner's next */
    struct directory *directory;
    const char *name;            /* of the entry; "": any entry; NULL: the directory itself */
    interest_notice *notice;
    void *owner;
};

bool inotify_open(void);                     /* false: errno says why */
void inotify_close(void);
int inotify_descriptor(void);
/* NULL: errno says why. `name` is kept by the caller. */
struct interest *interest_add(const char *directory, const char *name, enum level level,
                              interest_notice *notice, void *owner);
void interest_remove(struct interest *interest);
/* Ask more of the interest's directory. */
void interest_raise(struct interest *interest, enum level level);
/* Read one batch and tell the interested. Returns false if events were lost. */
bool inotify_read(void);

/* Paths of directories, through symbolic links (watch_place.c) ----------------------------------- */

struct step;

struct place {                   /* a directory as a path names it; shared by all that name it so */
    struct link link;            /* by path */
    char *path;
    unsigned references;
    char *real;                  /* without links; NULL: it does not exist */
    struct interest *interests;  /* in all that could make the path lead elsewhere */
    struct step *users;
    bool is_stale;
    struct place *next_stale;
};

struct step {                    /* of a watch's path: a directory and, but for a directory's watch, a name */
    struct place *place;
    struct interest *interest;   /* NULL: the directory does not exist */
    struct watch *watch;
    char *name;
    struct step *next;           /* where the entry, being a link, leads */
    struct step *next_user, **user_at;       /* in the place's list */
};

/* The place of an absolute path; NULL: errno says why it cannot be watched. */
struct place *place_acquire(const char *path);
void place_release(struct place *place);
/* Find out anew where the stale places lead and tell their users. False if one could not be watched;
 * it is tried again at the next call. */
bool places_refresh(void (*moved)(struct step *user));
/* Everything may have changed. */
void places_invalidate(void);

/* The watches (watch_linux.c) ------------------------------------------------------------------- */

enum seen {                      /* of a path since it was last settled */
    SEEN_CHANGE = 1,             /* it came, went or was renamed: look */
    SEEN_CREATED = 2,            /* a name appeared; its file may be still being written */
    SEEN_WHOLE = 4,              /* closed after writing, or moved there */
    SEEN_MOVED = 8,              /* the path may lead elsewhere */
    SEEN_LOST = 16               /* it has been missing for a while */
};

struct entry {                   /* of a watched directory, since it was last settled */
    unsigned seen;
    struct entry *next;
    char name[];
};

struct watch {
    char *path;                  /* absolute */
    bool is_directory;
    watch_callback *callback;
    watch_entry_callback *entry_callback;
    void *context;
    struct step *steps;
    unsigned seen;
    bool is_there;
    bool follows_writes;
    bool is_stopped, is_orphan;  /* orphan: stopped by its own callback, the thread frees it */
    uint64_t activity_ns;
    struct entry *entries;       /* newest first */
    struct watch *next_pending, **pending_at;
};

/* Note what was seen of the watched file (name "") or of a directory's entry, to be settled. */
void watch_note(struct watch *watch, const char *name, unsigned seen);
/* The path to look at for it; `buffer` holds PATH_MAX. */
const char *watch_path_of(const struct watch *watch, const char *name, char *buffer);
interest_notice watch_notice_step, watch_notice_entry;

/* The steps of a watch's path (watch_step.c) ---------------------------------------------------- */

/* Follow the watch's path. False with errno set, and all as before, if it cannot be watched. */
bool steps_take(struct watch *watch);
void steps_drop(struct step *step);
/* Does the path lead to no link, and did it before? */
bool steps_are_single(const struct watch *watch);

/* What an event leaves open and some quiet settles (watch_doubt.c) ------------------------------- */

struct stat;

/* A file of which only the creation was seen (`status`), or that is missing (NULL). After the quiet it
 * is noted as SEEN_WHOLE or SEEN_LOST, if nothing has happened to it. */
void doubt_begin(struct watch *watch, const char *name, const struct stat *status);
void doubt_end(struct watch *watch, const char *name);
void doubt_end_all(struct watch *watch);

#endif
