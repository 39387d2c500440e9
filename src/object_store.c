/* object_store.c: Lua values to C: scalars and pointers. Tables and whole structs and arrays are
 * object_fill.c. Nothing here raises but lack of memory and a view whose image has gone. */
#include "object_internal.h"

#include "call.h"
#include "callback.h"

#include <complex.h>
#include <math.h>
#include <stdio.h>

/* As luaL_typeerror says it. */
static const char *name_of_plain(lua_State *L, int index, char *buffer, size_t size)
{
    const char *name = luaL_typename(L, index);
    int top = lua_gettop(L);
    if (lua_type(L, index) == LUA_TLIGHTUSERDATA)
        name = "light userdata";
    else if (lua_type(L, index) == LUA_TUSERDATA &&
             luaL_getmetafield(L, index, "__name") == LUA_TSTRING)
        name = lua_tostring(L, -1);
    snprintf(buffer, size, "%s", name);
    lua_settop(L, top);
    return buffer;
}

const char *object_name_of(lua_State *L, int index, char *buffer, size_t size)
{
    const struct object *object = object_test(L, index);
    if (!object)
        return name_of_plain(L, index, buffer, size);
    const struct type *type = object->class->type;
    bool says_so = type->kind == TYPE_ARRAY && type->target->is_const;
    bool is_const = object->flags & OBJECT_CONST && !says_so;
    snprintf(buffer, size, "%s", is_const ? "const " : "");
    size_t used = strlen(buffer);
    object_spell(type, buffer + used, size - used);
    return buffer;
}

static bool expected(lua_State *L, int index, const char *what, struct error *error)
{
    char name[256];
    return error_set(error, "%s expected, got %s", what, object_name_of(L, index, name, sizeof name));
}

/* What C calls a const char * is a string to Lua. */
static bool is_text(const struct type *type)
{
    const struct type *plain = type->plain;
    return plain->kind == TYPE_POINTER && plain->target->is_const && plain->target->plain->is_char;
}

static bool type_expected(lua_State *L, int index, const struct type *type, struct error *error)
{
    char name[256];
    if (is_text(type))
        return expected(L, index, "string", error);
    return expected(L, index, object_spell(type, name, sizeof name), error);
}

/* Numbers ------------------------------------------------------------------------------------ */

static bool out_of_range(const struct type *type, struct error *error)
{
    char name[256];
    return error_set(error, "number out of range for '%s'", object_spell(type, name, sizeof name));
}

static bool take_float(lua_Number number, const struct type *type, int64_t *value, struct error *error)
{
    bool is_unsigned_wide = !type->plain->is_signed && type->plain->size >= 8;
    if (number != floor(number))
        return error_set(error, "number has no integer representation");
    if (is_unsigned_wide && number >= 0x1p63 && number < 0x1p64)
        *value = (int64_t)(uint64_t)number;
    else if (number >= -0x1p63 && number < 0x1p63)
        *value = (int64_t)number;
    else
        return out_of_range(type, error);
    return true;
}

/* The integer at index; for an enum also an enumerator's name. */
static bool take_integer(lua_State *L, int index, const struct type *type, int64_t *value,
                         struct error *error)
{
    char name[256];
    int kind = lua_type(L, index);
    bool is_enum = type->plain->kind == TYPE_ENUM;
    if (kind == LUA_TSTRING && is_enum) {
        const struct enumerator *found = type_find_enumerator(type->plain, lua_tostring(L, index));
        if (!found)
            return error_set(error, "'%s' is not an enumerator of '%s'", lua_tostring(L, index),
                             object_spell(type, name, sizeof name));
        *value = found->value;
        return true;
    }
    if (kind != LUA_TNUMBER)
        return expected(L, index, is_enum ? "number or enumerator name" : "number", error);
    if (!lua_isinteger(L, index))
        return take_float(lua_tonumber(L, index), type, value, error);
    *value = lua_tointeger(L, index);
    return true;
}

