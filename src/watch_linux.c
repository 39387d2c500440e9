/* watch_linux.c: the watches themselves, on inotify: what the events of a batch mean for each path that
 * somebody watches. Calls back once per watch (or entry) and batch, after looking what is there now. */
#include "watch_internal.h"

#include "memory.h"

#if defined(__linux__) && !defined(HOTLUA_WATCH_UV)

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    LOOK_BACK = 16,              /* entries of a batch searched for the same name */
    RETRY_NS = 1000 * 1000 * 1000
};

static struct {
    int wake;
    struct watch *pending, **last_pending;
    struct alarm retry;          /* for a place that could not be watched */
    uint64_t now_ns;             /* of the batch */
} state = {.wake = -1};

static void add_pending(struct watch *watch)
{
    if (watch->pending_at || watch->is_stopped)
        return;
    if (!state.pending)
        state.last_pending = &state.pending;
    watch->pending_at = state.last_pending;
    *state.last_pending = watch;
    state.last_pending = &watch->next_pending;
    watch->next_pending = NULL;
}

static void remove_pending(struct watch *watch)
{
    if (!watch->pending_at)
        return;
    *watch->pending_at = watch->next_pending;
    if (watch->next_pending)
        watch->next_pending->pending_at = watch->pending_at;
    else
        state.last_pending = watch->pending_at;
    watch->pending_at = NULL;
}

/* Notes during the reading of a batch ---------------------------------------------------------- */

static unsigned seen_of(const struct inotify_event *event)
{
    if (event->mask & (IN_CLOSE_WRITE | IN_MOVED_TO))
        return SEEN_WHOLE;
    if (event->mask & IN_CREATE)
        return SEEN_CREATED;
    return event->mask & (IN_DELETE | IN_MOVED_FROM) ? SEEN_CHANGE : 0;
}

void watch_notice_step(struct interest *interest, const struct inotify_event *event)
{
    struct step *step = interest->owner;
    struct watch *watch = step->watch;
    unsigned seen = seen_of(event);
    __atomic_store_n(&watch->activity_ns, state.now_ns, __ATOMIC_RELAXED);
    if (step->next)              /* a link: what it leads to counts as whole */
        seen |= seen ? SEEN_WHOLE : 0;
    if (seen)
        watch_note(watch, "", seen);
}

static struct entry *find_entry(struct watch *watch, const char *name)
{
    int looked = 0;
    for (struct entry *entry = watch->entries; entry && looked < LOOK_BACK; entry = entry->next, looked++)
        if (strcmp(entry->name, name) == 0)
            return entry;
    return NULL;
}

static struct entry *new_entry(struct watch *watch, const char *name)
{
    struct entry *entry = memory_take(sizeof *entry + strlen(name) + 1);
    strcpy(entry->name, name);
    entry->next = watch->entries;
    watch->entries = entry;
    return entry;
}

void watch_note(struct watch *watch, const char *name, unsigned seen)
{
    struct entry *entry = *name ? find_entry(watch, name) : NULL;
    if (*name && !entry)
        entry = new_entry(watch, name);
    if (entry)
        entry->seen |= seen;
    else                         /* the file itself; or no memory: look at the whole directory */
        watch->seen |= *name ? SEEN_MOVED : seen;
    add_pending(watch);
}

void watch_notice_entry(struct interest *interest, const struct inotify_event *event)
{
    struct step *step = interest->owner;
    unsigned seen = seen_of(event);
    __atomic_store_n(&step->watch->activity_ns, state.now_ns, __ATOMIC_RELAXED);
    if (seen && !(event->mask & IN_ISDIR))
        watch_note(step->watch, event->name, seen);
}

static void notice_moved(struct step *user)
{
    watch_note(user->watch, "", SEEN_MOVED | SEEN_WHOLE);
}

/* Calling back -------------------------------------------------------------------------------- */

const char *watch_path_of(const struct watch *watch, const char *name, char *buffer)
{
    const char *real = watch->steps ? watch->steps->place->real : NULL;
    if (!*name)
        return watch->path;
    snprintf(buffer, PATH_MAX, "%s/%s", real ? real : watch->path, name);
    return buffer;
}

/* Was a finished file linked there? A second name, or a status changed after the content, says so. */
static bool was_linked(const struct stat *status)
{
    return status->st_nlink > 1 || status->st_ctim.tv_sec != status->st_mtim.tv_sec ||
           status->st_ctim.tv_nsec != status->st_mtim.tv_nsec;
}

