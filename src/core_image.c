/* core_image.c: images as Lua handles, and the stages of a reload that run on the loader thread. */
#include "core.h"

#include "call_compile.h"
#include "carry.h"
#include "host.h"
#include "pristine.h"
#include "probe.h"
#include "stage.h"
#include "thread.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const state_names[] = {"prepared", "live", "kept", "retiring", "held", "gone"};

/* Handles ------------------------------------------------------------------------------------ */

void core_push_image(lua_State *L, struct image *image)
{
    struct image **handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = image;
    luaL_setmetatable(L, "hotlua.image");
}

struct image *core_check_image(lua_State *L, int index)
{
    return *(struct image **)luaL_checkudata(L, index, "hotlua.image");
}

struct image *core_opt_image(lua_State *L, int index)
{
    struct image **handle = luaL_testudata(L, index, "hotlua.image");
    return handle ? *handle : NULL;
}

/* A prepared image that nobody took is closed here. */
static int l_gc(lua_State *L)
{
    struct image *image = core_check_image(L, 1);
    if (image->state == IMAGE_PREPARED)
        image_close(image);
    image_release(image);
    return 0;
}

static void push_build_id(lua_State *L, const struct image *image)
{
    luaL_Buffer buffer;
    char digits[20];
    if (image->facts.build_id_size == 0) {
        snprintf(digits, sizeof digits, "%016llx", (unsigned long long)stage_hash(image->stage));
        lua_pushstring(L, digits);
        return;
    }
    luaL_buffinit(L, &buffer);
    for (size_t i = 0; i < image->facts.build_id_size; i++) {
        snprintf(digits, sizeof digits, "%02x", image->facts.build_id[i]);
        luaL_addstring(&buffer, digits);
    }
    luaL_pushresult(&buffer);
}

