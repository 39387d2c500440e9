/* object_fill.c: whole structs, unions and arrays from Lua tables, strings and other objects. What
 * their pointers lead to is left on the stack, counted in fill->pushed. */
#include "object_internal.h"

/* Put "field 'x': " before the reason. Returns false. */
static bool blame(struct error *error, const char *part)
{
    return error_set(error, "%s: %s", part, strdupa(error->text));
}

static bool is_kept(lua_State *L, int index, const struct type *plain)
{
    int kind = lua_type(L, index);
    return plain->kind == TYPE_POINTER && (kind == LUA_TSTRING || kind == LUA_TUSERDATA);
}

static bool fill_array(struct fill *fill, int index, const struct type *array, char *address,
                       uint64_t count);

/* Store the value on top, and take it off unless what is stored leads to it. `room` is the bytes to
 * the end of the memory, for a flexible array. */
static bool store_top(struct fill *fill, const struct type *type, char *address, uint64_t room)
{
    lua_State *L = fill->L;
    int index = lua_gettop(L);
    const struct type *plain = type_plain(type);
    bool ok;
    if (plain->kind == TYPE_ARRAY) {
        uint64_t size = type_complete(plain->target)->size;
        uint64_t count = plain->is_flexible && size ? room / size : plain->count;
        ok = fill_array(fill, index, plain, address, count);
    } else if ((plain->kind == TYPE_STRUCT || plain->kind == TYPE_UNION) && lua_istable(L, index)) {
        ok = object_fill_record(fill, index, plain, address, plain->size);
    } else {
        ok = object_store(L, index, type, address, fill->plugin, fill->pushed, fill->error);
    }
    if (ok && is_kept(L, index, plain))
        ++*fill->pushed;
    else
        lua_remove(L, index);
    return ok;
}

/* Tables to arrays --------------------------------------------------------------------------- */

/* One more than the last element that the table has a value for. Where it has less than `count` without a
 * hole, what comes behind holes is looked for: { "a", nil, "c" }. */
static uint64_t length_of(lua_State *L, int index, lua_Integer first, uint64_t count)
{
    uint64_t length = lua_rawlen(L, index) + (first == 0);
    if (length >= count)
        return length;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        lua_Integer key = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
        if (key > 0 && (uint64_t)(key - first) >= length)
            length = (uint64_t)(key - first) + 1;
    }
    return length;
}

bool object_fill_list(struct fill *fill, int index, const struct type *element, char *address,
                      uint64_t count)
{
    lua_State *L = fill->L;
    char part[32];
    luaL_checkstack(L, 20, NULL);
    lua_Integer first = lua_rawgeti(L, index, 0) == LUA_TNIL;
    lua_pop(L, 1);
    uint64_t length = length_of(L, index, first, count), size = type_complete(element)->size;
    if (length > count)
        return error_set(fill->error, "too many values: %d for %d elements", (int)length, (int)count);
    for (uint64_t i = 0; i < length; i++) {
        luaL_checkstack(L, 20, NULL);
        if (lua_rawgeti(L, index, first + (lua_Integer)i) == LUA_TNIL) {
            lua_pop(L, 1);
        } else if (!store_top(fill, element, address + i * size, size)) {
            snprintf(part, sizeof part, "element %d", (int)i);
            return blame(fill->error, part);
        }
    }
    return true;
}

static bool fill_bytes(struct fill *fill, int index, const struct type *array, char *address,
                       uint64_t count)
{
    size_t length;
    char name[256];
    const char *text = lua_tolstring(fill->L, index, &length);
    if (length > count)
        return error_set(fill->error, "string of %d bytes does not fit in '%s'", (int)length,
                         object_spell(array, name, sizeof name));
    memcpy(address, text, length);
    memset(address + length, 0, count - length);
    return true;
}

static bool copy_array(struct fill *fill, int index, const struct type *array, char *address,
                       uint64_t count)
{
    struct object *object = object_test(fill->L, index);
    const struct type *source = object->class->type;
    char name[256], other[256];
    bool is_same = source->kind == TYPE_ARRAY && object->count <= count &&
                   types_same(source->target, array->target);
    if (!is_same)
        return error_set(fill->error, "%s expected, got %s", object_spell(array, name, sizeof name),
                         object_name_of(fill->L, index, other, sizeof other));
    uint64_t size = array->target->plain->size, used = object->count * size;
    memmove(address, object_base(fill->L, index, object), used);
    memset(address + used, 0, count * size - used);
    return true;
}