enum verdict { NOTHING, CHANGED, MISSING, DELETED };   /* missing: perhaps not for long */

/* What became of a path, by what was seen of it and by what is there now. */
static enum verdict judge(struct watch *watch, const char *name, unsigned seen)
{
    char buffer[PATH_MAX];
    struct stat status;
    bool exists = stat(watch_path_of(watch, name, buffer), &status) == 0;
    if (!exists && errno != ENOENT && errno != ENOTDIR && seen & SEEN_WHOLE)
        return CHANGED;                       /* whoever reads it will be told why that cannot be done */
    if (!exists || S_ISDIR(status.st_mode)) {
        if (seen & SEEN_LOST)
            return DELETED;
        doubt_begin(watch, name, NULL);
        return MISSING;
    }
    bool is_whole = seen & SEEN_WHOLE || (seen & SEEN_CREATED && was_linked(&status));
    if (!is_whole && seen & SEEN_CREATED)
        doubt_begin(watch, name, &status);
    else
        doubt_end(watch, name);
    return is_whole ? CHANGED : NOTHING;
}

static void settle_file(struct watch *watch, unsigned seen)
{
    bool was_single = watch->steps && !watch->steps->next;
    if (seen & SEEN_MOVED || !steps_are_single(watch)) {
        if (!steps_take(watch))
            alarm_set(&state.retry, watcher_now() + RETRY_NS);
        if (was_single && watch->steps->next)    /* what came is a link */
            seen |= SEEN_WHOLE;
    }
    enum verdict verdict = judge(watch, "", seen);
    if (verdict == MISSING)
        return;
    bool was_there = watch->is_there;
    watch->is_there = verdict != DELETED;
    if (verdict == NOTHING || (verdict == DELETED && !was_there))
        return;
    watcher_begin_call(watch);
    watch->callback(watch->context, verdict == CHANGED ? WATCH_CHANGED : WATCH_DELETED, state.now_ns);
    watcher_end_call();
}

static void call_entry(struct watch *watch, enum watch_event event, const char *name)
{
    watcher_begin_call(watch);
    watch->entry_callback(watch->context, event, name, state.now_ns);
    watcher_end_call();
}

static void settle_directory(struct watch *watch, unsigned seen)
{
    struct entry *list = NULL;
    while (watch->entries) {     /* into the order of events */
        struct entry *entry = watch->entries;
        watch->entries = entry->next;
        entry->next = list;
        list = entry;
    }
    if (seen & SEEN_MOVED) {
        if (!steps_take(watch))
            alarm_set(&state.retry, watcher_now() + RETRY_NS);
        call_entry(watch, WATCH_CHANGED, NULL);
    }
    while (list) {
        struct entry *entry = list;
        list = entry->next;
        if (!watch->is_stopped && !(seen & SEEN_MOVED)) {
            enum verdict verdict = judge(watch, entry->name, entry->seen);
            if (verdict == CHANGED || verdict == DELETED)
                call_entry(watch, verdict == CHANGED ? WATCH_CHANGED : WATCH_DELETED, entry->name);
        }
        free(entry);
    }
}

static void free_watch(struct watch *watch)
{
    free(watch->path);
    free(watch);
}

static void settle(struct watch *watch)
{
    unsigned seen = watch->seen;
    remove_pending(watch);
    watch->seen = 0;
    if (watch->is_directory)
        settle_directory(watch, seen);
    else
        settle_file(watch, seen);
    if (watch->is_orphan)
        free_watch(watch);
}

/* The backend --------------------------------------------------------------------------------- */

static void retry(void *unused)
{
    (void)unused;
    places_invalidate();
}

bool watch_backend_open(struct error *error)
{
    state.retry = (struct alarm){.callback = retry, .is_internal = true};
    if (!inotify_open())
        return error_set(error, "cannot watch files: inotify: %s%s", strerror(errno),
            errno == EMFILE ? "; raise /proc/sys/fs/inotify/max_user_instances or ulimit -n" : "");
    state.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (state.wake >= 0)
        return true;
    inotify_close();
    return error_set(error, "cannot watch files: eventfd: %s", strerror(errno));
}

void watch_backend_close(void)
{
    alarm_clear(&state.retry);
    inotify_close();
    close(state.wake);
    state.wake = -1;
}

void watch_backend_wake(void)
{
    ssize_t written = write(state.wake, &(uint64_t){1}, 8);
    (void)written;               /* full: it will wake anyway */
}

