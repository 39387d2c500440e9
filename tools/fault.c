/* fault.c: makes the n-th allocation or system call of the program's own code fail. Part of no program that
 * is shipped: tools/fault.mk links it in place of the functions named at the end. The program's Lua code
 * reaches what is exported here through hot.self(). */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ffi.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "thread.h"

#define EXPORTED __attribute__((visibility("default")))
EXPORTED void fault_arm(int n);
EXPORTED int fault_disarm(void);
EXPORTED const char *fault_name(void);
EXPORTED void *fault_place(void);
EXPORTED void fault_mark(void);
EXPORTED int fault_block_count(void);
EXPORTED int fault_thread_count(void);
EXPORTED void *fault_new_block(int i);

enum { MOST_BLOCKS = 1 << 18 };

struct block {
    void *memory, *place;        /* the block, and who asked for it */
    unsigned mark;
};

static int left;                         /* points to pass before the one that fails; 0: none will */
static int passed;
static const char *failed_name;
static void *failed_place;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct block blocks[MOST_BLOCKS]; /* a hash table of what is allocated */
static int block_count;
static unsigned mark;

/* Points ------------------------------------------------------------------------------------- */

/* Make the n-th point from here on fail, once; 0: only count. */
void fault_arm(int n)
{
    failed_name = NULL;
    failed_place = NULL;
    __atomic_store_n(&passed, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&left, n, __ATOMIC_SEQ_CST);
}

/* No more failing. Returns how many points were passed since fault_arm. */
int fault_disarm(void)
{
    __atomic_store_n(&left, 0, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&passed, __ATOMIC_SEQ_CST);
}

static void count_thread(struct thread *thread, void *context)
{
    (void)thread;
    ++*(int *)context;
}

/* The threads that have run code of plugins. */
int fault_thread_count(void)
{
    int count = 0;
    thread_each(count_thread, &count);
    return count;
}

/* The function that failed, NULL: none did; and where it was called. */
const char *fault_name(void)
{
    return failed_name;
}

void *fault_place(void)
{
    return failed_place;
}

static bool fails(const char *name, void *place)
{
    __atomic_add_fetch(&passed, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&left, __ATOMIC_SEQ_CST) <= 0 || __atomic_sub_fetch(&left, 1, __ATOMIC_SEQ_CST) != 0)
        return false;
    failed_name = name;
    failed_place = place;
    return true;
}

/* HOTLUA_FAULT=n: the n-th point of the process, and of those that it starts. */
__attribute__((constructor)) static void arm_from_environment(void)
{
    const char *text = getenv("HOTLUA_FAULT");
    if (text)
        fault_arm(atoi(text));
}

__attribute__((destructor)) static void say_whether_reached(void)
{
    if (getenv("HOTLUA_FAULT"))
        fprintf(stderr, "fault: %s\n", failed_name ? failed_name : "not reached");
}

/* Blocks ------------------------------------------------------------------------------------- */

static struct block *find_block(const void *memory)
{
    size_t i = ((uintptr_t)memory >> 4) * 0x9e3779b97f4a7c15u >> 40;
    while (blocks[i % MOST_BLOCKS].memory && blocks[i % MOST_BLOCKS].memory != memory)
        i++;
    return &blocks[i % MOST_BLOCKS];
}

static void *add_block(void *memory, void *place)
{
    pthread_mutex_lock(&lock);
    if (memory && block_count < MOST_BLOCKS / 2) {
        *find_block(memory) = (struct block){memory, place, mark};
        block_count++;
    }
    pthread_mutex_unlock(&lock);
    return memory;
}

/* What follows in the table moves up. */
static void remove_block(const void *memory)
{
    pthread_mutex_lock(&lock);
    struct block *block = find_block(memory);
    if (memory && block->memory) {
        block->memory = NULL;
        block_count--;
        for (size_t i = (size_t)(block - blocks) + 1; blocks[i % MOST_BLOCKS].memory; i++) {
            struct block moved = blocks[i % MOST_BLOCKS];
            blocks[i % MOST_BLOCKS].memory = NULL;
            *find_block(moved.memory) = moved;
        }
    }
    pthread_mutex_unlock(&lock);
}

