/* watch_inotify.c: the directories that inotify watches, one watch for each whoever is interested in it,
 * and the hash tables behind them. Takes notes only: what an event means is its listeners' business. */
#include "watch_internal.h"

#include "memory.h"

#include <stdlib.h>
#include <string.h>

/* Hash tables --------------------------------------------------------------------------------- */

uint64_t table_hash(uint64_t seed, const char *text)
{
    uint64_t hash = seed ^ 0xcbf29ce484222325u;
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash ^ hash >> 29;
}

static void table_grow(struct table *table)
{
    size_t capacity = table->capacity ? 2 * table->capacity : 64;
    struct link **buckets = memory_take_array(capacity, sizeof *buckets);
    for (size_t i = 0; i < table->capacity; i++)
        for (struct link *link = table->buckets[i], *next; link; link = next) {
            next = link->next;
            link->next = buckets[link->key & (capacity - 1)];
            buckets[link->key & (capacity - 1)] = link;
        }
    free(table->buckets);
    table->buckets = buckets;
    table->capacity = capacity;
}

void table_add(struct table *table, struct link *link, uint64_t key)
{
    if (table->count >= table->capacity)
        table_grow(table);
    struct link **bucket = &table->buckets[key & (table->capacity - 1)];
    link->key = key;
    link->next = *bucket;
    *bucket = link;
    table->count++;
}

void table_remove(struct table *table, struct link *link)
{
    struct link **at = &table->buckets[link->key & (table->capacity - 1)];
    while (*at != link)
        at = &(*at)->next;
    *at = link->next;
    if (--table->count == 0) {
        free(table->buckets);
        *table = (struct table){0};
    }
}

struct link *table_next(struct link *link)
{
    uint64_t key = link->key;
    for (link = link->next; link; link = link->next)
        if (link->key == key)
            return link;
    return NULL;
}

struct link *table_first(const struct table *table, uint64_t key)
{
    if (table->capacity == 0)
        return NULL;
    struct link *link = table->buckets[key & (table->capacity - 1)];
    return !link || link->key == key ? link : table_next(&(struct link){link, key});
}

#if defined(__linux__) && !defined(HOTLUA_WATCH_UV)

#include <errno.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

enum {
    ON_SELF = IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK,
    ON_STRUCTURE = ON_SELF | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO,
    ON_FILES = ON_STRUCTURE | IN_CLOSE_WRITE,
    ON_WRITES = ON_FILES | IN_MODIFY
};

struct directory {
    struct link link;            /* by watch descriptor */
    int descriptor;              /* -1: the kernel has dropped it */
    enum level level;
    unsigned references;
    char *path;                  /* as it was when it was first watched */
    struct interest *owners;     /* in the directory itself */
    struct interest *listeners;  /* in any entry */
};

static struct {
    int descriptor;              /* of inotify; -1: closed */
    struct table directories, interests;
} notifier = {.descriptor = -1};

bool inotify_open(void)
{
    notifier.descriptor = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    return notifier.descriptor >= 0;
}

void inotify_close(void)
{
    close(notifier.descriptor);
    notifier.descriptor = -1;
}

int inotify_descriptor(void)
{
    return notifier.descriptor;
}

/* Directories --------------------------------------------------------------------------------- */

static int ask(const char *path, enum level level)
{
    static const uint32_t masks[] = {ON_SELF, ON_STRUCTURE, ON_FILES, ON_WRITES};
    return inotify_add_watch(notifier.descriptor, path, masks[level] | IN_MASK_ADD);
}

static struct directory *find_directory(int descriptor)
{
    return (struct directory *)table_first(&notifier.directories, (uint64_t)descriptor);
}

static struct directory *new_directory(const char *path, int descriptor, enum level level)
{
    struct directory *directory = memory_take(sizeof *directory);
    directory->path = memory_copy_text(path);
    directory->descriptor = descriptor;
    directory->level = level;
    table_add(&notifier.directories, &directory->link, (uint64_t)descriptor);
    return directory;
}

