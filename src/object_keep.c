/* object_keep.c: keeps alive what pointers lead to that Lua stored in C memory. For memory that an
 * object owns, a list in that object, pruned by looking at the memory; for other memory, a table of
 * the state by the place that was assigned. */
#include "object_internal.h"

#include "slot.h"

#include <stdio.h>
#include <stdlib.h>

/* Registry keys (their addresses): lists by place; kept objects by their address, weak. */
static const char pins_key, pinned_key;

enum { FIRST_LIMIT = 16 };

struct range {               /* memory of the kept value at `slot` of a list */
    uintptr_t start, end;
    lua_Integer slot;
};

struct place {               /* where something is assigned */
    struct object *keeper;   /* owns the memory; NULL: other memory */
    int index;               /* of the keeper */
    char *address;
    size_t size;
    struct plugin *plugin;   /* with variable and offset: a place in a live variable */
    const char *variable;
    uint64_t offset;
};

static struct range range_of(lua_State *L, int index)
{
    size_t length;
    struct object *object = object_test(L, index);
    if (object)
        return (struct range){(uintptr_t)object->address, (uintptr_t)object->address + object->size, 0};
    uintptr_t text = (uintptr_t)lua_tolstring(L, index, &length);
    return (struct range){text, text + length, 0};
}

/* Replace the value on top by what has to stay alive for pointers into it: a string, an owned object,
 * or nil. [-1 +1] */
static void resolve_root(lua_State *L)
{
    struct object *object = object_test(L, -1);
    if (object && !(object->flags & OBJECT_OWNED)) {
        lua_getiuservalue(L, -1, 1);
        lua_remove(L, -2);
        object = object_test(L, -1);
    }
    bool is_string = lua_type(L, -1) == LUA_TSTRING;
    if (!is_string && !(object && object->flags & OBJECT_OWNED)) {
        lua_pop(L, 1);
        lua_pushnil(L);
    }
}

/* Looking at memory -------------------------------------------------------------------------- */

static int by_start(const void *a, const void *b)
{
    uintptr_t left = ((const struct range *)a)->start, right = ((const struct range *)b)->start;
    return (left > right) - (left < right);
}

static void mark(struct range *ranges, size_t count, uintptr_t word, bool *is_used)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (word < ranges[middle].start)
            high = middle;
        else
            low = middle + 1;
    }
    for (size_t i = low; i > 0 && ranges[i - 1].start == ranges[low - 1].start; i--)
        if (word <= ranges[i - 1].end)
            is_used[i - 1] = true;
}

/* Which of the sorted ranges does a word of the memory point into? */
static void mark_used(struct range *ranges, size_t count, const char *memory, size_t size, bool *is_used)
{
    size_t step = (uintptr_t)memory % sizeof(void *) ? 1 : _Alignof(void *);
    for (size_t i = 0; i + sizeof(uintptr_t) <= size; i += step) {
        uintptr_t word;
        memcpy(&word, memory + i, sizeof word);
        if (word)
            mark(ranges, count, word, is_used);
    }
}

/* Set the entries of the list on top that no word of the memory leads to to nil, and close the gaps.
 * Returns how many are left. [-0 +0] */
static lua_Integer prune(lua_State *L, const char *memory, size_t size)
{
    size_t count = lua_rawlen(L, -1);
    struct range *ranges = lua_newuserdatauv(L, count * (sizeof *ranges + sizeof(bool)) + 1, 0);
    bool *is_used = (bool *)(ranges + count);
    lua_Integer left = 0;
    memset(is_used, 0, count);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -2, (lua_Integer)i + 1);
        ranges[i] = range_of(L, -1);
        ranges[i].slot = (lua_Integer)i + 1;
        lua_pop(L, 1);
    }
    qsort(ranges, count, sizeof *ranges, by_start);
    mark_used(ranges, count, memory, size, is_used);
    for (size_t i = 0; i < count; i++)
        if (!is_used[i]) {
            lua_pushnil(L);
            lua_rawseti(L, -3, ranges[i].slot);
        }
    lua_pop(L, 1);
    for (size_t i = 1; i <= count; i++) {
        if (lua_rawgeti(L, -1, (lua_Integer)i) == LUA_TNIL) {
            lua_pop(L, 1);
            continue;
        }
        lua_pushnil(L);
        lua_rawseti(L, -3, (lua_Integer)i);
        lua_rawseti(L, -2, ++left);
    }
    return left;
}

/* In owned memory ---------------------------------------------------------------------------- */

