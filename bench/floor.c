/* floor.c: the least that a reload can cost: inotify event, copy of the file, dlopen, dlsym, call. No check, no
 * types, no state. Prints the median microseconds from the rename to the first call into the new code.
 * Usage: floor PLUGIN VERSION_A VERSION_B ROUNDS DIRECTORY */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static double now_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void copy(const char *from, const char *to)
{
    static char buffer[1 << 16];
    int input = open(from, O_RDONLY | O_CLOEXEC), output = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    ssize_t size;
    if (input < 0 || output < 0)
        fail("copy");
    while ((size = read(input, buffer, sizeof buffer)) > 0)
        if (write(output, buffer, (size_t)size) != size)
            fail("write");
    close(input);
    close(output);
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    const char *plugin = argv[1], *directory = argv[5];
    int rounds = atoi(argv[4]), watch = inotify_init1(IN_CLOEXEC);
    char watched[4096], next[4200], private_path[4200], events[65536];
    double *times = calloc((size_t)rounds, sizeof *times);
    snprintf(watched, sizeof watched, "%s", plugin);
    *strrchr(watched, '/') = 0;
    inotify_add_watch(watch, watched, IN_CLOSE_WRITE | IN_MOVED_TO);
    for (int i = 0; i < rounds; i++) {
        snprintf(next, sizeof next, "%s.next", plugin);
        unlink(next);
        copy(argv[2 + i % 2], next);
        while (read(watch, events, sizeof events) > 0 && poll(&(struct pollfd){watch, POLLIN, 0}, 1, 5) > 0)
            ;
        double begun = now_us();
        if (rename(next, plugin) != 0)
            fail("rename");
        if (read(watch, events, sizeof events) <= 0)
            fail("inotify");
        snprintf(private_path, sizeof private_path, "%s/floor.%d.so", directory, i);
        copy(plugin, private_path);
        void *handle = dlopen(private_path, RTLD_NOW | RTLD_LOCAL);
        int (*version)(void) = handle ? (int (*)(void))dlsym(handle, "version") : NULL;
        if (!version || version() != 1 + i % 2) {
            fprintf(stderr, "floor: wrong version: %s\n", dlerror());
            return 1;
        }
        times[i] = now_us() - begun;
        dlclose(handle);
        unlink(private_path);
    }
    qsort(times, (size_t)rounds, sizeof *times, compare);
    printf("%.1f\n", times[rounds / 2]);
    return 0;
}
