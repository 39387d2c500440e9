/* object_type.c: type objects, and what hot does with types: new, sizeof, offsetof, typeof. Type
 * expressions over the basic types belong to a table of the Lua state and are parsed once. */
#include "object_internal.h"

#include "cdecl.h"

#include <stdio.h>

/* Registry keys (their addresses): type objects by type, weak; by expression. */
static const char objects_key, expressions_key;

enum { MAX_EXPRESSIONS = 2000 };

struct type_object {
    const void *tag;         /* &object_type_tag */
    const struct type *type; /* as it was asked for: qualifiers and typedef names are kept */
};

static struct type_object *test_type(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TUSERDATA || lua_rawlen(L, index) < sizeof(struct type_object))
        return NULL;
    struct type_object *object = lua_touserdata(L, index);
    return object->tag == &object_type_tag ? object : NULL;
}

/* The metatable of the class is the user value: it holds the type table. */
void object_push_type(lua_State *L, const struct type *type)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &objects_key);
    if (lua_rawgetp(L, -1, type) == LUA_TNIL) {
        lua_pop(L, 1);
        struct type_object *object = lua_newuserdatauv(L, sizeof *object, 1);
        *object = (struct type_object){&object_type_tag, type};
        object_push_class(L, type);
        lua_setiuservalue(L, -2, 1);
        luaL_setmetatable(L, "hotlua.type");
        lua_pushvalue(L, -1);
        lua_rawsetp(L, -3, type);
    }
    lua_remove(L, -2);
}

/* Expressions -------------------------------------------------------------------------------- */

/* Push the type object of the expression at index. The table of them is begun anew when it has become
 * large; types still in use keep the old one. [-0 +1] */
static const struct type *push_expression(lua_State *L, int index)
{
    struct error error = {0};
    lua_rawgetp(L, LUA_REGISTRYINDEX, &expressions_key);
    lua_pushvalue(L, index);
    if (lua_rawget(L, -2) == LUA_TUSERDATA) {
        lua_remove(L, -2);
        return test_type(L, -1)->type;
    }
    lua_rawgeti(L, -2, 0);
    lua_Integer count = lua_tointeger(L, -1);
    bool is_full = count >= MAX_EXPRESSIONS;
    lua_pop(L, 2);
    if (is_full) {
        lua_pop(L, 1);
        lua_createtable(L, 1, 0);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &expressions_key);
        count = 0;
    }
    struct types *table = object_expression_types(L, is_full);
    const struct type *type = cdecl_parse_type(table, lua_tostring(L, index), NULL, NULL, &error);
    if (!type)
        luaL_error(L, "bad C type '%s': %s", lua_tostring(L, index), error.text);
    object_push_type(L, type);
    lua_pushvalue(L, index);
    lua_pushvalue(L, -2);
    lua_rawset(L, -4);
    lua_pushinteger(L, count + 1);
    lua_rawseti(L, -3, 0);
    lua_remove(L, -2);
    return type;
}

/* Push the type object that the value at index means, and return its type. [-0 +1] */
static const struct type *push_type(lua_State *L, int index)
{
    struct type_object *object = test_type(L, index);
    if (object)
        lua_pushvalue(L, index);
    else if (lua_type(L, index) == LUA_TSTRING)
        return push_expression(L, index);
    else
        luaL_typeerror(L, index, "C type");
    return object->type;
}

/* The type stays alive because the object takes the place of the expression on the stack. */
const struct type *object_check_type(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    const struct type *type = push_type(L, index);
    lua_replace(L, index);
    return type;
}

/* Making objects ----------------------------------------------------------------------------- */

static bool can_be_made(const struct type *plain)
{
    bool is_sized = !plain->is_incomplete && !plain->is_flexible;
    return is_sized && plain->kind != TYPE_VOID && plain->kind != TYPE_FUNCTION &&
           plain->kind != TYPE_UNSUPPORTED;
}

static bool is_named_alike(const struct type *a, const struct type *b)
{
    return a->kind == b->kind && a->name && b->name && strcmp(a->name, b->name) == 0;
}

/* Is the single initialiser at index a whole value, rather than the first of the parts? One of
 * another layout is, too, to be refused as such. */
static bool is_whole(lua_State *L, int index, const struct type *plain)
{
    const struct object *object = object_test(L, index);
    if (plain->kind == TYPE_ARRAY)
        return lua_istable(L, index) || lua_type(L, index) == LUA_TSTRING ||
               (object && object->class->type->kind == TYPE_ARRAY);
    const struct type *record = object ? object->class->record : NULL;
    return lua_istable(L, index) ||
           (record && (is_named_alike(record, plain) || types_same(record, plain)));
}

