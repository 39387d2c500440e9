/* watch_place.c: where the path of a directory leads, through every symbolic link on the way, and
 * which directories must be watched to learn that it leads elsewhere. */
#include "watch_internal.h"

#include "memory.h"

#if defined(__linux__) && !defined(HOTLUA_WATCH_UV)

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_LINKS = 40, MAX_TRIES = 10 };

static struct table places;
static struct place *stale_places;

/* A path being followed. A directory is always watched before it is looked into, so that what changes
 * after the look is told. */
struct walk {
    struct place *place;
    struct interest *interests;
    char real[PATH_MAX];         /* so far; "" is the root */
    char rest[PATH_MAX];
    int links;
    int failure;                 /* errno: cannot be watched */
    bool is_missing, is_torn;    /* torn: changed under our feet, begin again */
};

static void mark_stale(struct place *place)
{
    if (place->is_stale)
        return;
    place->is_stale = true;
    place->next_stale = stale_places;
    stale_places = place;
}

static void notice(struct interest *interest, const struct inotify_event *event)
{
    if (!(event->mask & (IN_CLOSE_WRITE | IN_MODIFY)))
        mark_stale(interest->owner);
}

static void drop_interests(struct interest *list)
{
    while (list) {
        struct interest *next = list->sibling;
        char *name = (char *)list->name;
        interest_remove(list);
        free(name);
        list = next;
    }
}

/* Take an interest in an entry of a directory, NULL: in the directory itself. */
static bool heed(struct walk *walk, const char *directory, const char *name)
{
    char *copy = memory_copy_text(name);
    enum level level = name ? LEVEL_STRUCTURE : LEVEL_SELF;
    struct interest *interest =
        interest_add(*directory ? directory : "/", copy, level, notice, walk->place);
    if (interest) {
        interest->sibling = walk->interests;
        walk->interests = interest;
        return true;
    }
    free(copy);
    if (errno == ENOENT || errno == ENOTDIR)
        walk->is_torn = true;
    else if (errno != EACCES || name)    /* one we only pass through may be unreadable */
        walk->failure = errno;
    return !walk->is_torn && !walk->failure;
}

static void go_up(struct walk *walk)
{
    char *slash = strrchr(walk->real, '/');
    if (slash)
        *slash = 0;
}

static void follow_link(struct walk *walk, const char *path)
{
    char target[PATH_MAX], rest[PATH_MAX];
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length <= 0) {
        walk->is_torn = true;
        return;
    }
    target[length] = 0;
    int needed = snprintf(rest, sizeof rest, "%s/%s", target, walk->rest);
    if (++walk->links > MAX_LINKS || needed >= (int)sizeof rest) {
        walk->is_missing = true;
        return;
    }
    strcpy(walk->rest, rest);
    if (target[0] == '/')
        walk->real[0] = 0;
}

/* Go down into the entry `name` of walk->real. */
static void enter(struct walk *walk, const char *name)
{
    char path[PATH_MAX];
    struct stat status;
    if (snprintf(path, sizeof path, "%s/%s", walk->real, name) >= (int)sizeof path) {
        walk->is_missing = true;
        return;
    }
    bool exists = lstat(path, &status) == 0;
    if (exists && S_ISDIR(status.st_mode)) {
        if (heed(walk, path, NULL))
            strcpy(walk->real, path);
        return;
    }
    if (!heed(walk, walk->real, name))
        return;
    if (exists && S_ISLNK(status.st_mode))
        follow_link(walk, path);
    else if (!exists && lstat(path, &status) == 0)
        walk->is_torn = true;
    else
        walk->is_missing = true;
}

/* The name of the last directory reached, in its parent: a directory that some process stands in is not
 * reported as deleted by itself. */
static void heed_last(struct walk *walk)
{
    char parent[PATH_MAX];
    strcpy(parent, walk->real);
    char *slash = strrchr(parent, '/');
    if (slash) {
        *slash = 0;
        heed(walk, parent, slash + 1);
    }
}

static void follow(struct walk *walk)
{
    while (!walk->is_missing && !walk->is_torn && !walk->failure) {
        char name[PATH_MAX];
        const char *begin = walk->rest + strspn(walk->rest, "/");
        size_t length = strcspn(begin, "/");
        if (length == 0)
            break;
        memcpy(name, begin, length);
        name[length] = 0;
        memmove(walk->rest, begin + length, strlen(begin + length) + 1);
        if (strcmp(name, "..") == 0)
            go_up(walk);
        else if (strcmp(name, ".") != 0)
            enter(walk, name);
    }
    if (!walk->is_torn && !walk->failure)
        heed_last(walk);
}

/* Find out where the place is. False with errno set, and all as before, if it cannot be watched. */
static bool locate(struct place *place)
{
    struct walk walk = {.place = place};
    for (int try = 0; try < MAX_TRIES; try++) {
        struct interest *before = walk.interests;
        walk = (struct walk){.place = place};
        snprintf(walk.rest, sizeof walk.rest, "%s", place->path);
        follow(&walk);
        drop_interests(before);
        if (!walk.is_torn)
            break;
    }
    if (walk.is_torn || walk.failure) {
        drop_interests(walk.interests);
        errno = walk.failure ? walk.failure : EAGAIN;
        return false;
    }
    drop_interests(place->interests);
    place->interests = walk.interests;
    free(place->real);
    place->real = walk.is_missing ? NULL : memory_copy_text(walk.real);
    return true;
}

struct place *place_acquire(const char *path)
{
    uint64_t key = table_hash(0, path);
    for (struct link *link = table_first(&places, key); link; link = table_next(link)) {
        struct place *place = (struct place *)link;
        if (strcmp(place->path, path) == 0) {
            place->references++;
            return place;
        }
    }
    struct place *place = memory_take(sizeof *place);
    place->path = memory_copy_text(path);
    place->references = 1;
    table_add(&places, &place->link, key);
    if (strlen(path) >= PATH_MAX)
        errno = ENAMETOOLONG;
    else if (locate(place))
        return place;
    int failure = errno;
    place_release(place);
    errno = failure;
    return NULL;
}

void place_release(struct place *place)
{
    if (--place->references > 0)
        return;
    for (struct place **at = &stale_places; *at; at = &(*at)->next_stale)
        if (*at == place) {
            *at = place->next_stale;
            break;
        }
    table_remove(&places, &place->link);
    drop_interests(place->interests);
    free(place->real);
    free(place->path);
    free(place);
}

bool places_refresh(void (*moved)(struct step *user))
{
    struct place *failed = NULL;
    while (stale_places) {
        struct place *place = stale_places;
        stale_places = place->next_stale;
        if (!locate(place)) {
            place->next_stale = failed;
            failed = place;
            continue;
        }
        place->is_stale = false;
        for (struct step *user = place->users; user; user = user->next_user)
            moved(user);
    }
    stale_places = failed;
    return !failed;
}

void places_invalidate(void)
{
    for (size_t i = 0; i < places.capacity; i++)
        for (struct link *link = places.buckets[i]; link; link = link->next)
            mark_stale((struct place *)link);
}

#endif