/* Add the root on top to the keeper's list. [-1 +0] */
static void keep_in_object(lua_State *L, const struct place *place)
{
    if (lua_getiuservalue(L, place->index, 1) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushinteger(L, FIRST_LIMIT);
        lua_rawseti(L, -2, 0);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, place->index, 1);
    }
    lua_insert(L, -2);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_rawgeti(L, -1, 0);
    lua_Integer limit = lua_tointeger(L, -1);
    lua_pop(L, 1);
    if ((lua_Integer)lua_rawlen(L, -1) >= limit) {
        lua_Integer left = prune(L, place->keeper->address, place->keeper->size);
        lua_pushinteger(L, left * 2 > FIRST_LIMIT ? left * 2 : FIRST_LIMIT);
        lua_rawseti(L, -2, 0);
    }
    lua_pop(L, 1);
}

/* In other memory ---------------------------------------------------------------------------- */

/* Push the table of that registry key, made if there is none. [-0 +1] */
static void push_table(lua_State *L, const void *key, const char *mode)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, key) != LUA_TNIL)
        return;
    lua_pop(L, 1);
    lua_newtable(L);
    if (mode) {
        lua_createtable(L, 0, 1);
        lua_pushstring(L, mode);
        lua_setfield(L, -2, "__mode");
        lua_setmetatable(L, -2);
    }
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

/* A place in a live variable is known by name, since it moves with each reload. [-0 +1] */
static void push_place(lua_State *L, const struct place *place)
{
    if (place->variable)
        lua_pushfstring(L, "%s:%s:%I", place->plugin->name, place->variable,
                        (lua_Integer)place->offset);
    else
        lua_pushlightuserdata(L, place->address);
}

static void append(lua_State *L, int list)
{
    lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
}

/* What was kept for this place so far goes, if the place really led to it until now; otherwise its
 * pointer may have wandered (a reload with another layout), and it stays for ever. `old` is a copy of
 * the memory as it was. [-0 +0] */
static void drop_old(lua_State *L, const struct place *place, const char *old)
{
    int top = lua_gettop(L);
    push_table(L, &pins_key, NULL);
    push_place(L, place);
    if (lua_rawget(L, -2) == LUA_TTABLE) {
        int list = lua_gettop(L);
        size_t count = lua_rawlen(L, list);
        lua_newtable(L);
        for (size_t i = 1; i <= count; i++) {
            bool is_used = false;
            lua_rawgeti(L, list, (lua_Integer)i);
            struct range range = range_of(L, -1);
            mark_used(&range, 1, old, place->size, &is_used);
            if (!is_used)
                append(L, list + 1);
            else
                lua_pop(L, 1);
        }
        if (lua_rawlen(L, list + 1) > 0) {
            lua_pushvalue(L, list + 1);
            append(L, top + 1);
        }
        push_place(L, place);
        lua_pushnil(L);
        lua_rawset(L, top + 1);
    }
    lua_settop(L, top);
}

/* Keep the root on top for the place. [-1 +0] */
static void keep_for_place(lua_State *L, const struct place *place)
{
    int root = lua_gettop(L);
    if (object_test(L, root)) {
        push_table(L, &pinned_key, "v");
        lua_pushvalue(L, root);
        lua_rawsetp(L, -2, object_test(L, root)->address);
    }
    push_table(L, &pins_key, NULL);
    int pins = lua_gettop(L);
    push_place(L, place);
    if (lua_rawget(L, pins) != LUA_TTABLE) {
        lua_newtable(L);
        push_place(L, place);
        lua_pushvalue(L, -2);
        lua_rawset(L, pins);
    }
    lua_pushvalue(L, root);
    append(L, lua_gettop(L) - 1);
    lua_settop(L, root - 1);
}

/* Push the object that owns the memory of the one at `index`, or nil. [-0 +1] */
static struct object *push_keeper(lua_State *L, int index, const struct object *object)
{
    if (object->flags & OBJECT_OWNED)
        lua_pushvalue(L, index);
    else
        lua_getiuservalue(L, index, 1);
    struct object *keeper = object_test(L, -1);
    return keeper && keeper->flags & OBJECT_OWNED ? keeper : NULL;
}

/* Replace the list on top by the value in it that `address` lies in. False: the list is popped. */
static bool find_kept(lua_State *L, uintptr_t address)
{
    for (lua_Integer i = lua_istable(L, -1) ? (lua_Integer)lua_rawlen(L, -1) : 0; i > 0; i--) {
        lua_rawgeti(L, -1, i);
        struct range range = range_of(L, -1);
        if (address >= range.start && address <= range.end) {
            lua_remove(L, -2);
            return true;
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return false;
}

void object_push_kept(lua_State *L, int index, struct object *object, const char *address)
{
    void *value;
    memcpy(&value, address, sizeof value);
    struct object *keeper = push_keeper(L, index, object);
    if (keeper) {
        lua_getiuservalue(L, -1, 1);
        lua_remove(L, -2);
        if (find_kept(L, (uintptr_t)value))
            return;
    } else {
        lua_pop(L, 1);
    }
    object_push_pinned(L, value);
}

void object_push_pinned(lua_State *L, const void *value)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &pinned_key) == LUA_TTABLE) {
        lua_rawgetp(L, -1, value);
        lua_remove(L, -2);
    }
}