/* Blocks allocated from here on are new. */
void fault_mark(void)
{
    mark++;
}

int fault_block_count(void)
{
    pthread_mutex_lock(&lock);
    int count = block_count;
    pthread_mutex_unlock(&lock);
    return count;
}

/* Who asked for the i-th of the blocks that are new and still there; NULL: there are no more. */
void *fault_new_block(int i)
{
    void *place = NULL;
    pthread_mutex_lock(&lock);
    for (struct block *block = blocks; !place && block < blocks + MOST_BLOCKS; block++)
        if (block->memory && block->mark == mark && i-- == 0)
            place = block->place;
    pthread_mutex_unlock(&lock);
    return place;
}

/* Allocation ---------------------------------------------------------------------------------- */

#define PLACE __builtin_return_address(0)
#define WRAP(type, name, ...) type __wrap_##name(__VA_ARGS__); type __wrap_##name(__VA_ARGS__)
#define ALLOCATION(name, call, ...) WRAP(void *, name, __VA_ARGS__) \
    { if (fails(#name, PLACE)) { errno = ENOMEM; return NULL; } return add_block(call, PLACE); }

ALLOCATION(malloc, malloc(size), size_t size)
ALLOCATION(calloc, calloc(count, size), size_t count, size_t size)
ALLOCATION(aligned_alloc, aligned_alloc(alignment, size), size_t alignment, size_t size)
ALLOCATION(strdup, strdup(text), const char *text)

static void *resize(void *memory, size_t size, void *place)
{
    remove_block(memory);        /* before another thread gets the same address */
    void *resized = realloc(memory, size);
    return add_block(resized ? resized : memory, place) == resized ? resized : NULL;
}

WRAP(void *, realloc, void *memory, size_t size)
{
    return fails("realloc", PLACE) ? NULL : resize(memory, size, PLACE);
}

WRAP(void *, reallocarray, void *memory, size_t count, size_t size)
{
    return fails("reallocarray", PLACE) ? NULL : resize(memory, count * size, PLACE);
}

WRAP(int, vasprintf, char **text, const char *format, va_list values)
{
    int length = fails("vasprintf", PLACE) ? -1 : vasprintf(text, format, values);
    if (length >= 0)
        add_block(*text, PLACE);
    return length;
}

WRAP(int, asprintf, char **text, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    int length = fails("asprintf", PLACE) ? -1 : vasprintf(text, format, values);
    va_end(values);
    if (length >= 0)
        add_block(*text, PLACE);
    return length;
}

WRAP(void, free, void *memory)
{
    remove_block(memory);
    free(memory);
}

/* System calls --------------------------------------------------------------------------------- */

#define CALL(type, name, failure, code, call, ...) WRAP(type, name, __VA_ARGS__) \
    { if (fails(#name, PLACE)) { errno = code; return failure; } return call; }
#define STATUS(name, code, call, ...) WRAP(int, name, __VA_ARGS__) { return fails(#name, PLACE) ? code : call; }

CALL(int, open, -1, EMFILE, open(path, flags, mode), const char *path, int flags, mode_t mode)
CALL(int, openat, -1, EMFILE, openat(at, path, flags, mode), int at, const char *path, int flags, mode_t mode)
CALL(int, fcntl, -1, EMFILE, fcntl(descriptor, command, value), int descriptor, int command, long value)
CALL(ssize_t, read, -1, EIO, read(descriptor, to, size), int descriptor, void *to, size_t size)
CALL(ssize_t, pread, -1, EIO, pread(descriptor, to, size, at), int descriptor, void *to, size_t size, off_t at)
CALL(ssize_t, sendfile, -1, EIO, sendfile(to, from, at, size), int to, int from, off_t *at, size_t size)
CALL(off_t, lseek, -1, EIO, lseek(descriptor, at, from), int descriptor, off_t at, int from)
CALL(int, ftruncate, -1, ENOSPC, ftruncate(descriptor, size), int descriptor, off_t size)
CALL(int, fstat, -1, EIO, fstat(descriptor, status), int descriptor, struct stat *status)
CALL(int, stat, -1, EACCES, stat(path, status), const char *path, struct stat *status)
CALL(int, lstat, -1, EACCES, lstat(path, status), const char *path, struct stat *status)
CALL(ssize_t, readlink, -1, EIO, readlink(path, to, size), const char *path, char *to, size_t size)
CALL(ssize_t, readlinkat, -1, EIO, readlinkat(at, path, to, size), int at, const char *path, char *to, size_t size)
CALL(char *, realpath, NULL, ENOMEM, realpath(path, to), const char *path, char *to)
CALL(char *, mkdtemp, NULL, EACCES, mkdtemp(path), char *path)
CALL(int, flock, -1, ENOLCK, flock(descriptor, how), int descriptor, int how)
CALL(DIR *, opendir, NULL, EMFILE, opendir(path), const char *path)
CALL(DIR *, fdopendir, NULL, ENOMEM, fdopendir(descriptor), int descriptor)
CALL(void *, mmap, MAP_FAILED, ENOMEM, mmap(at, size, protection, flags, descriptor, offset),
     void *at, size_t size, int protection, int flags, int descriptor, off_t offset)
CALL(int, mprotect, -1, ENOMEM, mprotect(at, size, protection), void *at, size_t size, int protection)
CALL(int, socketpair, -1, EMFILE, socketpair(domain, type, protocol, pair), int domain, int type, int protocol,
     int *pair)
CALL(ssize_t, send, -1, EPIPE, send(socket, from, size, flags), int socket, const void *from, size_t size, int flags)
CALL(ssize_t, recv, -1, ECONNRESET, recv(socket, to, size, flags), int socket, void *to, size_t size, int flags)
CALL(int, poll, -1, ENOMEM, poll(list, count, limit), struct pollfd *list, nfds_t count, int limit)
CALL(pid_t, fork, -1, EAGAIN, fork(), void)
CALL(int, pipe2, -1, EMFILE, pipe2(ends, flags), int *ends, int flags)
CALL(int, eventfd, -1, EMFILE, eventfd(value, flags), unsigned value, int flags)
CALL(int, inotify_init1, -1, EMFILE, inotify_init1(flags), int flags)
CALL(int, inotify_add_watch, -1, ENOSPC, inotify_add_watch(descriptor, path, mask), int descriptor, const char *path,
     uint32_t mask)
CALL(void *, ffi_closure_alloc, NULL, ENOMEM, ffi_closure_alloc(size, code), size_t size, void **code)
STATUS(pthread_create, EAGAIN, pthread_create(thread, attributes, run, context), pthread_t *thread,
       const pthread_attr_t *attributes, void *(*run)(void *), void *context)
STATUS(posix_spawn, ENOMEM, posix_spawn(child, path, actions, attributes, arguments, environment), pid_t *child,
       const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
       char *const *arguments, char *const *environment)
STATUS(posix_spawnp, ENOMEM, posix_spawnp(child, path, actions, attributes, arguments, environment), pid_t *child,
       const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
       char *const *arguments, char *const *environment)

/* The loader has its own way of telling why. */
static __thread bool has_loader_failed;

WRAP(void *, dlopen, const char *path, int flags)
{
    has_loader_failed = fails("dlopen", PLACE);
    return has_loader_failed ? NULL : dlopen(path, flags);
}

WRAP(char *, dlerror, void)
{
    static char said[] = "cannot allocate memory for the library";
    bool is_ours = has_loader_failed;
    has_loader_failed = false;
    return is_ours ? said : dlerror();
}
