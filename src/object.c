/* object.c: objects seen from outside, and the checks before their memory is used: that the image is
 * still there, that a live variable is followed, that it may be written. */
#include "object_internal.h"

#include "slot.h"

#include <dlfcn.h>
#include <stdio.h>

const char object_tag, object_type_tag;

static void raise_gone(lua_State *L, const struct image *image)
{
    const char *name = image->plugin ? image->plugin->name : image->source;
    luaL_error(L, "this view belongs to generation %d of plugin '%s', which has been unloaded",
               (int)image->generation, name);
}

static void *variable_address(const struct image *image, const struct variable *variable)
{
    if (!variable->is_thread_local)
        return variable->address;
    return variable->is_exported ? dlsym(image->handle, variable->name) : NULL;
}

/* The class of the new image's type, so that the old image's types can go. */
static void adopt_class(lua_State *L, int index, struct object *object, const struct type *type)
{
    struct class *class = object_push_class(L, type);
    lua_setmetatable(L, index);
    object->class = class;
}

/* Find the variable again in the image that is live now. */
static void follow(lua_State *L, int index, struct object *object)
{
    struct live *live = object->live;
    struct image *image = plugin_live(live->plugin);
    const char *name = live->plugin->name;
    struct variable variable = {0};
    if (!image)
        luaL_error(L, "variable '%s' is gone: plugin '%s' is closed", live->variable, name);
    if (!image_find_variable(image, live->variable, &variable, NULL) || !variable.type)
        luaL_error(L, "variable '%s' is gone in generation %d of plugin '%s'", live->variable,
                   (int)image->generation, name);
    if (!types_same(variable.type, live->type))
        luaL_error(L, "the layout of variable '%s' changed in generation %d of plugin '%s': take "
                   "a new view of it", live->variable, (int)image->generation, name);
    char *address = variable_address(image, &variable);
    if (!address)
        luaL_error(L, "variable '%s' is thread-local: it cannot be reached here", live->variable);
    index = lua_absindex(L, index);
    object_push_image(L, image);
    lua_setiuservalue(L, index, 2);
    if (!live->borrow && object->class->type == live->type->plain)
        adopt_class(L, index, object, variable.type);
    object->address = address + live->offset;
    object->image = image;
    live->type = variable.type;
}

void object_revalidate(lua_State *L, int index, struct object *object)
{
    const struct live *live = object->live;
    if (live && live->borrow && !live->borrow->is_open)
        luaL_error(L, "the borrow of variable '%s' is closed", live->variable);
    if (live && plugin_live(live->plugin) != object->image)
        follow(L, index, object);
    if (object->image && !object->image->is_mapped)
        raise_gone(L, object->image);
}

void object_raise_null(lua_State *L, struct object *object)
{
    char name[256];
    luaL_error(L, "attempt to use a null pointer ('%s')",
               object_spell(object->class->type, name, sizeof name));
}

void object_check_write(lua_State *L, struct object *object, bool is_const, const char *what)
{
    const struct live *live = object->live;
    if (live && live->borrow && !live->borrow->is_mutable)
        luaL_error(L, "cannot assign to %s: variable '%s' is borrowed for reading only", what,
                   live->variable);
    if (is_const || object->flags & OBJECT_CONST)
        luaL_error(L, "cannot assign to const %s", what);
    if (borrow_writers > 0 && live && !live->borrow)
        borrow_check_write(L, live->plugin, live->variable);
}

struct object *object_check(lua_State *L, int index)
{
    struct object *object = object_test(L, index);
    if (!object)
        luaL_typeerror(L, index, "C object");
    return object;
}

void *object_address(lua_State *L, int index, const struct type **type)
{
    struct object *object = object_test(L, index);
    if (!object)
        return NULL;
    if (type)
        *type = object->class->type;
    if (object->flags & OBJECT_POINTER)
        return &object->address;
    return object_base(L, index, object);
}

bool object_pointer(lua_State *L, int index, const struct type *type, void **pointer)
{
    struct object *object = object_test(L, index);
    if (!object || object->flags & OBJECT_CONST)
        return false;
    const struct class *class = object->class;
    type = type->plain;
    for (int i = 0; i < CLASS_ACCEPTED; i++)
        if (class->accepted[i] == type) {
            if (object->flags & OBJECT_CHECKED)
                object_revalidate(L, index, object);
            *pointer = object->address;
            return true;
        }
    return false;
}

void object_open(lua_State *L)
{
    object_open_classes(L);
    object_open_types(L);
    object_open_memory(L);
}
