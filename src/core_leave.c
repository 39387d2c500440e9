/* core_leave.c: plugins that stay loaded from one Lua state to the next, when the main script runs again:
 * left by the state that closes, taken up by the hot.load of the one that comes after it. */
#include "core.h"

#include "heap.h"
#include "host.h"
#include "slot.h"

#include <lauxlib.h>
#include <string.h>

/* core.plugin_leave(handle): the state gives the plugin up; its live image stays, with all that it holds. */
static int l_plugin_leave(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TLIGHTUSERDATA);
    plugin_leave(lua_touserdata(L, 1));
    return 0;
}

static void drop(struct plugin *plugin)
{
    struct image *image = plugin->left;
    plugin->left = NULL;
    slot_lock();
    slot_bind(plugin, NULL);
    plugin->is_closed = true;
    slot_unlock();
    heap_close(plugin);
    image_close(image);
    image_release(image);
}

/* core.take_up(name, path) -> handle, image: of a plugin that was left, when it is of that path. One of
 * another path is unloaded. */
static int l_take_up(lua_State *L)
{
    struct plugin *plugin = plugin_find(luaL_checkstring(L, 1));
    if (!plugin || !plugin->left)
        return 0;
    if (strcmp(plugin->path, luaL_checkstring(L, 2)) != 0) {
        drop(plugin);
        return 0;
    }
    struct image *image = plugin->left;
    plugin_take_up(plugin, host_of(L));
    lua_pushlightuserdata(L, plugin);
    core_push_image(L, image);
    return 2;
}

/* core.drop_left(): unload what nobody has taken up. */
static int l_drop_left(lua_State *L)
{
    (void)L;
    for (struct plugin *plugin = plugin_next(NULL); plugin; plugin = plugin_next(plugin))
        if (plugin->left)
            drop(plugin);
    return 0;
}

void core_open_leave(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"plugin_leave", l_plugin_leave}, {"take_up", l_take_up}, {"drop_left", l_drop_left}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