static bool fill_array(struct fill *fill, int index, const struct type *array, char *address,
                       uint64_t count)
{
    char name[256], other[256];
    const struct type *element = type_plain(array->target);
    bool is_bytes = element->kind == TYPE_INT && element->size == 1;
    if (lua_istable(fill->L, index))
        return object_fill_list(fill, index, array->target, address, count);
    if (is_bytes && lua_type(fill->L, index) == LUA_TSTRING)
        return fill_bytes(fill, index, array, address, count);
    if (object_test(fill->L, index))
        return copy_array(fill, index, array, address, count);
    return error_set(fill->error, "%s expected, got %s", object_spell(array, name, sizeof name),
                     object_name_of(fill->L, index, other, sizeof other));
}

/* Tables to records -------------------------------------------------------------------------- */

/* Store the value on top into the member, and take it off or keep it. */
static bool fill_member(struct fill *fill, const struct member *member, char *address, uint64_t size)
{
    char part[300];
    char *place = address + member->offset;
    bool ok;
    if (member->scalar == SCALAR_BITS) {
        ok = object_store_bits(fill->L, lua_gettop(fill->L), member, place, fill->error);
        lua_pop(fill->L, 1);
    } else {
        ok = store_top(fill, member->type, place, size - member->offset);
    }
    snprintf(part, sizeof part, "field '%s'", member->key);
    return ok || blame(fill->error, part);
}

/* The anonymous struct or union of the record that the member is reached through, NULL: none. */
static const struct field *anonymous_of(const struct type *record, const struct member *member)
{
    uint64_t offset;
    for (uint64_t i = 0; i < record->count; i++) {
        const struct field *field = &record->fields[i];
        if (!field->name && type_find_field(field->type, member->key, &offset))
            return field;
    }
    return NULL;
}

static bool is_number(const struct type *plain)
{
    return plain->kind == TYPE_INT || plain->kind == TYPE_ENUM || plain->kind == TYPE_FLOAT ||
           plain->kind == TYPE_BOOL;
}

/* Store the value on top by its position: where the member with the number *i is. A table where that
 * is a number is what C has there: the anonymous member in braces of its own, whose others are passed
 * over. */
static bool fill_next(struct fill *fill, const struct class *class, size_t *i, char *address,
                      uint64_t size)
{
    const struct member *member = &class->members[*i];
    const struct field *whole = NULL;
    if (lua_istable(fill->L, -1) && is_number(type_plain(member->type)))
        whole = anonymous_of(class->type, member);
    if (!whole)
        return fill_member(fill, member, address, size);
    while (*i + 1 < class->member_count && anonymous_of(class->type, member + 1) == whole) {
        member++;
        ++*i;
    }
    const struct type *plain = type_plain(whole->type);
    int place = lua_gettop(fill->L);
    bool ok = object_fill_record(fill, place, plain, address + whole->offset, plain->size);
    lua_remove(fill->L, place);
    return ok;
}

static bool fill_by_position(struct fill *fill, int index, struct class *class, char *address,
                             uint64_t size)
{
    lua_Integer length = (lua_Integer)lua_rawlen(fill->L, index), next = 1;
    char name[256];
    for (size_t i = 0; i < class->member_count && next <= length; i++) {
        if (!class->members[i].is_positional)
            continue;
        luaL_checkstack(fill->L, 20, NULL);
        lua_rawgeti(fill->L, index, next++);
        if (!fill_next(fill, class, &i, address, size))
            return false;
    }
    if (next > length)
        return true;
    return error_set(fill->error, "too many values for '%s'",
                     object_spell(class->type, name, sizeof name));
}

static bool is_position(lua_State *L, int index, lua_Integer length)
{
    if (!lua_isinteger(L, index))
        return false;
    lua_Integer key = lua_tointeger(L, index);
    return key >= 1 && key <= length;
}