static void set_integer(lua_State *L, const char *name, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

static void set_string(lua_State *L, const char *name, const char *value)
{
    lua_pushstring(L, value);
    lua_setfield(L, -2, name);
}

/* core.image_info(image) -> { generation, state, base, size, why, build_id, source, path } */
static int l_image_info(lua_State *L)
{
    const struct image *image = core_check_image(L, 1);
    lua_createtable(L, 0, 8);
    set_integer(L, "generation", image->generation);
    set_string(L, "state", state_names[image->state]);
    set_integer(L, "base", (lua_Integer)image->base);
    set_integer(L, "size", (lua_Integer)image->size);
    set_string(L, "why", image->why[0] ? image->why : NULL);
    set_string(L, "source", image->source);
    set_string(L, "path", stage_path(image->stage));
    push_build_id(L, image);
    lua_setfield(L, -2, "build_id");
    return 1;
}

/* core.set_state(image, state [, why]) */
static int l_set_state(lua_State *L)
{
    struct image *image = core_check_image(L, 1);
    image->state = luaL_checkoption(L, 2, NULL, (const char *const[]){
        "prepared", "live", "kept", "retiring", "held", "gone", NULL});
    snprintf(image->why, sizeof image->why, "%s", luaL_optstring(L, 3, ""));
    return 0;
}

/* core.is_inside(image) -> is any call in progress inside it, also one suspended in a callback */
static int l_is_inside(lua_State *L)
{
    lua_pushboolean(L, thread_is_inside(core_check_image(L, 1)));
    return 1;
}

/* core.is_outdated(image) -> has its source file changed since it was copied */
static int l_is_outdated(lua_State *L)
{
    lua_pushboolean(L, stage_is_outdated(core_check_image(L, 1)->stage));
    return 1;
}

/* core.same_content(a, b) -> are both made of the same bytes */
static int l_same_content(lua_State *L)
{
    lua_pushboolean(L, stage_same_content(core_check_image(L, 1)->stage, core_check_image(L, 2)->stage));
    return 1;
}

/* core.reset_to_pristine(image): its writable data is again what its constructors left. */
static int l_reset_to_pristine(lua_State *L)
{
    struct image *image = core_check_image(L, 1);
    if (image->pristine)
        pristine_restore(image->pristine);
    return 0;
}

/* core.stage_directory() -> the process's directory of private copies */
static int l_stage_directory(lua_State *L)
{
    struct error error = {0};
    const char *directory = stage_directory(&error);
    if (!directory)
        return luaL_error(L, "%s", error.text);
    lua_pushstring(L, directory);
    return 1;
}

/* core.sha256(image) -> hexadecimal digest of the private copy */
static int l_sha256(lua_State *L)
{
    unsigned char digest[32];
    char digits[65];
    stage_sha256(core_check_image(L, 1)->stage, digest);
    for (int i = 0; i < 32; i++)
        snprintf(digits + 2 * i, 3, "%02x", digest[i]);
    lua_pushstring(L, digits);
    return 1;
}

/* Work on the loader thread ------------------------------------------------------------------ */

/* What a stage job is given and what it leaves. One struct serves both jobs; strings are owned. */
struct work {
    int function;                /* registry reference of the callback, LUA_NOREF: called directly */
    char *source, *name, *cdef, *fail;
    struct image *live;          /* retained; what to compare with, to take signatures from, to carry from */
    struct image *image;         /* retained */
    bool opens;                  /* take goes on to open_image: nobody has to be asked between */
    bool wants_probe;
    unsigned probe_limit_ms;
    bool wants_carry;
    struct carry_options carry_options;
    char **carry_names;
    bool is_unchanged, ok;
    struct carry *carry;
    struct error error;
    uint64_t begun_ns;
    struct { const char *stage; double us; } times[6];
    int time_count;
};

static void begin(struct work *work)
{
    work->begun_ns = uv_hrtime();
}

static void end(struct work *work, const char *stage)
{
    work->times[work->time_count].stage = stage;
    work->times[work->time_count++].us = (double)(uv_hrtime() - work->begun_ns) / 1e3;
}

/* Should this stage fail on purpose (t.fail_at)? */
static bool must_fail(struct work *work, const char *stage)
{
    if (!work->fail || strcmp(work->fail, stage) != 0)
        return false;
    return !error_set_stage(&work->error, stage, "%s: failure injected at stage '%s'", work->source, stage);
}

/* Give the new image's functions the types that the live one's were asked for, so that the commit
 * need not read any. */
static void resolve_used(struct image *image, struct image *live)
{
    for (size_t i = 0; live && i < live->export_count; i++) {
        struct export *export = NULL;
        if (live->exports[i].thunk != call_lazy)
            export = image_find_export(image, live->exports[i].name);
        if (export && image_resolve_export(export, NULL))
            call_compile(export);
    }
}

static bool probe(struct work *work)
{
    if (!work->wants_probe && !must_fail(work, "probe"))
        return true;
    begin(work);
    bool ok = !must_fail(work, "probe") &&
              probe_open(stage_path(work->image->stage), work->source, work->probe_limit_ms,
                         &work->error);
    if (!ok)
        snprintf(work->error.stage, sizeof work->error.stage, "probe");
    end(work, "probe");
    return ok;
}

static void open_image(void *context)
{
    struct work *work = context;
    struct image_options options = {.cdef = work->cdef};
    if (!probe(work))
        return;
    begin(work);
    work->ok = !must_fail(work, "open") && image_open(work->image, &options, &work->error);
    if (!work->ok && !work->error.stage[0])
        snprintf(work->error.stage, sizeof work->error.stage, "open");
    end(work, "open");
    if (!work->ok)
        return;
    begin(work);
    resolve_used(work->image, work->live);
    end(work, "types");
    if (work->wants_carry && work->live) {
        begin(work);
        work->carry = carry_plan(work->live, work->image, &work->carry_options, &work->error);
        if (!work->carry)
            snprintf(work->error.stage, sizeof work->error.stage, "carry");
        work->ok = work->carry != NULL;
        end(work, "plan");
    }
}

static void take(void *context)
{
    struct work *work = context;
    begin(work);
    struct stage *stage = NULL;
    if (!must_fail(work, "copy")) {
        stage = stage_copy(work->source, work->name, &work->error);
        if (!stage)
            snprintf(work->error.stage, sizeof work->error.stage, "copy");
    }
    end(work, "copy");
    if (!stage)
        return;
    if (work->live && stage_same_content(stage, work->live->stage)) {
        work->is_unchanged = work->ok = true;
        stage_free(stage);
        return;
    }
    begin(work);
    if (must_fail(work, "verify"))
        stage_free(stage);
    else
        work->image = image_verify(stage, work->source, &work->error);
    work->ok = work->image != NULL;
    end(work, "verify");
    if (work->ok && work->opens)
        open_image(work);
}

static void close_image(void *context)
{
    struct work *work = context;
    image_close(work->image);
    work->ok = work->image->state == IMAGE_GONE;
}

static void free_work(struct work *work)
{
    free(work->source);
    free(work->name);
    free(work->cdef);
    free(work->fail);
    for (char **name = work->carry_names; name && *name; name++)
        free(*name);
    free(work->carry_names);
    if (work->live)
        image_release(work->live);
    if (work->image)
        image_release(work->image);
    free(work);
}

static void push_carry(lua_State *L, struct carry *carry)
{
    struct carry **handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = carry;
    luaL_setmetatable(L, "hotlua.carry");
}

/* Push ok, image or nil, and { unchanged, stage, error, us = { stage = microseconds }, carry }. [-0 +3] */
static void push_result(lua_State *L, struct work *work)
{
    lua_pushboolean(L, work->ok);
    if (work->image)
        core_push_image(L, image_retain(work->image));
    else
        lua_pushnil(L);
    lua_createtable(L, 0, 6);
    lua_pushboolean(L, work->is_unchanged);
    lua_setfield(L, -2, "unchanged");
    if (!work->ok) {
        set_string(L, "stage", work->error.stage);
        set_string(L, "error", work->error.text);
    }
    if (work->carry) {
        push_carry(L, work->carry);
        lua_setfield(L, -2, "carry");
    }
    if (work->image)
        set_integer(L, "bytes", (lua_Integer)stage_size(work->image->stage));
    lua_createtable(L, 0, work->time_count);
    for (int i = 0; i < work->time_count; i++) {
        lua_pushnumber(L, work->times[i].us);
        lua_setfield(L, -2, work->times[i].stage);
    }
    lua_setfield(L, -2, "us");
}

static void finish(lua_State *L, void *context)
{
    struct work *work = context;
    lua_rawgeti(L, LUA_REGISTRYINDEX, work->function);
    luaL_unref(L, LUA_REGISTRYINDEX, work->function);
    push_result(L, work);
    free_work(work);
    host_call(L, 3, "error in a reload");
}

/* Run the job at once, or on the loader thread when a callback stands at `index`. */
static int start(lua_State *L, int index, void (*job)(void *), struct work *work)
{
    work->function = LUA_NOREF;
    if (lua_isnoneornil(L, index)) {
        job(work);
        push_result(L, work);
        free_work(work);
        return 3;
    }
    lua_pushvalue(L, index);
    work->function = luaL_ref(L, LUA_REGISTRYINDEX);
    host_work(host_of(L), job, finish, work);
    return 0;
}

static char *copy_field(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    const char *text = lua_tostring(L, -1);
    char *copy = text ? strdup(text) : NULL;
    lua_pop(L, 1);
    return copy;
}

static struct image *retain_field(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    struct image *image = core_opt_image(L, -1);
    lua_pop(L, 1);
    return image ? image_retain(image) : NULL;
}

static struct work *new_work(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct work *work = calloc(1, sizeof *work);
    work->source = copy_field(L, "source");
    work->name = copy_field(L, "name");
    work->fail = copy_field(L, "fail");
    work->live = retain_field(L, "live");
    work->image = retain_field(L, "image");
    return work;
}

static void read_carry_options(lua_State *L, struct work *work)
{
    static const char *const names[] = {"merge", "all", "none", NULL};
    lua_getfield(L, 1, "carry");
    work->wants_carry = lua_toboolean(L, -1);
    if (lua_istable(L, -1)) {
        size_t count = lua_rawlen(L, -1);
        work->carry_options.mode = CARRY_LIST;
        work->carry_names = calloc(count + 1, sizeof *work->carry_names);
        for (size_t i = 0; i < count; i++) {
            lua_rawgeti(L, -1, (lua_Integer)i + 1);
            const char *name = lua_tostring(L, -1);
            work->carry_names[i] = strdup(name ? name : "");
            lua_pop(L, 1);
        }
        work->carry_options.names = (const char *const *)work->carry_names;
    } else if (work->wants_carry) {
        work->carry_options.mode = luaL_checkoption(L, -1, "merge", names);
    }
    lua_pop(L, 1);
}

static void read_open_options(lua_State *L, struct work *work)
{
    work->cdef = copy_field(L, "cdef");
    lua_getfield(L, 1, "probe");
    work->wants_probe = lua_isinteger(L, -1);
    work->probe_limit_ms = (unsigned)lua_tointeger(L, -1);
    lua_pop(L, 1);
    read_carry_options(L, work);
}

/* core.take{ source, name, live, fail, opens, ... } [, f]: copy and verify; with `opens` also what core.open
 * does, whose options are then given too. Returns, or calls f with, ok, image, info; info.unchanged when the
 * content is the live image's. */
static int l_take(lua_State *L)
{
    struct work *work = new_work(L);
    lua_getfield(L, 1, "opens");
    work->opens = lua_toboolean(L, -1);
    lua_pop(L, 1);
    read_open_options(L, work);
    return start(L, 2, take, work);
}

/* core.open{ image, source, live, cdef, probe = limit in ms, carry, fail } [, f]: probe, open, read the types
 * in use, plan the carry. Results as of core.take. */
static int l_open(lua_State *L)
{
    struct work *work = new_work(L);
    read_open_options(L, work);
    return start(L, 2, open_image, work);
}

/* core.close(image [, f]): unload. ok is false when it stays mapped; image_info says why. */
static int l_close(lua_State *L)
{
    struct work *work = calloc(1, sizeof *work);
    work->image = image_retain(core_check_image(L, 1));
    return start(L, 2, close_image, work);
}

/* Carry -------------------------------------------------------------------------------------- */

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
    struct work *work = calloc(1, sizeof *work);
    struct error error = {0};
    lua_createtable(L, 0, 1);
    lua_pushvalue(L, 3);
    lua_setfield(L, -2, "carry");
    lua_insert(L, 1);
    read_carry_options(L, work);
    struct carry *carry = carry_plan(core_check_image(L, 2), core_check_image(L, 3),
                                     &work->carry_options, &error);
    free_work(work);
    if (carry) {
        push_carry(L, carry);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, error.text);
    return 2;
}

void core_open_image(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"image_info", l_image_info}, {"set_state", l_set_state}, {"is_inside", l_is_inside},
        {"is_outdated", l_is_outdated}, {"same_content", l_same_content}, {"take", l_take},
        {"open", l_open}, {"close", l_close}, {"carry_plan", l_carry_plan}, {"carry_run", l_carry_run},
        {"carry_describe", l_carry_describe}, {"reset_to_pristine", l_reset_to_pristine},
        {"sha256", l_sha256}, {"stage_directory", l_stage_directory}, {NULL, NULL},
    };
    luaL_newmetatable(L, "hotlua.image");
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    luaL_newmetatable(L, "hotlua.carry");
    lua_pushcfunction(L, l_carry_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 2);
    luaL_setfuncs(L, functions, 0);
}
