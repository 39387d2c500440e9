/* prompt.h (Lua-facing): the interactive prompt; the event loop goes on while a line is edited. */
#ifndef HOTLUA_PROMPT_H
#define HOTLUA_PROMPT_H

#include "host.h"

/* Read, run and print until the end of input. */
void prompt_run(struct host *host, lua_State *L);

#endif
