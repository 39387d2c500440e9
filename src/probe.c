/* probe.c: the host's side of the probe: helper processes, what is asked of them, and what their answers
 * mean. Knows nothing of plugins. */
#include "probe.h"
#include "probe_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Helpers that nobody is using: one, unless a file hangs while another is probed. */
enum { MAX_IDLE = 4, KILL_MS = 2000 };

struct helper {
    int work, control;
    pid_t process;
};

static struct {
    pthread_mutex_t lock;
    struct helper helpers[MAX_IDLE];
    unsigned count;
} idle = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Starting and ending -------------------------------------------------------------------------- */

/* A copy of the descriptor above those that the helper is to have: moving one must not close another. */
static int move_up(int descriptor)
{
    int moved = fcntl(descriptor, F_DUPFD_CLOEXEC, PROBE_CONTROL + 1);
    close(descriptor);
    return moved;
}

static bool make_pair(int pair[2])
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return false;
    pair[1] = move_up(pair[1]);
    return pair[1] >= 0;
}

static int spawn(const char *program, int work, int control, pid_t *process)
{
    char *arguments[] = {"hotlua-probe", PROBE_ARGUMENT, NULL};
    extern char **environ;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, work, PROBE_WORK);
    posix_spawn_file_actions_adddup2(&actions, control, PROBE_CONTROL);
    int failure = posix_spawn(process, program, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    return failure;
}

static void close_all(const int *descriptors, int count)
{
    for (int i = 0; i < count; i++)
        if (descriptors[i] >= 0)
            close(descriptors[i]);
}

static bool start_helper(struct helper *helper, struct error *error)
{
    char program[PATH_MAX] = "";
    int pairs[4] = {-1, -1, -1, -1};
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    int failure = length <= 0 || !make_pair(pairs) || !make_pair(pairs + 2) ? errno :
                  spawn(program, pairs[1], pairs[3], &helper->process);
    if (failure) {
        close_all(pairs, 4);
        return error_set_stage(error, "probe", "the probe cannot be started: %s; `probe = false` loads "
                               "without it", strerror(failure));
    }
    close(pairs[1]);
    close(pairs[3]);
    helper->work = pairs[0];
    helper->control = pairs[2];
    return true;
}

/* Its child goes with it. */
static void end_helper(const struct helper *helper)
{
    close(helper->work);
    close(helper->control);
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

void probe_forget_helpers(void)
{
    pthread_mutex_init(&idle.lock, NULL);
    while (idle.count > 0) {
        idle.count--;
        close(idle.helpers[idle.count].work);
        close(idle.helpers[idle.count].control);
    }
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

/* Asking --------------------------------------------------------------------------------------- */

enum outcome { WELL, ENDED, LATE, NO_ANSWER };

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static enum outcome await_answer(const struct helper *helper, struct answer *answer, unsigned limit_ms)
{
    struct pollfd descriptors[] = {
        {.fd = helper->work, .events = POLLIN}, {.fd = helper->control, .events = POLLIN}};
    int64_t until = now_ms() + limit_ms;
    char well;
    for (;;) {
        int64_t left = until - now_ms();
        int count = poll(descriptors, 2, left > 0 ? (int)left : 0);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return count == 0 ? LATE : NO_ANSWER;
        if (descriptors[0].revents & POLLIN)
            return recv(helper->work, &well, 1, MSG_DONTWAIT) == 1 ? WELL : NO_ANSWER;
        bool is_answer = recv(helper->control, answer, sizeof *answer, MSG_DONTWAIT) == sizeof *answer;
        return is_answer ? ENDED : NO_ANSWER;
    }
}

struct probe {
    struct helper helper;
    const char *path, *source;
    unsigned limit_ms;
};

/* A helper may have ended since it was last used: then the next one is asked. */
static bool ask(struct probe *probe, struct error *error)
{
    for (;;) {
        if (!take_helper(&probe->helper, error))
            return false;
        if (send(probe->helper.work, probe->path, strlen(probe->path), MSG_NOSIGNAL) >= 0)
            return true;
        end_helper(&probe->helper);
    }
}

static enum outcome hear(const struct probe *probe, struct answer *answer)
{
    enum outcome outcome = await_answer(&probe->helper, answer, probe->limit_ms);
    if (outcome != LATE)
        return outcome;
    send(probe->helper.control, "", 1, MSG_NOSIGNAL);
    outcome = await_answer(&probe->helper, answer, KILL_MS);
    return outcome == ENDED ? LATE : outcome == LATE ? NO_ANSWER : outcome;
}

static bool refuse(const char *source, const struct answer *answer, bool is_late, unsigned limit_ms,
                   struct error *error)
{
    static const char *const where[] = {
        "", "while it was opened", "while it was closed", "in what it left to be done at exit", ""};
    const char *when = where[answer->phase <= PHASE_DONE ? answer->phase : PHASE_DONE];
    const char *said = answer->said, *colon = *said ? ": " : "";
    int status = answer->status;
    if (is_late)
        return error_set_stage(error, "probe", "%s: not done after %u ms %s (an endless loop in a "
                               "constructor or destructor?)%s%s", source, limit_ms, when, colon, said);
    if (WIFSIGNALED(status))
        return error_set_stage(error, "probe", "%s: SIG%s in a trial process %s (a constructor or "
                               "destructor crashed, or the file is damaged)%s%s", source,
                               sigabbrev_np(WTERMSIG(status)), when, colon, said);
    return error_set_stage(error, "probe", "%s: the process was ended with status %d %s (a "
                           "constructor or destructor called exit, or the file is damaged)%s%s",
                           source, WEXITSTATUS(status), when, colon, said);
}

struct probe *probe_begin(const char *path, const char *source, unsigned limit_ms, struct error *error)
{
    struct probe *probe = calloc(1, sizeof *probe);
    if (!probe) {
        error_set_stage(error, "probe", "%s: out of memory", source);
        return NULL;
    }
    *probe = (struct probe){.path = path, .source = source, .limit_ms = limit_ms};
    if (ask(probe, error))
        return probe;
    free(probe);
    return NULL;
}

bool probe_end(struct probe *probe, struct error *error)
{
    struct answer answer = {0};
    enum outcome outcome = NO_ANSWER;
    bool is_asked = probe != NULL;
    for (int attempt = 0; is_asked && attempt <= MAX_IDLE; attempt++) {
        outcome = hear(probe, &answer);
        if (outcome != NO_ANSWER)
            break;
        end_helper(&probe->helper);
        is_asked = attempt < MAX_IDLE && ask(probe, error);
    }
    if (!probe || (outcome == NO_ANSWER && error->text[0])) {
        free(probe);
        return false;
    }
    if (outcome != NO_ANSWER)
        give_back_helper(&probe->helper);
    bool is_well = outcome == WELL ||
                   (outcome == ENDED && answer.phase == PHASE_EXITING && WIFEXITED(answer.status));
    if (outcome == NO_ANSWER)
        error_set_stage(error, "probe", "%s: the probe's helper process ended without an answer",
                        probe->source);
    else if (!is_well)
        refuse(probe->source, &answer, outcome == LATE, probe->limit_ms, error);
    free(probe);
    return is_well;
}
