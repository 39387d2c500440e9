/* core_load.c: the stages of a reload that run off the loop's thread, as jobs that Lua starts or keeps ready:
 * copy, verify, probe, open, the types in use, the plan of the carry; and the closing of an image. */
#include "core.h"

#include "call_compile.h"
#include "debuginfo.h"
#include "elf_check.h"
#include "host.h"
#include "image_link.h"
#include "loader.h"
#include "memory.h"
#include "probe.h"
#include "stage.h"
#include "users.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char job_metatable[] = "hotlua.job";

/* Requests and what came of them --------------------------------------------------------------- */

struct request {             /* not changed once it is read; shared by threads */
    char *source, *name, *cdef, *fail;
    struct image *live;          /* retained; what to compare with, to take signatures from, to carry from */
    struct image *image;         /* retained: core.open's */
    struct image **links;        /* retained: images of other plugins that come with this one */
    size_t link_count;
    bool is_again;               /* also when the content is the live image's */
    bool opens;                  /* take goes on to open_image: nobody has to be asked between */
    bool wants_probe, wants_carry, must_be_trusted;
    unsigned probe_limit_ms;
    struct carry_options carry_options;
    unsigned references;
};

struct load {
    const struct request *request;       /* retained */
    int function;                /* registry reference of the callback, LUA_NOREF: called directly */
    struct image *image;         /* retained */
    bool is_unchanged, ok;
    bool is_used;            /* to be closed, but in use by the loop: image->why */
    bool is_aside;           /* not on the loop's thread, nor in a forked copy */
    struct carry *carry;
    struct error error;
    uint64_t begun_ns;
    struct { const char *stage; double us; } times[6];
    int time_count;
    struct loader_task task;             /* core.begin's */
};

static void release_image(struct image *image)
{
    if (image)
        image_release(image);
}

struct request *core_retain_request(struct request *request)
{
    __atomic_add_fetch(&request->references, 1, __ATOMIC_RELAXED);
    return request;
}

