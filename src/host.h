/* host.h (Lua-facing): what one Lua state of the host has: the loop, luv on it, and the queue
 * through which other threads reach it. */
#ifndef HOTLUA_HOST_H
#define HOTLUA_HOST_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct host;

/* Make the loop and open luv and hotlua's core in `L`. NULL on failure (message on stderr). */
struct host *host_open(lua_State *L);
/* Unload plugins in order, close luv's handles from Lua, run the loop dry. Before lua_close. */
void host_close(struct host *host);
/* After lua_close: close the host's own handles and the loop. */
void host_free(struct host *host);

struct host *host_of(lua_State *L);
uv_loop_t *host_loop(struct host *host);

/* Run the loop until nothing is left to wait for. Returns the exit status asked for meanwhile
 * (130, 143 after SIGINT, SIGTERM), else 0. */
int host_run(struct host *host);

/* The exit status that a signal asked for (130, 143), 0: none. */
int host_exit_status(void);
/* One turn of the loop. Returns whether anything is left to wait for; does nothing and returns false
 * inside a callback of the loop itself, which must not be entered twice. */
bool host_turn(struct host *host, bool may_block);
bool host_is_running(struct host *host);
/* Note that somebody else (luv's uv.run) enters or leaves the loop. Returns what was noted before. */
bool host_enter_loop(struct host *host, bool is_running);
/* Make host_run return. */
void host_stop(struct host *host);
/* Has the last host_run ended because of that? */
bool host_was_stopped(struct host *host);
/* From any thread, while the host is open: raise "interrupted!" in the Lua code that it runs, or will run. */
void host_interrupt(struct host *host);
bool host_was_interrupted(struct host *host);
/* +1: the loop stays alive for something awaited; -1: it came. */
void host_await(struct host *host, int change);

/* From any thread: have `deliver(L, context)` called on the host's thread: in the loop, in
 * hot.poll(), or at the next call of one of its plugins, whichever comes first. Never blocks. */
void host_post(struct host *host, void (*deliver)(lua_State *L, void *context), void *context);
/* The same, but only in the loop: what need not be done before the program goes on. */
void host_mail(struct host *host, void (*deliver)(lua_State *L, void *context), void *context);
/* Deliver what is posted, now, on this thread. */
void host_drain(struct host *host, lua_State *L);

/* Run `work(context)` on the loader thread, then `done(L, context)` on the host's thread (as
 * host_post). */
void host_work(struct host *host, void (*work)(void *context),
               void (*done)(lua_State *L, void *context), void *context);

/* From any thread: a job that will end with a host_post begins, on a thread of somebody else's. Its delivery
 * calls host_end_job. The loop stays awake a moment for it; host_close waits for it. */
void host_begin_job(struct host *host);
void host_end_job(struct host *host);

/* Call the function and its arguments on the stack with a traceback; an error is printed, as an
 * error in an event handler is. [-(1+arguments) +0] */
bool host_call(lua_State *L, int arguments, const char *what);

#endif
