/* core_path.c: paths of state as reports spell them ("table.rows[3].limit"): what type is there.
 * Reads types alone, no values. */
#include "core.h"

#include "cdecl.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool has_fields(const struct type *type)
{
    return type->kind == TYPE_STRUCT || type->kind == TYPE_UNION;
}

/* The type at ".rows[3].limit" below `type`, NULL if there is no such thing. */
static const struct type *follow_path(const struct type *type, const char *path)
{
    while (type && *path) {
        const struct type *plain = type_complete(type->plain);
        char name[256], *end;
        uint64_t offset;
        if (*path == '[') {
            uint64_t index = strtoull(path + 1, &end, 10);
            bool is_inside = plain->kind == TYPE_ARRAY && *end == ']' &&
                             (plain->is_flexible || index < plain->count);
            type = is_inside ? plain->target : NULL;
            path = end + 1;
            continue;
        }
        path += *path == '.';
        size_t length = strcspn(path, ".[");
        if (length == 0 || length >= sizeof name || !has_fields(plain))
            return NULL;
        snprintf(name, sizeof name, "%.*s", (int)length, path);
        const struct field *field = type_find_field(plain, name, &offset);
        type = field ? field->type : NULL;
        path += length;
    }
    return type;
}

/* The variable that the path begins with (its name may have a dot), and what follows it. */
static bool split_path(struct image *image, char *path, struct variable *variable, char **rest)
{
    for (size_t length = strlen(path); length > 0; length--) {
        char saved = path[length];
        if (saved != 0 && saved != '.' && saved != '[')
            continue;
        path[length] = 0;
        bool found = image_find_variable(image, path, variable, NULL) && variable->type;
        path[length] = saved;
        if (found) {
            *rest = path + length;
            return true;
        }
    }
    return false;
}

static void push_field_names(lua_State *L, const struct type *type, lua_Integer *count)
{
    for (uint64_t i = 0; i < type->count; i++) {
        const struct field *field = &type->fields[i];
        if (!field->name && has_fields(field->type->plain)) {
            push_field_names(L, type_complete(field->type->plain), count);
        } else if (field->name) {
            lua_pushstring(L, field->name);
            lua_rawseti(L, -2, ++*count);
        }
    }
}

/* core.path_type(image, "table.rows[3].limit") -> C text of its type, length of the variable's
 * name in the path, names of its fields if it has any | nil */
static int l_path_type(lua_State *L)
{
    struct image *image = core_check_image(L, 1);
    char path[4096], *rest;
    struct variable variable;
    lua_Integer count = 0;
    luaL_argcheck(L, strlen(luaL_checkstring(L, 2)) < sizeof path, 2, "path too long");
    snprintf(path, sizeof path, "%s", luaL_checkstring(L, 2));
    if (!split_path(image, path, &variable, &rest))
        return 0;
    const struct type *type = follow_path(variable.type, rest);
    if (!type)
        return 0;
    char text[1024];
    cdecl_print(text, sizeof text, type, "");
    lua_pushstring(L, text);
    lua_pushinteger(L, rest - path);
    lua_newtable(L);
    if (has_fields(type->plain))
        push_field_names(L, type_complete(type->plain), &count);
    return 3;
}

void core_open_path(lua_State *L)
{
    static const luaL_Reg functions[] = {{"path_type", l_path_type}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
