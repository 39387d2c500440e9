/* worker.h (Lua-facing): threads with a Lua state, a host and a loop of their own, and the letters between
 * one and the state that started it. What is said in letters, and when a worker ends, is
 * lua/hotlua/worker.lua's. */
#ifndef HOTLUA_WORKER_H
#define HOTLUA_WORKER_H

#include <lua.h>

/* Adds worker_start and the functions for the inside of a worker to the table on top. [-0 +0] */
void worker_open(lua_State *L);

#endif
