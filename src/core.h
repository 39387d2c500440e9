/* core.h (Lua-facing): the one module, hotlua.core, through which hotlua's Lua files reach C.
 * core.c puts it together; each core_*.c adds its functions. Not for users: arguments are trusted. */
#ifndef HOTLUA_CORE_H
#define HOTLUA_CORE_H

#include "image.h"

#include <lua.h>

/* Registry keys (their addresses): the Lua functions that get errors of callbacks, and that unload
 * everything at the end. */
extern const char core_error_key, core_close_key;

int luaopen_hotlua_core(lua_State *L);

/* Each adds its functions to the table on top. [-0 +0] */
void core_open_image(lua_State *L);      /* core_image.c: copy, verify, open, close, carry */
void core_open_plugin(lua_State *L);     /* core_plugin.c: slots, api tables, variables */
void core_open_watch(lua_State *L);      /* core_watch.c: files and alarms */
void core_open_process(lua_State *L);    /* core_process.c: builds */
void core_open_symbol(lua_State *L);     /* core_symbol.c: addresses and names */

/* Push a handle of the image (taking over one reference), or check that there is one at `index`. */
void core_push_image(lua_State *L, struct image *image);
struct image *core_check_image(lua_State *L, int index);
/* The image handle at index, NULL for nil. */
struct image *core_opt_image(lua_State *L, int index);

#endif