/* Does the value fit in that many bits? A negative one fits 64 unsigned bits: it wraps. */
static bool fits(int64_t value, bool is_signed, unsigned bits)
{
    if (bits >= 64)
        return true;
    if (is_signed)
        return value >= -((int64_t)1 << (bits - 1)) && value < (int64_t)1 << (bits - 1);
    return (uint64_t)value < (uint64_t)1 << bits;
}

static bool store_integer(lua_State *L, int index, const struct type *type, void *address,
                          struct error *error)
{
    int64_t value = 0;
    const struct type *plain = type->plain;
    if (!take_integer(L, index, type, &value, error))
        return false;
    if (!fits(value, plain->is_signed, (unsigned)plain->size * 8))
        return out_of_range(type, error);
    if (plain->size <= sizeof value)
        memcpy(address, &value, plain->size);        /* little-endian: the low bytes */
    else
        memcpy(address, &(__int128){value}, sizeof(__int128));
    return true;
}

static bool store_float(lua_State *L, int index, const struct type *plain, void *address,
                        struct error *error)
{
    if (lua_type(L, index) != LUA_TNUMBER)
        return expected(L, index, "number", error);
    lua_Number number = lua_tonumber(L, index);
    if (plain->size == sizeof(float))
        memcpy(address, &(float){(float)number}, sizeof(float));
    else if (plain->size == sizeof number)
        memcpy(address, &number, sizeof number);
    else
        memcpy(address, &(long double){number}, sizeof(long double));
    return true;
}

static bool store_complex(lua_State *L, int index, const struct type *plain, void *address,
                          struct error *error)
{
    lua_Number parts[2] = {lua_tonumber(L, index), 0};
    if (lua_type(L, index) == LUA_TTABLE)
        for (int i = 0; i < 2; i++) {
            bool is_number = lua_rawgeti(L, index, i + 1) == LUA_TNUMBER;
            parts[i] = lua_tonumber(L, -1);
            lua_pop(L, 1);
            if (!is_number)
                return error_set(error, "{ real, imaginary } expected, got another table");
        }
    else if (lua_type(L, index) != LUA_TNUMBER)
        return expected(L, index, "number or { real, imaginary }", error);
    if (plain->size == sizeof(float _Complex))
        memcpy(address, (float[]){(float)parts[0], (float)parts[1]}, sizeof(float _Complex));
    else if (plain->size == sizeof parts)
        memcpy(address, parts, sizeof parts);
    else
        memcpy(address, (long double[]){parts[0], parts[1]}, sizeof(long double _Complex));
    return true;
}

static bool store_bool(lua_State *L, int index, void *address, struct error *error)
{
    if (lua_type(L, index) != LUA_TBOOLEAN)
        return expected(L, index, "boolean", error);
    *(uint8_t *)address = (uint8_t)lua_toboolean(L, index);
    return true;
}

/* Bit-fields --------------------------------------------------------------------------------- */

/* Only the bytes that hold the bits are touched: the storage unit of a packed struct may reach
 * past its end. */
uint64_t object_load_bits(const char *address, unsigned bit_offset, unsigned bit_size)
{
    unsigned __int128 bits = 0;
    unsigned shift = bit_offset % 8;
    memcpy(&bits, address + bit_offset / 8, (shift + bit_size + 7) / 8);
    uint64_t mask = bit_size < 64 ? ((uint64_t)1 << bit_size) - 1 : UINT64_MAX;
    return (uint64_t)(bits >> shift) & mask;
}

static void store_bits(char *address, unsigned bit_offset, unsigned bit_size, uint64_t value)
{
    unsigned __int128 bits = 0, mask = (((unsigned __int128)1 << bit_size) - 1);
    unsigned shift = bit_offset % 8;
    size_t bytes = (shift + bit_size + 7) / 8;
    memcpy(&bits, address + bit_offset / 8, bytes);
    bits = (bits & ~(mask << shift)) | ((unsigned __int128)value & mask) << shift;
    memcpy(address + bit_offset / 8, &bits, bytes);
}

