/* probe.c: the probe's two sides: the host asks a helper process, the helper forks, and the child
 * opens the file. Neither side knows anything of plugins. */
#include "probe.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum phase { PHASE_OPENING, PHASE_CLOSING, PHASE_DONE };

enum { SOCKET = 3, SAID = 400 };

struct request {
    uint32_t limit_ms;
    char path[PATH_MAX];
};

struct answer {
    int32_t status;          /* as of waitpid */
    uint32_t phase;          /* how far the child came */
    uint32_t is_timeout;
    char said[SAID];         /* the end of what it wrote to stderr */
};

/* The child ---------------------------------------------------------------------------------- */

/* Open and close the file. Its output goes to `said`, and nothing of it stays. */
static void open_in_child(const char *path, int said, volatile uint32_t *phase)
{
    struct rlimit none = {0, 0};
    sigset_t nothing;
    setpgid(0, 0);
    setrlimit(RLIMIT_CORE, &none);
    sigemptyset(&nothing);
    sigprocmask(SIG_SETMASK, &nothing, NULL);
    dup2(said, STDOUT_FILENO);
    dup2(said, STDERR_FILENO);
    close(SOCKET);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    *phase = PHASE_CLOSING;
    if (handle)
        dlclose(handle);
    *phase = PHASE_DONE;
    _exit(0);
}

/* The helper --------------------------------------------------------------------------------- */

/* Wait for the child, at most so long. False: it had to be killed. */
static bool await_child(pid_t child, unsigned limit_ms, int32_t *status)
{
    struct timespec limit = {limit_ms / 1000, (long)(limit_ms % 1000) * 1000000};
    sigset_t ended;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    int value = 0;
    while (waitpid(child, &value, WNOHANG) == 0) {
        if (sigtimedwait(&ended, NULL, &limit) < 0 && errno == EAGAIN) {
            kill(-child, SIGKILL);
            kill(child, SIGKILL);
            waitpid(child, &value, 0);
            return false;
        }
    }
    kill(-child, SIGKILL);               /* what it may have started itself */
    *status = value;
    return true;
}

static void read_end(int descriptor, char *text, size_t size)
{
    off_t length = lseek(descriptor, 0, SEEK_END);
    off_t from = length > (off_t)size - 1 ? length - (off_t)size + 1 : 0;
    ssize_t count = pread(descriptor, text, size - 1, from);
    text[count > 0 ? count : 0] = 0;
    for (size_t end = strlen(text); end > 0 && text[end - 1] == '\n'; end--)
        text[end - 1] = 0;
}

static void serve_request(const struct request *request, struct answer *answer,
                          volatile uint32_t *phase)
{
    int said = memfd_create("hotlua-probe", MFD_CLOEXEC);
    *phase = PHASE_OPENING;
    pid_t child = fork();
    if (child == 0)
        open_in_child(request->path, said, phase);
    answer->is_timeout = child > 0 && !await_child(child, request->limit_ms, &answer->status);
    answer->phase = child > 0 ? *phase : PHASE_DONE;
    read_end(said, answer->said, sizeof answer->said);
    close(said);
}

int probe_serve(void)
{
    static struct request request;
    sigset_t ended;
    volatile uint32_t *phase = mmap(NULL, sizeof *phase, PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (phase == MAP_FAILED)
        return 1;
    prctl(PR_SET_NAME, "hotlua-probe");
    close_range(SOCKET + 1, ~0u, 0);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 3; i++)
        dup2(null, i);
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ended, NULL);
    signal(SIGINT, SIG_IGN);             /* Ctrl-C is for the host, whose end is seen here */
    for (;;) {
        struct answer answer = {0};
        ssize_t size = recv(SOCKET, &request, sizeof request, 0);
        if (size < 0 && errno == EINTR)
            continue;
        if (size <= (ssize_t)sizeof request.limit_ms)
            return 0;
        serve_request(&request, &answer, phase);
        if (send(SOCKET, &answer, sizeof answer, MSG_NOSIGNAL) < 0)
            return 0;
    }
}

/* The host ----------------------------------------------------------------------------------- */

/* Helpers that nobody is using: one, unless a file hangs while another is probed. */
enum { MAX_IDLE = 4 };
struct helper {
    int socket;
    pid_t process;
};

