/* borrow.c: borrows of a plugin's variables, checked at run time, and the views that hold them. The
 * list of open ones is the process's, under a lock that is only taken to open and close, and to write
 * while somebody has a borrow_mut. */
#include "borrow.h"

#include "fork_lock.h"
#include "object_internal.h"
#include "slot.h"

#include <pthread.h>
#include <stdio.h>

void (*borrow_on_release)(struct plugin *plugin);
volatile unsigned borrow_writers;

FORK_LOCK(lock)
static struct borrow *open_borrows;

/* The table ---------------------------------------------------------------------------------- */

/* An open borrow of the variable (any variable with NULL), only a mutable one with `is_mutable`. */
static const struct borrow *find(const struct plugin *plugin, const char *variable, bool is_mutable)
{
    for (const struct borrow *borrow = open_borrows; borrow; borrow = borrow->next) {
        bool is_wanted = borrow->plugin == plugin && (borrow->is_mutable || !is_mutable);
        if (is_wanted && (!variable || strcmp(borrow->variable, variable) == 0))
            return borrow;
    }
    return NULL;
}

/* Copy who holds it to `holder`, whose where is empty if nobody does. */
static void find_holder(const struct plugin *plugin, const char *variable, bool is_mutable,
                        struct borrow *holder)
{
    pthread_mutex_lock(&lock);
    const struct borrow *found = find(plugin, variable, is_mutable);
    *holder = found ? *found : (struct borrow){0};
    pthread_mutex_unlock(&lock);
}

bool borrow_describe_writer(const struct plugin *plugin, char *text, size_t size)
{
    pthread_mutex_lock(&lock);
    const struct borrow *writer = find(plugin, NULL, true);
    if (writer)
        snprintf(text, size, "variable '%s' is borrowed mutably at %s", writer->variable, writer->where);
    pthread_mutex_unlock(&lock);
    return writer != NULL;
}

void borrow_check_write(lua_State *L, struct plugin *plugin, const char *name)
{
    struct borrow holder;
    if (borrow_writers == 0 || !plugin || !name)
        return;
    find_holder(plugin, name, true, &holder);
    if (holder.is_open)
        luaL_error(L, "cannot write variable '%s': it is borrowed mutably at %s", name, holder.where);
}

/* File and line of the function that asks, leaving out hotlua's own. */
static void find_caller(lua_State *L, char *where, size_t size)
{
    lua_Debug ar;
    snprintf(where, size, "?");
    for (int level = 1; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline > 0 && strncmp(ar.source, "=hotlua/", 8) != 0) {
            snprintf(where, size, "%s:%d", ar.short_src, ar.currentline);
            return;
        }
    }
}

/* Raise with the place of the function that asks in front. */
static void refuse(lua_State *L, const char *format, ...)
{
    char where[sizeof ((struct borrow *)0)->where];
    va_list arguments;
    find_caller(L, where, sizeof where);
    lua_pushfstring(L, "%s: ", where);
    va_start(arguments, format);
    lua_pushvfstring(L, format, arguments);
    va_end(arguments);
    lua_concat(L, 2);
    lua_error(L);
}

void borrow_begin(lua_State *L, struct borrow *borrow)
{
    find_caller(L, borrow->where, sizeof borrow->where);
    pthread_mutex_lock(&lock);
    const struct borrow *held = find(borrow->plugin, borrow->variable, !borrow->is_mutable);
    struct borrow holder = held ? *held : (struct borrow){0};
    if (!held) {
        borrow->is_open = true;
        borrow->next = open_borrows;
        open_borrows = borrow;
        borrow_writers += borrow->is_mutable;
    }
    pthread_mutex_unlock(&lock);
    if (holder.is_open)
        refuse(L, "variable '%s' is already borrowed%s at %s", borrow->variable,
               holder.is_mutable ? " mutably" : "", holder.where);
}

