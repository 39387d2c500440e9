/* core_carry.c: the carry of state, for Lua: its options, running it, and what it found. */
#include "core.h"

#include "memory.h"

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
    char **names = memory_take_array(count + 1, sizeof *names);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, index, (lua_Integer)i + 1);
        const char *name = lua_tostring(L, -1);
        names[i] = memory_copy_text(name ? name : "");
        lua_pop(L, 1);
    }
    *options = (struct carry_options){.mode = CARRY_LIST, .names = (const char *const *)names};
}

void core_free_carry_options(struct carry_options *options)
{
    for (char **name = (char **)options->names; name && *name; name++)
        free(*name);
    free((char **)options->names);
    options->names = NULL;
}

/* What a carry found ---------------------------------------------------------------------------- */

struct finding {
    enum carry_verdict verdict;
    size_t path, why;        /* offsets in the text; why 0: none */
};

struct findings {            /* kept as they come: a report's lists are made when somebody looks */
    struct finding *list;
    size_t count, capacity;
    char *text;              /* begins with a NUL */
    size_t used, room;
};

struct handle {
    struct carry *carry;     /* NULL once closed */
    struct findings findings;
};

static size_t add_text(struct findings *findings, const char *text)
{
    size_t length = text ? strlen(text) + 1 : 0, start = findings->used;
    if (start + length + 1 > findings->room) {
        findings->room = 2 * findings->room + length + 4096;
        findings->text = memory_resize(findings->text, findings->room);
    }
    if (start == 0)
        findings->text[start++] = 0;
    if (!text)
        return 0;
    memcpy(findings->text + start, text, length);
    findings->used = start + length;
    return start;
}

static void add_finding(void *context, enum carry_verdict verdict, const char *path, const char *why)
{
    struct findings *findings = context;
    if (findings->count == findings->capacity) {
        findings->capacity = 2 * findings->capacity + 64;
        findings->list = memory_resize(findings->list, findings->capacity * sizeof *findings->list);
    }
    struct finding *finding = &findings->list[findings->count++];
    finding->verdict = verdict;
    finding->path = add_text(findings, path);
    finding->why = add_text(findings, why);
}

static void free_findings(struct findings *findings)
{
    free(findings->list);
    free(findings->text);
    *findings = (struct findings){0};
}

/* { kept = { path, … }, converted, reset, conflicts, repointed, held, restarted, why = { path = reason } } */
static void push_findings(lua_State *L, const struct findings *findings)
{
    static const char *const lists[CARRY_VERDICTS] = {
        "kept", "converted", "reset", "conflicts", "repointed", "held", "held", "restarted"};
    int table = lua_gettop(L) + 1;
    luaL_checkstack(L, CARRY_VERDICTS + 8, NULL);
    lua_createtable(L, 0, CARRY_VERDICTS + 1);
    for (int i = 0; i < CARRY_VERDICTS; i++) {
        if (lua_getfield(L, table, lists[i]) == LUA_TTABLE)
            continue;
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setfield(L, table, lists[i]);
    }
    lua_newtable(L);
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->list[i];
        lua_pushstring(L, findings->text + finding->path);
        if (finding->why) {
            lua_pushstring(L, findings->text + finding->why);
            lua_setfield(L, table + CARRY_VERDICTS + 1, findings->text + finding->path);
        }
        int list = table + 1 + (int)finding->verdict;
        lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
    }
    lua_setfield(L, table, "why");
    lua_settop(L, table);
}

/* For Lua --------------------------------------------------------------------------------------- */

void core_push_carry(lua_State *L, struct carry *carry)
{
    struct handle *handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = (struct handle){.carry = carry};
    luaL_setmetatable(L, "hotlua.carry");
}

static struct handle *check_handle(lua_State *L)
{
    return luaL_checkudata(L, 1, "hotlua.carry");
}

static struct carry *check_carry(lua_State *L)
{
    struct handle *handle = check_handle(L);
    luaL_argcheck(L, handle->carry, 1, "the carry is closed");
    return handle->carry;
}

/* core.carry_close(carry): lets go of both images; its findings stay. Heap objects are as before the run
 * unless it was committed. */
static int l_carry_close(lua_State *L)
{
    struct handle *handle = check_handle(L);
    if (handle->carry)
        carry_free(handle->carry);
    handle->carry = NULL;
    return 0;
}

static int l_carry_gc(lua_State *L)
{
    l_carry_close(L);
    free_findings(&check_handle(L)->findings);
    return 0;
}

/* core.carry_run(carry) -> true, path of the first variable that holds the old image | nil, message */
static int l_carry_run(lua_State *L)
{
    struct carry *carry = check_carry(L);
    struct findings *findings = &check_handle(L)->findings;
    struct error error = {0};
    free_findings(findings);
    if (!carry_run(carry, add_finding, findings, &error)) {
        lua_pushnil(L);
        lua_pushstring(L, error.text);
        return 2;
    }
    lua_pushboolean(L, 1);
    for (size_t i = 0; i < findings->count; i++)
        if (findings->list[i].verdict == CARRY_HELD) {
            lua_pushstring(L, findings->text + findings->list[i].path);
            return 2;
        }
    return 1;
}

/* core.carry_forget_ahead(carry): the new image has its initial values, whatever was copied ahead. */
static int l_carry_forget_ahead(lua_State *L)
{
    carry_forget_ahead(check_carry(L));
    return 0;
}

static bool brings_values(const struct findings *findings)
{
    for (size_t i = 0; i < findings->count; i++)
        if (findings->list[i].verdict != CARRY_RESET && findings->list[i].verdict != CARRY_RESTARTED)
            return true;
    return false;
}

/* core.carry_commit(carry [, has_moved_on]): the new image is live; what the run made for it takes over. The
 * old one ends without its destructors if values of its were brought over, or if has_moved_on. */
static int l_carry_commit(lua_State *L)
{
    carry_commit(check_carry(L), lua_toboolean(L, 2) || brings_values(&check_handle(L)->findings));
    return 0;
}

/* core.carry_findings(carry) -> what the run found: { kept = { path, … }, converted, reset, conflicts,
 * repointed, held, restarted, why = { path = reason } }, in no order */
static int l_carry_findings(lua_State *L)
{
    push_findings(L, &check_handle(L)->findings);
    return 1;
}

/* core.carry_describe(carry) -> the same table from types alone */
static int l_carry_describe(lua_State *L)
{
    struct findings findings = {0};
    carry_describe(check_carry(L), add_finding, &findings);
    push_findings(L, &findings);
    free_findings(&findings);
    return 1;
}

/* core.carry_plan(old, new, mode | names [, is_return]) -> carry | nil, message: for images that are already
 * open. is_return: `new` has been live before, and what it held then still counts. */
static int l_carry_plan(lua_State *L)
{
    struct carry_options options;
    struct error error = {0};
    struct image *old_image = core_check_image(L, 1), *new_image = core_check_image(L, 2);
    core_read_carry_options(L, 3, &options);
    options.is_return = lua_toboolean(L, 4);
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
        {"carry_findings", l_carry_findings}, {"carry_commit", l_carry_commit},
        {"carry_forget_ahead", l_carry_forget_ahead}, {"carry_close", l_carry_close}, {NULL, NULL},
    };
    luaL_newmetatable(L, "hotlua.carry");
    lua_pushcfunction(L, l_carry_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
