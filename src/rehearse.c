/* rehearse.c: forks, waits, and reads what the copy has to say. */
#include "rehearse.h"

#include "fork_lock.h"
#include "guard.h"
#include "loader.h"
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { IDLE_MS = 100 };       /* the loader usually has nothing to do, or closes an image */

struct rehearsal {
    pid_t process;
    int speech, output;      /* pipe to read from; memory file */
};

/* The copy -------------------------------------------------------------------------------------- */

static void set_up_copy(pid_t parent, int output)
{
    struct rlimit none = {0, 0};
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(0);
    setrlimit(RLIMIT_CORE, &none);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    dup2(null, STDIN_FILENO);
    close(null);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
}

static void write_all(int descriptor, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t count = write(descriptor, bytes, size);
        if (count < 0 && errno != EINTR)
            return;
        if (count > 0) {
            bytes += count;
            size -= (size_t)count;
        }
    }
}

static void play_copy(char *(*play)(void *context, size_t *size), void *context, int speech)
{
    size_t size = 0;
    char *text = play(context, &size);
    fflush(stdout);
    fflush(stderr);
    write_all(speech, text ? text : "", text ? size : 0);
    _exit(0);
}

/* This process ---------------------------------------------------------------------------------- */

static void close_both(const int *ends)
{
    close(ends[0]);
    close(ends[1]);
}

struct rehearsal *rehearse_begin(char *(*play)(void *context, size_t *size), void *context,
                                 struct error *error)
{
    struct rehearsal *rehearsal = calloc(1, sizeof *rehearsal);
    int ends[2];
    if (!rehearsal || pipe2(ends, O_CLOEXEC) != 0) {
        error_set_stage(error, "rehearse", "no copy of the process can be made: %s", strerror(errno));
        free(rehearsal);
        return NULL;
    }
    rehearsal->speech = ends[0];
    rehearsal->output = memfd_create("hotlua-rehearsal", MFD_CLOEXEC);
    fflush(NULL);            /* what is in the buffers would be written twice */
    pid_t parent = getpid();
    loader_await_idle(IDLE_MS);
    loader_lock();
    rehearsal->process = rehearsal->output < 0 ? -1 : fork();
    int failure = errno;
    loader_unlock();
    if (rehearsal->process == 0) {
        fork_lock_reset();
        guard_adopt_process();
        probe_forget_helpers();
        close(ends[0]);
        set_up_copy(parent, rehearsal->output);
        play_copy(play, context, ends[1]);
    }
    if (rehearsal->process > 0) {
        close(ends[1]);
        return rehearsal;
    }
    error_set_stage(error, "rehearse", "no copy of the process can be made: %s", strerror(failure));
    close_both(ends);
    if (rehearsal->output >= 0)
        close(rehearsal->output);
    free(rehearsal);
    return NULL;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* What the copy says, up to its end. False: it took too long. */
static bool hear(const struct rehearsal *rehearsal, unsigned limit_ms, struct rehearsal_result *result)
{
    int64_t until = now_ms() + limit_ms;
    char buffer[4096];
    for (;;) {
        struct pollfd descriptor = {.fd = rehearsal->speech, .events = POLLIN};
        int64_t left = until - now_ms();
        int count = poll(&descriptor, 1, left > 0 ? (int)left : 0);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return false;
        ssize_t size = read(rehearsal->speech, buffer, sizeof buffer);
        if (size < 0 && errno == EINTR)
            continue;
        if (size <= 0)
            return true;
        char *text = realloc(result->text, result->size + (size_t)size + 1);
        if (!text)
            return true;
        result->text = text;
        memcpy(text + result->size, buffer, (size_t)size);
        result->size += (size_t)size;
        text[result->size] = 0;
    }
}

static void read_output(int descriptor, struct rehearsal_result *result)
{
    result->output = calloc(1, REHEARSAL_OUTPUT + 1);
    ssize_t size = result->output ? pread(descriptor, result->output, REHEARSAL_OUTPUT, 0) : 0;
    result->output_size = size > 0 ? (size_t)size : 0;
}

struct rehearsal_result rehearse_end(struct rehearsal *rehearsal, unsigned limit_ms)
{
    struct rehearsal_result result = {.end = REHEARSAL_LATE};
    int status = 0;
    bool is_late = !hear(rehearsal, limit_ms, &result);
    if (is_late)
        kill(rehearsal->process, SIGKILL);
    while (waitpid(rehearsal->process, &status, 0) < 0 && errno == EINTR)
        ;
    kill(-rehearsal->process, SIGKILL);          /* what it has started itself */
    bool is_signalled = WIFSIGNALED(status);
    if (!is_late)
        result.end = result.size > 0 ? REHEARSAL_SPOKE
                   : is_signalled ? REHEARSAL_SIGNALLED : REHEARSAL_EXITED;
    result.code = is_signalled ? WTERMSIG(status) : WEXITSTATUS(status);
    read_output(rehearsal->output, &result);
    close(rehearsal->speech);
    close(rehearsal->output);
    free(rehearsal);
    return result;
}
