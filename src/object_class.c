/* object_class.c: the class that each plain C type has in a Lua state: its metatable, its members by
 * name; and the references by which Lua's collector keeps type tables and images. */
#include "object_internal.h"

#include "memory.h"

#include <stdlib.h>

/* Registry keys (their addresses). */
static const char classes_key, images_key, names_key, state_key;

static const char reference_metatable[] = "hotlua.reference";

/* References --------------------------------------------------------------------------------- */

/* What one Lua state has. Its userdata is the first to be made, so the last to be finalized: what
 * is left is released then. */
struct state {
    struct reference *references;
    struct types *types;     /* of type expressions; NULL until one is parsed */
};

struct image_handle {
    struct reference reference;
    struct image *image;
};

static void release_reference(struct reference *reference)
{
    if (!reference->release)
        return;
    *reference->link = reference->next;
    if (reference->next)
        reference->next->link = reference->link;
    reference->release(reference);
    reference->release = NULL;
}

static int reference_gc(lua_State *L)
{
    struct reference *reference = lua_touserdata(L, 1);
    if (reference->is_doomed) {
        release_reference(reference);
        return 0;
    }
    reference->is_doomed = true;
    luaL_setmetatable(L, reference_metatable);
    return 0;
}

static int state_gc(lua_State *L)
{
    struct state *state = lua_touserdata(L, 1);
    while (state->references)
        release_reference(state->references);
    types_release(state->types);
    state->types = NULL;
    return 0;
}

static struct state *state_of(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
    struct state *state = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return state;
}

struct types *object_expression_types(lua_State *L, bool renew)
{
    struct state *state = state_of(L);
    if (renew || !state->types) {
        types_release(state->types);
        state->types = types_new(NULL, NULL, NULL);
    }
    return state->types;
}

/* Push a zeroed reference of that size; `release` accepts it so. [-0 +1] */
static void *push_reference(lua_State *L, size_t size, void (*release)(struct reference *))
{
    struct state *state = state_of(L);
    struct reference *reference = lua_newuserdatauv(L, size, 0);
    memset(reference, 0, size);
    luaL_setmetatable(L, reference_metatable);
    reference->release = release;
    reference->next = state->references;
    reference->link = &state->references;
    if (reference->next)
        reference->next->link = &reference->next;
    state->references = reference;
    return reference;
}

static void release_image(struct reference *reference)
{
    image_release(((struct image_handle *)reference)->image);
}

void object_push_image(lua_State *L, struct image *image)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &images_key);
    if (lua_rawgetp(L, -1, image) == LUA_TNIL) {
        lua_pop(L, 1);
        struct image_handle *handle = push_reference(L, sizeof *handle, release_image);
        handle->image = image_retain(image);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, -3, image);
    }
    lua_remove(L, -2);
}

const char *object_intern(lua_State *L, const char *text)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &names_key);
    lua_pushstring(L, text);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, -3) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_pushvalue(L, -1);
        lua_rawset(L, -4);
    } else {
        lua_remove(L, -2);
    }
    const char *interned = lua_tostring(L, -1);
    lua_pop(L, 2);
    return interned;
}

/* Members ------------------------------------------------------------------------------------ */

enum scalar object_scalar_of(const struct type *type)
{
    static const enum scalar of_size[2][9] = {
        {[1] = SCALAR_UINT8, [2] = SCALAR_UINT16, [4] = SCALAR_UINT32, [8] = SCALAR_INT64},
        {[1] = SCALAR_INT8, [2] = SCALAR_INT16, [4] = SCALAR_INT32, [8] = SCALAR_INT64},
    };
    const struct type *plain = type_plain(type);
    switch (plain->kind) {
    case TYPE_INT: case TYPE_ENUM:
        return plain->size <= 8 ? of_size[plain->is_signed][plain->size] : SCALAR_OTHER;
    case TYPE_FLOAT:
        return plain->size == 8 ? SCALAR_DOUBLE : plain->size == 4 ? SCALAR_FLOAT : SCALAR_OTHER;
    case TYPE_BOOL:
        return plain->size == 1 ? SCALAR_BOOL : SCALAR_OTHER;
    default:
        return SCALAR_OTHER;
    }
}

static bool is_record(const struct type *plain)
{
    return plain->kind == TYPE_STRUCT || plain->kind == TYPE_UNION;
}

/* How many names does the record have, through anonymous members? */
static size_t count_members(const struct type *record)
{
    size_t count = 0;
    for (uint64_t i = 0; i < record->count; i++) {
        const struct type *plain = type_plain(record->fields[i].type);
        if (record->fields[i].name)
            count++;
        else if (is_record(plain))
            count += count_members(plain);
    }
    return count;
}

/* `where` is the record's own place in the outermost one. */
static void add_members(lua_State *L, struct class *class, const struct type *record,
                        const struct member *where)
{
    for (uint64_t i = 0; i < record->count; i++) {
        const struct field *field = &record->fields[i];
        const struct type *plain = type_plain(field->type);
        bool is_overlaid = record->kind == TYPE_UNION && i > 0;
        struct member place = {
            .type = field->type, .offset = where->offset + field->offset,
            .is_const = where->is_const || field->type->is_const,
            .is_positional = where->is_positional && !is_overlaid,
            .scalar = field->bit_size ? SCALAR_BITS : object_scalar_of(field->type),
            .bit_offset = field->bit_offset, .bit_size = field->bit_size,
        };
        if (field->name) {
            place.key = object_intern(L, field->name);
            class->members[class->member_count++] = place;
        } else if (is_record(plain)) {
            add_members(L, class, plain, &place);
        }
    }
}

