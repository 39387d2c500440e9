/* watch_uv.c: watches where there is no inotify. libuv's fs events are hints to look; a look at everything
 * now and then finds what they miss (links re-pointed, directories made anew); and since neither tells when a
 * writer is done, a change counts once the file has been the same for a settle time. */
#include "watch_internal.h"

#if !defined(__linux__) || defined(HOTLUA_WATCH_UV)

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

static const uint64_t SETTLE_NS = 50 * 1000 * 1000, LOOK_NS = 300 * 1000 * 1000;

struct look {                    /* what tells one state of a file from another */
    bool is_there;
    uv_timespec_t mtime, ctime;
    uint64_t size, inode, device;
};

struct file {
    struct file *next;
    struct look known, seen;     /* known: what was told last */
    uint64_t since_ns;           /* when `seen` was first seen; 0: it is settled */
    bool is_met, must_tell;
    char name[];                 /* of a directory's entry; "" for a file's watch */
};

struct hint {                    /* owned by the loop once started */
    uv_fs_event_t handle;
    uint64_t inode;              /* of the directory */
    bool is_due;                 /* atomic: set without the lock */
    struct hint *next_dying;
};

struct polled {
    struct watch watch;          /* first: a watch is one of these */
    struct polled *next, **at;
    struct hint *hint;
    struct file *files;
};

static struct {
    uv_loop_t loop;
    uv_async_t wake;
    uv_timer_t timer;
    struct polled *first;
    struct hint *dying;          /* to be closed on the watcher's thread */
    struct alarm alarm;
    bool is_look_due;
} state;

/* Looking -------------------------------------------------------------------------------------- */

/* libuv's stat has the times in nanoseconds under the same names everywhere. */
static struct look look_at(const char *path)
{
    uv_fs_t request;
    struct look look = {.is_there = uv_fs_stat(NULL, &request, path, NULL) == 0};
    const uv_stat_t *found = &request.statbuf;
    if (look.is_there && (found->st_mode & S_IFMT) == S_IFDIR)
        look.is_there = false;
    if (look.is_there) {
        look.mtime = found->st_mtim;
        look.ctime = found->st_ctim;
        look.size = found->st_size;
        look.inode = found->st_ino;
        look.device = found->st_dev;
    }
    uv_fs_req_cleanup(&request);
    return look;
}