/* Is the value a string or owned object whose memory the address lies in, or just behind? */
static bool holds(lua_State *L, int index, uintptr_t address)
{
    const struct object *object = object_test(L, index);
    if (object ? !(object->flags & OBJECT_OWNED) : lua_type(L, index) != LUA_TSTRING)
        return false;
    struct range range = range_of(L, index);
    return address >= range.start && address <= range.end;
}

bool object_push_owner(lua_State *L, const void *address)
{
    int top = lua_gettop(L);
    for (int i = top; i > 0; i--) {
        const struct object *object = object_test(L, i);
        if (object && !(object->flags & OBJECT_OWNED))
            lua_getiuservalue(L, i, 1);
        else if (object || lua_type(L, i) == LUA_TSTRING)
            lua_pushvalue(L, i);
        else
            continue;
        if (holds(L, -1, (uintptr_t)address))
            return true;
        lua_settop(L, top);
    }
    return false;
}

/* Assigning ---------------------------------------------------------------------------------- */

/* Keep the root of the value on top, if it has one. [-1 +0] */
static void keep(lua_State *L, const struct place *place)
{
    resolve_root(L);
    if (lua_isnil(L, -1) || (place->keeper && lua_touserdata(L, -1) == place->keeper))
        lua_pop(L, 1);
    else if (place->keeper)
        keep_in_object(L, place);
    else
        keep_for_place(L, place);
}

/* A whole struct was copied from the object at `value`: what that one keeps is kept here too. */
static void keep_copied(lua_State *L, int value, const struct place *place)
{
    struct object *object = object_test(L, value);
    if (!object)
        return;
    lua_getiuservalue(L, value, 1);
    if (!(object->flags & OBJECT_OWNED) && object_test(L, -1)) {
        lua_getiuservalue(L, -1, 1);
        lua_remove(L, -2);
    }
    size_t count = lua_istable(L, -1) ? lua_rawlen(L, -1) : 0;
    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        keep(L, place);
    }
    lua_pop(L, 1);
}

static void assign(lua_State *L, int value, const struct type *type, struct place *place,
                   struct plugin *plugin, const char *what)
{
    struct error error = {0};
    int pushed = 0, top = lua_gettop(L);
    const struct type *plain = type_plain(type);
    bool may_lead = plain->kind == TYPE_POINTER || plain->kind == TYPE_STRUCT ||
                    plain->kind == TYPE_UNION || plain->kind == TYPE_ARRAY;
    char *old = NULL;
    place->size = plain->size;
    if (may_lead && !place->keeper)
        old = memcpy(lua_newuserdatauv(L, plain->size, 0), place->address, plain->size);
    int first = lua_gettop(L) + 1;
    if (!object_store(L, value, type, place->address, plugin, &pushed, &error))
        luaL_error(L, "bad value for %s (%s)", what, error.text);
    if (old)
        drop_old(L, place, old);
    for (int i = 0; i < pushed; i++) {
        lua_pushvalue(L, first + i);
        keep(L, place);
    }
    if (plain->kind == TYPE_POINTER) {
        lua_pushvalue(L, value);
        keep(L, place);
    } else if (may_lead) {
        keep_copied(L, value, place);
    }
    lua_settop(L, top);
}

void object_assign(lua_State *L, int index, const struct type *type, void *address,
                   const struct origin *origin, const char *what)
{
    struct plugin *plugin = origin->plugin;
    if (!plugin && origin->image)
        plugin = origin->image->plugin;
    if (origin->is_const || type->is_const)
        luaL_error(L, "cannot assign to const %s", what);
    borrow_check_write(L, origin->plugin, origin->variable);
    struct place place = {.address = address, .plugin = origin->plugin, .variable = origin->variable};
    if (!place.plugin)
        place.variable = NULL;
    assign(L, lua_absindex(L, index), type, &place, plugin, what);
}

void object_assign_part(lua_State *L, int index, struct object *object, const struct type *type,
                        char *address, int value, const char *what)
{
    struct plugin *plugin = object->image ? object->image->plugin : NULL;
    struct place place = {.address = address};
    int top = lua_gettop(L);
    if (object->live) {
        place.plugin = object->live->plugin;
        place.variable = object->live->variable;
        place.offset = object->live->offset + (uint64_t)(address - (char *)object->address);
    }
    place.keeper = push_keeper(L, index, object);
    place.index = lua_gettop(L);
    assign(L, value, type, &place, plugin, what);
    lua_settop(L, top);
}

void object_keep_copied(lua_State *L, int index, int source)
{
    struct place place = {.keeper = object_test(L, index), .index = index};
    keep_copied(L, source, &place);
}

void object_keep_pushed(lua_State *L, int index, int first, int count)
{
    struct place place = {.keeper = object_test(L, index), .index = index};
    for (int i = 0; i < count; i++) {
        lua_pushvalue(L, first + i);
        keep(L, &place);
    }
}
