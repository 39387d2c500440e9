/* core_plugin.c: plugins for Lua: binding, and the tables api, types and enums over a plugin's live
 * image or over one image. */
#include "core.h"

#include "borrow.h"
#include "call.h"
#include "callback.h"
#include "cdecl.h"
#include "debuginfo.h"
#include "guard.h"
#include "heap.h"
#include "host.h"
#include "memory.h"
#include "object.h"
#include "slot.h"

#include <dlfcn.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

/* Plugins ------------------------------------------------------------------------------------ */

static struct plugin *check_plugin(lua_State *L, int index)
{
    luaL_checktype(L, index, LUA_TLIGHTUSERDATA);
    return lua_touserdata(L, index);
}

/* core.plugin_create(name, path) -> handle | nil, message */
static int l_plugin_create(lua_State *L)
{
    struct error error = {0};
    struct plugin *plugin = plugin_create(luaL_checkstring(L, 1), luaL_checkstring(L, 2), host_of(L), &error);
    if (plugin) {
        lua_pushlightuserdata(L, plugin);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, error.text);
    return 2;
}

/* core.plugin_close(handle): every later call raises. */
static int l_plugin_close(lua_State *L)
{
    struct plugin *plugin = check_plugin(L, 1);
    slot_lock();
    slot_bind(plugin, NULL);
    plugin->is_closed = true;
    slot_unlock();
    heap_close(plugin);
    return 0;
}

/* core.plugin_rename(handle, name, path) -> true | nil, message */
static int l_plugin_rename(lua_State *L)
{
    struct error error = {0};
    if (plugin_rename(check_plugin(L, 1), luaL_checkstring(L, 2), luaL_checkstring(L, 3), &error)) {
        lua_pushboolean(L, true);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, error.text);
    return 2;
}

/* core.plugin_find(name) -> handle | nil */
static int l_plugin_find(lua_State *L)
{
    struct plugin *plugin = plugin_find(luaL_checkstring(L, 1));
    if (!plugin)
        return 0;
    lua_pushlightuserdata(L, plugin);
    return 1;
}

/* core.introduce(image, handle, generation): the image is about to become the plugin's, and the user sees it:
 * from here a crash in it is told to core.on_crash, and the plugin's time limit holds. */
static int l_introduce(lua_State *L)
{
    struct image *image = core_check_image(L, 1);
    image->candidate_of = check_plugin(L, 2);
    image->generation = (unsigned)luaL_checkinteger(L, 3);
    return 0;
}

/* core.bind(handle, image, generation): the commit. */
static int l_bind(lua_State *L)
{
    struct plugin *plugin = check_plugin(L, 1);
    struct image *image = core_check_image(L, 2);
    image->plugin = plugin;
    image->generation = (unsigned)luaL_checkinteger(L, 3);
    heap_adopt(plugin, image);
    slot_bind(plugin, image);
    return 0;
}

/* core.heap_counts(handle) -> objects, bytes, bytes of the memory that objects had before they moved */
static int l_heap_counts(lua_State *L)
{
    struct heap_counts counts = heap_count(check_plugin(L, 1));
    lua_pushinteger(L, (lua_Integer)counts.objects);
    lua_pushinteger(L, (lua_Integer)counts.bytes);
    lua_pushinteger(L, (lua_Integer)counts.old_bytes);
    return 3;
}

/* core.set_guard(handle, policy, timeout_ms) */
static int l_set_guard(lua_State *L)
{
    static const char *const policies[] = {"rollback", "error", "off", NULL};
    struct plugin *plugin = check_plugin(L, 1);
    plugin->crash_policy = (unsigned)luaL_checkoption(L, 2, "rollback", policies);
    plugin->timeout_ms = (unsigned)luaL_optinteger(L, 3, 0);
    return 0;
}

/* core.fill_api(handle, api, stamp) -> stamp: add the functions that the table does not have yet; `stamp` is
 * what the last filling returned, nil the first time. */
