/* interrupt.h: raising an error in the Lua code that a thread runs, also in one of its coroutines and in code
 * that catches errors, from a signal handler or another thread. */
#ifndef HOTLUA_INTERRUPT_H
#define HOTLUA_INTERRUPT_H

#include <lua.h>
#include <pthread.h>

/* This thread runs L, whose libraries are open. Its coroutine.resume and coroutine.wrap note from here on what
 * runs. [-0 +0] */
void interrupt_open(lua_State *L);
/* What was to be interrupted has ended: no further error is raised in L, until the next interrupt. */
void interrupt_end(lua_State *L);
/* No error is raised in L any more. */
void interrupt_close(lua_State *L);

/* "interrupted!" is raised in what this thread runs, again and again until no Lua code is left; the first time
 * what is being closed gets some time. Safe in a signal handler. */
void interrupt_here(void);
/* The same for another thread, which is there and has called interrupt_open. */
void interrupt_thread(pthread_t thread);

#endif
