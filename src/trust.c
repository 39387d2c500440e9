/* trust.c: the way to a file, one descriptor after the other; nothing on it is opened by a name that was
 * not looked at first. */
#include "trust.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_LINKS = 40 };

/* A path being followed. */
struct walk {
    const char *path;            /* the whole one, for error texts */
    int directory;               /* reached so far (O_PATH) */
    bool is_sticky;              /* others may make entries in that directory */
    char real[PATH_MAX];         /* its name, for error texts */
    char rest[PATH_MAX];
    int links;
    struct error *error;
};

static bool refuse(const struct walk *walk, const char *what, const char *why)
{
    return error_set_stage(walk->error, "copy", "%s: not trusted: %s %s", walk->path,
                           what && *what ? what : "/", why);
}

static bool fail(const struct walk *walk, int failure)
{
    return error_set_stage(walk->error, "copy", "%s: %s", walk->path, strerror(failure));
}

static bool is_ours(const struct stat *status)
{
    return status->st_uid == 0 || status->st_uid == geteuid();
}

static bool check_directory(struct walk *walk, const struct stat *status)
{
    bool is_shared = (status->st_mode & (S_IWGRP | S_IWOTH)) != 0;
    if (!is_ours(status))
        return refuse(walk, walk->real, "belongs to another user");
    if (is_shared && !(status->st_mode & S_ISVTX))
        return refuse(walk, walk->real, status->st_mode & S_IWOTH ?
                      "may be written by everybody: chmod o-w" : "may be written by its group: chmod g-w");
    walk->is_sticky = is_shared;
    return true;
}

static bool check_file(const struct walk *walk, const char *name, const struct stat *status)
{
    if (!S_ISREG(status->st_mode))
        return error_set_stage(walk->error, "copy", "%s: is not a regular file", walk->path);
    if (!is_ours(status))
        return refuse(walk, name, "belongs to another user");
    if (status->st_mode & S_IWOTH)
        return refuse(walk, name, "may be written by everybody: chmod o-w");
    if (status->st_mode & S_IWGRP)
        return refuse(walk, name, "may be written by its group: chmod g-w");
    return true;
}

/* `status` is the descriptor's, NULL: not known yet. */
static bool go_to(struct walk *walk, int descriptor, const struct stat *status)
{
    struct stat own;
    if (walk->directory >= 0)
        close(walk->directory);
    walk->directory = descriptor;
    if (descriptor < 0 || (!status && fstat(descriptor, &own) != 0))
        return fail(walk, errno);
    return check_directory(walk, status ? status : &own);
}

static bool go_to_root(struct walk *walk)
{
    walk->real[0] = 0;
    return go_to(walk, open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), NULL);
}

static bool go_up(struct walk *walk)
{
    char *slash = strrchr(walk->real, '/');
    if (slash)
        *slash = 0;
    return go_to(walk, openat(walk->directory, "..", O_PATH | O_DIRECTORY | O_CLOEXEC), NULL);
}

/* Put where the link leads before the rest of the path. */
static bool follow(struct walk *walk, int link, const char *name, const struct stat *status)
{
    char target[PATH_MAX], rest[PATH_MAX];
    if (walk->is_sticky && !is_ours(status))
        return refuse(walk, name, "is a link of another user");
    if (++walk->links > MAX_LINKS)
        return fail(walk, ELOOP);
    ssize_t length = readlinkat(link, "", target, sizeof target - 1);
    if (length < 0)
        return fail(walk, errno);
    target[length] = 0;
    if (snprintf(rest, sizeof rest, "%s/%s", target, walk->rest) >= (int)sizeof rest)
        return fail(walk, ENAMETOOLONG);
    strcpy(walk->rest, rest);
    return target[0] != '/' || go_to_root(walk);
}

/* The file itself, of which `found` holds the place. It is the same that is opened: by its descriptor. */
static int open_file(struct walk *walk, int found, const char *name, const struct stat *status)
{
    char path[64];
    if (!check_file(walk, name, status))
        return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", found);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (descriptor < 0)
        fail(walk, errno);
    return descriptor;
}

/* The next name of the path, cut off; false at its end. */
static bool next_name(struct walk *walk, char *name)
{
    const char *begin = walk->rest + strspn(walk->rest, "/");
    size_t length = strcspn(begin, "/");
    memcpy(name, begin, length);
    name[length] = 0;
    memmove(walk->rest, begin + length, strlen(begin + length) + 1);
    return length > 0;
}

/* One step down. Returns the file's descriptor when it was the last one, -1 on failure, -2 to go on. */
static int enter(struct walk *walk, const char *name)
{
    char real[PATH_MAX];
    struct stat status;
    int result = -1;
    int found = openat(walk->directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (found < 0 || fstat(found, &status) != 0) {
        fail(walk, errno);
    } else if (snprintf(real, sizeof real, "%s/%s", walk->real, name) >= (int)sizeof real) {
        fail(walk, ENAMETOOLONG);
    } else if (S_ISLNK(status.st_mode)) {
        result = follow(walk, found, real, &status) ? -2 : -1;
    } else if (S_ISDIR(status.st_mode)) {
        strcpy(walk->real, real);
        return go_to(walk, found, &status) ? -2 : -1;
    } else if (walk->rest[strspn(walk->rest, "/")]) {
        fail(walk, ENOTDIR);
    } else {
        result = open_file(walk, found, real, &status);
    }
    if (found >= 0)
        close(found);
    return result;
}

static int walk_down(struct walk *walk)
{
    char name[PATH_MAX];
    while (next_name(walk, name)) {
        int result = strcmp(name, ".") == 0 ? -2 : strcmp(name, "..") == 0 ? (go_up(walk) ? -2 : -1) :
                     enter(walk, name);
        if (result != -2)
            return result;
    }
    error_set_stage(walk->error, "copy", "%s: is a directory, not a shared object", walk->path);
    return -1;
}

int trust_open(const char *path, struct error *error)
{
    struct walk walk = {.path = path, .directory = -1, .error = error};
    char here[PATH_MAX] = "";
    int result = -1;
    if (path[0] != '/' && !getcwd(here, sizeof here))
        fail(&walk, errno);
    else if (snprintf(walk.rest, sizeof walk.rest, "%s/%s", here, path) >= (int)sizeof walk.rest)
        fail(&walk, ENAMETOOLONG);
    else if (go_to_root(&walk))
        result = walk_down(&walk);
    if (walk.directory >= 0)
        close(walk.directory);
    return result;
}

bool trust_is_needed(void)
{
    return geteuid() == 0 || geteuid() != getuid() || getegid() != getgid();
}
