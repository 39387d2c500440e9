/* object_new.c: making objects: owned ones, views, pointers, parts of others. */
#include "object_internal.h"

enum { BASE_ALIGN = 8 };                 /* what Lua gives userdata */

/* Push a userdata with the class of `type` and room behind the header. Its first user value is nil. */
static struct object *push_object(lua_State *L, const struct type *type, size_t room, int user_values)
{
    struct class *class = object_push_class(L, type);
    struct object *object = lua_newuserdatauv(L, sizeof *object + room, user_values);
    *object = (struct object){.tag = &object_tag, .class = class, .count = 1};
    lua_insert(L, -2);
    lua_setmetatable(L, -2);
    if (class->type->kind == TYPE_ARRAY)
        object->count = class->type->is_flexible ? OBJECT_UNBOUNDED : class->type->count;
    return object;
}

struct object *object_push_owned(lua_State *L, const struct type *type, uint64_t extra)
{
    const struct type *plain = type_plain(type);
    size_t slack = plain->align > BASE_ALIGN ? plain->align : 0;
    if (plain->size > PTRDIFF_MAX / 2 || extra > PTRDIFF_MAX / 2)
        luaL_error(L, "not enough memory");
    size_t size = plain->size + extra;
    struct object *object = push_object(L, plain, size + slack, 1);
    uintptr_t place = (uintptr_t)(object + 1);
    if (slack > 0)
        place = (place + plain->align - 1) & ~(uintptr_t)(plain->align - 1);
    object->address = (void *)place;
    object->flags = OBJECT_OWNED | OBJECT_ROOT | (type->is_const ? OBJECT_CONST : 0);
    object->size = size;
    memset(object->address, 0, size);
    return object;
}

/* Give the object on top what keeps its memory; `owner` is a stack index, 0: none. [-0 +0] */
static void set_keepers(lua_State *L, struct object *object, struct image *image, int owner)
{
    if (owner != 0) {
        lua_pushvalue(L, owner);
        lua_setiuservalue(L, -2, 1);
    }
    if (image) {
        object->image = image;
        object->flags |= OBJECT_CHECKED;
        object_push_image(L, image);
        lua_setiuservalue(L, -2, 2);
    }
}

static void set_live(lua_State *L, struct object *object, const struct type *type,
                     const struct origin *origin, const struct live *live)
{
    object->live = (struct live *)(object + 1);
    object->flags |= OBJECT_CHECKED;
    if (live) {
        *object->live = *live;
        return;
    }
    const char *name = object_intern(L, origin->variable);
    *object->live = (struct live){.plugin = origin->plugin, .variable = name, .type = type};
}

struct object *object_push_view(lua_State *L, const struct type *type, void *address,
                                const struct origin *origin, const struct live *live)
{
    bool is_live = live || (origin->plugin && origin->variable);
    int owner = origin->owner ? lua_absindex(L, origin->owner) : 0;
    struct object *object = push_object(L, type, is_live ? sizeof *live : 0,
                                        is_live || origin->image ? 2 : 1);
    object->address = address;
    if (origin->is_const || type->is_const)
        object->flags |= OBJECT_CONST;
    if (is_live)
        set_live(L, object, type, origin, live);
    set_keepers(L, object, origin->image, owner);
    return object;
}

struct object *object_push_pointer(lua_State *L, const struct type *type, void *value,
                                   const struct origin *origin)
{
    int owner = origin && origin->owner ? lua_absindex(L, origin->owner) : 0;
    struct image *found = NULL, *image = NULL;
    if (value && origin && origin->image && image_contains(origin->image, value))
        image = origin->image;
    else if (value)
        image = found = image_of_address(value);
    if (value && !image)
        image = found = image_gone_from(value);
    struct object *object = push_object(L, type, 0, image ? 2 : 1);
    object->address = value;
    object->flags |= OBJECT_POINTER;
    set_keepers(L, object, image, owner);
    image_release(found);
    return object;
}

/* A flexible array in owned memory ends where that does. */
static void set_flexible_count(struct object *view, uint64_t room)
{
    const struct type *element = type_complete(view->class->type->target);
    view->count = element->size ? room / element->size : 0;
}

/* Push a view of a struct, union or array inside the object. */
static void push_inner(lua_State *L, int index, struct object *object, const struct type *type,
                       char *address)
{
    struct origin origin = {.image = object->image, .is_const = object->flags & OBJECT_CONST};
    struct live live, *part = NULL;
    if (object->flags & OBJECT_POINTER)
        origin.is_const = object->class->is_const;
    if (object->live) {
        live = *object->live;
        live.offset += (uint64_t)(address - (char *)object->address);
        part = &live;
    }
    if (object->flags & OBJECT_ROOT)
        lua_pushvalue(L, index);
    else
        lua_getiuservalue(L, index, 1);
    origin.owner = lua_gettop(L);
    struct object *view = object_push_view(L, type, address, &origin, part);
    if (view->count == OBJECT_UNBOUNDED && object->flags & OBJECT_OWNED)
        set_flexible_count(view, object->size - (uint64_t)(address - (char *)object->address));
    lua_remove(L, origin.owner);
}

void object_push_part(lua_State *L, int index, struct object *object, const struct type *type,
                      char *address)
{
    const struct type *plain = type_plain(type);
    if (plain->kind == TYPE_STRUCT || plain->kind == TYPE_UNION || plain->kind == TYPE_ARRAY) {
        push_inner(L, index, object, type, address);
        return;
    }
    struct origin origin = {.image = object->image};
    if (plain->kind == TYPE_POINTER) {
        object_push_kept(L, index, object, address);
        origin.owner = lua_isnil(L, -1) ? 0 : lua_gettop(L);
        object_push(L, type, address, &origin, false);
        lua_remove(L, -2);
        return;
    }
    object_push(L, type, address, &origin, false);
}
