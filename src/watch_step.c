/* watch_step.c: the steps of a watched path: its directory and name, and if that entry is a symbolic link,
 * the directory and name where it leads, and so on. */
#include "watch_internal.h"

#include "memory.h"

#if defined(__linux__) && !defined(HOTLUA_WATCH_UV)

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_LINKS = 40 };

void steps_drop(struct step *step)
{
    while (step) {
        struct step *next = step->next;
        *step->user_at = step->next_user;
        if (step->next_user)
            step->next_user->user_at = step->user_at;
        if (step->interest)
            interest_remove(step->interest);
        place_release(step->place);
        free(step->name);
        free(step);
        step = next;
    }
}

static struct step *new_step(struct watch *watch, struct place *place, const char *name)
{
    struct step *step = memory_take(sizeof *step);
    step->name = memory_copy_text(name);
    step->watch = watch;
    step->place = place;
    step->user_at = &place->users;
    step->next_user = place->users;
    if (place->users)
        place->users->user_at = &step->next_user;
    place->users = step;
    if (!place->real)
        return step;
    enum level level = watch->follows_writes ? LEVEL_WRITES : LEVEL_FILES;
    interest_notice *notice = *name ? watch_notice_step : watch_notice_entry;
    step->interest = interest_add(*place->real ? place->real : "/", step->name, level, notice, step);
    if (step->interest || errno == ENOENT || errno == ENOTDIR)
        return step;
    int failure = errno;
    steps_drop(step);
    errno = failure;
    return NULL;
}

/* One step: `path` cut into directory and name. */
static struct step *cut_path(struct watch *watch, const char *path)
{
    char directory[PATH_MAX];
    const char *slash = strrchr(path, '/');
    const char *name = watch->is_directory ? "" : slash + 1;
    size_t length = watch->is_directory ? strlen(path) : (size_t)(slash - path);
    if (length >= sizeof directory) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    memcpy(directory, path, length);
    directory[length] = 0;
    struct place *place = place_acquire(directory);
    return place ? new_step(watch, place, name) : NULL;
}

/* If the step's entry is a link, put where it leads into `path`. */
static bool read_step(const struct step *step, char *path)
{
    char link[PATH_MAX], target[PATH_MAX];
    if (!step->place->real || !*step->name)
        return false;
    if (snprintf(link, sizeof link, "%s/%s", step->place->real, step->name) >= (int)sizeof link)
        return false;
    ssize_t length = readlink(link, target, sizeof target - 1);
    if (length <= 0)
        return false;
    target[length] = 0;
    const char *base = target[0] == '/' ? "" : step->place->real;
    return snprintf(path, PATH_MAX, "%s/%s", base, target) < PATH_MAX;
}

bool steps_take(struct watch *watch)
{
    struct step *first = NULL, **last = &first;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", watch->path);
    for (int i = 0; i < MAX_LINKS; i++) {
        *last = cut_path(watch, path);
        if (!*last) {
            int failure = errno;
            steps_drop(first);
            errno = failure;
            return false;
        }
        if (!read_step(*last, path))
            break;
        last = &(*last)->next;
    }
    steps_drop(watch->steps);
    watch->steps = first;
    return true;
}

bool steps_are_single(const struct watch *watch)
{
    char path[PATH_MAX];
    return watch->steps && !watch->steps->next && !read_step(watch->steps, path);
}

#endif
