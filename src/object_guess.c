/* object_guess.c: whether a table that is given for a pointer to const records means one of them or a list
 * of them. Only shapes are looked at; whether the values will do is the business of who stores them. */
#include "object_internal.h"

static bool fits(lua_State *L, int index, const struct type *type);

/* Has the record members that are reached through one without a name, so that positions do not tell? */
static bool has_anonymous(const struct type *record)
{
    bool has = false;
    for (uint64_t i = 0; i < record->count; i++)
        has |= !record->fields[i].name;
    return has;
}

/* Fits the value on top the field that the key below it stands for? */
static bool fits_field(lua_State *L, const struct type *record)
{
    uint64_t offset;
    int key = lua_gettop(L) - 1;
    const struct field *field = NULL;
    if (lua_type(L, key) == LUA_TSTRING)
        field = type_find_field(record, lua_tostring(L, key), &offset);
    lua_Integer place = lua_isinteger(L, key) ? lua_tointeger(L, key) : 0;
    if (place >= 1 && has_anonymous(record))
        return true;
    if (place >= 1 && (uint64_t)place <= record->count)
        field = &record->fields[place - 1];
    return field && fits(L, key + 1, type_plain(field->type));
}

static bool fits_table(lua_State *L, int index, const struct type *plain)
{
    bool is_array = plain->kind == TYPE_ARRAY, is_fit = true;
    int top = lua_gettop(L);
    luaL_checkstack(L, 10, NULL);
    for (lua_pushnil(L); is_fit && lua_next(L, index); lua_settop(L, top + 1))
        is_fit = is_array ? lua_isinteger(L, -2) && fits(L, top + 2, type_plain(plain->target))
                          : fits_field(L, plain);
    lua_settop(L, top);
    return is_fit;
}

/* `type` is a plain one, the index absolute. */
static bool fits(lua_State *L, int index, const struct type *type)
{
    const struct object *object = object_test(L, index);
    const struct type *own = object ? object->class->record : NULL;
    int kind = lua_type(L, index);
    switch (type->kind) {
    case TYPE_STRUCT:
    case TYPE_UNION:
        return kind == LUA_TTABLE ? fits_table(L, index, type) : own && types_same(own, type);
    case TYPE_ARRAY:
        return kind == LUA_TTABLE ? fits_table(L, index, type) : kind == LUA_TSTRING || kind == LUA_TUSERDATA;
    case TYPE_INT:
    case TYPE_FLOAT:
    case TYPE_BOOL:
        return kind == LUA_TNUMBER || kind == LUA_TBOOLEAN;
    case TYPE_ENUM:
        return kind == LUA_TNUMBER || kind == LUA_TSTRING;
    default:
        return true;
    }
}

static const struct type *first_part(const struct type *record)
{
    return record->count > 0 ? type_plain(record->fields[0].type) : record;
}

bool object_is_list(lua_State *L, int index, const struct type *record)
{
    luaL_checkstack(L, 10, NULL);
    lua_rawgeti(L, index, 1);
    int first = lua_gettop(L);
    bool is_list = fits(L, first, record) && !lua_isnil(L, first);
    if (!is_list && lua_istable(L, first))
        is_list = !fits(L, first, first_part(record));   /* neither: the list's message helps more */
    lua_pop(L, 1);
    return is_list;
}