void watch_backend_wait(uint64_t until_ns)
{
    struct pollfd descriptors[] = {
        {.fd = inotify_descriptor(), .events = POLLIN}, {.fd = state.wake, .events = POLLIN}};
    uint64_t now = until_ns ? watcher_now() : 0;
    uint64_t left = until_ns > now ? until_ns - now : 0;
    struct timespec limit = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
    uint64_t count;
    ppoll(descriptors, 2, until_ns ? &limit : NULL, NULL);
    if (descriptors[1].revents & POLLIN)
        while (read(state.wake, &count, sizeof count) > 0)
            ;
}

void watch_backend_process(void)
{
    state.now_ns = watcher_now();
    if (!inotify_read())
        places_invalidate();
    if (!places_refresh(notice_moved))
        alarm_set(&state.retry, watcher_now() + RETRY_NS);
    while (state.pending && !watcher.is_stopping)
        settle(state.pending);
}

/* The interface ------------------------------------------------------------------------------- */

static bool set_path(struct watch *watch, const char *path, struct error *error)
{
    char directory[PATH_MAX] = "";
    if (path[0] != '/' && !getcwd(directory, sizeof directory))
        return error_set(error, "cannot watch %s: the current directory: %s", path, strerror(errno));
    if (asprintf(&watch->path, "%s%s%s", directory, path[0] == '/' ? "" : "/", path) < 0)
        return error_set(error, "cannot watch %s: out of memory", path);
    size_t length = strlen(watch->path);
    while (!watch->is_directory && length > 1 && watch->path[length - 1] == '/')
        watch->path[--length] = 0;
    if (length < PATH_MAX)
        return true;
    return error_set(error, "cannot watch %s: the path is too long", path);
}

static bool begin(struct watch *watch, const char *path, struct error *error)
{
    struct stat status;
    if (!watcher_start(error) || !set_path(watch, path, error))
        return false;
    if (!steps_take(watch))
        return error_set(error, "cannot watch %s: %s", path,
            errno == ENOSPC ? "this user's limit of inotify watches is reached; raise "
                              "/proc/sys/fs/inotify/max_user_watches" : strerror(errno));
    watch->is_there = stat(watch->path, &status) == 0 && !S_ISDIR(status.st_mode);
    return true;
}

static struct watch *start(struct watch settings, const char *path, struct error *error)
{
    struct watch *watch = malloc(sizeof *watch);
    if (!watch || watcher_is_elsewhere()) {
        free(watch);
        error_set(error, "cannot watch %s: %s", path,
                  watch ? "this is a forked copy of the host" : "out of memory");
        return NULL;
    }
    *watch = settings;
    pthread_mutex_lock(&watcher.lock);
    if (!begin(watch, path, error)) {
        free_watch(watch);
        watch = NULL;
    }
    pthread_mutex_unlock(&watcher.lock);
    return watch;
}

struct watch *watch_file(const char *path, watch_callback *callback, void *context, struct error *error)
{
    return start((struct watch){.callback = callback, .context = context}, path, error);
}

struct watch *watch_directory(const char *path, watch_entry_callback *callback, void *context,
                              struct error *error)
{
    struct watch settings = {.is_directory = true, .entry_callback = callback, .context = context};
    return start(settings, path, error);
}

void watch_stop(struct watch *watch)
{
    if (!watch || watcher_is_elsewhere())
        return;
    pthread_mutex_lock(&watcher.lock);
    watch->is_stopped = true;
    remove_pending(watch);
    doubt_end_all(watch);
    steps_drop(watch->steps);
    watch->steps = NULL;
    while (watch->entries) {
        struct entry *entry = watch->entries;
        watch->entries = entry->next;
        free(entry);
    }
    if (watcher_await_call(watch))
        free_watch(watch);
    else
        watch->is_orphan = true;
    pthread_mutex_unlock(&watcher.lock);
}

uint64_t watch_last_activity(const struct watch *watch)
{
    if (!watch->follows_writes && !watcher_is_elsewhere()) {
        pthread_mutex_lock(&watcher.lock);
        ((struct watch *)watch)->follows_writes = true;
        for (struct step *step = watch->steps; step; step = step->next)
            if (step->interest)
                interest_raise(step->interest, LEVEL_WRITES);
        pthread_mutex_unlock(&watcher.lock);
    }
    return __atomic_load_n(&watch->activity_ns, __ATOMIC_RELAXED);
}

#endif
