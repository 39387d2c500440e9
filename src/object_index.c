/* object_index.c: the metamethods of objects: fields, elements, length, iteration, equality. Reading
 * a scalar field is the path that must be short. */
#include "object_internal.h"

#include "slot.h"

#include <stdio.h>

static const char *spell(const struct object *object, char *buffer, size_t size)
{
    return object_spell(object->class->type, buffer, size);
}

/* The object of a metamethod, which may have been called by hand. */
static inline struct object *own_object(lua_State *L)
{
    struct object *object = object_test(L, 1);
    return object ? object : object_check(L, 1);
}

static const struct member *find_member(lua_State *L, struct object *object)
{
    char name[256];
    const char *key = lua_tostring(L, 2);
    const struct member *member = object_find_member(L, object->class, key);
    if (member)
        return member;
    const struct type *record = object->class->record;
    if (record && record->is_incomplete)
        luaL_error(L, "'%s' has no field '%s': %s", object_spell(record, name, sizeof name), key,
                   record->reason ? record->reason : "its definition is not known");
    luaL_error(L, "'%s' has no field '%s'", object_spell(record ? record : object->class->type, name,
                                                         sizeof name), key);
    return NULL;
}

/* Bytes from one element to the next; raises if [i] cannot be used. */
static uint64_t stride_of(lua_State *L, struct object *object)
{
    struct class *class = object->class;
    char name[256];
    if (class->stride == 0 && class->element)
        class->stride = type_plain(class->element)->size;
    if (class->stride == 0)
        luaL_error(L, "'%s' cannot be indexed with a number", spell(object, name, sizeof name));
    return class->stride;
}

static bool take_index(lua_State *L, struct object *object, lua_Integer *index)
{
    char name[256];
    int is_integer;
    *index = lua_tointegerx(L, 2, &is_integer);
    if (lua_type(L, 2) != LUA_TNUMBER)
        luaL_error(L, "'%s' cannot be indexed with a %s", spell(object, name, sizeof name),
                   luaL_typename(L, 2));
    if (!is_integer)
        luaL_error(L, "number has no integer representation");
    stride_of(L, object);
    return object->flags & OBJECT_POINTER || object->count == OBJECT_UNBOUNDED ||
           (uint64_t)*index < object->count;
}

static void push_bits(lua_State *L, const struct member *member, const char *address)
{
    uint64_t bits = object_load_bits(address, member->bit_offset, member->bit_size);
    const struct type *plain = type_plain(member->type);
    if (plain->kind == TYPE_BOOL) {
        lua_pushboolean(L, bits != 0);
        return;
    }
    unsigned unused = 64u - member->bit_size;
    if (plain->is_signed)
        lua_pushinteger(L, (lua_Integer)(bits << unused) >> unused);
    else
        lua_pushinteger(L, (lua_Integer)bits);
}

/* A part of a const anonymous struct does not know it by its own type. */
static void make_const(lua_State *L)
{
    struct object *object = object_test(L, -1);
    if (object && !(object->flags & OBJECT_POINTER))
        object->flags |= OBJECT_CONST;
}

static void push_member(lua_State *L, struct object *object, const struct member *member, char *base)
{
    char *address = base + member->offset;
    if (object_push_scalar(L, member->scalar, address))
        return;
    if (member->scalar == SCALAR_BITS)
        push_bits(L, member, address);
    else
        object_push_part(L, 1, object, member->type, address);
    if (member->is_const)
        make_const(L);
}

static void push_element(lua_State *L, struct object *object, lua_Integer index)
{
    uint64_t stride = stride_of(L, object);
    char *address = object_base(L, 1, object) + (uint64_t)index * stride;
    if (!object_push_scalar(L, object->class->element_scalar, address))
        object_push_part(L, 1, object, object->class->element, address);
}

int object_index(lua_State *L)
{
    lua_Integer index;
    struct object *object = own_object(L);
    if (lua_type(L, 2) == LUA_TSTRING) {
        const struct member *member = find_member(L, object);
        push_member(L, object, member, object_base(L, 1, object));
        return 1;
    }
    if (!take_index(L, object, &index)) {
        object_base(L, 1, object);
        return 0;
    }
    push_element(L, object, index);
    return 1;
}

/* Writing ------------------------------------------------------------------------------------ */

static void assign_member(lua_State *L, struct object *object, const struct member *member)
{
    char what[300];
    struct error error = {0};
    char *address = object_base(L, 1, object) + member->offset;
    snprintf(what, sizeof what, "field '%s'", member->key);
    object_check_write(L, object, member->is_const, what);
    if (member->scalar != SCALAR_BITS)
        object_assign_part(L, 1, object, member->type, address, 3, what);
    else if (!object_store_bits(L, 3, member, address, &error))
        luaL_error(L, "bad value for %s (%s)", what, error.text);
}

static void assign_element(lua_State *L, struct object *object, lua_Integer index)
{
    char what[64];
    uint64_t stride = stride_of(L, object);
    char *address = object_base(L, 1, object) + (uint64_t)index * stride;
    snprintf(what, sizeof what, "element %lld", (long long)index);
    bool is_const = object->class->is_const || object->class->element->is_const;
    object_check_write(L, object, is_const, what);
    object_assign_part(L, 1, object, object->class->element, address, 3, what);
}

