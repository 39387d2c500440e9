/* object_memory.c: hot.string, copy, address, cast: memory by hand, within bounds where these are
 * known. */
#include "object_internal.h"

#include "call.h"
#include "callback.h"

#include <stdio.h>

struct span {                /* memory that an argument means */
    char *start;
    uint64_t size;           /* bytes, OBJECT_UNBOUNDED: not known */
    bool is_const;
};

/* The memory that the object is, or that the pointer points to. */
static struct span span_of(lua_State *L, int index, struct object *object)
{
    struct span span = {object_base(L, index, object), OBJECT_UNBOUNDED, false};
    const struct type *type = object->class->type;
    span.is_const = object->flags & OBJECT_CONST || object->class->is_const;
    if (object->flags & OBJECT_OWNED)
        span.size = object->size;
    else if (type->kind == TYPE_ARRAY && object->count != OBJECT_UNBOUNDED)
        span.size = object->count * type_plain(type->target)->size;
    else if (type->kind != TYPE_POINTER && type->kind != TYPE_ARRAY)
        span.size = type->size;
    return span;
}

static struct span check_span(lua_State *L, int index)
{
    struct object *object = object_test(L, index);
    if (object)
        return span_of(L, index, object);
    luaL_argexpected(L, lua_islightuserdata(L, index), index, "C object");
    return (struct span){lua_touserdata(L, index), OBJECT_UNBOUNDED, false};
}

static uint64_t check_length(lua_State *L, int index)
{
    lua_Integer length = luaL_checkinteger(L, index);
    luaL_argcheck(L, length >= 0, index, "length must not be negative");
    return (uint64_t)length;
}

/* hot.string(pointer [, length]): without a length up to the first zero */
static int l_string(lua_State *L)
{
    if (lua_type(L, 1) == LUA_TSTRING) {
        size_t length = lua_rawlen(L, 1), wanted = lua_isnoneornil(L, 2) ? length : check_length(L, 2);
        luaL_argcheck(L, wanted <= length, 2, "longer than the string");
        lua_pushlstring(L, lua_tostring(L, 1), wanted);
        return 1;
    }
    struct span span = check_span(L, 1);
    if (!lua_isnoneornil(L, 2)) {
        uint64_t length = check_length(L, 2);
        if (length > span.size)
            return luaL_error(L, "%I bytes asked for, but the object has %I", (lua_Integer)length,
                              (lua_Integer)span.size);
        lua_pushlstring(L, span.start, length);
        return 1;
    }
    const struct object *object = object_test(L, 1);
    const struct type *element = object ? object->class->element : NULL;
    bool is_bytes = element && element->plain->kind == TYPE_INT && element->plain->size == 1;
    if (!object || (element && element->plain->kind == TYPE_VOID))
        is_bytes = true;                 /* nothing is known of it: take the caller's word */
    luaL_argcheck(L, is_bytes, 1, "not a pointer to characters: give the length too");
    size_t room = span.size < PTRDIFF_MAX ? span.size : PTRDIFF_MAX;
    lua_pushlstring(L, span.start, strnlen(span.start, room));
    return 1;
}

/* hot.copy(to, from [, length]): without a length, all of `from` (of a string, its closing zero too if
 * there is room). */
static int l_copy(lua_State *L)
{
    struct span to = check_span(L, 1), from;
    size_t length = 0;
    if (lua_type(L, 2) == LUA_TSTRING) {
        from.start = (char *)lua_tolstring(L, 2, &length);
        from.size = length + (to.size > length);
    } else {
        from = check_span(L, 2);
    }
    uint64_t wanted = lua_isnoneornil(L, 3) ? from.size : check_length(L, 3);
    luaL_argcheck(L, wanted != OBJECT_UNBOUNDED, 3, "the length is not known: give it");
    if (wanted > to.size || wanted > from.size + (lua_type(L, 2) == LUA_TSTRING && wanted == length + 1))
        return luaL_error(L, "%I bytes do not fit: the source has %I, the destination %I",
                          (lua_Integer)wanted, (lua_Integer)from.size, (lua_Integer)to.size);
    struct object *object = object_test(L, 1);
    if (object)
        object_check_write(L, object, to.is_const, "memory");
    memmove(to.start, from.start, wanted);
    return 0;
}

/* The address that the value at index stands for, or false. */
static bool address_of(lua_State *L, int index, const void **address)
{
    struct object *object = object_test(L, index);
    if (object && object->flags & OBJECT_CHECKED)
        object_revalidate(L, index, object);
    if (object)
        *address = object->address;
    else if (lua_type(L, index) == LUA_TSTRING)
        *address = lua_tostring(L, index);
    else if (lua_islightuserdata(L, index))
        *address = lua_touserdata(L, index);
    else if (lua_type(L, index) == LUA_TFUNCTION)
        *address = call_native(L, index);
    else
        *address = callback_address(L, index);
    return object || *address || lua_islightuserdata(L, index);
}

/* hot.address(x) -> integer */
static int l_address(lua_State *L)
{
    const void *address = NULL;
    if (!lua_isnil(L, 1))
        luaL_argexpected(L, address_of(L, 1, &address), 1, "C object");
    lua_pushinteger(L, (lua_Integer)(uintptr_t)address);
    return 1;
}

/* Casts -------------------------------------------------------------------------------------- */

