/* object_push.c: C values to Lua. */
#include "object_internal.h"

#include "call.h"
#include "callback.h"
#include "cdecl.h"

#include <complex.h>

const char *object_spell(const struct type *type, char *buffer, size_t size)
{
    cdecl_print(buffer, size, type, "");
    return buffer;
}

/* A string may be where an image was that has been unloaded. */
static void push_text(lua_State *L, const char *value, const struct origin *origin)
{
    const struct image *image = origin ? origin->image : NULL;
    bool is_inside = image && image->is_mapped && image_contains(image, value);
    struct image *gone = is_inside ? NULL : image_gone_from(value);
    if (gone) {
        lua_pushfstring(L, "this string belongs to generation %d of plugin '%s', which has been "
                        "unloaded", (int)gone->generation, gone->source);
        image_release(gone);
        luaL_error(L, "%s", lua_tostring(L, -1));
    }
    lua_pushstring(L, value);
}

bool object_has_values(const struct type *type, struct error *error)
{
    char name[256];
    const struct type *element = type_complete(type);
    while (element->kind == TYPE_ARRAY)
        element = type_complete(element->target);
    const char *reason = element->plain->reason ? element->plain->reason : element->reason;
    if (element->kind != TYPE_UNSUPPORTED)
        return true;
    if (!element->name && !element->alias)
        return error_set(error, "its type is not supported: %s", reason);
    object_spell(type, name, sizeof name);
    return error_set(error, "'%s' is not supported: %s", name, reason);
}

static void push_pointer(lua_State *L, const struct type *pointer, void *value,
                         const struct origin *origin)
{
    const struct type *target = pointer->target->plain;
    if (!value)
        lua_pushnil(L);
    else if (pointer->target->is_const && type_is_text(pointer->target))
        push_text(L, value, origin);
    else if (target->kind != TYPE_FUNCTION)
        object_push_pointer(L, pointer, value, origin);
    else if (!callback_push_function(L, value)) {
        struct image *image = image_of_address(value);
        if (!image)
            image = image_gone_from(value);
        call_push_function(L, value, target, image, "function pointer");
        image_release(image);
    }
}

static void push_int128(lua_State *L, const struct type *type, const char *address)
{
    __int128 value;
    memcpy(&value, address, sizeof value);
    bool fits = (lua_Integer)value == value;
    if (!type->is_signed)
        fits = (unsigned __int128)value <= UINT64_MAX;
    if (!fits)
        luaL_error(L, "the value of an '%s' does not fit a Lua integer", type->name);
    lua_pushinteger(L, (lua_Integer)value);
}

static void push_complex(lua_State *L, const struct type *type, const char *address)
{
    long double parts[2] = {0};
    float floats[2];
    double doubles[2];
    memcpy(floats, address, sizeof floats);
    if (type->size == sizeof doubles)
        memcpy(doubles, address, sizeof doubles);
    if (type->size == sizeof parts)
        memcpy(parts, address, sizeof parts);
    lua_createtable(L, 2, 0);
    for (int i = 0; i < 2; i++) {
        bool is_float = type->size == sizeof floats, is_double = type->size == sizeof doubles;
        lua_pushnumber(L, is_float ? floats[i] : is_double ? doubles[i] : (double)parts[i]);
        lua_rawseti(L, -2, i + 1);
    }
}

static void push_aggregate(lua_State *L, const struct type *type, void *address,
                           const struct origin *origin, bool copy)
{
    static const struct origin nowhere;
    if (copy && !type->is_incomplete)
        memcpy(object_push_owned(L, type, 0)->address, address, type_plain(type)->size);
    else
        object_push_view(L, type, address, origin ? origin : &nowhere, NULL);
}

void object_push(lua_State *L, const struct type *type, void *address,
                 const struct origin *origin, bool copy)
{
    const struct type *plain = type_plain(type);
    void *pointer;
    long double number;
    struct error error;
    luaL_checkstack(L, 10, NULL);
    if (object_push_scalar(L, object_scalar_of(plain), address))
        return;
    switch (plain->kind) {
    case TYPE_POINTER:
        memcpy(&pointer, address, sizeof pointer);
        push_pointer(L, plain, pointer, origin);
        break;
    case TYPE_STRUCT: case TYPE_UNION: case TYPE_ARRAY:
        push_aggregate(L, type, address, origin, copy);
        break;
    case TYPE_FLOAT:
        memcpy(&number, address, sizeof number);
        lua_pushnumber(L, (lua_Number)number);
        break;
    case TYPE_COMPLEX:
        push_complex(L, plain, address);
        break;
    case TYPE_INT:
        push_int128(L, plain, address);
        break;
    case TYPE_VOID:
        lua_pushnil(L);
        break;
    default:
        if (!object_has_values(type, &error))
            luaL_error(L, "%s", error.text);
        luaL_error(L, "a value of this type is incomplete");
    }
}