static size_t bucket_of(const struct class *class, const char *key)
{
    return (((uintptr_t)key >> 4) ^ ((uintptr_t)key >> 11)) & class->mask;
}

static void fill_buckets(struct class *class)
{
    for (size_t i = 0; i < class->member_count; i++) {
        size_t bucket = bucket_of(class, class->members[i].key);
        while (class->buckets[bucket])
            bucket = (bucket + 1) & class->mask;
        class->buckets[bucket] = &class->members[i];
    }
}

void object_read_members(lua_State *L, struct class *class)
{
    if (class->is_read)
        return;
    const struct type *record = class->record ? type_complete(class->record) : NULL;
    size_t count = record && !record->is_incomplete ? count_members(record) : 0, room = 4;
    bool is_scalar = class->element == class->type;
    while (room < count * 2)
        room *= 2;
    free(class->members);
    free(class->buckets);
    class->member_count = 0;
    class->members = memory_take_array(count + is_scalar + 1, sizeof *class->members);
    class->buckets = memory_take_array(room, sizeof *class->buckets);
    class->mask = room - 1;
    struct member start = {.is_const = class->is_const, .is_positional = true};
    if (count > 0)
        add_members(L, class, record, &start);
    if (is_scalar)                       /* an object of a scalar has it as its only member */
        class->members[class->member_count++] = (struct member){
            .key = object_intern(L, "value"), .type = class->type, .scalar = class->element_scalar};
    fill_buckets(class);
    class->is_read = !record || !record->is_incomplete;
}

/* Names longer than what Lua interns are compared by their text. */
static const struct member *find_long(const struct class *class, const char *key)
{
    if (strlen(key) <= 40)
        return NULL;
    for (size_t i = 0; i < class->member_count; i++)
        if (strcmp(class->members[i].key, key) == 0)
            return &class->members[i];
    return NULL;
}

const struct member *object_find_member(lua_State *L, struct class *class, const char *key)
{
    if (!class->is_read)
        object_read_members(L, class);
    for (size_t bucket = bucket_of(class, key); class->buckets[bucket];
         bucket = (bucket + 1) & class->mask)
        if (class->buckets[bucket]->key == key)
            return class->buckets[bucket];
    return find_long(class, key);
}

/* Classes ------------------------------------------------------------------------------------ */

static void release_class(struct reference *reference)
{
    struct class *class = (struct class *)reference;
    for (int i = 0; i < CLASS_ACCEPTED; i++)
        types_release(class->accepted_tables[i]);
    free(class->members);
    free(class->buckets);
    if (class->type)
        types_release(class->type->table);
}

static void describe_class(struct class *class, const struct type *type)
{
    class->type = type;
    const struct type *target = NULL;
    if (type->kind == TYPE_POINTER || type->kind == TYPE_ARRAY)
        target = type->target;
    if (is_record(type))
        class->record = type;
    else if (type->kind == TYPE_POINTER && is_record(target->plain))
        class->record = target->plain;
    bool is_scalar = !target && !is_record(type);
    class->element = is_scalar ? type : target;
    class->is_const = target && target->is_const;
    if (target && target->kind == TYPE_ARRAY)
        class->is_const |= target->plain->target->is_const;
    if (is_scalar || type->kind == TYPE_ARRAY || (target && !is_record(target->plain)))
        class->element_scalar = object_scalar_of(class->element);
}

static struct class *make_class(lua_State *L, const struct type *type)
{
    static const luaL_Reg methods[] = {
        {"__index", object_index}, {"__newindex", object_newindex}, {"__pairs", object_pairs},
        {"__eq", object_equal}, {"__tostring", object_tostring}, {"__concat", object_concat},
        {"__len", object_length}, {NULL, NULL},
    };
    char name[256];
    lua_createtable(L, 1, 10);
    struct class *class = push_reference(L, sizeof *class, release_class);
    describe_class(class, type);
    types_retain(type->table);
    lua_rawseti(L, -2, 1);
    luaL_setfuncs(L, methods, 0);
    if (type->kind == TYPE_POINTER && type->target->plain->kind == TYPE_FUNCTION) {
        lua_pushcfunction(L, object_call);
        lua_setfield(L, -2, "__call");
    }
    lua_pushstring(L, object_spell(type, name, sizeof name));
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__name");
    lua_setfield(L, -2, "__metatable");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, -3, type);
    return class;
}

struct class *object_push_class(lua_State *L, const struct type *type)
{
    const struct type *plain = type_plain(type);
    struct class *class;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &classes_key);
    if (lua_rawgetp(L, -1, plain) == LUA_TTABLE) {
        lua_rawgeti(L, -1, 1);
        class = lua_touserdata(L, -1);
        lua_pop(L, 1);
    } else {
        lua_pop(L, 1);
        class = make_class(L, plain);
    }
    lua_remove(L, -2);
    return class;
}

/* [-0 +0] */
static void new_registry_table(lua_State *L, const void *key, const char *mode)
{
    lua_newtable(L);
    if (mode) {
        lua_createtable(L, 0, 1);
        lua_pushstring(L, mode);
        lua_setfield(L, -2, "__mode");
        lua_setmetatable(L, -2);
    }
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

void object_open_classes(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key) != LUA_TNIL) {
        lua_pop(L, 1);
        return;
    }
    struct state *state = lua_newuserdatauv(L, sizeof *state, 0);
    *state = (struct state){0};
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, state_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
    lua_pop(L, 1);
    luaL_newmetatable(L, reference_metatable);
    lua_pushcfunction(L, reference_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    new_registry_table(L, &classes_key, "v");
    new_registry_table(L, &images_key, "v");
    new_registry_table(L, &names_key, NULL);
}