void core_release_request(struct request *request)
{
    if (!request || __atomic_sub_fetch(&request->references, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    free(request->source);
    free(request->name);
    free(request->cdef);
    free(request->fail);
    core_free_carry_options(&request->carry_options);
    release_image(request->live);
    release_image(request->image);
    for (size_t i = 0; i < request->link_count; i++)
        image_release(request->links[i]);
    free(request->links);
    free(request);
}

static struct load *new_load(struct request *request)
{
    struct load *load = memory_take(sizeof *load);
    load->function = LUA_NOREF;
    load->request = core_retain_request(request);
    load->image = request->image ? image_retain(request->image) : NULL;
    return load;
}

static void free_load(struct load *load)
{
    release_image(load->image);
    core_release_request((struct request *)load->request);
    free(load);
}

/* The stages --------------------------------------------------------------------------------- */

static void begin(struct load *load)
{
    load->begun_ns = uv_hrtime();
}

static void end(struct load *load, const char *stage)
{
    load->times[load->time_count].stage = stage;
    load->times[load->time_count++].us = (double)(uv_hrtime() - load->begun_ns) / 1e3;
}

/* May this stage begin? Not when it is to fail on purpose (t.fail_at), nor without a reserve of memory. */
static bool may_begin(struct load *load, const char *stage)
{
    const struct request *request = load->request;
    if (request->fail && strcmp(request->fail, stage) == 0)
        return error_set_stage(&load->error, stage, "%s: failure injected at stage '%s'", request->source,
                               stage);
    return memory_is_ready() ||
           error_set_stage(&load->error, stage, "%s: out of memory", request->source);
}

static bool is_indirect(const struct export *export)
{
    return elf_find_symbol(&export->image->facts, export->name)->kind == SYMBOL_INDIRECT;
}

/* Give the new image's functions the types that the live one's were asked for, so that the commit
 * need not read any. Before it is open nobody knows what a resolver (IFUNC) will choose. */
static void resolve_used(struct image *image, struct image *live, bool is_open)
{
    for (size_t i = 0; live && i < live->export_count; i++) {
        struct export *export = NULL;
        if (__atomic_load_n(&live->exports[i].thunk, __ATOMIC_ACQUIRE) != call_lazy)
            export = image_find_export(image, live->exports[i].name);
        if (export && (is_open || !is_indirect(export)) && image_resolve_export(export, NULL))
            call_compile(export);
    }
}

/* Reading types needs no loaded image: it is done while the probe's process, or the dynamic loader, is at
 * work. What it cannot read is said when the image is open. */
static void read_ahead(void *context)
{
    struct load *load = context;
    struct image_options options = {0};
    struct error unread = {0};
    size_t count;
    if (load->request->cdef || !image_read_types(load->image, &options, &unread))
        return;
    resolve_used(load->image, load->request->live, false);
    if (load->request->wants_carry && load->request->live && load->image->debug)
        debuginfo_variables(load->image->debug, &count);
}

/* What is proven whole and runs nothing when it is opened cannot kill anybody by that. */
static bool is_worth_probing(const struct load *load)
{
    return load->request->wants_probe && load->image->facts.runs_code;
}

static bool probe(struct load *load)
{
    if (!is_worth_probing(load) && may_begin(load, "probe"))
        return true;
    begin(load);
    bool ok = may_begin(load, "probe");
    if (ok) {
        struct probe *probe = probe_begin(stage_path(load->image->stage), load->request->source,
                                          load->request->probe_limit_ms, &load->error);
        if (probe)
            read_ahead(load);
        ok = probe_end(probe, &load->error);
    }
    if (!ok)
        snprintf(load->error.stage, sizeof load->error.stage, "probe");
    end(load, "probe");
    load->ok = ok;
    return ok;
}

/* The plugin may be closed meanwhile. */
static void plan_carry(struct load *load)
{
    struct image *live = load->request->live;
    bool is_mapped = image_begin_reading(live);
    begin(load);
    load->carry = carry_plan(live, load->image, &load->request->carry_options, &load->error);
    if (is_mapped)
        image_end_reading(live);
    if (!load->carry)
        snprintf(load->error.stage, sizeof load->error.stage, "carry");
    load->ok = load->carry != NULL;
    end(load, "plan");
}

static bool link_image(struct load *load)
{
    const struct request *request = load->request;
    load->ok = image_link(load->image, request->links, request->link_count, &load->error);
    return load->ok;
}

/* Another thread reads the types meanwhile, if some will be wanted at once. */
static bool open_and_read(struct load *load)
{
    struct loader_task reading = {.work = read_ahead, .context = load};
    struct image_options options = {.cdef = load->request->cdef};
    if (!load->is_aside || !load->request->live || load->image->types)
        return image_open(load->image, &options, &load->error);
    loader_begin(&reading);
    options.reading = &reading;
    if (image_open(load->image, &options, &load->error))
        return true;
    loader_finish(&reading);
    return false;
}

static void open_image(void *context)
{
    struct load *load = context;
    if (!link_image(load) || !probe(load))
        return;
    begin(load);
    load->ok = may_begin(load, "open") && open_and_read(load);
    if (!load->ok && !load->error.stage[0])
        snprintf(load->error.stage, sizeof load->error.stage, "open");
    end(load, "open");
    if (!load->ok)
        return;
    begin(load);
    resolve_used(load->image, load->request->live, true);
    if (load->request->live && load->request->live->plugin)
        slot_prepare(load->request->live->plugin, load->image);
    end(load, "types");
    if (load->request->wants_carry && load->request->live)
        plan_carry(load);
}

static void take(void *context)
{
    struct load *load = context;
    begin(load);
    struct stage *stage = NULL;
    if (may_begin(load, "copy")) {
        stage = (load->request->must_be_trusted ? stage_copy_trusted : stage_copy)(
            load->request->source, load->request->name, &load->error);
        if (!stage)
            snprintf(load->error.stage, sizeof load->error.stage, "copy");
    }
    end(load, "copy");
    if (!stage)
        return;
    if (load->request->live && !load->request->is_again &&
        stage_same_content(stage, load->request->live->stage)) {
        load->is_unchanged = load->ok = true;
        stage_free(stage);
        return;
    }
    begin(load);
    if (!may_begin(load, "verify"))
        stage_free(stage);
    else
        load->image = image_verify(stage, load->request->source, &load->error);
    load->ok = load->image != NULL;
    end(load, "verify");
    if (load->ok && load->request->opens)
        open_image(load);
}

/* Nothing of the plugin's own runs when it is opened, and it is linked with no other plugin, so that nobody can
 * tell when that is done. */
static bool may_open_ahead(const struct image *image)
{
    bool is_alone = true;
    for (const char **needed = image->facts.needed; *needed; needed++)
        is_alone &= elf_is_everywhere(*needed);
    return is_alone && !image->facts.runs_code;
}

static void take_ahead(void *context)
{
    struct load *load = context;
    take(load);
    if (load->ok && load->image && may_open_ahead(load->image))
        open_image(load);
}

static void close_image(void *context)
{
    struct load *load = context;
    if (!load->is_used)
        image_close(load->image);
    load->ok = load->image->state == IMAGE_GONE;
}

struct load *core_run_request(struct request *request)
{
    struct load *load = new_load(request);
    load->is_aside = true;
    take(load);
    return load;
}

/* Results ------------------------------------------------------------------------------------ */

static void set_string(lua_State *L, const char *name, const char *value)
{
    lua_pushstring(L, value);
    lua_setfield(L, -2, name);
}

static void push_times(lua_State *L, const struct load *load)
{
    lua_createtable(L, 0, load->time_count);
    for (int i = 0; i < load->time_count; i++) {
        lua_pushnumber(L, load->times[i].us);
        lua_setfield(L, -2, load->times[i].stage);
    }
}

void core_push_load(lua_State *L, struct load *load)
{
    lua_pushboolean(L, load->ok);
    if (load->image)
        core_push_image(L, image_retain(load->image));
    else
        lua_pushnil(L);
    lua_createtable(L, 0, 8);
    lua_pushboolean(L, load->is_unchanged);
    lua_setfield(L, -2, "unchanged");
    lua_pushboolean(L, load->image && load->image->is_mapped);
    lua_setfield(L, -2, "opened");
    if (!load->ok) {
        set_string(L, "stage", load->error.stage);
        set_string(L, "error", load->error.text);
    }
    if (load->carry) {
        core_push_carry(L, load->carry);
        lua_setfield(L, -2, "carry");
    }
    if (load->image)
        lua_pushinteger(L, (lua_Integer)stage_size(load->image->stage));
    else
        lua_pushnil(L);
    lua_setfield(L, -2, "bytes");
    lua_pushinteger(L, load->request->live ? load->request->live->generation : 0);
    lua_setfield(L, -2, "from");
    push_times(L, load);
    lua_setfield(L, -2, "us");
    free_load(load);
}

static void finish(lua_State *L, void *context)
{
    struct load *load = context;
    lua_rawgeti(L, LUA_REGISTRYINDEX, load->function);
    luaL_unref(L, LUA_REGISTRYINDEX, load->function);
    core_push_load(L, load);
    host_call(L, 3, "error in a reload");
}

/* Run the job at once, or on the loader thread when a callback stands at `index`. */
static int start(lua_State *L, int index, void (*job)(void *), struct load *load)
{
    if (lua_isnoneornil(L, index)) {
        job(load);
        core_push_load(L, load);
        return 3;
    }
    lua_pushvalue(L, index);
    load->function = luaL_ref(L, LUA_REGISTRYINDEX);
    load->is_aside = true;
    host_work(host_of(L), job, finish, load);
    return 0;
}

/* For Lua ------------------------------------------------------------------------------------ */

static char *copy_field(lua_State *L, int index, const char *name)
{
    lua_getfield(L, index, name);
    const char *text = lua_tostring(L, -1);
    char *copy = memory_copy_text(text);
    lua_pop(L, 1);
    return copy;
}

static struct image *retain_field(lua_State *L, int index, const char *name)
{
    lua_getfield(L, index, name);
    struct image *image = core_opt_image(L, -1);
    lua_pop(L, 1);
    return image ? image_retain(image) : NULL;
}

static void read_links(lua_State *L, int index, struct request *request)
{
    lua_getfield(L, index, "links");
    size_t count = lua_istable(L, -1) ? lua_rawlen(L, -1) : 0;
    request->links = memory_take_array(count + 1, sizeof *request->links);
    for (; request->link_count < count; request->link_count++) {
        lua_rawgeti(L, -1, (lua_Integer)request->link_count + 1);
        request->links[request->link_count] = image_retain(core_check_image(L, -1));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

struct request *core_read_request(lua_State *L, int index)
{
    luaL_checktype(L, index, LUA_TTABLE);
    struct request *request = memory_take(sizeof *request);
    request->references = 1;
    request->source = copy_field(L, index, "source");
    request->name = copy_field(L, index, "name");
    request->cdef = copy_field(L, index, "cdef");
    request->fail = copy_field(L, index, "fail");
    request->live = retain_field(L, index, "live");
    request->image = retain_field(L, index, "image");
    read_links(L, index, request);
    lua_getfield(L, index, "again");
    request->is_again = lua_toboolean(L, -1);
    lua_getfield(L, index, "opens");
    request->opens = lua_toboolean(L, -1);
    lua_getfield(L, index, "trusted");
    request->must_be_trusted = lua_toboolean(L, -1);
    lua_getfield(L, index, "probe");
    request->wants_probe = lua_isinteger(L, -1);
    request->probe_limit_ms = (unsigned)lua_tointeger(L, -1);
    lua_getfield(L, index, "carry");
    request->wants_carry = lua_toboolean(L, -1);
    if (request->wants_carry)
        core_read_carry_options(L, lua_gettop(L), &request->carry_options);
    lua_getfield(L, index, "copies_ahead");
    request->carry_options.may_copy_ahead = lua_toboolean(L, -1);
    lua_pop(L, 6);
    return request;
}

static struct load *read_load(lua_State *L)
{
    struct request *request = core_read_request(L, 1);
    struct load *load = new_load(request);
    core_release_request(request);
    return load;
}

/* core.take(request [, f]): copy and verify; with request.opens then what core.open does. Returns, or calls f
 * with, ok, image, info; info.unchanged when the content is the live image's, info.opened when the image is
 * open. The request:
 *   source, name   the user's path; what the copy is called
 *   live           the image to compare with, to take signatures from, to carry from; nil the first time
 *   cdef, probe    declarations; limit of the probe in ms, nil: no probe
 *   trusted        refuse a file that others could have written
 *   carry          how to carry from `live` (mode or names), nil: not at all
 *   again          load it also when nothing has changed
 *   links          images that others get in the same transaction, searched first for what it is linked with
 *   fail           the stage that fails on purpose, nil: none */
static int l_take(lua_State *L)
{
    return start(L, 2, take, read_load(L));
}

/* core.open(request [, f]): probe, open, read the types in use, plan the carry of request.image. Results as
 * of core.take. */
static int l_open(lua_State *L)
{
    return start(L, 2, open_image, read_load(L));
}

/* core.begin(request) -> job: what core.take does, by another thread if there is one, and what core.open does
 * where nobody can tell. core.finish(job) gives the results of core.take; a job that is dropped is finished. */
static int l_begin(lua_State *L)
{
    struct load **job = lua_newuserdatauv(L, sizeof *job, 0);
    *job = NULL;
    luaL_setmetatable(L, job_metatable);
    *job = read_load(L);
    (*job)->task = (struct loader_task){.work = take_ahead, .context = *job};
    loader_begin(&(*job)->task);
    return 1;
}

static int l_finish(lua_State *L)
{
    struct load **job = luaL_checkudata(L, 1, job_metatable), *load = *job;
    luaL_argcheck(L, load, 1, "the job has been finished");
    *job = NULL;
    loader_finish(&load->task);
    core_push_load(L, load);
    return 3;
}

static int l_drop(lua_State *L)
{
    struct load **job = luaL_checkudata(L, 1, job_metatable);
    if (*job) {
        loader_finish(&(*job)->task);
        free_load(*job);
    }
    *job = NULL;
    return 0;
}

/* core.close(image [, f]): unload. ok is false when it stays mapped; image_info says why, and by is_used
 * whether trying again later is worth it. */
static int l_close(lua_State *L)
{
    struct request *request = memory_take(sizeof *request);
    request->references = 1;
    request->image = image_retain(core_check_image(L, 1));
    struct load *load = new_load(request);
    struct image *image = load->image;
    core_release_request(request);
    char why[sizeof image->why];
    bool is_closing;
    load->is_used = image->is_mapped &&
                    users_find_handle(image, host_loop(host_of(L)), why, sizeof why, &is_closing);
    if (load->is_used)
        image_set_state(image, IMAGE_HELD, why);
    return start(L, 2, close_image, load);
}

void core_open_load(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"take", l_take}, {"open", l_open}, {"close", l_close}, {"begin", l_begin}, {"finish", l_finish},
        {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
    luaL_newmetatable(L, job_metatable);
    lua_pushcfunction(L, l_drop);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}
