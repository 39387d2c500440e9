/* stage.c: private copies of plugin files, in directories that only this user may enter. A directory
 * is locked (flock) while its process lives, so that the next one can tell what a dead one left. */
#include "stage.h"

#include "memory.h"
#include "trust.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const off_t SIZE_LIMIT = (off_t)4 << 30;
enum {
    NOT_ELF_BYTES = 4096,                /* of a file that is none, enough to say what it is */
    HOLLOW_BYTES = 16 << 20              /* from this size on a file may not be nearly all hole */
};
enum { MAX_PLACES = 4, NEW_S = 10 };

struct stage {
    char *path;
    char *source;
    const void *bytes;
    size_t size;
    struct stat status;      /* of the source, before the copy began */
    pid_t process;           /* whose file it is: a forked copy leaves it alone */
    unsigned holders;        /* atomic: the owner, and who needs the bytes */
};

/* The directories made so far, each on a file system of its own: when one is full, the next. */
static struct {
    pthread_mutex_t lock;
    char paths[MAX_PLACES][64];
    int descriptors[MAX_PLACES];         /* hold the lock of the directory */
    unsigned count, tried;
    unsigned long copies;    /* made so far: no path is used twice */
} places = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Directories -------------------------------------------------------------------------------- */

static const char *place_parent(unsigned i)
{
    const char *temporary = secure_getenv("TMPDIR");
    switch (i) {
    case 0: return "/dev/shm";           /* memory: a copy there costs no disk */
    case 1: return temporary && *temporary == '/' && strlen(temporary) < 40 ? temporary : "/tmp";
    case 2: return "/tmp";
    default: return "/var/tmp";
    }
}

static void remove_directory(int parent, const char *name)
{
    int descriptor = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *directory = descriptor < 0 ? NULL : fdopendir(descriptor);
    if (!directory) {
        if (descriptor >= 0)
            close(descriptor);
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(directory), entry->d_name, 0);
    closedir(directory);
    unlinkat(parent, name, AT_REMOVEDIR);
}

/* Is it the name of a directory of ours (make_place)? Others may call theirs hotlua-something, too. */
static bool is_place(const char *name, long *process)
{
    int end = 0;
    return sscanf(name, "hotlua-%ld-%*6[A-Za-z0-9]%n", process, &end) == 1 && end > 0 && !name[end] &&
           *process > 0;
}

/* Has the process that made it died? One that it has just made may not be locked yet. */
static bool is_left(int descriptor, long process)
{
    struct stat status;
    if (fstat(descriptor, &status) != 0 || status.st_uid != geteuid())
        return false;
    bool is_new = time(NULL) - status.st_ctim.tv_sec < NEW_S;
    bool is_alive = kill((pid_t)process, 0) == 0 || errno != ESRCH;
    return !(is_new && is_alive) && flock(descriptor, LOCK_EX | LOCK_NB) == 0;
}

/* Delete the directories of this user that no living process holds the lock of. */
static void sweep(const char *parent)
{
    DIR *directory = opendir(parent);
    if (!directory)
        return;
    for (struct dirent *entry; (entry = readdir(directory));) {
        long process;
        if (!is_place(entry->d_name, &process))
            continue;
        int descriptor = openat(dirfd(directory), entry->d_name,
                                O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (descriptor < 0)
            continue;
        if (is_left(descriptor, process))
            remove_directory(dirfd(directory), entry->d_name);
        close(descriptor);
    }
    closedir(directory);
}

/* May files there be mapped for execution (no noexec)? */
static bool allows_execution(const char *path)
{
    char name[96];
    snprintf(name, sizeof name, "%s/probe", path);
    int descriptor = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    if (descriptor < 0)
        return false;
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *memory = ftruncate(descriptor, (off_t)size) != 0 ? MAP_FAILED :
        mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, descriptor, 0);
    if (memory != MAP_FAILED)
        munmap(memory, size);
    close(descriptor);
    unlink(name);
    return memory != MAP_FAILED;
}

/* A new directory, locked. -1 if none can be made there. */
static int make_place(const char *parent, char *path, size_t size)
{
    snprintf(path, size, "%s/hotlua-%ld-XXXXXX", parent, (long)getpid());
    if (!mkdtemp(path))
        return -1;
    int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor >= 0 && flock(descriptor, LOCK_EX | LOCK_NB) == 0 && allows_execution(path))
        return descriptor;
    if (descriptor >= 0)
        close(descriptor);
    rmdir(path);
    return -1;
}

/* Make a directory under the next parent where one can be made. False when there is no more. */
static bool add_place(void)
{
    while (places.tried < MAX_PLACES) {
        const char *parent = place_parent(places.tried++);
        sweep(parent);
        int descriptor = make_place(parent, places.paths[places.count], sizeof places.paths[0]);
        if (descriptor >= 0) {
            places.descriptors[places.count++] = descriptor;
            return true;
        }
    }
    return false;
}

