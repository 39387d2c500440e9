/* call.c: the functions that Lua holds, and the entries of slots that lead to no call: the type is
 * not read yet, cannot be called, or the export has gone. */
#include "call_internal.h"

#include "guard.h"

#include <stdlib.h>
#include <string.h>

void (*call_on_crash)(lua_State *L, struct image *image, const char *what);

/* Entries ------------------------------------------------------------------------------------ */

static void resolve(struct export *export)
{
    struct error error = {0};
    char text[ERROR_TEXT + 512];
    if (image_resolve_export(export, &error)) {
        call_compile(export);
        return;
    }
    snprintf(text, sizeof text, "'%s' has no known signature (%s): compile with -g, or declare it: "
             "hot.load(path, { cdef = \"...\" })", export->name, error.text);
    call_refuse(export, text);
}

int call_lazy(lua_State *L, struct slot *slot)
{
    struct thread *thread = thread_self();
    struct frame *frame = thread->top;
    struct export *export = frame_pin(frame, slot);
    if (call_thunk(export) == call_lazy) {
        thread_set_top(thread, frame + 1);
        frame->stack = (uintptr_t)__builtin_frame_address(0) | FRAME_IS_HOST;
        resolve(export);
        thread_set_top(thread, frame);
    }
    slot_refresh(slot, export);          /* resolved here, or since it was bound: by a comparison */
    frame_unpin(frame);
    return slot_usual(slot)(L, slot);
}

int call_refused(lua_State *L, struct slot *slot)
{
    struct thread *thread = thread_self();
    struct frame *frame = thread->top;
    struct export *export = frame_pin(frame, slot);
    slot_entry *thunk = call_thunk(export);
    if (thunk != call_refused) {
        frame_unpin(frame);
        return thunk(L, slot);
    }
    lua_pushstring(L, export->refusal);
    frame_unpin(frame);
    return luaL_error(L, "%s", lua_tostring(L, -1));
}

int call_absent(lua_State *L, struct slot *slot)
{
    const struct plugin *plugin = slot->plugin;
    if (slot_bound(slot) != &slot_absent)
        return slot_usual(slot)(L, slot);
    if (!plugin_live(plugin))
        return luaL_error(L, "plugin '%s' is closed ('%s' cannot be called)", plugin->name, slot->name);
    if (slot->gone_since == 0)
        return luaL_error(L, "plugin '%s' has no function '%s'", plugin->name, slot->name);
    return luaL_error(L, "'%s' is gone since generation %d of plugin '%s'", slot->name,
                      (int)slot->gone_since, plugin->name);
}

/* Functions for Lua -------------------------------------------------------------------------- */

/* Where the machine has no stubs. */
static int call_closure(lua_State *L)
{
    struct slot *slot = lua_touserdata(L, lua_upvalueindex(1));
    return slot->entry(L, slot);
}

void call_push_slot(lua_State *L, struct slot *slot)
{
    if (slot->stub) {
        lua_pushcfunction(L, (lua_CFunction)slot->stub);
        return;
    }
    lua_pushlightuserdata(L, slot);
    lua_pushcclosure(L, call_closure, 1);
}

/* A function outside any slot: the upvalue of its closure. */
struct bare {
    struct slot slot;
    struct export export;
    struct types *types;
    char name[];
};

static int bare_gc(lua_State *L)
{
    struct bare *bare = lua_touserdata(L, 1);
    call_free_signature(&bare->export);
    types_release(bare->types);
    image_release(bare->export.image);
    bare->types = NULL;
    bare->export.image = NULL;
    return 0;
}

static struct bare *push_bare(lua_State *L, const char *name)
{
    size_t length = strlen(name);
    struct bare *bare = lua_newuserdatauv(L, sizeof *bare + length + 1, 0);
    *bare = (struct bare){.types = NULL};
    memcpy(bare->name, name, length + 1);
    if (luaL_newmetatable(L, "hotlua.function")) {
        lua_pushcfunction(L, bare_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return bare;
}

void call_push_function(lua_State *L, void *address, const struct type *type, struct image *image,
                        const char *name)
{
    struct bare *bare = push_bare(L, name);
    bare->types = types_retain(type->table);
    bare->export = (struct export){
        .target = address, .type = type->plain, .name = bare->name, .thunk = call_lazy,
        .image = image ? image_retain(image) : NULL,
    };
    bare->slot.bound = &bare->export;
    bare->slot.name = bare->name;
    call_compile(&bare->export);
    bare->slot.entry = bare->slot.usual = bare->export.signature ? call_general : call_refused;
    lua_pushcclosure(L, call_closure, 1);
}

void *call_native_pointer(lua_State *L, int index, const struct type **type)
{
    if (lua_tocfunction(L, index) != call_closure || !lua_getupvalue(L, index, 1))
        return NULL;
    const struct bare *bare = luaL_testudata(L, -1, "hotlua.function");
    lua_pop(L, 1);
    if (!bare)
        return NULL;
    const struct image *image = bare->export.image;
    if (image && !image->is_mapped)
        luaL_error(L, "'%s' belongs to an image that has been unloaded", bare->name);
    *type = bare->export.type;
    return bare->export.target;
}

/* The slot of a plugin's function, NULL if it is none. */
static struct slot *slot_at(lua_State *L, int index)
{
    lua_CFunction function = lua_tocfunction(L, index);
    if (function != call_closure)
        return function ? arch_slot_of_stub((void *)function) : NULL;
    if (!lua_getupvalue(L, index, 1))
        return NULL;
    struct slot *slot = lua_islightuserdata(L, -1) ? lua_touserdata(L, -1) : NULL;
    lua_pop(L, 1);
    return slot;
}

void *call_native(lua_State *L, int index)
{
    const struct type *type;
    struct slot *slot = slot_at(L, index);
    if (!slot)
        return call_native_pointer(L, index, &type);
    slot_lock();
    struct image *live = plugin_live(slot->plugin);
    const struct export *export = live ? image_find_export(live, slot->name) : NULL;
    void *target = export ? export->target : NULL;
    slot_unlock();
    if (!target)
        call_absent(L, slot);
    return target;
}

void call_open(lua_State *L)
{
    (void)L;
    thread_self();
    guard_install(call_crashed);
}
