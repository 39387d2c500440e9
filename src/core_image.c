/* core_image.c: images as Lua handles: what they are, what state they are in. */
#include "core.h"

#include "host.h"
#include "pristine.h"
#include "stage.h"
#include "thread.h"
#include "users.h"

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

static int l_gc(lua_State *L)
{
    image_release(core_check_image(L, 1));
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
    enum image_state state = image_state_of(image);
    char why[sizeof image->why];
    image_copy_why(image, why, sizeof why);
    lua_createtable(L, 0, 8);
    set_integer(L, "generation", image->generation);
    set_string(L, "state", state_names[state]);
    set_integer(L, "base", (lua_Integer)image->base);
    set_integer(L, "size", (lua_Integer)image->size);
    set_string(L, "why", why[0] ? why : NULL);
    set_string(L, "source", image->source);
    set_string(L, "path", stage_path(image->stage));
    push_build_id(L, image);
    lua_setfield(L, -2, "build_id");
    lua_pushboolean(L, state == IMAGE_HELD && image->is_mapped);
    lua_setfield(L, -2, "is_used");
    return 1;
}

/* core.set_state(image, state [, why]) */
static int l_set_state(lua_State *L)
{
    struct image *image = core_check_image(L, 1);
    enum image_state state = luaL_checkoption(L, 2, NULL, (const char *const[]){
        "prepared", "live", "kept", "retiring", "held", "gone", NULL});
    image_set_state(image, state, luaL_optstring(L, 3, NULL));
    return 0;
}

/* core.set_moved_on(image, has_moved_on): has another image its state, so that its destructors may not run? */
static int l_set_moved_on(lua_State *L)
{
    core_check_image(L, 1)->has_moved_on = lua_toboolean(L, 2);
    return 0;
}

/* core.awaits_handle(image) -> will the last handle of the loop that leads into it be closed in the next turn? */
static int l_awaits_handle(lua_State *L)
{
    const struct image *image = core_check_image(L, 1);
    char why[sizeof image->why];
    bool is_closing = false;
    if (image->is_mapped)
        users_find_handle(image, host_loop(host_of(L)), why, sizeof why, &is_closing);
    lua_pushboolean(L, is_closing);
    return 1;
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

/* core.is_of_file(image, path, inode) -> is the file there, of that inode, the one that it was copied from,
 * unchanged? */
static int l_is_of_file(lua_State *L)
{
    const char *path = luaL_checkstring(L, 2);
    lua_pushboolean(L, stage_is_of(core_check_image(L, 1)->stage, path, (ino_t)luaL_checkinteger(L, 3)));
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

/* Saved data --------------------------------------------------------------------------------- */

struct saved {               /* what an image's writable data held at one instant */
    struct image *image;
    struct pristine *data;   /* NULL: the image has none, or dropped */
};

static struct saved *check_saved(lua_State *L)
{
    return luaL_checkudata(L, 1, "hotlua.saved");
}

/* core.save_data(image) -> saved; raises when memory is out. */
static int l_save_data(lua_State *L)
{
    struct image *image = core_check_image(L, 1);
    struct saved *saved = lua_newuserdatauv(L, sizeof *saved, 0);
    *saved = (struct saved){0};
    luaL_setmetatable(L, "hotlua.saved");
    if (!image->pristine)
        return 1;
    if (!pristine_take(image, &saved->data))
        return luaL_error(L, "%s: out of memory", image->source);
    saved->image = image_retain(image);
    return 1;
}

/* core.drop_data(saved): frees it. */
static int l_drop_data(lua_State *L)
{
    struct saved *saved = check_saved(L);
    pristine_free(saved->data);
    if (saved->image)
        image_release(saved->image);
    *saved = (struct saved){0};
    return 0;
}

/* core.restore_data(saved): the image's writable data is again as it was; then as core.drop_data. */
static int l_restore_data(lua_State *L)
{
    struct saved *saved = check_saved(L);
    if (saved->data && saved->image->is_mapped)
        pristine_restore(saved->data);
    return l_drop_data(L);
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

void core_open_image(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"image_info", l_image_info}, {"set_state", l_set_state},
        {"set_moved_on", l_set_moved_on}, {"is_inside", l_is_inside},
        {"awaits_handle", l_awaits_handle}, {"is_outdated", l_is_outdated}, {"is_of_file", l_is_of_file},
        {"same_content", l_same_content},
        {"reset_to_pristine", l_reset_to_pristine}, {"sha256", l_sha256},
        {"stage_directory", l_stage_directory}, {"save_data", l_save_data}, {"drop_data", l_drop_data},
        {"restore_data", l_restore_data}, {NULL, NULL},
    };
    luaL_newmetatable(L, "hotlua.image");
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    luaL_newmetatable(L, "hotlua.saved");
    lua_pushcfunction(L, l_drop_data);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 2);
    luaL_setfuncs(L, functions, 0);
}