/* The common case: an integer or float into a scalar field of memory that nobody guards. */
static bool assign_plain(lua_State *L, struct object *object, const struct member *member)
{
    bool is_guarded = object->flags & (OBJECT_CONST | OBJECT_CHECKED) || member->is_const;
    char *address = (char *)object->address + member->offset;
    if (is_guarded || !object->address || lua_type(L, 3) != LUA_TNUMBER)
        return false;
    if (member->scalar == SCALAR_DOUBLE) {
        lua_Number number = lua_tonumber(L, 3);
        memcpy(address, &number, sizeof number);
        return true;
    }
    lua_Integer value = lua_tointeger(L, 3);
    if (member->scalar != SCALAR_INT32 || !lua_isinteger(L, 3) || value != (int32_t)value)
        return false;
    memcpy(address, &(int32_t){(int32_t)value}, sizeof(int32_t));
    return true;
}

int object_newindex(lua_State *L)
{
    lua_Integer index;
    char name[256];
    struct object *object = own_object(L);
    luaL_checkany(L, 3);
    if (lua_type(L, 2) == LUA_TSTRING) {
        const struct member *member = find_member(L, object);
        if (!assign_plain(L, object, member))
            assign_member(L, object, member);
        return 0;
    }
    if (!take_index(L, object, &index))
        return luaL_error(L, "index %I out of bounds of '%s'", index, spell(object, name, sizeof name));
    assign_element(L, object, index);
    return 0;
}

/* Length, iteration, equality ---------------------------------------------------------------- */

int object_length(lua_State *L)
{
    char name[256];
    struct object *object = own_object(L);
    bool is_list = object->class->type->kind != TYPE_POINTER && object->class->element;
    if (!is_list || object->count == OBJECT_UNBOUNDED)
        return luaL_error(L, "the length of '%s' is not known", spell(object, name, sizeof name));
    lua_pushinteger(L, (lua_Integer)object->count);
    return 1;
}

static int next_element(lua_State *L)
{
    struct object *object = own_object(L);
    lua_Integer index = lua_isnil(L, 2) ? 0 : luaL_checkinteger(L, 2) + 1;
    if ((uint64_t)index >= object->count || object->count == OBJECT_UNBOUNDED)
        return 0;
    lua_pushinteger(L, index);
    push_element(L, object, index);
    return 2;
}

/* The position among the members is upvalue 1. */
static int next_member(lua_State *L)
{
    struct object *object = own_object(L);
    size_t i = (size_t)lua_tointeger(L, lua_upvalueindex(1));
    if (i >= object->class->member_count)
        return 0;
    lua_pushinteger(L, (lua_Integer)i + 1);
    lua_replace(L, lua_upvalueindex(1));
    const struct member *member = &object->class->members[i];
    lua_pushstring(L, member->key);
    push_member(L, object, member, object_base(L, 1, object));
    return 2;
}

int object_pairs(lua_State *L)
{
    char name[256];
    struct object *object = own_object(L);
    if (object->class->record) {
        object_read_members(L, object->class);
        lua_pushinteger(L, 0);
        lua_pushcclosure(L, next_member, 1);
    } else if (object->class->type->kind != TYPE_POINTER) {
        lua_pushcfunction(L, next_element);
    } else {
        return luaL_error(L, "the length of '%s' is not known", spell(object, name, sizeof name));
    }
    lua_pushvalue(L, 1);
    return 2;
}

/* Where the object's value is, or what the pointer points to: without looking whether it is there. */
static void *identity(lua_State *L, int index, struct object *object)
{
    if (object->live && object->live->plugin->live)
        object_revalidate(L, index, object);
    return object->address;
}

static const struct type *referred(const struct object *object)
{
    const struct type *type = object->class->type;
    return type->kind == TYPE_POINTER ? type->target->plain : type;
}

/* Do they mean the same thing at one address? In a comparison with a pointer an array is its first element,
 * too. */
static bool refer_alike(const struct object *a, const struct object *b)
{
    const struct type *x = referred(a), *y = referred(b);
    if (x == y || x->kind == TYPE_VOID || y->kind == TYPE_VOID || types_same(x, y))
        return true;
    if (a->flags & OBJECT_POINTER && y->kind == TYPE_ARRAY)
        return types_same(x, y->target->plain);
    return b->flags & OBJECT_POINTER && x->kind == TYPE_ARRAY && types_same(x->target->plain, y);
}

int object_equal(lua_State *L)
{
    struct object *a = object_test(L, 1), *b = object_test(L, 2);
    bool is_equal = a && b && identity(L, 1, a) == identity(L, 2, b);
    lua_pushboolean(L, is_equal && refer_alike(a, b));
    return 1;
}

/* The place of a function pointer: the function that it has now is called. */
int object_call(lua_State *L)
{
    struct object *object = own_object(L);
    object_base(L, 1, object);
    struct origin origin = {.image = object->image};
    object_push(L, object->class->type, &object->address, &origin, false);
    lua_replace(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}
