/* probe_helper.c: the helper process and its children, which open the files. Nothing of a file ever runs in
 * the helper itself. */
#include "probe.h"
#include "probe_internal.h"

#include "elf_check.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile uint32_t *phase;         /* of the child, in memory that the helper shares with it */

/* The child ---------------------------------------------------------------------------------- */

/* Registered before all others, it is the last of the exit handlers. */
static void report(void)
{
    if (*phase != PHASE_EXITING)
        return;
    if (send(PROBE_WORK, "", 1, MSG_NOSIGNAL) == 1)
        *phase = PHASE_DONE;
    _exit(0);
}

/* The loader's and the allocator's own pages, which the first write copies: now, while nobody waits. */
static void warm_up(void)
{
    void *handle = dlopen("libm.so.6", RTLD_NOW | RTLD_LOCAL);
    if (handle)
        dlclose(handle);
    dlerror();
    free(malloc(4096));
}

static void prepare(pid_t helper, int said)
{
    struct rlimit none = {0, 0};
    sigset_t nothing;
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != helper)
        _exit(0);
    setrlimit(RLIMIT_CORE, &none);
    signal(SIGINT, SIG_DFL);
    sigemptyset(&nothing);
    sigprocmask(SIG_SETMASK, &nothing, NULL);
    dup2(said, STDOUT_FILENO);
    dup2(said, STDERR_FILENO);
    close(PROBE_CONTROL);
    warm_up();
}

/* Is a thread running that the file has started? The host would not unload it under that. */
static bool has_threads(void)
{
    struct stat status;
    return stat("/proc/self/task", &status) == 0 && status.st_nlink > 3;
}

/* Run the resolvers of the functions that it exports (IFUNC): the host asks for their addresses. */
static void resolve_indirect(void *handle, const char *path)
{
    struct elf_facts facts;
    struct error error;
    struct stat status;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0 || fstat(descriptor, &status) != 0)
        return;
    size_t size = (size_t)status.st_size;
    void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    close(descriptor);
    if (bytes == MAP_FAILED)
        return;
    if (elf_check(bytes, size, path, &facts, &error)) {
        for (size_t i = 0; i < facts.symbol_count; i++)
            if (facts.symbols[i].kind == SYMBOL_INDIRECT)
                dlsym(handle, facts.symbols[i].name);
        elf_facts_free(&facts);
    }
    munmap(bytes, size);
}

/* Wait for a path; open, close and end as the program would. */
static void open_in_child(pid_t helper, int said)
{
    char path[PATH_MAX];
    ssize_t size;
    prepare(helper, said);
    do
        size = recv(PROBE_WORK, path, sizeof path - 1, 0);
    while (size < 0 && errno == EINTR);
    if (size <= 0)
        _exit(0);
    path[size] = 0;
    *phase = PHASE_OPENING;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle)
        resolve_indirect(handle, path);
    *phase = PHASE_CLOSING;
    bool may_close = !has_threads();
    if (handle && may_close)
        dlclose(handle);
    *phase = PHASE_EXITING;
    if (!may_close)
        report();
    exit(0);
}

/* The helper --------------------------------------------------------------------------------- */

static void read_end(int descriptor, char *text, size_t size)
{
    off_t length = lseek(descriptor, 0, SEEK_END);
    off_t from = length > (off_t)size - 1 ? length - (off_t)size + 1 : 0;
    ssize_t count = pread(descriptor, text, size - 1, from);
    text[count > 0 ? count : 0] = 0;
    for (size_t end = strlen(text); end > 0 && text[end - 1] == '\n'; end--)
        text[end - 1] = 0;
}

/* With what it has started itself. */
static void kill_child(pid_t child)
{
    kill(-child, SIGKILL);
    kill(child, SIGKILL);
}

/* Until the child has ended. False: the host is gone. */
static bool await_child(pid_t child, int ended, int *status)
{
    struct pollfd descriptors[] = {{.fd = ended, .events = POLLIN}, {.fd = PROBE_CONTROL, .events = POLLIN}};
    struct signalfd_siginfo signal_info;
    char order;
    while (waitpid(child, status, WNOHANG) == 0) {
        if (poll(descriptors, 2, -1) < 0)
            continue;
        if (descriptors[0].revents && read(ended, &signal_info, sizeof signal_info) < 0)
            continue;
        if (!descriptors[1].revents)
            continue;
        bool is_gone = recv(PROBE_CONTROL, &order, 1, 0) <= 0;
        kill_child(child);
        if (is_gone)
            return false;
    }
    kill(-child, SIGKILL);
    return true;
}

/* One child, one file. False: the host is gone. */
static bool serve(int ended)
{
    struct answer answer = {0};
    int status = 0;
    pid_t helper = getpid();
    int said = memfd_create("hotlua-probe", MFD_CLOEXEC);
    *phase = PHASE_WAITING;
    pid_t child = fork();
    if (child == 0)
        open_in_child(helper, said);
    bool is_there = child > 0 && await_child(child, ended, &status);
    if (is_there && *phase != PHASE_DONE && *phase != PHASE_WAITING) {
        answer.status = status;
        answer.phase = *phase;
        read_end(said, answer.said, sizeof answer.said);
        is_there = send(PROBE_CONTROL, &answer, sizeof answer, MSG_NOSIGNAL) > 0;
    }
    close(said);
    return is_there;
}

int probe_serve(void)
{
    sigset_t child_ended;
    phase = mmap(NULL, sizeof *phase, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (phase == MAP_FAILED)
        return 1;
    prctl(PR_SET_NAME, "hotlua-probe");
    close_range(PROBE_CONTROL + 1, ~0u, 0);
    fcntl(PROBE_WORK, F_SETFD, FD_CLOEXEC);
    fcntl(PROBE_CONTROL, F_SETFD, FD_CLOEXEC);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 3; i++)
        dup2(null, i);
    sigemptyset(&child_ended);
    sigaddset(&child_ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child_ended, NULL);
    int ended = signalfd(-1, &child_ended, SFD_CLOEXEC | SFD_NONBLOCK);
    signal(SIGINT, SIG_IGN);             /* Ctrl-C is for the host, whose end is seen here */
    *phase = PHASE_WAITING;
    atexit(report);
    while (serve(ended))
        ;
    return 0;
}