static bool fill_by_name(struct fill *fill, int index, struct class *class, char *address, uint64_t size)
{
    lua_State *L = fill->L;
    lua_Integer length = (lua_Integer)lua_rawlen(L, index);
    char name[256];
    lua_pushnil(L);
    while (lua_next(L, index)) {
        int key = lua_gettop(L) - 1;
        luaL_checkstack(L, 20, NULL);
        if (is_position(L, key, length)) {
            lua_pop(L, 1);
            continue;
        }
        const struct member *member = NULL;
        if (lua_type(L, key) == LUA_TSTRING)
            member = object_find_member(L, class, lua_tostring(L, key));
        if (!member) {
            lua_pushvalue(L, key);
            return error_set(fill->error, "%s has no field '%s'",
                             object_spell(class->type, name, sizeof name), luaL_tolstring(L, -1, NULL));
        }
        if (!fill_member(fill, member, address, size))
            return false;
        lua_pushvalue(L, key);
        lua_remove(L, key);
    }
    return true;
}

/* The class stays on the stack below what is pushed; the caller of object_store keeps it too. */
bool object_fill_record(struct fill *fill, int index, const struct type *record, char *address,
                        uint64_t size)
{
    luaL_checkstack(fill->L, 20, NULL);
    struct class *class = object_push_class(fill->L, record);
    int place = lua_gettop(fill->L);
    object_read_members(fill->L, class);
    bool ok = fill_by_position(fill, index, class, address, size) &&
              fill_by_name(fill, index, class, address, size);
    lua_remove(fill->L, place);
    return ok;
}

uint64_t object_flexible_size(lua_State *L, int index, const struct type *record)
{
    if (record->kind != TYPE_STRUCT || record->count == 0 || !lua_istable(L, index))
        return 0;
    const struct field *last = &record->fields[record->count - 1];
    const struct type *plain = type_plain(last->type);
    if (plain->kind != TYPE_ARRAY || !plain->is_flexible || !last->name)
        return 0;
    int top = lua_gettop(L);
    uint64_t count = 0;
    switch (lua_getfield(L, index, last->name)) {
    case LUA_TTABLE:
        count = lua_rawlen(L, -1);
        count += lua_rawgeti(L, -1, 0) != LUA_TNIL;
        break;
    case LUA_TSTRING:
        count = lua_rawlen(L, -1) + 1;
    }
    lua_settop(L, top);
    return count * type_complete(plain->target)->size;
}

/* Whole values ------------------------------------------------------------------------------- */

static bool copy_record(struct fill *fill, int index, const struct type *record, char *address)
{
    struct object *object = object_test(fill->L, index);
    char name[256], other[256];
    const struct type *source = object ? object->class->record : NULL;
    if (!source || (source != record && !types_same(source, record))) {
        object_spell(record, name, sizeof name);
        const char *given = object_name_of(fill->L, index, other, sizeof other);
        return error_set(fill->error, "%s expected, got %s%s", name, given,
                         strcmp(name, given) == 0 ? " of another layout" : "");
    }
    memmove(address, object_base(fill->L, index, object), record->size);
    return true;
}

/* A table is made into a whole value first, so that a mistake in it changes nothing. */
static bool store_from_table(struct fill *fill, int index, const struct type *type, char *address)
{
    lua_State *L = fill->L;
    char *whole = lua_newuserdatauv(L, type->size, 0);
    int place = lua_gettop(L);
    memset(whole, 0, type->size);
    bool ok = type->kind == TYPE_ARRAY
                  ? object_fill_list(fill, index, type->target, whole, type->count)
                  : object_fill_record(fill, index, type, whole, type->size);
    if (ok)
        memcpy(address, whole, type->size);
    lua_remove(L, place);
    return ok;
}

bool object_store_aggregate(struct fill *fill, int index, const struct type *type, char *address)
{
    const struct type *plain = type_plain(type);
    if (plain->is_incomplete || plain->is_flexible)
        return error_set(fill->error, "its size is not known: assign its parts one by one");
    if (lua_istable(fill->L, index))
        return store_from_table(fill, index, plain, address);
    if (plain->kind == TYPE_ARRAY)
        return fill_array(fill, index, plain, address, plain->count);
    return copy_record(fill, index, plain, address);
}