bool object_store_bits(lua_State *L, int index, const struct member *member, char *address,
                       struct error *error)
{
    int64_t value = 0;
    const struct type *plain = type_plain(member->type);
    if (plain->kind == TYPE_BOOL) {
        uint8_t flag = 0;
        if (!store_bool(L, index, &flag, error))
            return false;
        value = flag;
    } else if (!take_integer(L, index, plain, &value, error)) {
        return false;
    } else if (!fits(value, plain->is_signed, member->bit_size)) {
        return error_set(error, "number out of range for %d bits", (int)member->bit_size);
    }
    store_bits(address, member->bit_offset, member->bit_size, (uint64_t)value);
    return true;
}

/* Pointers ----------------------------------------------------------------------------------- */

/* Does a pointer to `source` convert to one to `target`? Integers of one size do, whatever their sign
 * or name; the rest has to be the same type. */
static bool is_compatible(const struct type *target, const struct type *source)
{
    const struct type *a = target->plain, *b = source->plain;
    if (a == b || a->kind == TYPE_VOID || b->kind == TYPE_VOID)
        return true;
    if (a->kind == TYPE_INT && b->kind == TYPE_INT)
        return a->size == b->size;
    return types_same(a, b);
}

/* What a pointer to the object's own memory, or the pointer that it is, points to. */
static const struct type *pointee_of(const struct class *class)
{
    return class->type->kind == TYPE_POINTER || class->type->kind == TYPE_ARRAY ? class->type->target
                                                                                : class->type;
}

bool object_is_accepted(struct class *class, const struct type *type)
{
    const struct type *target = type->target, *source = pointee_of(class);
    for (int i = 0; i < CLASS_ACCEPTED; i++)
        if (class->accepted[i] == type)
            return true;
    bool is_whole_array = class->type->kind == TYPE_ARRAY && target->plain->kind == TYPE_ARRAY &&
                          types_same(target, class->type);
    if (!is_whole_array && !is_compatible(target, source))
        return false;
    if (class->is_const && !target->is_const)
        return false;
    unsigned place = class->next_accepted++ % CLASS_ACCEPTED;
    types_release(class->accepted_tables[place]);
    class->accepted_tables[place] = types_retain(type->table);
    class->accepted[place] = type;
    return true;
}

/* A pointer object given for a pointer to such a pointer: C writes into the object. */
static bool is_slot(const struct object *object, const struct type *pointer)
{
    const struct type *target = pointer->target->plain;
    if (!(object->flags & OBJECT_POINTER) || target->kind != TYPE_POINTER)
        return false;
    return target->target->plain->kind == TYPE_VOID || types_same(target, object->class->type);
}

static bool store_object(lua_State *L, int index, struct object *object, const struct type *type,
                         void **address, struct error *error)
{
    bool is_refused = object->flags & OBJECT_CONST && !type->target->is_const;
    if (!is_refused && object_pointer(L, index, type, address))
        return true;
    if (!is_refused && is_slot(object, type)) {
        object->flags &= ~(unsigned)OBJECT_CHECKED;
        *address = &object->address;
        return true;
    }
    if (is_refused || !object_is_accepted(object->class, type))
        return type_expected(L, index, type, error);
    if (object->flags & OBJECT_CHECKED)
        object_revalidate(L, index, object);
    *address = object->address;
    return true;
}

/* A table, where C promises not to write: a temporary of as many elements as it has, and a zero one
 * behind them, which ends a list of strings. */
static bool store_literal(lua_State *L, int index, const struct type *pointer, void **address,
                          struct plugin *plugin, int *pushed, struct error *error)
{
    const struct type *target = type_plain(pointer->target);
    bool is_record = target->kind == TYPE_STRUCT || target->kind == TYPE_UNION;
    if (target->size == 0 || target->is_incomplete)
        return type_expected(L, index, pointer, error);
    bool is_one = is_record && !object_is_list(L, index, target);
    size_t count = is_one ? 1 : lua_rawlen(L, index);
    uint64_t flexible = is_one ? object_flexible_size(L, index, target) : 0;
    struct object *object = object_push_owned(L, target, target->size * count + flexible);
    ++*pushed;
    *address = object->address;
    struct fill fill = {L, plugin, pushed, error};
    if (is_one)
        return object_fill_record(&fill, index, target, object->address, target->size + flexible);
    return object_fill_list(&fill, index, target, object->address, count);
}

