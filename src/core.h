/* core.h (Lua-facing): the one module, hotlua.core, through which hotlua's Lua files reach C.
 * core.c puts it together; each core_*.c adds its functions. Not for users: arguments are trusted. */
#ifndef HOTLUA_CORE_H
#define HOTLUA_CORE_H

#include "carry.h"
#include "image.h"

#include <lua.h>

/* Registry keys (their addresses): the Lua functions that get errors of callbacks, and that unload
 * everything at the end. */
extern const char core_error_key, core_close_key;

int luaopen_hotlua_core(lua_State *L);

/* Each adds its functions to the table on top. [-0 +0] */
void core_open_image(lua_State *L);      /* core_image.c: what images are */
void core_open_load(lua_State *L);       /* core_load.c: copy, verify, probe, open, close */
void core_open_carry(lua_State *L);      /* core_carry.c: carrying state */
void core_open_plugin(lua_State *L);     /* core_plugin.c: slots, api tables, variables */
void core_open_share(lua_State *L);      /* core_share.c: plugins in further Lua states */
void core_open_link(lua_State *L);       /* core_link.c: plugins that belong together */
void core_open_leave(lua_State *L);      /* core_leave.c: plugins from one Lua state to the next */
void core_open_watch(lua_State *L);      /* core_watch.c: files and alarms */
void core_open_process(lua_State *L);    /* core_process.c: builds */
void core_open_rehearse(lua_State *L);   /* core_rehearse.c: a forked copy, and what it does again */
void core_open_symbol(lua_State *L);     /* core_symbol.c: addresses and names */
void core_open_trust(lua_State *L);      /* core_trust.c: signatures, who may write a file */
void core_open_path(lua_State *L);       /* core_path.c: types at paths of state */
void core_open_inspect(lua_State *L);    /* core_inspect.c: what is in a file that is not loaded */

/* Push a handle of the image (taking over one reference), or check that there is one at `index`. */
void core_push_image(lua_State *L, struct image *image);
struct image *core_check_image(lua_State *L, int index);
/* The image handle at index, NULL for nil. */
struct image *core_opt_image(lua_State *L, int index);

/* What a reload does off the loop's thread. A request is read from the table that core.take takes, and
 * shared. */
struct request;
struct load;
struct request *core_read_request(lua_State *L, int index);
struct request *core_retain_request(struct request *request);
void core_release_request(struct request *request);
/* Do it now, on this thread, whichever that is. */
struct load *core_run_request(struct request *request);
/* Push ok, image or nil, and { unchanged, stage, error, bytes, carry, us = { stage = microseconds } }; frees.
 * [-0 +3] */
void core_push_load(lua_State *L, struct load *load);

/* How to carry: a mode's name or a list of variables at `index`; free the options after use. */
void core_read_carry_options(lua_State *L, int index, struct carry_options *options);
void core_free_carry_options(struct carry_options *options);
/* Push a handle of a plan, which it takes over. [-0 +1] */
void core_push_carry(lua_State *L, struct carry *carry);

#endif