static int l_fill_api(lua_State *L)
{
    struct plugin *plugin = check_plugin(L, 1);
    lua_Integer stamp = plugin->name_stamp;
    bool is_complete = lua_tointeger(L, 3) == stamp;
    lua_settop(L, 2);
    lua_pushinteger(L, stamp);
    lua_insert(L, 1);
    if (is_complete) {
        lua_settop(L, 1);
        return 1;
    }
    for (struct slot *slot = plugin->slots; slot; slot = slot->next) {
        lua_pushstring(L, slot->name);
        lua_pushvalue(L, -1);
        if (slot->bound != &slot_absent && lua_rawget(L, 3) == LUA_TNIL) {
            lua_pop(L, 1);
            call_push_slot(L, slot);
            lua_rawset(L, 3);
        } else {
            lua_settop(L, 3);
        }
    }
    lua_settop(L, 1);
    return 1;
}

/* Variables ---------------------------------------------------------------------------------- */

/* Upvalue 1 of every function below is a plugin (light) or an image handle. */
static struct image *upvalue_image(lua_State *L, struct plugin **plugin)
{
    int index = lua_upvalueindex(1);
    *plugin = NULL;
    if (!lua_islightuserdata(L, index)) {
        struct image *image = core_check_image(L, index);
        if (!image->is_mapped)
            luaL_error(L, "generation %d of plugin '%s' has been unloaded", (int)image->generation,
                       image->plugin ? image->plugin->name : "?");
        return image;
    }
    *plugin = lua_touserdata(L, index);
    if (!(*plugin)->live)
        luaL_error(L, "plugin '%s' is closed", (*plugin)->name);
    return (*plugin)->live;
}

/* A variable as found in one image; cached in upvalue 2 by name while that image is the live one. */
struct cached {
    struct image *image;
    unsigned generation;
    bool is_found;
    struct variable variable;
};

static struct cached *find_variable(lua_State *L, struct image *image, const char *name)
{
    lua_pushvalue(L, 2);
    struct cached *cached = NULL;
    if (lua_rawget(L, lua_upvalueindex(2)) == LUA_TUSERDATA)
        cached = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (cached && cached->image == image && cached->generation == image->generation)
        return cached->is_found ? cached : NULL;
    struct variable variable = {0};
    bool is_found = image_find_variable(image, name, &variable, NULL);
    if (!is_found && !cached)
        return NULL;
    lua_pushvalue(L, 2);
    cached = lua_newuserdatauv(L, sizeof *cached, 0);
    *cached = (struct cached){image, image->generation, is_found, variable};
    lua_rawset(L, lua_upvalueindex(2));
    return is_found ? cached : NULL;
}

static void *variable_address(lua_State *L, const struct image *image, const struct variable *variable)
{
    if (!variable->type)
        luaL_error(L, "the type of variable '%s' is not known: compile with -g, or declare it: "
                   "hot.load(path, { cdef = \"...\" })", variable->name);
    if (!variable->is_thread_local)
        return variable->address;
    void *address = variable->is_exported ? dlsym(image->handle, variable->name) : NULL;
    if (!address)
        luaL_error(L, "'%s' is a thread-local static: it has an address only inside its own image",
                   variable->name);
    return address;
}

static int api_index(lua_State *L)
{
    struct plugin *plugin;
    if (lua_type(L, 2) != LUA_TSTRING)
        return 0;
    const char *name = lua_tostring(L, 2);
    struct image *image = upvalue_image(L, &plugin);
    if (!plugin) {
        struct export *export = image_find_export(image, name);
        if (export) {
            struct error error = {0};
            if (!image_resolve_export(export, &error))
                return luaL_error(L, "'%s' has no known signature: %s", name, error.text);
            call_push_function(L, export->target, export->type, image, export->name);
            return 1;
        }
    }
    struct cached *cached = find_variable(L, image, name);
    if (!cached)
        return 0;
    void *address = variable_address(L, image, &cached->variable);
    struct origin origin = {
        .image = image, .plugin = plugin, .variable = cached->variable.name,
        .is_const = !cached->variable.is_writable || cached->variable.type->is_const,
    };
    object_push(L, cached->variable.type, address, &origin, false);
    return 1;
}

/* "variable 'limit'", for messages: at each assignment, so it has to be quick. */
static void name_variable(char what[200], const char *name)
{
    size_t length = strnlen(name, 180);
    memcpy(what, "variable '", 10);
    memcpy(what + 10, name, length);
    memcpy(what + 10 + length, "'", 2);
}