static struct directory *acquire_directory(const char *path, enum level level)
{
    int descriptor = ask(path, level);
    if (descriptor < 0)
        return NULL;
    struct directory *directory = find_directory(descriptor);
    if (!directory)
        directory = new_directory(path, descriptor, level);
    if (level > directory->level)
        directory->level = level;
    directory->references++;
    return directory;
}

static void release_directory(struct directory *directory)
{
    if (--directory->references > 0)
        return;
    if (directory->descriptor >= 0) {
        table_remove(&notifier.directories, &directory->link);
        if (notifier.descriptor >= 0)
            inotify_rm_watch(notifier.descriptor, directory->descriptor);
    }
    free(directory->path);
    free(directory);
}

/* Interests ----------------------------------------------------------------------------------- */

static uint64_t interest_key(const struct directory *directory, const char *name)
{
    return table_hash((uint64_t)(uintptr_t)directory >> 4, name);
}

struct interest *interest_add(const char *path, const char *name, enum level level,
                              interest_notice *notice, void *owner)
{
    struct interest *interest = memory_take(sizeof *interest);
    struct directory *directory = acquire_directory(path, level);
    if (!directory) {
        free(interest);
        return NULL;
    }
    interest->directory = directory;
    interest->name = name;
    interest->notice = notice;
    interest->owner = owner;
    if (name && *name) {
        table_add(&notifier.interests, &interest->link, interest_key(directory, name));
        return interest;
    }
    interest->here_at = name ? &directory->listeners : &directory->owners;
    interest->next_here = *interest->here_at;
    if (interest->next_here)
        interest->next_here->here_at = &interest->next_here;
    *interest->here_at = interest;
    return interest;
}

void interest_remove(struct interest *interest)
{
    if (interest->here_at) {
        *interest->here_at = interest->next_here;
        if (interest->next_here)
            interest->next_here->here_at = interest->here_at;
    } else {
        table_remove(&notifier.interests, &interest->link);
    }
    release_directory(interest->directory);
    free(interest);
}

void interest_raise(struct interest *interest, enum level level)
{
    struct directory *directory = interest->directory;
    if (level <= directory->level || directory->descriptor < 0 || notifier.descriptor < 0)
        return;
    int descriptor = ask(directory->path, level);
    if (descriptor == directory->descriptor)
        directory->level = level;
    else if (descriptor >= 0 && !find_directory(descriptor))
        inotify_rm_watch(notifier.descriptor, descriptor);   /* the path leads elsewhere by now */
}

/* Events -------------------------------------------------------------------------------------- */

static void tell(struct interest *list, const struct inotify_event *event)
{
    for (; list; list = list->next_here)
        list->notice(list, event);
}

static void tell_named(struct directory *directory, const struct inotify_event *event)
{
    uint64_t key = interest_key(directory, event->name);
    for (struct link *link = table_first(&notifier.interests, key); link; link = table_next(link)) {
        struct interest *interest = (struct interest *)link;
        if (interest->directory == directory && strcmp(interest->name, event->name) == 0)
            interest->notice(interest, event);
    }
}

static void dispatch(const struct inotify_event *event)
{
    struct directory *directory = find_directory(event->wd);
    if (!directory)
        return;
    if (event->len > 0) {
        tell_named(directory, event);
        tell(directory->listeners, event);
        return;
    }
    if (event->mask & IN_IGNORED) {
        table_remove(&notifier.directories, &directory->link);
        directory->descriptor = -1;
    }
    tell(directory->owners, event);
}

bool inotify_read(void)
{
    _Alignas(struct inotify_event) char buffer[65536];
    bool is_complete = true;
    ssize_t size = read(notifier.descriptor, buffer, sizeof buffer);
    for (ssize_t at = 0; at < size;) {
        const struct inotify_event *event = (const void *)(buffer + at);
        if (event->mask & IN_Q_OVERFLOW)
            is_complete = false;
        else
            dispatch(event);
        at += (ssize_t)(sizeof *event + event->len);
    }
    return is_complete;
}

#endif