/* Replace an object that holds a number by that number. */
static void unbox(lua_State *L, int index)
{
    struct object *object = object_test(L, index);
    enum scalar scalar = object ? object_scalar_of(object->class->type) : SCALAR_OTHER;
    if (scalar != SCALAR_OTHER && object_push_scalar(L, scalar, object_base(L, index, object)))
        lua_replace(L, index);
}

/* The number that C would convert: of a pointer its address. */
static bool take_number(lua_State *L, int index, lua_Integer *integer, lua_Number *number)
{
    const void *address;
    unbox(L, index);
    if (lua_isboolean(L, index))
        *integer = lua_toboolean(L, index);
    else if (lua_isinteger(L, index))
        *integer = lua_tointeger(L, index);
    else if (lua_type(L, index) == LUA_TNUMBER) {
        *number = lua_tonumber(L, index);
        *integer = *number >= -0x1p63 && *number < 0x1p63 ? (lua_Integer)*number : 0;
        if (*number >= 0x1p63 && *number < 0x1p64)
            *integer = (lua_Integer)(uint64_t)*number;
        return true;
    } else if (lua_type(L, index) != LUA_TSTRING && address_of(L, index, &address))
        *integer = (lua_Integer)(uintptr_t)address;
    else
        return false;
    *number = (lua_Number)*integer;
    return true;
}

static int cast_to_number(lua_State *L, const struct type *plain)
{
    lua_Integer integer = 0;
    lua_Number number = 0;
    char bytes[16] = {0};
    luaL_argexpected(L, take_number(L, 2, &integer, &number), 2, "number or pointer");
    if (plain->kind == TYPE_FLOAT) {
        lua_pushnumber(L, plain->size == sizeof(float) ? (float)number : number);
        return 1;
    }
    if (plain->kind == TYPE_BOOL)
        integer = number != 0;
    memcpy(bytes, &integer, sizeof integer);
    memset(bytes + sizeof integer, integer < 0 ? -1 : 0, sizeof bytes - sizeof integer);
    object_push(L, plain, bytes, NULL, false);
    return 1;
}

/* Push what keeps the memory of the argument: the object itself if it owns it. */
static int push_owner(lua_State *L, int index)
{
    struct object *object = object_test(L, index);
    if (object && !(object->flags & OBJECT_ROOT))
        lua_getiuservalue(L, index, 1);
    else
        lua_pushvalue(L, index);
    bool is_owner = lua_type(L, -1) == LUA_TUSERDATA || lua_type(L, -1) == LUA_TSTRING;
    return is_owner ? lua_gettop(L) : 0;
}

static void *check_pointer(lua_State *L, int index, const struct type *type)
{
    const void *address = NULL;
    if (lua_isinteger(L, index))
        return (void *)(uintptr_t)lua_tointeger(L, index);
    luaL_argexpected(L, address_of(L, index, &address), index, "pointer or integer");
    bool is_writable = type->kind == TYPE_POINTER && !type->target->is_const;
    if (lua_type(L, index) == LUA_TSTRING && is_writable)
        luaL_argerror(L, index, "a string cannot be written: cast it to a pointer to const");
    return (void *)address;
}

static int cast_to_pointer(lua_State *L, const struct type *plain)
{
    struct origin origin = {0};
    const struct type *target = plain->target->plain;
    bool is_function = target->kind == TYPE_FUNCTION;
    if (lua_isnil(L, 2))
        return 1;
    if (is_function && lua_isfunction(L, 2) && !call_native(L, 2))
        return luaL_argerror(L, 2, "make a callback of a function: hot.callback(fn, ctype)");
    void *value = check_pointer(L, 2, plain);
    if (!value) {
        lua_pushnil(L);
    } else if (is_function) {
        object_push(L, plain, &value, NULL, false);
    } else {
        origin.owner = push_owner(L, 2);
        object_push_pointer(L, plain, value, &origin);
    }
    return 1;
}

/* A view of a struct, union or array at the address. */
static int cast_to_view(lua_State *L, const struct type *type)
{
    char *value = check_pointer(L, 2, type);
    struct origin origin = {.is_const = lua_type(L, 2) == LUA_TSTRING};
    if (!value)
        return luaL_argerror(L, 2, "null pointer");
    origin.owner = push_owner(L, 2);
    origin.image = image_of_address(value);
    object_push_view(L, type, value, &origin, NULL);
    image_release(origin.image);
    return 1;
}

/* hot.cast(ctype, value) */
static int l_cast(lua_State *L)
{
    char name[256];
    const struct type *type = object_check_type(L, 1), *plain = type_plain(type);
    luaL_checkany(L, 2);
    lua_settop(L, 2);
    switch (plain->kind) {
    case TYPE_INT: case TYPE_ENUM: case TYPE_BOOL: case TYPE_FLOAT:
        return cast_to_number(L, plain);
    case TYPE_POINTER:
        return cast_to_pointer(L, plain);
    case TYPE_STRUCT: case TYPE_UNION: case TYPE_ARRAY:
        return cast_to_view(L, type);
    default:
        return luaL_error(L, "cannot cast to '%s'", object_spell(type, name, sizeof name));
    }
}

void object_open_memory(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"string", l_string}, {"copy", l_copy}, {"address", l_address}, {"cast", l_cast},
        {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
