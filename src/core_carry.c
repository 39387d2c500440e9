/* core_carry.c: the carry of state, for Lua: its options, running it, and what it found. */
#include "core.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

void core_read_carry_options(lua_State *L, int index, struct carry_options *options)
{
    static const char *const modes[] = {"merge", "all", "none", NULL};
    if (!lua_istable(L, index)) {
        *options = (struct carry_options){.mode = (unsigned)luaL_checkoption(L, index, "merge", modes)};
        return;
    }
    size_t count = lua_rawlen(L, index);
    char **names = calloc(count + 1, sizeof *names);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, index, (lua_Integer)i + 1);
        const char *name = lua_tostring(L, -1);
        names[i] = strdup(name ? name : "");
        lua_pop(L, 1);
    }
    *options = (struct carry_options){CARRY_LIST, (const char *const *)names};
}

void core_free_carry_options(struct carry_options *options)
{
    for (char **name = (char **)options->names; name && *name; name++)
        free(*name);
    free((char **)options->names);
    options->names = NULL;
}

void core_push_carry(lua_State *L, struct carry *carry)
{
    struct carry **handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = carry;
    luaL_setmetatable(L, "hotlua.carry");
}

static int l_carry_gc(lua_State *L)
{
    struct carry **handle = luaL_checkudata(L, 1, "hotlua.carry");
    if (*handle)
        carry_free(*handle);
    *handle = NULL;
    return 0;
}

/* Append { path, why } to the list of that verdict in the table at the top. */
static void add_finding(void *context, enum carry_verdict verdict, const char *path, const char *why)
{
    static const char *const lists[CARRY_VERDICTS] = {
        "kept", "converted", "reset", "conflicts", "repointed", "held"};
    lua_State *L = context;
    lua_getfield(L, -1, lists[verdict]);
    lua_pushstring(L, path);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pop(L, 1);
    if (!why)
        return;
    lua_getfield(L, -1, "why");
    lua_pushstring(L, why);
    lua_setfield(L, -2, path);
    lua_pop(L, 1);
}

static void push_findings(lua_State *L)
{
    static const char *const lists[] = {
        "kept", "converted", "reset", "conflicts", "repointed", "held", "why", NULL};
    lua_createtable(L, 0, 7);
    for (int i = 0; lists[i]; i++) {
        lua_newtable(L);
        lua_setfield(L, -2, lists[i]);
    }
}

/* core.carry_run(carry) -> { kept = { path, … }, converted, reset, conflicts, repointed, held,
 * why = { path = reason } } | nil, message */
static int l_carry_run(lua_State *L)
{
    struct carry **handle = luaL_checkudata(L, 1, "hotlua.carry");
    struct error error = {0};
    push_findings(L);
    if (carry_run(*handle, add_finding, L, &error))
        return 1;
    lua_pushnil(L);
    lua_pushstring(L, error.text);
    return 2;
}

/* core.carry_describe(carry) -> the same table from types alone */
static int l_carry_describe(lua_State *L)
{
    struct carry **handle = luaL_checkudata(L, 1, "hotlua.carry");
    push_findings(L);
    carry_describe(*handle, add_finding, L);
    return 1;
}

/* core.carry_plan(old, new, mode | names) -> carry | nil, message: for images that are already open. */
static int l_carry_plan(lua_State *L)
{
    struct carry_options options;
    struct error error = {0};
    struct image *old_image = core_check_image(L, 1), *new_image = core_check_image(L, 2);
    core_read_carry_options(L, 3, &options);
    struct carry *carry = carry_plan(old_image, new_image, &options, &error);
    core_free_carry_options(&options);
    if (carry) {
        core_push_carry(L, carry);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, error.text);
    return 2;
}

void core_open_carry(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"carry_plan", l_carry_plan}, {"carry_run", l_carry_run}, {"carry_describe", l_carry_describe},
        {NULL, NULL},
    };
    luaL_newmetatable(L, "hotlua.carry");
    lua_pushcfunction(L, l_carry_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
