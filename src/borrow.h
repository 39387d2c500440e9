/* borrow.h (Lua-facing): run-time borrows of a plugin's variables: many readers or one writer. The
 * table of open borrows is the process's, so that every Lua state sees the same holders. */
#ifndef HOTLUA_BORROW_H
#define HOTLUA_BORROW_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

struct plugin;

struct borrow {              /* one open borrow; lives inside the view that holds it */
    struct plugin *plugin;
    const char *variable;    /* the view's own copy of the name */
    bool is_open;
    bool is_mutable;
    char where[160];         /* "main.lua:12" of the holder */
    struct borrow *next;     /* in the process's list */
};

/* Is a borrow_mut of any of the plugin's variables open (a reload waits while it is)? Then `text`
 * receives who holds it: "variable 'x' is borrowed mutably at main.lua:12". */
bool borrow_describe_writer(const struct plugin *plugin, char *text, size_t size);

/* Called, on the closing thread, when the last borrow_mut of a plugin was closed. Set by the host. */
extern void (*borrow_on_release)(struct plugin *plugin);

/* Raise if the variable is borrowed mutably by somebody: "variable 'x' is already borrowed mutably
 * at main.lua:12". `name` may be NULL, then nothing is checked. */
void borrow_check_write(lua_State *L, struct plugin *plugin, const char *name);

/* The number of open borrow_muts in the process: zero is the common case, tested before anything. */
extern volatile unsigned borrow_writers;

/* Open `borrow`, whose plugin, variable and is_mutable are set, for the Lua function that is
 * calling; raises, naming the holder, if that is not allowed. */
void borrow_begin(lua_State *L, struct borrow *borrow);
/* Close it; nothing happens if it is closed. */
void borrow_end(struct borrow *borrow);

/* Adds borrow(plugin, name) and borrow_mut(plugin, name) to the table on top, plugin being a light
 * userdata. [-0 +0] */
void borrow_open(lua_State *L);

#endif
