/* prompt.c: lines from the terminal, edited by libedit in the event loop's own time, and run as
 * lua5.4's prompt runs them. */
#include "prompt.h"

#include "interpreter.h"

#include <editline/readline.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What libedit's callback, which has no context, tells prompt_run. */
static struct {
    char *line;              /* malloc'ed */
    bool is_done;            /* a line, or the end of input, is there */
} typed;

static void on_line(char *line)
{
    typed.line = line;
    typed.is_done = true;
    rl_callback_handler_remove();
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)poll;
    (void)events;
    if (status == 0)
        rl_callback_read_char();
    else
        typed.is_done = true;
}

/* A line that the user edits while the loop runs. NULL at the end of input. */
static char *edit_line(struct host *host, uv_poll_t *poll, const char *prompt)
{
    typed.line = NULL;
    typed.is_done = false;
    rl_callback_handler_install(prompt, on_line);
    uv_poll_start(poll, UV_READABLE, on_readable);
    while (!typed.is_done && host_exit_status() == 0)
        host_turn(host, true);
    uv_poll_stop(poll);
    if (!typed.is_done)
        rl_callback_handler_remove();
    return typed.line;
}

/* A line of a standard input that is no terminal. */
static char *plain_line(const char *prompt)
{
    char *line = NULL;
    size_t size = 0;
    fputs(prompt, stdout);
    fflush(stdout);
    if (getline(&line, &size, stdin) >= 0)
        return line;
    free(line);
    return NULL;
}

static const char *prompt_text(lua_State *L, bool is_first)
{
    if (lua_getglobal(L, is_first ? "_PROMPT" : "_PROMPT2") == LUA_TNIL) {
        lua_pop(L, 1);
        lua_pushstring(L, is_first ? "> " : ">> ");
    }
    const char *text = luaL_tolstring(L, -1, NULL);
    lua_remove(L, -2);
    return text;
}

/* Push the next line, without its newline. [-0 +1]; false at the end of input [-0 +0] */
static bool push_line(struct host *host, lua_State *L, uv_poll_t *poll, bool is_first)
{
    const char *text = prompt_text(L, is_first);
    char *line = poll ? edit_line(host, poll, text) : plain_line(text);
    lua_pop(L, 1);
    if (!line)
        return false;
    size_t length = strlen(line);
    if (length > 0 && line[length - 1] == '\n')
        line[--length] = 0;
    if (poll && length > 0)
        add_history(line);
    lua_pushlstring(L, line, length);
    free(line);
    return true;
}

/* Does the message of a syntax error say that the chunk ended too early? */
static bool is_incomplete(lua_State *L, int status)
{
    size_t length;
    const char *message = lua_tolstring(L, -1, &length);
    return status == LUA_ERRSYNTAX && length >= 5 && strcmp(message + length - 5, "<eof>") == 0;
}

static int load_text(lua_State *L, const char *text)
{
    return luaL_loadbufferx(L, text, strlen(text), "=stdin", "t");
}

/* Compile a chunk, of as many lines as it takes. [-0 +1] the function or the message; -1 at the end */
static int load_chunk(struct host *host, lua_State *L, uv_poll_t *poll)
{
    lua_settop(L, 0);
    if (!push_line(host, L, poll, true))
        return -1;
    const char *line = lua_tostring(L, 1);
    lua_pushfstring(L, "return %s", line[0] == '=' ? line + 1 : line);
    if (load_text(L, lua_tostring(L, 2)) == LUA_OK) {
        lua_replace(L, 1);
        lua_settop(L, 1);
        return LUA_OK;
    }
    lua_settop(L, 1);
    for (;;) {
        int status = load_text(L, lua_tostring(L, 1));
        if (!is_incomplete(L, status) || !push_line(host, L, poll, false)) {
            lua_replace(L, 1);
            lua_settop(L, 1);
            return status;
        }
        lua_pushfstring(L, "%s\n%s", lua_tostring(L, 1), lua_tostring(L, -1));
        lua_replace(L, 1);
        lua_settop(L, 1);
    }
}

static void print_results(lua_State *L)
{
    int count = lua_gettop(L);
    if (count == 0)
        return;
    luaL_checkstack(L, LUA_MINSTACK, "too many results to print");
    lua_getglobal(L, "print");
    lua_insert(L, 1);
    if (lua_pcall(L, count, 0, 0) != LUA_OK) {
        lua_pushfstring(L, "error calling 'print' (%s)", lua_tostring(L, -1));
        interpreter_report(L);
    }
}

void prompt_run(struct host *host, lua_State *L)
{
    uv_poll_t *poll = isatty(STDIN_FILENO) ? malloc(sizeof *poll) : NULL;
    if (poll && uv_poll_init(host_loop(host), poll, STDIN_FILENO) != 0) {
        free(poll);
        poll = NULL;
    }
    if (poll) {
        poll->data = NULL;
        rl_readline_name = "hotlua";
    }
    for (int status; host_exit_status() == 0 && (status = load_chunk(host, L, poll)) != -1;) {
        if (status == LUA_OK)
            status = interpreter_call(L, 0, LUA_MULTRET);
        else
            interpreter_report(L);
        if (status == LUA_OK)
            print_results(L);
        host_turn(host, false);
    }
    lua_settop(L, 0);
    fputc('\n', stdout);
    fflush(stdout);
    if (poll)
        uv_close((uv_handle_t *)poll, (uv_close_cb)free);
}