static bool same_time(uv_timespec_t a, uv_timespec_t b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same(const struct look *a, const struct look *b)
{
    return a->is_there == b->is_there && a->size == b->size && a->inode == b->inode &&
           a->device == b->device && same_time(a->mtime, b->mtime) && same_time(a->ctime, b->ctime);
}

static void note(struct polled *polled, struct file *file, struct look found, uint64_t now_ns)
{
    if (!same(&found, &file->seen)) {
        file->seen = found;
        file->since_ns = now_ns;
        __atomic_store_n(&polled->watch.activity_ns, now_ns, __ATOMIC_RELAXED);
    } else if (file->since_ns && now_ns - file->since_ns >= SETTLE_NS) {
        file->since_ns = 0;
        file->must_tell = !same(&file->known, &file->seen);
        file->known = file->seen;
    }
}

static struct file *find_file(struct polled *polled, const char *name)
{
    struct file *file = polled->files;
    while (file && strcmp(file->name, name) != 0)
        file = file->next;
    return file;
}

static struct file *add_file(struct polled *polled, const char *name)
{
    struct file *file = calloc(1, sizeof *file + strlen(name) + 1);
    if (!file)
        return NULL;
    strcpy(file->name, name);
    file->next = polled->files;
    polled->files = file;
    return file;
}

/* Entries that are gone and told to be are forgotten. */
static void note_missing(struct polled *polled, uint64_t now_ns)
{
    for (struct file **at = &polled->files, *file; (file = *at);) {
        if (!file->is_met)
            note(polled, file, (struct look){.is_there = false}, now_ns);
        bool is_over = !file->is_met && !file->known.is_there && !file->since_ns && !file->must_tell;
        if (is_over) {
            *at = file->next;
            free(file);
            continue;
        }
        file->is_met = false;
        at = &file->next;
    }
}

static void look_into(struct polled *polled, uint64_t now_ns)
{
    char path[PATH_MAX];
    DIR *directory = opendir(polled->watch.path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        if (snprintf(path, sizeof path, "%s/%s", polled->watch.path, entry->d_name) >= (int)sizeof path)
            continue;
        struct look found = look_at(path);
        if (!found.is_there)
            continue;
        struct file *file = find_file(polled, entry->d_name);
        if (!file)
            file = add_file(polled, entry->d_name);
        if (!file)
            continue;
        file->is_met = true;
        note(polled, file, found, now_ns);
    }
    if (directory)
        closedir(directory);
    note_missing(polled, now_ns);
}

static void look(struct polled *polled, uint64_t now_ns)
{
    if (polled->watch.is_directory)
        look_into(polled, now_ns);
    else
        note(polled, polled->files, look_at(polled->watch.path), now_ns);
}

/* What is there at the beginning is no change. */
static void accept_all(struct polled *polled)
{
    for (struct file *file = polled->files; file; file = file->next) {
        file->known = file->seen;
        file->since_ns = 0;
    }
}

static bool is_settling(const struct polled *polled)
{
    for (const struct file *file = polled->files; file; file = file->next)
        if (file->since_ns)
            return true;
    return false;
}

/* Hints: only on the watcher's thread ------------------------------------------------------------ */

static void free_hint(uv_handle_t *handle)
{
    free(handle->data);
}

static void close_dying(void)
{
    while (state.dying) {
        struct hint *hint = state.dying;
        state.dying = hint->next_dying;
        uv_close((uv_handle_t *)&hint->handle, free_hint);
    }
}

static void drop_hint(struct polled *polled)
{
    if (!polled->hint)
        return;
    polled->hint->next_dying = state.dying;
    state.dying = polled->hint;
    polled->hint = NULL;
}

static void on_hint(uv_fs_event_t *handle, const char *name, int events, int status)
{
    struct hint *hint = handle->data;
    (void)name, (void)events, (void)status;
    __atomic_store_n(&hint->is_due, true, __ATOMIC_RELAXED);
}

static void start_hint(struct polled *polled, const char *directory, uint64_t inode)
{
    struct hint *hint = calloc(1, sizeof *hint);
    if (!hint)
        return;
    hint->inode = inode;
    uv_fs_event_init(&state.loop, &hint->handle);
    hint->handle.data = hint;
    polled->hint = hint;
    if (uv_fs_event_start(&hint->handle, on_hint, directory, 0) != 0)
        drop_hint(polled);
}

/* Have a hint on the directory that is there now, if any. */
static void keep_hint(struct polled *polled)
{
    char directory[PATH_MAX];
    struct stat status;
    snprintf(directory, sizeof directory, "%s", polled->watch.path);
    if (!polled->watch.is_directory)
        *(strrchr(directory, '/') + (strrchr(directory, '/') == directory)) = 0;
    bool is_there = stat(directory, &status) == 0;
    if (polled->hint && (!is_there || polled->hint->inode != status.st_ino))
        drop_hint(polled);
    if (!polled->hint && is_there)
        start_hint(polled, directory, status.st_ino);
}

/* Calling back ----------------------------------------------------------------------------------- */

static void free_polled(struct polled *polled)
{
    while (polled->files) {
        struct file *file = polled->files;
        polled->files = file->next;
        free(file);
    }
    free(polled->watch.path);
    free(polled);
}

static void tell(struct polled *polled, struct file *file, uint64_t now_ns)
{
    struct watch *watch = &polled->watch;
    enum watch_event event = file->known.is_there ? WATCH_CHANGED : WATCH_DELETED;
    char name[NAME_MAX + 1];
    snprintf(name, sizeof name, "%s", file->name);
    file->must_tell = false;
    watcher_begin_call(watch);
    if (watch->is_directory)
        watch->entry_callback(watch->context, event, name, now_ns);
    else
        watch->callback(watch->context, event, now_ns);
    watcher_end_call();
    if (watch->is_orphan)
        free_polled(polled);
}

/* One call; false if there is none to make. A callback may stop any watch: begin again after it. */
static bool tell_next(uint64_t now_ns)
{
    for (struct polled *polled = state.first; polled; polled = polled->next)
        for (struct file *file = polled->files; file; file = file->next)
            if (file->must_tell) {
                tell(polled, file, now_ns);
                return true;
            }
    return false;
}

/* The backend ------------------------------------------------------------------------------------ */

static void on_alarm(void *unused)
{
    (void)unused;
    state.is_look_due = true;
}

static void ignore_async(uv_async_t *handle)
{
    (void)handle;
}

static void ignore_timer(uv_timer_t *handle)
{
    (void)handle;
}

bool watch_backend_open(struct error *error)
{
    int failure = uv_loop_init(&state.loop);
    if (failure)
        return error_set(error, "cannot watch files: %s", uv_strerror(failure));
    uv_async_init(&state.loop, &state.wake, ignore_async);
    uv_timer_init(&state.loop, &state.timer);
    state.alarm = (struct alarm){.callback = on_alarm, .is_internal = true};
    return true;
}

void watch_backend_close(void)
{
    alarm_clear(&state.alarm);
    for (struct polled *polled = state.first; polled; polled = polled->next)
        drop_hint(polled);
    close_dying();
    uv_close((uv_handle_t *)&state.wake, NULL);
    uv_close((uv_handle_t *)&state.timer, NULL);
    uv_run(&state.loop, UV_RUN_DEFAULT);
    uv_loop_close(&state.loop);
}

void watch_backend_wake(void)
{
    uv_async_send(&state.wake);
}

void watch_backend_wait(uint64_t until_ns)
{
    uint64_t now = watcher_now();
    uv_update_time(&state.loop);
    if (until_ns)                /* it repeats: one that is due at once would not end the run */
        uv_timer_start(&state.timer, ignore_timer, until_ns > now ? (until_ns - now) / 1000000 + 1 : 0, 1);
    else
        uv_timer_stop(&state.timer);
    uv_run(&state.loop, UV_RUN_ONCE);
}

void watch_backend_process(void)
{
    uint64_t now = watcher_now();
    bool is_settling_any = false, is_round = state.is_look_due;
    state.is_look_due = false;
    for (struct polled *polled = state.first; polled; polled = polled->next) {
        if (is_round || !polled->hint)
            keep_hint(polled);
        bool is_hinted = polled->hint && __atomic_exchange_n(&polled->hint->is_due, false, __ATOMIC_RELAXED);
        if (is_round || is_hinted)
            look(polled, now);
        is_settling_any |= is_settling(polled);
    }
    close_dying();
    while (!watcher.is_stopping && tell_next(now))
        ;
    uint64_t due = now + (is_settling_any ? SETTLE_NS / 2 : LOOK_NS);
    if (state.first && (!state.alarm.position || due < state.alarm.when_ns))
        alarm_set(&state.alarm, due);
}

/* The interface ---------------------------------------------------------------------------------- */

static bool set_path(struct watch *watch, const char *path, struct error *error)
{
    char directory[PATH_MAX] = "";
    if (path[0] != '/' && !getcwd(directory, sizeof directory))
        return error_set(error, "cannot watch %s: the current directory: %s", path, strerror(errno));
    size_t size = strlen(directory) + strlen(path) + 2;
    watch->path = size < PATH_MAX ? malloc(size) : NULL;
    if (!watch->path)
        return error_set(error, "cannot watch %s: the path is too long", path);
    snprintf(watch->path, size, "%s%s%s", directory, path[0] == '/' ? "" : "/", path);
    return true;
}

static bool begin(struct polled *polled, const char *path, struct error *error)
{
    if (!watcher_start(error) || !set_path(&polled->watch, path, error))
        return false;
    if (!polled->watch.is_directory && !add_file(polled, ""))
        return error_set(error, "cannot watch %s: out of memory", path);
    look(polled, watcher_now());
    accept_all(polled);
    polled->at = &state.first;
    polled->next = state.first;
    if (polled->next)
        polled->next->at = &polled->next;
    state.first = polled;
    watch_backend_wake();
    return true;
}

static struct watch *start(struct watch settings, const char *path, struct error *error)
{
    struct polled *polled = calloc(1, sizeof *polled);
    if (!polled || watcher_is_elsewhere()) {
        free(polled);
        error_set(error, "cannot watch %s: this is a forked copy of the host, or memory is out", path);
        return NULL;
    }
    polled->watch = settings;
    pthread_mutex_lock(&watcher.lock);
    bool ok = begin(polled, path, error);
    if (!ok)
        free_polled(polled);
    pthread_mutex_unlock(&watcher.lock);
    return ok ? &polled->watch : NULL;
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
    struct polled *polled = (struct polled *)watch;
    if (!watch || watcher_is_elsewhere())
        return;
    pthread_mutex_lock(&watcher.lock);
    *polled->at = polled->next;
    if (polled->next)
        polled->next->at = polled->at;
    drop_hint(polled);
    if (watcher_await_call(watch))
        free_polled(polled);
    else
        watch->is_orphan = true;
    watch_backend_wake();
    pthread_mutex_unlock(&watcher.lock);
}

uint64_t watch_last_activity(const struct watch *watch)
{
    return __atomic_load_n(&watch->activity_ns, __ATOMIC_RELAXED);
}

#endif
