/* core_inspect.c: what is in a shared object that is not loaded, as Lua tables: for hot.inspect,
 * the stubs and hot.check. Nothing of the file runs. */
#include "core.h"

#include "call_compile.h"
#include "cdecl.h"
#include "debuginfo.h"
#include "loader.h"
#include "object.h"
#include "slot.h"
#include "stage.h"

#include <dlfcn.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 3 };      /* of types behind pointers that are described */
enum { MOST_NEEDED = 64, MOST_MISSING = 32 };    /* libraries, symbols */

static void set_string(lua_State *L, const char *name, const char *value)
{
    if (value) {
        lua_pushstring(L, value);
        lua_setfield(L, -2, name);
    }
}

static void set_integer(lua_State *L, const char *name, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

/* Only what is so: a flag that is absent is false. */
static void set_flag(lua_State *L, const char *name, bool value)
{
    if (value) {
        lua_pushboolean(L, true);
        lua_setfield(L, -2, name);
    }
}

static void push_declaration(lua_State *L, const struct type *type, const char *name)
{
    luaL_Buffer buffer;
    size_t length = cdecl_print(NULL, 0, type, name);
    char *text = luaL_buffinitsize(L, &buffer, length + 1);
    cdecl_print(text, length + 1, type, name);
    luaL_pushresultsize(&buffer, length);
}

static void set_declaration(lua_State *L, const char *key, const struct type *type,
                            const char *name)
{
    push_declaration(L, type, name);
    lua_setfield(L, -2, key);
}

/* Types -------------------------------------------------------------------------------------- */

static const char *kind_name(const struct type *type)
{
    static const char *const names[] = {
        "void", "bool", "int", "float", "complex", "enum", "pointer", "array", "struct", "union",
        "function", "unsupported"};
    return names[type->kind];
}

static void set_parts(lua_State *L, const struct type *type, int depth);

/* Push { type = C text, kind, name, alias, … }, what it points to included. */
static void push_shape(lua_State *L, const struct type *type, int depth)
{
    lua_createtable(L, 0, 8);
    set_declaration(L, "type", type, "");
    set_parts(L, type, depth);
}

static void set_list_of_parameters(lua_State *L, const struct type *function, int depth)
{
    lua_createtable(L, (int)function->count, 0);
    for (uint64_t i = 0; i < function->count; i++) {
        push_shape(L, function->parameters[i].type, depth);
        set_string(L, "name", function->parameters[i].name);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "parameters");
}

static void set_function(lua_State *L, const struct type *function, int depth)
{
    set_list_of_parameters(L, function, depth);
    push_shape(L, function->target, depth);
    lua_setfield(L, -2, "result");
    set_flag(L, "variadic", function->is_variadic);
    set_flag(L, "unprototyped", function->is_unprototyped);
}

static bool has_fields(const struct type *type)
{
    return type->kind == TYPE_STRUCT || type->kind == TYPE_UNION;
}

static bool has_tag(const struct type *type)
{
    return has_fields(type) || type->kind == TYPE_ENUM;
}

/* Add to the table on top what is known of the type besides its text. */
static void set_parts(lua_State *L, const struct type *type, int depth)
{
    const struct type *plain = type->plain;
    luaL_checkstack(L, 8, "type too deep");
    set_string(L, "kind", kind_name(plain));
    set_string(L, "alias", type->alias);
    set_flag(L, "const", type->is_const);
    set_flag(L, "char", plain->is_char && strcmp(plain->name, "char") == 0);
    if (has_tag(plain))
        set_string(L, "tag", plain->name);
    if (!plain->is_lazy && plain->size > 0)
        set_integer(L, "size", plain->size);
    if (plain->kind == TYPE_INT)
        set_flag(L, "signed", plain->is_signed);
    set_string(L, "reason", plain->reason);
    if (plain->kind == TYPE_ARRAY && !plain->is_flexible)
        set_integer(L, "count", plain->count);
    if (depth <= 0)
        return;
    if (plain->kind == TYPE_FUNCTION) {
        set_function(L, plain, depth - 1);
    } else if (plain->kind == TYPE_POINTER || plain->kind == TYPE_ARRAY) {
        push_shape(L, plain->target, depth - 1);
        lua_setfield(L, -2, "target");
    }
}

static void set_fields(lua_State *L, const struct type *type)
{
    lua_createtable(L, (int)type->count, 0);
    for (uint64_t i = 0; i < type->count; i++) {
        const struct field *field = &type->fields[i];
        push_shape(L, field->type, MAX_DEPTH);
        set_string(L, "name", field->name);
        set_integer(L, "offset", field->offset);
        if (field->bit_size > 0) {
            set_integer(L, "bit_offset", field->bit_offset);
            set_integer(L, "bits", field->bit_size);
        }
        if (!field->name && has_fields(field->type->plain))
            set_fields(L, type_complete(field->type->plain));
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "fields");
}

static void set_values(lua_State *L, const struct type *type)
{
    lua_createtable(L, (int)type->count, 0);
    for (uint64_t i = 0; i < type->count; i++) {
        lua_createtable(L, 0, 2);
        set_string(L, "name", type->values[i].name);
        set_integer(L, "value", (uint64_t)type->values[i].value);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "values");
}

/* Is it another name of a struct, union or enum that is listed by its own? */
static bool is_second_name(const struct type *type)
{
    return type->alias && has_tag(type->plain) && type->plain->name;
}

static void set_definition(lua_State *L, const struct type *type)
{
    if (is_second_name(type)) {
        lua_pushliteral(L, "typedef ");
        push_declaration(L, type->plain, type->alias);
        lua_pushliteral(L, ";\n");
        lua_concat(L, 3);
        lua_setfield(L, -2, "definition");
        return;
    }
    char *text = cdecl_print_definition(type, true);
    set_string(L, "definition", text);
    free(text);
}

/* "struct point", "point": as plugin.types spells it. */
static void set_type_name(lua_State *L, const struct type *type)
{
    const struct type *plain = type->plain;
    const char *name = type->alias ? type->alias : plain->name;
    if (type->alias || plain->is_typedef_name || !has_tag(plain)) {
        set_string(L, "name", name);
        return;
    }
    lua_pushfstring(L, "%s %s", kind_name(plain), name ? name : "");
    lua_setfield(L, -2, "name");
}

/* Push { name, kind, definition, size, align, fields | values | target } */
static void push_type(lua_State *L, const struct type *type)
{
    const struct type *plain = type_complete(type->plain);
    bool is_alias = type->alias != NULL;
    lua_createtable(L, 0, 10);
    set_type_name(L, type);
    set_definition(L, type);
    set_parts(L, plain, MAX_DEPTH);
    set_flag(L, "incomplete", plain->is_incomplete);
    if (!plain->is_incomplete && plain->align > 0)
        set_integer(L, "align", plain->align);
    if (is_alias) {
        set_declaration(L, "type", plain, "");
        set_string(L, "alias", type->alias);
        set_flag(L, "typedef", true);
    }
    if (is_second_name(type))
        return;
    if (has_fields(plain))
        set_fields(L, plain);
    else if (plain->kind == TYPE_ENUM)
        set_values(L, plain);
}

struct listing {
    lua_State *L;
    lua_Integer count;
};

static bool add_type(void *context, const struct type *type)
{
    struct listing *listing = context;
    push_type(listing->L, type);
    lua_rawseti(listing->L, -2, ++listing->count);
    return true;
}

/* core.inspect_types(image) -> { type, … } sorted by name */
static int l_inspect_types(lua_State *L)
{
    struct image *image = core_check_image(L, 1);
    struct listing listing = {.L = L};
    lua_newtable(L);
    if (image->debug)
        debuginfo_each_type(image->debug, add_type, &listing);
    return 1;
}

static bool add_definition(void *context, const struct type *type)
{
    lua_State *L = context;
    if (is_second_name(type))
        return true;
    lua_createtable(L, 0, 2);
    set_type_name(L, type);
    lua_getfield(L, -1, "name");
    char *text = cdecl_print_definition(type, true);
    lua_pushstring(L, text);
    free(text);
    lua_rawset(L, -4);
    lua_pop(L, 1);
    return true;
}

/* core.inspect_definitions(image) -> { name = C text }: of the types that are defined, each once */
static int l_inspect_definitions(lua_State *L)
{
    struct image *image = core_check_image(L, 1);
    lua_newtable(L);
    if (image->debug)
        debuginfo_each_type(image->debug, add_definition, L);
    return 1;
}

/* Symbols ------------------------------------------------------------------------------------ */

/* Push { name, kind, signature, size, parameters, result, variadic, reason } */
static void push_function(lua_State *L, struct image *image, struct export *export)
{
    struct error error = {0};
    const struct symbol *symbol = elf_find_symbol(&image->facts, export->name);
    lua_createtable(L, 0, 8);
    set_string(L, "name", export->name);
    set_string(L, "kind", "function");
    if (symbol->size > 0)
        set_integer(L, "size", symbol->size);
    if (!image_resolve_export(export, &error)) {
        set_string(L, "reason", error.text);
        return;
    }
    set_declaration(L, "signature", export->type, export->name);
    set_function(L, export->type, MAX_DEPTH);
    if (!image->is_mapped)
        call_compile(export);            /* a live one's thunk is its slot's to choose */
    set_string(L, "reason", export->refusal);
}

/* Push { name, kind, signature, type, shape, size, exported, writable, thread_local, file,
 * reason } */
static void push_variable(lua_State *L, const struct image *image, const struct variable *variable)
{
    struct error error;
    lua_createtable(L, 0, 10);
    if (variable->type) {
        push_shape(L, variable->type, MAX_DEPTH);
        lua_setfield(L, -2, "shape");
        set_declaration(L, "type", variable->type, "");
        set_declaration(L, "signature", variable->type, variable->name);
        if (!object_has_values(variable->type, &error))
            set_string(L, "reason", error.text);
    } else {
        set_string(L, "reason", image->no_debug[0] ? image->no_debug : "not in the debug info");
    }
    set_string(L, "name", variable->name);
    set_string(L, "kind", "variable");
    set_integer(L, "size", variable->size);
    set_string(L, "file", variable->file);
    lua_pushboolean(L, variable->is_exported);
    lua_setfield(L, -2, "exported");
    lua_pushboolean(L, variable->is_writable);
    lua_setfield(L, -2, "writable");
    lua_pushboolean(L, variable->is_thread_local);
    lua_setfield(L, -2, "thread_local");
}

/* core.inspect_functions(image) -> { function, … } sorted by name */
static int l_inspect_functions(lua_State *L)
{
    struct image *image = core_check_image(L, 1);
    lua_createtable(L, (int)image->export_count, 0);
    for (size_t i = 0; i < image->export_count; i++) {
        push_function(L, image, &image->exports[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* core.inspect_variables(image) -> { variable, … } sorted by name */
static int l_inspect_variables(lua_State *L)
{
    struct image *image = core_check_image(L, 1);
    size_t count;
    const struct variable *list = image_variables(image, &count);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        push_variable(L, image, &list[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* core.inspect_named(image, name) -> the function, variable or type of that name, "function",
 * "variable" or "type" | nil: reads no more than it needs. */
static int l_inspect_named(lua_State *L)
{
    struct image *image = core_check_image(L, 1);
    const char *name = luaL_checkstring(L, 2);
    struct export *export = image_find_export(image, name);
    struct variable variable;
    if (export) {
        push_function(L, image, export);
        lua_pushliteral(L, "function");
        return 2;
    }
    if (image_find_variable(image, name, &variable, NULL)) {
        push_variable(L, image, &variable);
        lua_pushliteral(L, "variable");
        return 2;
    }
    const struct type *type = image_named_type(image, name);
    if (!type)
        return 0;
    push_type(L, type);
    lua_pushliteral(L, "type");
    return 2;
}

/* core.inspect_type(image, name) -> the type of that name | nil */
static int l_inspect_type(lua_State *L)
{
    struct image *image = core_check_image(L, 1);
    const struct type *type = image_named_type(image, luaL_checkstring(L, 2));
    if (!type)
        return 0;
    push_type(L, type);
    return 1;
}

/* Files -------------------------------------------------------------------------------------- */

/* core.inspect_open(path [, cdef]) -> image handle | nil, message: checked, not loaded */
static int l_inspect_open(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    struct image_options options = {.cdef = luaL_optstring(L, 2, NULL)};
    struct error error = {0};
    struct stage *stage = stage_copy(path, "inspect", &error);
    struct image *image = stage ? image_examine(stage, path, &error) : NULL;
    if (image && image_read_types(image, &options, &error)) {
        core_push_image(L, image);
        return 1;
    }
    image_release(image);
    lua_pushnil(L);
    lua_pushstring(L, error.text);
    return 2;
}

static void set_needed(lua_State *L, const struct elf_facts *facts)
{
    lua_newtable(L);
    for (int i = 0; facts->needed && facts->needed[i]; i++) {
        lua_pushstring(L, facts->needed[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "needed");
}

/* core.inspect_file(image) -> { bytes, size, soname, needed, tls_size, no_debug, refused } */
static int l_inspect_file(lua_State *L)
{
    const struct image *image = core_check_image(L, 1);
    struct error error = {0};
    lua_createtable(L, 0, 8);
    set_integer(L, "bytes", stage_size(image->stage));
    set_integer(L, "size", image->facts.loaded_size);
    set_string(L, "soname", image->facts.soname);
    set_needed(L, &image->facts);
    if (image->facts.tls_size > 0)
        set_integer(L, "tls_size", image->facts.tls_size);
    if (!image->debug)
        set_string(L, "no_debug", image->no_debug);
    if (!image_is_reloadable(image, &error))
        set_string(L, "refused", error.text);
    return 1;
}

/* Where what the image needs may be found, as far as it is loaded here. False: a library of it is not. */
static bool open_needed(const struct image *image, void **libraries, size_t *count)
{
    const char **needed = image->facts.needed;
    for (*count = 0; needed && needed[*count] && *count < MOST_NEEDED; ++*count) {
        libraries[*count] = dlopen(needed[*count], RTLD_LAZY | RTLD_LOCAL | RTLD_NOLOAD);
        if (!libraries[*count])
            return false;
    }
    return !needed || !needed[*count];
}

static bool is_found(const char *name, void **libraries, size_t count)
{
    bool is_there = dlsym(RTLD_DEFAULT, name) != NULL;
    for (size_t i = 0; i < count && !is_there; i++)
        is_there = dlsym(libraries[i], name) != NULL;
    return is_there;
}

/* -> how many of the symbols that the image needs nothing has; their names, MOST_MISSING at most. */
static size_t find_missing(const struct image *image, const char **names)
{
    void *libraries[MOST_NEEDED];
    size_t library_count, place = 0, count = 0;
    const char *name;
    loader_lock();
    bool is_known = open_needed(image, libraries, &library_count);
    while (is_known && count < MOST_MISSING && (name = elf_next_import(&image->facts, &place)))
        if (!elf_find_symbol(&image->facts, name) && !is_found(name, libraries, library_count))
            names[count++] = name;
    while (library_count-- > 0)
        dlclose(libraries[library_count]);
    loader_unlock();
    return count;
}

/* core.unresolved(image) -> list of symbols that it needs and that nothing has; empty where that cannot be told
 * without loading a library. */
static int l_unresolved(lua_State *L)
{
    const char *names[MOST_MISSING];
    size_t count = find_missing(core_check_image(L, 1), names);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_pushstring(L, names[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

void core_open_inspect(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"inspect_open", l_inspect_open}, {"inspect_file", l_inspect_file},
        {"unresolved", l_unresolved},
        {"inspect_functions", l_inspect_functions}, {"inspect_variables", l_inspect_variables},
        {"inspect_types", l_inspect_types}, {"inspect_definitions", l_inspect_definitions},
        {"inspect_named", l_inspect_named}, {"inspect_type", l_inspect_type}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
