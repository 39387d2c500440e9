/* interpreter.h (Lua-facing): the command line: everything that lua5.4 takes, and hotlua's own
 * commands. */
#ifndef HOTLUA_INTERPRETER_H
#define HOTLUA_INTERPRETER_H

#include "host.h"

/* Do what the command line says, then run the event loop until nothing is left to wait for. The
 * exit status: 1 after an error, which has been written to stderr. */
enum { INTERPRETER_AGAIN = -1 };          /* a watched script has changed: once more, in another state */
int interpreter_run(struct host *host, lua_State *L, int argc, char **argv);

/* Are the environment's LUA_* variables not to be looked at, because the command line says -E or the
 * program runs with another's rights (setuid)? Asked before the standard libraries are opened. */
int interpreter_ignores_environment(int argc, char **argv);

/* Call the function and its arguments on the stack with a traceback, an error written to stderr.
 * [-(1+arguments) +results], [+0] on an error. Returns a Lua status. */
int interpreter_call(lua_State *L, int arguments, int results);
/* Write the error message on top to stderr. [-1 +0] */
void interpreter_report(lua_State *L);

#endif