static const char *place(unsigned i, struct error *error)
{
    pthread_mutex_lock(&places.lock);
    bool is_there = i < places.count || add_place();
    pthread_mutex_unlock(&places.lock);
    if (is_there)
        return places.paths[i];
    error_set_stage(error, "copy", "no directory for private copies of plugins: /dev/shm, %s and "
                    "/var/tmp are full, not writable, or mounted noexec; set TMPDIR", place_parent(1));
    return NULL;
}

const char *stage_directory(struct error *error)
{
    return place(0, error);
}

void stage_cleanup(void)
{
    for (unsigned i = 0; i < places.count; i++) {
        remove_directory(AT_FDCWD, places.paths[i]);
        close(places.descriptors[i]);
    }
    places.count = 0;
}

/* Copies ------------------------------------------------------------------------------------- */

/* Large and nearly all hole? A copy would fill the memory with zeros. */
static bool is_hollow(int descriptor, const struct stat *status)
{
    return status->st_size > HOLLOW_BYTES && status->st_blocks * 512 < status->st_size / 16 &&
           lseek(descriptor, 0, SEEK_HOLE) < status->st_size;
}

static int open_source(const char *source, bool must_be_trusted, struct stat *status, struct error *error)
{
    int descriptor = must_be_trusted ? trust_open(source, error) :
                     open(source, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    const char *why = NULL;
    if (descriptor < 0 && !must_be_trusted)
        error_set_stage(error, "copy", "%s: %s", source, strerror(errno));
    if (descriptor < 0)
        return -1;
    if (fstat(descriptor, status) != 0)
        why = strerror(errno);
    else if (S_ISDIR(status->st_mode))
        why = "is a directory, not a shared object";
    else if (!S_ISREG(status->st_mode))
        why = "is not a regular file";
    else if (status->st_size == 0)
        why = "is empty; is it still being written?";
    else if (status->st_size >= SIZE_LIMIT)
        why = "is 4 GiB or larger, which no plugin is";
    else if (is_hollow(descriptor, status))
        why = "is nearly all hole; is it still being written?";
    if (!why)
        return descriptor;
    error_set_stage(error, "copy", "%s: %s", source, why);
    close(descriptor);
    return -1;
}

/* How much of the file is worth copying: all of it, if it begins as an ELF file does. */
static size_t wanted_size(int descriptor, const struct stat *status)
{
    char magic[SELFMAG];
    size_t size = (size_t)status->st_size;
    ssize_t count = pread(descriptor, magic, sizeof magic, 0);
    bool may_be_elf = count < 0 || (count == (ssize_t)sizeof magic && memcmp(magic, ELFMAG, SELFMAG) == 0);
    return may_be_elf || size < NOT_ELF_BYTES ? size : NOT_ELF_BYTES;
}

/* Copy up to `size` bytes. Returns how many there were (the file may have shrunk), -1 with errno. */
static ssize_t copy_bytes(int from, int to, size_t size)
{
    size_t done = 0;
    while (done < size) {
        off_t offset = (off_t)done;
        ssize_t count = sendfile(to, from, &offset, size - done);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -1;
        if (count == 0)
            break;
        done += (size_t)count;
    }
    return (ssize_t)done;
}

static bool fill(struct stage *stage, int from, int to, struct error *error)
{
    ssize_t size = copy_bytes(from, to, wanted_size(from, &stage->status));
    if (size < 0)
        return error_set_stage(error, "copy", "%s: copying it to %s: %s", stage->source, stage->path,
                               strerror(errno));
    if (size == 0)
        return error_set_stage(error, "copy", "%s: is empty; is it still being written?", stage->source);
    stage->size = (size_t)size;
    void *bytes = mmap(NULL, stage->size, PROT_READ, MAP_PRIVATE, to, 0);
    if (bytes == MAP_FAILED)
        return error_set_stage(error, "copy", "%s: mapping %s: %s", stage->source, stage->path,
                               strerror(errno));
    stage->bytes = bytes;
    return true;
}

/* Try one directory. -1: failed for good; 0: it is full; 1: done. */
static int copy_into(struct stage *stage, const char *directory, const char *name, int from,
                     struct error *error)
{
    unsigned long number = __atomic_add_fetch(&places.copies, 1, __ATOMIC_RELAXED);
    if (asprintf(&stage->path, "%s/%.100s.%lu.so", directory, name, number) < 0) {
        stage->path = NULL;
        error_set_stage(error, "copy", "%s: out of memory", stage->source);
        return -1;
    }
    int to = open(stage->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    bool is_done = to >= 0 ? fill(stage, from, to, error) :
        error_set_stage(error, "copy", "%s: %s", stage->path, strerror(errno));
    bool is_full = !is_done && (errno == ENOSPC || errno == EDQUOT);
    if (to >= 0)
        close(to);
    if (is_done)
        return 1;
    unlink(stage->path);
    free(stage->path);
    stage->path = NULL;
    return is_full ? 0 : -1;
}

static struct stage *copy_source(const char *source, const char *name, bool must_be_trusted,
                                 struct error *error)
{
    struct stage *stage = memory_take(sizeof *stage);
    stage->process = getpid();
    stage->holders = 1;
    int from = open_source(source, must_be_trusted, &stage->status, error);
    int result = from < 0 ? -1 : 0;
    stage->source = memory_copy_text(source);
    for (unsigned i = 0; result == 0 && i < MAX_PLACES; i++) {
        const char *directory = place(i, i == 0 ? error : NULL);
        result = directory ? copy_into(stage, directory, name, from, error) : -1;
    }
    if (from >= 0)
        close(from);
    if (result == 1)
        return stage;
    stage_free(stage);
    return NULL;
}

struct stage *stage_copy(const char *source, const char *name, struct error *error)
{
    return copy_source(source, name, false, error);
}

struct stage *stage_copy_trusted(const char *source, const char *name, struct error *error)
{
    return copy_source(source, name, true, error);
}

static bool write_all(int to, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t count = write(to, bytes, size);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return false;
        bytes += count;
        size -= (size_t)count;
    }
    return true;
}

bool stage_replace(struct stage *stage, const void *bytes, size_t size, struct error *error)
{
    char *path;
    unsigned long number = __atomic_add_fetch(&places.copies, 1, __ATOMIC_RELAXED);
    if (asprintf(&path, "%.*s.%lu.so", (int)strlen(stage->path) - 3, stage->path, number) < 0)
        return error_set_stage(error, "open", "%s: out of memory", stage->source);
    int to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    bool ok = to >= 0 && write_all(to, bytes, size);
    if (!ok)
        error_set_stage(error, "open", "%s: %s: %s", stage->source, path, strerror(errno));
    if (to >= 0)
        close(to);
    unlink(ok ? stage->path : path);
    if (!ok) {
        free(path);
        return false;
    }
    free(stage->path);
    stage->path = path;
    return true;
}

void stage_free(struct stage *stage)
{
    if (!stage)
        return;
    if (stage->path && stage->process == getpid())
        unlink(stage->path);
    stage_let_go(stage);
}

void stage_hold(struct stage *stage)
{
    __atomic_add_fetch(&stage->holders, 1, __ATOMIC_RELAXED);
}

void stage_let_go(void *held)
{
    struct stage *stage = held;
    if (__atomic_sub_fetch(&stage->holders, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    if (stage->bytes)
        munmap((void *)stage->bytes, stage->size);
    free(stage->path);
    free(stage->source);
    free(stage);
}

const char *stage_path(const struct stage *stage)
{
    return stage->path;
}

const void *stage_bytes(const struct stage *stage)
{
    return stage->bytes;
}

size_t stage_size(const struct stage *stage)
{
    return stage->size;
}

/* Comparing ---------------------------------------------------------------------------------- */

/* Multiply and fold, eight bytes at a time: to tell contents apart, not to withstand an attacker. */
uint64_t stage_hash(const struct stage *stage)
{
    const unsigned char *bytes = stage->bytes;
    uint64_t hash = 0x9e3779b97f4a7c15u ^ stage->size;
    for (size_t i = 0; i < stage->size; i += 8) {
        uint64_t word = 0;
        memcpy(&word, bytes + i, stage->size - i < 8 ? stage->size - i : 8);
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    return hash;
}

void stage_sha256(const struct stage *stage, unsigned char digest[32])
{
    crypto_hash_sha256(digest, stage->bytes, stage->size);
}

bool stage_same_content(const struct stage *a, const struct stage *b)
{
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

static bool is_unchanged(const struct stage *stage, const char *path)
{
    struct stat now;
    return stat(path, &now) == 0 && now.st_size == stage->status.st_size &&
           now.st_ino == stage->status.st_ino && now.st_dev == stage->status.st_dev &&
           memcmp(&now.st_mtim, &stage->status.st_mtim, sizeof now.st_mtim) == 0;
}

bool stage_is_outdated(const struct stage *stage)
{
    return !is_unchanged(stage, stage->source);
}

bool stage_is_of(const struct stage *stage, const char *path, ino_t inode)
{
    return stage->status.st_ino == inode && is_unchanged(stage, path);
}