static bool is_bytes(const struct type *target)
{
    const struct type *plain = target->plain;
    return plain->kind == TYPE_VOID || (plain->kind == TYPE_INT && plain->size == 1);
}

static bool store_stream(lua_State *L, int index, const struct type *target, void **address)
{
    luaL_Stream *stream = luaL_testudata(L, index, LUA_FILEHANDLE);
    bool is_file = target->name && strcmp(target->name, "_IO_FILE") == 0;
    if (!stream || !stream->closef || !is_file)
        return false;
    *address = stream->f;
    return true;
}

static bool refuse_literal(const struct type *pointer, const char *what, struct error *error)
{
    char name[256];
    object_spell(pointer, name, sizeof name);
    return error_set(error, "%s expected, got %s (C may write there: make an object with hot.new)",
                     name, what);
}

/* What C gave as a pointer to such a function goes back as it is. */
static void *function_pointer(lua_State *L, int index, const struct type *target)
{
    const struct type *type = NULL;
    void *native = call_native_pointer(L, index, &type);
    return native && type && types_same(type, target->plain) ? native : NULL;
}

static bool store_pointer(lua_State *L, int index, const struct type *type, void **address,
                          struct plugin *plugin, int *pushed, struct error *error)
{
    const struct type *pointer = type->plain, *target = pointer->target;
    bool is_function = target->plain->kind == TYPE_FUNCTION;
    struct object *object = object_test(L, index);
    void *native = NULL;
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        *address = NULL;
        return true;
    case LUA_TSTRING:
        if (target->is_const && is_bytes(target)) {
            *address = (void *)lua_tostring(L, index);
            return true;
        }
        return is_bytes(target) ? refuse_literal(pointer, "string", error)
                                : type_expected(L, index, type, error);
    case LUA_TTABLE:
        if (is_function)
            return type_expected(L, index, type, error);
        if (target->is_const)
            return store_literal(L, index, pointer, address, plugin, pushed, error);
        return refuse_literal(pointer, "table", error);
    case LUA_TFUNCTION:
        if (is_function)
            native = function_pointer(L, index, target);
        if (is_function && !native)
            native = callback_of(L, index, target->plain, plugin, error);
        *address = native;
        return native || (is_function ? false : type_expected(L, index, type, error));
    case LUA_TLIGHTUSERDATA:
        *address = lua_touserdata(L, index);
        return true;
    case LUA_TUSERDATA:
        if (object)
            return store_object(L, index, object, pointer, address, error);
        native = callback_address(L, index);
        if (native && (is_function ? callback_may_serve(L, index, target->plain)
                                   : target->plain->kind == TYPE_VOID)) {
            *address = native;
            return true;
        }
        if (store_stream(L, index, target->plain, address))
            return true;
    }
    return type_expected(L, index, type, error);
}

bool object_store(lua_State *L, int index, const struct type *type, void *address,
                  struct plugin *plugin, int *pushed, struct error *error)
{
    const struct type *plain = type_plain(type);
    void *pointer = NULL;
    index = lua_absindex(L, index);
    luaL_checkstack(L, 20, NULL);
    switch (plain->kind) {
    case TYPE_INT: case TYPE_ENUM:
        return store_integer(L, index, type, address, error);
    case TYPE_FLOAT:
        return store_float(L, index, plain, address, error);
    case TYPE_COMPLEX:
        return store_complex(L, index, plain, address, error);
    case TYPE_BOOL:
        return store_bool(L, index, address, error);
    case TYPE_POINTER:
        if (!store_pointer(L, index, type, &pointer, plugin, pushed, error))
            return false;
        memcpy(address, &pointer, sizeof pointer);
        return true;
    case TYPE_STRUCT: case TYPE_UNION: case TYPE_ARRAY:
        return object_store_aggregate(&(struct fill){L, plugin, pushed, error}, index, type, address);
    default:
        return object_has_values(type, error) ? error_set(error, "this type has no values") : false;
    }
}
