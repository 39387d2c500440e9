/* core_process.c: runs a command (a build) on a thread of its own, so that its end is seen also under a
 * script that never returns to the loop. libuv waits only for children that it started itself. */
#include "core.h"

#include "host.h"
#include "loader.h"
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct command {
    struct host *host;
    char **arguments;
    int function;                /* registry reference */
};

/* One piece of output, or with text NULL the end. */
struct piece {
    struct command *command;
    char *text;
    size_t size;
    const char *kind;            /* "exit", "signal", "error" */
    int code;
};

static void free_command(struct command *command)
{
    for (char **argument = command->arguments; *argument; argument++)
        free(*argument);
    free(command->arguments);
    free(command);
}

static void deliver(lua_State *L, void *context)
{
    struct piece piece = *(struct piece *)context;
    struct command *command = piece.command;
    free(context);
    lua_rawgeti(L, LUA_REGISTRYINDEX, command->function);
    lua_pushstring(L, piece.text ? "output" : piece.kind);
    if (piece.text)
        lua_pushlstring(L, piece.text, piece.size);
    else if (strcmp(piece.kind, "error") == 0)
        lua_pushstring(L, strerror(piece.code));
    else
        lua_pushinteger(L, piece.code);
    free(piece.text);
    if (!piece.text) {
        luaL_unref(L, LUA_REGISTRYINDEX, command->function);
        host_await(command->host, -1);
        free_command(command);
    }
    host_call(L, 2, "error in a build");
}

static void post(struct command *command, struct piece piece)
{
    struct piece *copy = memory_take(sizeof *copy);
    *copy = piece;
    copy->command = command;
    host_post(command->host, deliver, copy);
}

/* Start the command with output and errors into `output`. Returns an errno value. */
static int start(struct command *command, int output, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, defaults;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, 1);
    posix_spawn_file_actions_adddup2(&actions, output, 2);
    posix_spawnattr_init(&attributes);
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int status = posix_spawnp(pid, command->arguments[0], &actions, &attributes, command->arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return status;
}

static void read_output(struct command *command, int input)
{
    char buffer[8192];
    ssize_t size;
    while ((size = read(input, buffer, sizeof buffer)) > 0 || (size < 0 && errno == EINTR)) {
        if (size < 0)
            continue;
        char *text = memory_take((size_t)size);
        memcpy(text, buffer, (size_t)size);
        post(command, (struct piece){.text = text, .size = (size_t)size});
    }
}

static void *run(void *context)
{
    struct command *command = context;
    int pipe_ends[2];
    pid_t pid;
    if (pipe2(pipe_ends, O_CLOEXEC) != 0) {
        post(command, (struct piece){.kind = "error", .code = errno});
        return NULL;
    }
    int failure = start(command, pipe_ends[1], &pid);
    close(pipe_ends[1]);
    if (failure) {
        close(pipe_ends[0]);
        post(command, (struct piece){.kind = "error", .code = failure});
        return NULL;
    }
    read_output(command, pipe_ends[0]);
    close(pipe_ends[0]);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    bool exited = WIFEXITED(status);
    post(command, (struct piece){.kind = exited ? "exit" : "signal",
                                 .code = exited ? WEXITSTATUS(status) : WTERMSIG(status)});
    return NULL;
}

/* core.run_command({ argument, … }, f): f("output", text) as it comes, then once f("exit", status),
 * f("signal", number) or f("error", message). The loop stays alive until then. */
static int l_run_command(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    size_t count = lua_rawlen(L, 1);
    luaL_argcheck(L, count > 0, 1, "empty command");
    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(L, 1, (lua_Integer)i);
        luaL_argcheck(L, lua_isstring(L, -1), 1, "a list of strings expected");
        lua_pop(L, 1);
    }
    struct command *command = memory_take(sizeof *command);
    command->host = host_of(L);
    command->arguments = memory_take_array(count + 1, sizeof *command->arguments);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, 1, (lua_Integer)i + 1);
        command->arguments[i] = memory_copy_text(lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    lua_pushvalue(L, 2);
    command->function = luaL_ref(L, LUA_REGISTRYINDEX);
    host_await(command->host, 1);
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int failure = pthread_create(&thread, NULL, run, command);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failure)
        post(command, (struct piece){.kind = "error", .code = failure});
    else
        pthread_detach(thread);
    return 0;
}

void core_open_process(lua_State *L)
{
    lua_pushcfunction(L, l_run_command);
    lua_setfield(L, -2, "run_command");
}