/* Leave one initialiser at index: several ones, or parts without a table, become a table. */
static void pack_initialisers(lua_State *L, int index, const struct type *plain)
{
    int count = lua_gettop(L) - index + 1;
    bool is_list = plain->kind == TYPE_STRUCT || plain->kind == TYPE_UNION || plain->kind == TYPE_ARRAY;
    if (count < 1) {
        lua_settop(L, index);
    } else if (is_list && (count > 1 || !is_whole(L, index, plain)) && !lua_isnil(L, index)) {
        lua_createtable(L, count, 0);
        lua_insert(L, index);
        for (int i = count; i >= 1; i--)
            lua_rawseti(L, index, i);
    } else if (count > 1) {
        luaL_error(L, "too many initialisers");
    }
}

static bool initialise(lua_State *L, int index, const struct type *plain, struct object *object,
                       int *pushed, struct error *error)
{
    struct fill fill = {L, NULL, pushed, error};
    bool is_table = lua_istable(L, index);
    if (is_table && (plain->kind == TYPE_STRUCT || plain->kind == TYPE_UNION))
        return object_fill_record(&fill, index, plain, object->address, object->size);
    if (is_table && plain->kind == TYPE_ARRAY)
        return object_fill_list(&fill, index, plain->target, object->address, object->count);
    return object_store(L, index, plain, object->address, NULL, pushed, error);
}

static void refuse_initialiser(lua_State *L, const struct type *type, const struct error *error)
{
    char name[256];
    luaL_error(L, "bad initialiser for '%s' (%s)", object_spell(type, name, sizeof name), error->text);
}

static void push_new_pointer(lua_State *L, const struct type *type, int index)
{
    struct error error = {0};
    struct origin origin = {0};
    void *value = NULL;
    int pushed = 0, top = lua_gettop(L);
    if (!lua_isnil(L, index) && !object_store(L, index, type, &value, NULL, &pushed, &error))
        refuse_initialiser(L, type, &error);
    if (value)
        origin.owner = pushed > 0 ? top + 1 : index;
    object_push_pointer(L, type, value, &origin);
}

/* The array that the initialiser at index makes of `element[]`, as in C: int list[] = { 1, 2 }. */
static const struct type *bounded(lua_State *L, int index, const struct type *array)
{
    const struct type *element = type_plain(array->target);
    uint64_t count = 0;
    if (lua_istable(L, index)) {
        count = lua_rawlen(L, index);
        count += lua_rawgeti(L, index, 0) != LUA_TNIL;
        lua_pop(L, 1);
    } else if (lua_type(L, index) == LUA_TSTRING && element->kind == TYPE_INT &&
               element->size == 1) {
        count = lua_rawlen(L, index) + 1;
    }
    return count > 0 ? type_plain(types_array_of(array->table, array->target, count)) : array;
}

/* Push a new object of the type, initialised from the values at `index` and above. [-0 +1] */
static int push_new(lua_State *L, const struct type *type, int index)
{
    const struct type *plain = type_plain(type);
    struct error error = {0};
    char name[256];
    int pushed = 0;
    if (plain->kind == TYPE_ARRAY && plain->is_flexible) {
        pack_initialisers(L, index, plain);
        type = plain = bounded(L, index, plain);
    }
    if (!can_be_made(plain))
        return luaL_error(L, "cannot make an object of '%s': %s", object_spell(type, name, sizeof name),
                          plain->reason ? plain->reason : "its size is not known");
    pack_initialisers(L, index, plain);
    if (plain->kind == TYPE_POINTER) {
        push_new_pointer(L, type, index);
        return 1;
    }
    uint64_t extra = object_flexible_size(L, index, plain);
    struct object *object = object_push_owned(L, type, extra);
    int place = lua_gettop(L);
    if (!lua_isnil(L, index) && !initialise(L, index, plain, object, &pushed, &error))
        refuse_initialiser(L, type, &error);
    object_keep_pushed(L, place, place + 1, pushed);
    if (object_test(L, index))
        object_keep_copied(L, place, index);
    lua_settop(L, place);
    return 1;
}

/* Type objects ------------------------------------------------------------------------------- */

static int type_call(lua_State *L)
{
    const struct type *type = test_type(L, 1)->type;
    return push_new(L, type, 2);
}

static void push_spelling(lua_State *L, const struct type *type)
{
    luaL_Buffer buffer;
    size_t length = cdecl_print(NULL, 0, type, "");
    char *text = luaL_buffinitsize(L, &buffer, length + 1);
    cdecl_print(text, length + 1, type, "");
    luaL_pushresultsize(&buffer, length);
}