static int api_newindex(lua_State *L)
{
    struct plugin *plugin;
    char what[200];
    const char *name = luaL_checkstring(L, 2);
    struct image *image = upvalue_image(L, &plugin);
    struct cached *cached = find_variable(L, image, name);
    if (!cached)
        return luaL_error(L, "no variable '%s' in %s", name, image->source);
    void *address = variable_address(L, image, &cached->variable);
    struct origin origin = {
        .image = image, .plugin = plugin, .variable = cached->variable.name,
        .is_const = !cached->variable.is_writable,
    };
    name_variable(what, name);
    object_assign(L, 3, cached->variable.type, address, &origin, what);
    return 0;
}

/* Types and enumerators ---------------------------------------------------------------------- */

static int types_index(lua_State *L)
{
    struct plugin *plugin;
    struct error error = {0};
    const char *name = luaL_checkstring(L, 2);
    const struct type *type = image_type(upvalue_image(L, &plugin), name, &error);
    if (!type)
        return luaL_error(L, "no type '%s': %s", name, error.text);
    object_push_type(L, type);
    return 1;
}

static int enums_index(lua_State *L)
{
    struct plugin *plugin;
    int64_t value;
    const char *name = luaL_checkstring(L, 2);
    if (!image_enumerator(upvalue_image(L, &plugin), name, &value))
        return luaL_error(L, "no enumerator '%s'", name);
    lua_pushinteger(L, value);
    return 1;
}

static int refuse_assignment(lua_State *L)
{
    return luaL_error(L, "types and enumerators cannot be assigned");
}

static void set_metamethod(lua_State *L, const char *name, lua_CFunction function)
{
    lua_pushvalue(L, 1);
    lua_newtable(L);
    lua_pushcclosure(L, function, 2);
    lua_setfield(L, -2, name);
}

static int new_view(lua_State *L, lua_CFunction index, lua_CFunction newindex)
{
    lua_settop(L, 1);
    lua_newtable(L);
    lua_createtable(L, 0, 2);
    set_metamethod(L, "__index", index);
    set_metamethod(L, "__newindex", newindex);
    lua_setmetatable(L, -2);
    return 1;
}

/* core.new_api(plugin | image), core.new_types(…), core.new_enums(…) -> table */
static int l_new_api(lua_State *L)
{
    return new_view(L, api_index, api_newindex);
}

static int l_new_types(lua_State *L)
{
    return new_view(L, types_index, refuse_assignment);
}

static int l_new_enums(lua_State *L)
{
    return new_view(L, enums_index, refuse_assignment);
}

/* Listing ------------------------------------------------------------------------------------ */

static void push_declaration(lua_State *L, const struct type *type, const char *name)
{
    size_t length = cdecl_print(NULL, 0, type, name);
    char *text = lua_newuserdatauv(L, length + 1, 0);
    cdecl_print(text, length + 1, type, name);
    lua_pushlstring(L, text, length);
    lua_remove(L, -2);
}

static const struct type *symbol_type(struct image *image, const struct symbol *symbol, struct error *error)
{
    struct export *export = image_find_export(image, symbol->name);
    struct variable variable;
    if (export)
        return image_resolve_export(export, error) ? export->type : NULL;
    if (!image_find_variable(image, symbol->name, &variable, error))
        return NULL;
    if (!variable.type)
        error_set(error, "%s", image->no_debug[0] ? image->no_debug : "not in the debug info");
    return variable.type;
}

/* core.read_types(image [, cdef]): for an image that is not open yet. Raises on a bad cdef. */
static int l_read_types(lua_State *L)
{
    struct error error = {0};
    struct image_options options = {.cdef = luaL_optstring(L, 2, NULL)};
    if (!image_read_types(core_check_image(L, 1), &options, &error))
        return luaL_error(L, "%s", error.text);
    return 0;
}

/* Can the function be called, has the variable values? False with the reason. */
static bool is_supported(const struct image *image, const char *name, const struct type *type,
                         struct error *error)
{
    const struct export *export = image_find_export(image, name);
    return export ? call_is_possible(export, error) : object_has_values(type, error);
}

