/* watch_doubt.c: what an event alone does not tell. A created file may be being written (then its closing
 * will be seen) or was finished before it got its name; a missing one may be about to come back, since
 * linkers delete before they write. Some quiet settles it. */
#include "watch_internal.h"

#include "memory.h"

#if defined(__linux__) && !defined(HOTLUA_WATCH_UV)

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CREATED_NS = 500 * 1000 * 1000, MISSING_NS = 100 * 1000 * 1000 };

struct doubt {
    struct link link;            /* by watch and name */
    struct alarm alarm;
    struct watch *watch;
    bool was_missing;
    struct timespec mtime;       /* of the created file */
    off_t size;
    char name[];                 /* of the directory's entry; "" for a file's watch */
};

static struct table doubts;

static uint64_t doubt_key(const struct watch *watch, const char *name)
{
    return table_hash((uint64_t)(uintptr_t)watch >> 4, name);
}

static struct doubt *find(const struct watch *watch, const char *name)
{
    struct link *link = table_first(&doubts, doubt_key(watch, name));
    for (; link; link = table_next(link)) {
        struct doubt *doubt = (struct doubt *)link;
        if (doubt->watch == watch && strcmp(doubt->name, name) == 0)
            return doubt;
    }
    return NULL;
}

static void end(struct doubt *doubt)
{
    alarm_clear(&doubt->alarm);
    table_remove(&doubts, &doubt->link);
    free(doubt);
}

void doubt_end(struct watch *watch, const char *name)
{
    struct doubt *doubt = find(watch, name);
    if (doubt)
        end(doubt);
}

void doubt_end_all(struct watch *watch)
{
    for (size_t i = 0; i < doubts.capacity; i++)
        for (struct link *link = doubts.buckets[i], *next; link; link = next) {
            next = link->next;
            bool is_last = doubts.count == 1;
            if (((struct doubt *)link)->watch == watch)
                end((struct doubt *)link);
            if (is_last)         /* the table may have gone with it */
                return;
        }
}

static bool has_settled(const struct doubt *doubt)
{
    char path[PATH_MAX];
    struct stat status;
    bool exists = stat(watch_path_of(doubt->watch, doubt->name, path), &status) == 0;
    if (doubt->was_missing)
        return !exists;
    return exists && status.st_size > 0 && status.st_size == doubt->size &&
           status.st_mtim.tv_sec == doubt->mtime.tv_sec && status.st_mtim.tv_nsec == doubt->mtime.tv_nsec;
}

static void examine(void *context)
{
    struct doubt *doubt = context;
    if (has_settled(doubt))
        watch_note(doubt->watch, doubt->name, doubt->was_missing ? SEEN_LOST : SEEN_WHOLE);
    end(doubt);
}

void doubt_begin(struct watch *watch, const char *name, const struct stat *status)
{
    doubt_end(watch, name);
    struct doubt *doubt = memory_take(sizeof *doubt + strlen(name) + 1);
    strcpy(doubt->name, name);
    doubt->watch = watch;
    doubt->was_missing = !status;
    if (status) {
        doubt->size = status->st_size;
        doubt->mtime = status->st_mtim;
    }
    doubt->alarm = (struct alarm){.callback = examine, .context = doubt, .is_internal = true};
    table_add(&doubts, &doubt->link, doubt_key(watch, name));
    alarm_set(&doubt->alarm, watcher_now() + (status ? CREATED_NS : MISSING_NS));
}

#endif