static int type_tostring(lua_State *L)
{
    push_spelling(L, test_type(L, 1)->type);
    return 1;
}

static int type_equal(lua_State *L)
{
    struct type_object *a = test_type(L, 1), *b = test_type(L, 2);
    lua_pushboolean(L, a && b && types_same(a->type, b->type));
    return 1;
}

/* types.colour.RED */
static int type_index(lua_State *L)
{
    const struct type *type = type_plain(test_type(L, 1)->type);
    if (type->kind != TYPE_ENUM || lua_type(L, 2) != LUA_TSTRING)
        return 0;
    const struct enumerator *found = type_find_enumerator(type, lua_tostring(L, 2));
    if (found)
        lua_pushinteger(L, found->value);
    return found ? 1 : 0;
}

/* hot.new(ctype, init...) */
static int l_new(lua_State *L)
{
    const struct type *type = object_check_type(L, 1);
    return push_new(L, type, 2);
}

/* hot.sizeof(ctype | object) -> bytes */
static int l_sizeof(lua_State *L)
{
    char name[256];
    struct object *object = object_test(L, 1);
    const struct type *plain = type_plain(object ? object->class->type : object_check_type(L, 1));
    uint64_t size = plain->size;
    if (object && object->flags & OBJECT_OWNED)
        size = object->size;             /* a flexible array at its end is counted */
    else if (object && plain->kind == TYPE_ARRAY && plain->is_flexible && object->count != OBJECT_UNBOUNDED)
        size = object->count * type_plain(plain->target)->size;
    else if (!can_be_made(plain))
        return luaL_error(L, "the size of '%s' is not known", object_spell(plain, name, sizeof name));
    lua_pushinteger(L, (lua_Integer)size);
    return 1;
}

/* hot.offsetof(ctype, field) -> bytes [, bit, bits] */
static int l_offsetof(lua_State *L)
{
    char name[256];
    uint64_t offset;
    const struct type *plain = type_plain(object_check_type(L, 1));
    const struct field *field = type_find_field(plain, luaL_checkstring(L, 2), &offset);
    if (!field)
        return luaL_error(L, "'%s' has no field '%s'", object_spell(plain, name, sizeof name),
                          lua_tostring(L, 2));
    lua_pushinteger(L, (lua_Integer)offset);
    if (!field->bit_size)
        return 1;
    lua_pushinteger(L, field->bit_offset);
    lua_pushinteger(L, field->bit_size);
    return 3;
}

/* hot.typeof(object | ctype) -> ctype */
static int l_typeof(lua_State *L)
{
    struct object *object = object_test(L, 1);
    if (object)
        object_push_type(L, object->class->type);
    else
        push_type(L, 1);
    return 1;
}

/* core.kind(object) -> "struct", "union", "array", "pointer", "scalar", or nil if it is none */
static int l_kind(lua_State *L)
{
    static const char *const names[] = {
        [TYPE_STRUCT] = "struct", [TYPE_UNION] = "union", [TYPE_ARRAY] = "array",
        [TYPE_POINTER] = "pointer",
    };
    struct object *object = object_test(L, 1);
    if (!object)
        return 0;
    enum type_kind kind = object->class->type->kind;
    bool is_named = kind < sizeof names / sizeof *names && names[kind];
    lua_pushstring(L, is_named ? names[kind] : "scalar");
    return 1;
}

/* core.is_text(object) -> is it an array of char */
static int l_is_text(lua_State *L)
{
    struct object *object = object_test(L, 1);
    const struct type *type = object ? object->class->type : NULL;
    lua_pushboolean(L, type && type->kind == TYPE_ARRAY && type_is_text(type->target));
    return 1;
}

static void new_table(lua_State *L, const void *key, const char *mode)
{
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushstring(L, mode);
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

void object_open_types(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"__call", type_call}, {"__tostring", type_tostring}, {"__eq", type_equal},
        {"__index", type_index}, {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"new", l_new}, {"sizeof", l_sizeof}, {"offsetof", l_offsetof}, {"typeof", l_typeof},
        {"kind", l_kind}, {"is_text", l_is_text}, {NULL, NULL},
    };
    if (luaL_newmetatable(L, "hotlua.type")) {
        luaL_setfuncs(L, methods, 0);
        lua_pushboolean(L, false);
        lua_setfield(L, -2, "__metatable");
        lua_pushliteral(L, "C type");
        lua_setfield(L, -2, "__name");
        new_table(L, &objects_key, "v");
        lua_newtable(L);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &expressions_key);
    }
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