/* core.exports(image) -> { { name, kind, signature, reason }, … } sorted by name */
static int l_exports(lua_State *L)
{
    struct image *image = core_check_image(L, 1);
    lua_createtable(L, (int)image->facts.symbol_count, 0);
    for (size_t i = 0; i < image->facts.symbol_count; i++) {
        const struct symbol *symbol = &image->facts.symbols[i];
        struct error error = {0};
        lua_createtable(L, 0, 3);
        lua_pushstring(L, symbol->name);
        lua_setfield(L, -2, "name");
        bool is_function = image_find_export(image, symbol->name) != NULL;
        lua_pushstring(L, is_function ? "function" : "variable");
        lua_setfield(L, -2, "kind");
        const struct type *type = symbol_type(image, symbol, &error);
        if (type) {
            push_declaration(L, type, symbol->name);
            lua_setfield(L, -2, "signature");
        }
        if (!type || !is_supported(image, symbol->name, type, &error)) {
            lua_pushstring(L, error.text);
            lua_setfield(L, -2, "reason");
        }
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* core.export_names(image) -> { name = "function" | "variable" } */
static int l_export_names(lua_State *L)
{
    struct image *image = core_check_image(L, 1);
    lua_createtable(L, 0, (int)image->facts.symbol_count);
    for (size_t i = 0; i < image->facts.symbol_count; i++) {
        const char *name = image->facts.symbols[i].name;
        lua_pushstring(L, image_find_export(image, name) ? "function" : "variable");
        lua_setfield(L, -2, name);
    }
    return 1;
}

/* core.same_signature(a, b, name) -> do both images export it with the same C type (true, false, or nil
 * when either is unknown) */
static int l_same_signature(lua_State *L)
{
    struct image *a = core_check_image(L, 1), *b = core_check_image(L, 2);
    const char *name = luaL_checkstring(L, 3);
    const struct symbol *left = elf_find_symbol(&a->facts, name);
    const struct symbol *right = elf_find_symbol(&b->facts, name);
    const struct type *old_type = left ? symbol_type(a, left, NULL) : NULL;
    const struct type *new_type = right ? symbol_type(b, right, NULL) : NULL;
    if (!old_type || !new_type)
        return 0;
    lua_pushboolean(L, types_same(old_type, new_type));
    return 1;
}

/* core.matches_declaration(image, name, "int add(int, int)") -> true | false, message */
static int l_matches_declaration(lua_State *L)
{
    struct image *image = core_check_image(L, 1);
    const char *name = luaL_checkstring(L, 2);
    struct error error = {0};
    lua_pushfstring(L, "%s;", luaL_checkstring(L, 3));
    const struct symbol *symbol = elf_find_symbol(&image->facts, name);
    const struct type *type = symbol ? symbol_type(image, symbol, &error) : NULL;
    struct declarations *declared = NULL;
    if (type)
        declared = cdecl_parse(image->types, lua_tostring(L, -1), &image_names, image, &error);
    const struct type *wanted = declared ? cdecl_symbol(declared, name) : NULL;
    bool same = wanted && types_same(type, wanted);
    cdecl_free(declared);
    lua_pushboolean(L, same);
    if (same)
        return 1;
    if (!type || !declared)
        lua_pushstring(L, error.text[0] ? error.text : "it is not exported");
    else if (!wanted)
        lua_pushfstring(L, "'%s' does not declare '%s'", lua_tostring(L, 3), name);
    else
        push_declaration(L, type, name);
    return 2;
}

/* core.symbol_size_count(image) -> functions, variables: how many it exports */
static int l_counts(lua_State *L)
{
    struct image *image = core_check_image(L, 1);
    lua_pushinteger(L, (lua_Integer)image->export_count);
    lua_pushinteger(L, (lua_Integer)(image->facts.symbol_count - image->export_count));
    return 2;
}

/* core.variables(image) -> { { name, type, size, exported, writable, thread_local }, … } sorted by name */
static int l_variables(lua_State *L)
{
    size_t count;
    const struct variable *list = image_variables(core_check_image(L, 1), &count);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_createtable(L, 0, 6);
        lua_pushstring(L, list[i].name);
        lua_setfield(L, -2, "name");
        if (list[i].type) {
            push_declaration(L, list[i].type, "");
            lua_setfield(L, -2, "type");
        }
        lua_pushinteger(L, (lua_Integer)list[i].size);
        lua_setfield(L, -2, "size");
        lua_pushboolean(L, list[i].is_exported);
        lua_setfield(L, -2, "exported");
        lua_pushboolean(L, list[i].is_writable);
        lua_setfield(L, -2, "writable");
        lua_pushboolean(L, list[i].is_thread_local);
        lua_setfield(L, -2, "thread_local");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* core.kind(object) -> "struct", "union", "array", "pointer", …; nil for what is not an object */
static int l_kind(lua_State *L)
{
    static const char *const names[] = {
        "void", "bool", "int", "float", "complex", "enum", "pointer", "array", "struct", "union",
        "function", "unsupported"};
    const struct type *type = NULL;
    if (!object_address(L, 1, &type))
        return 0;
    lua_pushstring(L, names[type->plain->kind]);
    return 1;
}

/* core.is_text(object) -> is it an array of char */
static int l_is_text(lua_State *L)
{
    const struct type *type = NULL;
    bool is_array = object_address(L, 1, &type) && type->plain->kind == TYPE_ARRAY;
    lua_pushboolean(L, is_array && type->plain->target->plain->is_char);
    return 1;
}

/* core.borrow_writer(handle) -> where a borrow_mut of the plugin was opened; nil if none is */
static int l_borrow_writer(lua_State *L)
{
    char where[400];
    if (!borrow_describe_writer(check_plugin(L, 1), where, sizeof where))
        return 0;
    lua_pushstring(L, where);
    return 1;
}

/* core.release_callbacks(handle): the plugin is closed. */
static int l_release_callbacks(lua_State *L)
{
    callback_release_plugin(L, check_plugin(L, 1));
    return 0;
}

static const char crash_key = 0;

/* A crash on another thread than the owner's, on its way there. */
struct crash_news {
    struct plugin *plugin;
    unsigned generation;
    char what[];
};

static void deliver_crash(lua_State *L, void *context)
{
    struct crash_news *news = context;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &crash_key);
    lua_pushlightuserdata(L, news->plugin);
    lua_pushinteger(L, news->generation);
    lua_pushstring(L, news->what);
    free(news);
    host_call(L, 3, "error after a crash");
}

static void post_crash(struct image *image, const char *what)
{
    size_t length = strlen(what);
    struct crash_news *news = memory_take(sizeof *news + length + 1);
    *news = (struct crash_news){image_owner(image), image->generation};
    memcpy(news->what, what, length + 1);
    host_post(image_owner(image)->owner, deliver_crash, news);
}

/* A call of the image crashed: f(plugin handle, generation, what happened). */
static void on_crash(lua_State *L, struct image *image, const char *what)
{
    struct plugin *plugin = image_owner(image);
    if (plugin->owner != host_of(L)) {
        post_crash(image, what);
        return;
    }
    lua_rawgetp(L, LUA_REGISTRYINDEX, &crash_key);
    if (!lua_isfunction(L, -1)) {
        lua_pop(L, 1);
        return;
    }
    lua_pushlightuserdata(L, plugin);
    lua_pushinteger(L, image->generation);
    lua_pushstring(L, what);
    host_call(L, 3, "error after a crash");
}

/* core.on_crash(f): f(plugin handle, generation, what) */
static int l_on_crash(lua_State *L)
{
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &crash_key);
    call_on_crash = on_crash;
    return 0;
}

void core_open_plugin(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"plugin_create", l_plugin_create}, {"plugin_close", l_plugin_close},
        {"plugin_find", l_plugin_find}, {"plugin_rename", l_plugin_rename},
        {"introduce", l_introduce}, {"bind", l_bind}, {"heap_counts", l_heap_counts},
        {"set_guard", l_set_guard}, {"fill_api", l_fill_api}, {"new_api", l_new_api},
        {"new_types", l_new_types}, {"new_enums", l_new_enums}, {"exports", l_exports},
        {"export_names", l_export_names},
        {"same_signature", l_same_signature}, {"matches_declaration", l_matches_declaration},
        {"counts", l_counts}, {"read_types", l_read_types}, {"variables", l_variables}, {"kind", l_kind},
        {"is_text", l_is_text}, {"borrow_writer", l_borrow_writer},
        {"release_callbacks", l_release_callbacks}, {"on_crash", l_on_crash}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
