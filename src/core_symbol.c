/* core_symbol.c: addresses and names: the bare dynamic loader, the running program's own symbols, and
 * what stands at an address. */
#include "core.h"

#include "debuginfo.h"
#include "loader.h"
#include "slot.h"
#include "stage.h"

#include <dlfcn.h>
#include <lauxlib.h>
#include <string.h>

/* hot.open ----------------------------------------------------------------------------------- */

static void **check_library(lua_State *L)
{
    return luaL_checkudata(L, 1, "hotlua.library");
}

/* core.open_library(path) -> lib | nil, message. The loader's own rules: a path with a slash, or a name that
 * it searches. The file is not copied and not reloaded. */
static int l_open_library(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    void **library = lua_newuserdatauv(L, sizeof *library, 0);
    *library = NULL;
    luaL_setmetatable(L, "hotlua.library");
    loader_lock();
    *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!*library)
        lua_pushstring(L, dlerror());
    loader_unlock();
    if (*library)
        return 1;
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

/* lib:symbol(name) -> address | nil */
static int l_symbol(lua_State *L)
{
    void **library = check_library(L);
    const char *name = luaL_checkstring(L, 2);
    if (!*library)
        return luaL_error(L, "the library is closed");
    dlerror();
    void *address = dlsym(*library, name);
    if (dlerror())
        return 0;
    lua_pushinteger(L, (lua_Integer)(uintptr_t)address);
    return 1;
}

/* lib:close(): its addresses are no longer valid. */
static int l_close_library(lua_State *L)
{
    void **library = check_library(L);
    loader_lock();
    if (*library)
        dlclose(*library);
    loader_unlock();
    *library = NULL;
    return 0;
}

/* hot.symbolize ------------------------------------------------------------------------------ */

static void set_string(lua_State *L, const char *name, const char *value)
{
    if (value) {
        lua_pushstring(L, value);
        lua_setfield(L, -2, name);
    }
}

static void set_integer(lua_State *L, const char *name, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

/* The exported or local symbol that covers the file address, as the dynamic symbols know it. */
static const struct symbol *symbol_at(const struct image *image, uint64_t address)
{
    const struct symbol *best = NULL;
    for (size_t i = 0; i < image->facts.symbol_count; i++) {
        const struct symbol *symbol = &image->facts.symbols[i];
        if (symbol->kind == SYMBOL_THREAD_LOCAL || symbol->address > address)
            continue;
        if (address - symbol->address >= (symbol->size ? symbol->size : 1))
            continue;
        best = symbol;
    }
    return best;
}

/* A variable that only the debug info knows. */
static const struct variable *variable_at(struct image *image, uintptr_t address)
{
    size_t count;
    const struct variable *variables = image_variables(image, &count);
    for (size_t i = 0; i < count; i++) {
        const struct variable *variable = &variables[i];
        if (variable->address && address - (uintptr_t)variable->address < variable->size)
            return variable;
    }
    return NULL;
}

static void set_symbol(lua_State *L, const char *name, uintptr_t offset)
{
    set_string(L, "symbol", name);
    set_integer(L, "offset", (lua_Integer)offset);
}

static void describe_in_image(lua_State *L, struct image *image, uintptr_t address)
{
    struct debug_line line = {0};
    uint64_t in_file = address - image->bias;
    const struct symbol *symbol = symbol_at(image, in_file);
    set_string(L, "file", image->source);
    if (image->plugin)
        set_string(L, "plugin", image->plugin->name);
    if (image->plugin)
        set_integer(L, "generation", image->generation);
    if (image->debug && debuginfo_line(image->debug, in_file, &line)) {
        set_string(L, "source", line.file);
        set_integer(L, "line", line.line);
    }
    const struct variable *variable = symbol || line.function ? NULL : variable_at(image, address);
    if (symbol)
        set_symbol(L, symbol->name, in_file - symbol->address);
    else if (line.function)
        set_symbol(L, line.function, in_file - line.start);
    else if (variable)
        set_symbol(L, variable->name, address - (uintptr_t)variable->address);
}

/* core.symbolize(address) -> { file, symbol, offset, source, line, plugin, generation } | nil */
static int l_symbolize(lua_State *L)
{
    uintptr_t address = (uintptr_t)luaL_checkinteger(L, 1);
    struct image *image = image_of_address((void *)address);
    Dl_info info;
    if (image) {
        lua_createtable(L, 0, 7);
        describe_in_image(L, image, address);
        image_release(image);
        return 1;
    }
    if (!dladdr((void *)address, &info) || !info.dli_fname)
        return 0;
    lua_createtable(L, 0, 3);
    set_string(L, "file", info.dli_fname);
    if (info.dli_sname)
        set_symbol(L, info.dli_sname, address - (uintptr_t)info.dli_saddr);
    return 1;
}

/* hot.self ----------------------------------------------------------------------------------- */

/* core.self() -> image handle of the running program | nil, message */
static int l_self(lua_State *L)
{
    struct error error = {0};
    struct stage *stage = stage_copy("/proc/self/exe", "self", &error);
    struct image *image = stage ? image_of_program(stage, "/proc/self/exe", &error) : NULL;
    if (image) {
        core_push_image(L, image);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, error.text);
    return 2;
}

void core_open_symbol(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"open_library", l_open_library}, {"symbolize", l_symbolize}, {"self", l_self}, {NULL, NULL},
    };
    static const luaL_Reg methods[] = {
        {"symbol", l_symbol}, {"close", l_close_library}, {"__gc", l_close_library},
        {"__close", l_close_library}, {NULL, NULL},
    };
    luaL_newmetatable(L, "hotlua.library");
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