void borrow_end(struct borrow *borrow)
{
    bool is_last = false;
    pthread_mutex_lock(&lock);
    if (borrow->is_open) {
        struct borrow **place = &open_borrows;
        while (*place != borrow)
            place = &(*place)->next;
        *place = borrow->next;
        borrow->is_open = false;
        borrow_writers -= borrow->is_mutable;
        is_last = borrow->is_mutable && !find(borrow->plugin, NULL, true);
    }
    pthread_mutex_unlock(&lock);
    if (is_last && borrow_on_release)
        borrow_on_release(borrow->plugin);
}

/* Views -------------------------------------------------------------------------------------- */

static int borrow_gc(lua_State *L)
{
    borrow_end(lua_touserdata(L, 1));
    return 0;
}

/* Leaving the scope of the to-be-closed view. */
static int view_close(lua_State *L)
{
    struct object *view = object_test(L, 1);
    if (view && view->live && view->live->borrow)
        borrow_end(view->live->borrow);
    return 0;
}

/* Give the view on top its class's metatable with __close added. */
static void make_closable(lua_State *L)
{
    int view = lua_gettop(L);
    object_push_class(L, object_test(L, view)->class->type);
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, view + 1); lua_pop(L, 1)) {
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, view + 2);
    }
    lua_pushcfunction(L, view_close);
    lua_setfield(L, -2, "__close");
    lua_setmetatable(L, view);
    lua_settop(L, view);
}

static void find_variable(lua_State *L, struct plugin *plugin, const char *name, struct variable *variable)
{
    struct error error = {0};
    struct image *live = plugin_live(plugin);
    if (!live)
        refuse(L, "plugin '%s' is closed", plugin->name);
    if (!image_find_variable(live, name, variable, &error))
        refuse(L, "cannot borrow: %s", error.text);
    if (!variable->type)
        refuse(L, "cannot borrow '%s': its type is not known: compile with -g", name);
    if (variable->is_thread_local)
        refuse(L, "cannot borrow '%s': each thread has one of its own", name);
}

/* core.borrow(plugin, name), core.borrow_mut(plugin, name) -> view */
static int push_borrow(lua_State *L, bool is_mutable)
{
    struct variable variable = {0};
    luaL_checktype(L, 1, LUA_TLIGHTUSERDATA);
    struct plugin *plugin = lua_touserdata(L, 1);
    find_variable(L, plugin, luaL_checkstring(L, 2), &variable);
    const struct type *type = type_complete(variable.type);
    if (is_mutable && (!variable.is_writable || type->is_const))
        refuse(L, "cannot borrow const variable '%s' mutably", lua_tostring(L, 2));
    if (type->plain->kind == TYPE_POINTER)       /* a view of the pointer, not of what it points to */
        type = types_array_of(type->table, type, 1);
    struct borrow *borrow = lua_newuserdatauv(L, sizeof *borrow, 0);
    *borrow = (struct borrow){
        .plugin = plugin, .variable = object_intern(L, lua_tostring(L, 2)), .is_mutable = is_mutable,
    };
    luaL_setmetatable(L, "hotlua.borrow");
    struct live live = {plugin, borrow->variable, variable.type, 0, borrow};
    struct origin origin = {.image = plugin->live, .owner = lua_gettop(L), .is_const = !is_mutable};
    object_push_view(L, type, variable.address, &origin, &live);
    make_closable(L);
    borrow_begin(L, borrow);
    return 1;
}

static int l_borrow(lua_State *L)
{
    return push_borrow(L, false);
}

static int l_borrow_mut(lua_State *L)
{
    return push_borrow(L, true);
}

/* core.borrow_writer(plugin) -> "'config' at main.lua:12", or nil: nobody */
static int l_borrow_writer(lua_State *L)
{
    struct borrow holder;
    luaL_checktype(L, 1, LUA_TLIGHTUSERDATA);
    find_holder(lua_touserdata(L, 1), NULL, true, &holder);
    if (!holder.is_open)
        return 0;
    lua_pushfstring(L, "'%s' at %s", holder.variable, holder.where);
    return 1;
}

void borrow_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"borrow", l_borrow}, {"borrow_mut", l_borrow_mut}, {"borrow_writer", l_borrow_writer},
        {NULL, NULL},
    };
    luaL_newmetatable(L, "hotlua.borrow");
    lua_pushcfunction(L, borrow_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
