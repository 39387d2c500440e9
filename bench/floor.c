/* floor.c: the least that a reload can cost: inotify event, copy of the file, dlopen, dlsym, call. No check,
 * no types, no state. Another process renames the file, as a linker does.
 *   floor reload PLUGIN VERSION_A VERSION_B ROUNDS DIRECTORY   prints the median microseconds from the
 *     rename to the first call into the new code
 *   floor rename   for each line "FROM TO": renames, when the other side has gone to sleep, and prints when
 *     that began, in ns of CLOCK_MONOTONIC */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
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

static int serve_renames(FILE *input, FILE *output)
{
    char from[4096], to[4096];
    while (fscanf(input, "%4095s %4095s", from, to) == 2) {
        usleep(150000);      /* long enough for processors to sleep as deeply as before an edit */
        double begun = now_us();
        if (rename(from, to) != 0)
            fail("rename");
        fprintf(output, "%.0f\n", begun * 1e3);
        fflush(output);
    }
    return 0;
}

/* A process that renames on demand. */
static void start_renamer(FILE **request, FILE **answer)
{
    int to[2], from[2];
    if (pipe(to) != 0 || pipe(from) != 0)
        fail("pipe");
    if (fork() == 0) {
        close(to[1]);
        close(from[0]);
        _exit(serve_renames(fdopen(to[0], "r"), fdopen(from[1], "w")));
    }
    close(to[0]);
    close(from[1]);
    *request = fdopen(to[1], "w");
    *answer = fdopen(from[0], "r");
}

/* From the event to the call. Returns when that was. */
static double take(int watch, const char *plugin, const char *private_path, int expected)
{
    char events[4096];
    if (read(watch, events, sizeof events) <= 0)
        fail("inotify");
    copy(plugin, private_path);
    void *handle = dlopen(private_path, RTLD_NOW | RTLD_LOCAL);
    int (*version)(void) = handle ? (int (*)(void))dlsym(handle, "version") : NULL;
    if (!version || version() != expected) {
        fprintf(stderr, "floor: wrong version: %s\n", dlerror());
        exit(1);
    }
    double reached = now_us();
    dlclose(handle);
    unlink(private_path);
    return reached;
}

static int measure_reloads(const char *plugin, char **versions, int rounds, const char *directory)
{
    int watch = inotify_init1(IN_CLOEXEC);
    char watched[4096], next[4200], private_path[4200], events[4096];
    double *times = calloc((size_t)rounds, sizeof *times), begun;
    FILE *request, *answer;
    start_renamer(&request, &answer);
    snprintf(watched, sizeof watched, "%s", plugin);
    *strrchr(watched, '/') = 0;
    inotify_add_watch(watch, watched, IN_CLOSE_WRITE | IN_MOVED_TO);
    snprintf(next, sizeof next, "%s.next", plugin);
    for (int i = 0; i < rounds; i++) {
        unlink(next);
        copy(versions[i % 2], next);
        if (read(watch, events, sizeof events) <= 0)
            fail("inotify");
        fprintf(request, "%s %s\n", next, plugin);
        fflush(request);
        snprintf(private_path, sizeof private_path, "%s/floor.%d.so", directory, i);
        double reached = take(watch, plugin, private_path, 1 + i % 2);
        if (fscanf(answer, "%lf", &begun) != 1)
            fail("renamer");
        times[i] = reached - begun / 1e3;
    }
    qsort(times, (size_t)rounds, sizeof *times, compare);
    printf("%.1f\n", times[rounds / 2]);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "rename") == 0)
        return serve_renames(stdin, stdout);
    if (argc == 7 && strcmp(argv[1], "reload") == 0)
        return measure_reloads(argv[2], argv + 3, atoi(argv[5]), argv[6]);
    return 2;
}