static struct {
    pthread_mutex_t lock;
    struct helper helpers[MAX_IDLE];
    unsigned count;
} idle = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool start_helper(struct helper *helper, struct error *error)
{
    char program[PATH_MAX] = "", *arguments[] = {"hotlua-probe", PROBE_ARGUMENT, NULL};
    int pair[2] = {-1, -1};
    posix_spawn_file_actions_t actions;
    extern char **environ;
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return error_set_stage(error, "probe", "the probe cannot be started: %s; `probe = false` "
                               "loads without it", strerror(errno));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pair[1], SOCKET);
    if (pair[1] == SOCKET)               /* dup2 to itself keeps FD_CLOEXEC only in old C libraries */
        fcntl(SOCKET, F_SETFD, 0);
    int failure = posix_spawn(&helper->process, program, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pair[1]);
    helper->socket = pair[0];
    if (failure == 0)
        return true;
    close(pair[0]);
    return error_set_stage(error, "probe", "the probe cannot be started: %s: %s; `probe = false` "
                           "loads without it", program, strerror(failure));
}

static void end_helper(const struct helper *helper)
{
    close(helper->socket);
    kill(helper->process, SIGKILL);
    waitpid(helper->process, NULL, 0);
}

static bool take_helper(struct helper *helper, struct error *error)
{
    pthread_mutex_lock(&idle.lock);
    bool is_there = idle.count > 0;
    if (is_there)
        *helper = idle.helpers[--idle.count];
    pthread_mutex_unlock(&idle.lock);
    return is_there || start_helper(helper, error);
}

static void give_back_helper(const struct helper *helper)
{
    pthread_mutex_lock(&idle.lock);
    bool is_kept = idle.count < MAX_IDLE;
    if (is_kept)
        idle.helpers[idle.count++] = *helper;
    pthread_mutex_unlock(&idle.lock);
    if (!is_kept)
        end_helper(helper);
}

static bool ask(int socket, const struct request *request, struct answer *answer)
{
    size_t size = offsetof(struct request, path) + strlen(request->path) + 1;
    struct pollfd readable = {.fd = socket, .events = POLLIN};
    ssize_t count = send(socket, request, size, MSG_NOSIGNAL);
    if (count < 0)
        return false;
    while (poll(&readable, 1, (int)request->limit_ms + 2000) < 0 && errno == EINTR)
        ;
    do
        count = recv(socket, answer, sizeof *answer, MSG_DONTWAIT);
    while (count < 0 && errno == EINTR);
    return count == sizeof *answer;
}

static bool judge(const char *source, const struct answer *answer, unsigned limit_ms,
                  struct error *error)
{
    static const char *const where[] = {"while it was opened", "while it was closed", ""};
    const char *when = where[answer->phase <= PHASE_DONE ? answer->phase : PHASE_DONE];
    const char *said = answer->said, *colon = *said ? ": " : "";
    int status = answer->status;
    if (answer->is_timeout)
        return error_set_stage(error, "probe", "%s: not done after %u ms %s (an endless loop in a "
                               "constructor or destructor?)", source, limit_ms, when);
    if (WIFSIGNALED(status))
        return error_set_stage(error, "probe", "%s: SIG%s in a trial process %s (a constructor or "
                               "destructor crashed, or the file is damaged)%s%s", source,
                               sigabbrev_np(WTERMSIG(status)), when, colon, said);
    if (answer->phase != PHASE_DONE)
        return error_set_stage(error, "probe", "%s: the process was ended with status %d %s (a "
                               "constructor or destructor called exit, or the file is damaged)%s%s",
                               source, WEXITSTATUS(status), when, colon, said);
    return true;
}

bool probe_open(const char *path, const char *source, unsigned limit_ms, struct error *error)
{
    struct request request = {.limit_ms = limit_ms};
    struct answer answer = {0};
    bool has_answer = false;
    snprintf(request.path, sizeof request.path, "%s", path);
    for (int attempt = 0; attempt < 2 && !has_answer; attempt++) {
        struct helper helper;
        if (!take_helper(&helper, error))
            return false;
        has_answer = ask(helper.socket, &request, &answer);
        if (has_answer)
            give_back_helper(&helper);
        else
            end_helper(&helper);
    }
    if (!has_answer)
        return error_set_stage(error, "probe", "%s: the probe's helper process ended without an answer",
                               source);
    return judge(source, &answer, limit_ms, error);
}
