/* core_share.c: plugins for Lua states other than the one that loaded them, and stopping those for a
 * reload. */
#include "core.h"

#include "hold.h"
#include "host.h"

#include <lauxlib.h>
#include <string.h>

static struct plugin *check_plugin(lua_State *L, int index)
{
    luaL_checktype(L, index, LUA_TLIGHTUSERDATA);
    return lua_touserdata(L, index);
}

/* core.share(name) -> handle of an open plugin that another state has loaded; nil for none */
static int l_share(lua_State *L)
{
    struct plugin *plugin = plugin_find(luaL_checkstring(L, 1));
    if (!plugin || !plugin_live(plugin) || plugin->owner == host_of(L))
        return 0;
    plugin->is_shared = true;
    lua_pushlightuserdata(L, plugin);
    return 1;
}

/* core.plugin_names() -> sorted list of the open plugins of the process */
static int l_plugin_names(lua_State *L)
{
    lua_newtable(L);
    for (struct plugin *plugin = plugin_next(NULL); plugin; plugin = plugin_next(plugin)) {
        lua_pushstring(L, plugin->name);
        lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    }
    return 1;
}

/* core.plugin_about(handle) -> name, path, is it open */
static int l_plugin_about(lua_State *L)
{
    const struct plugin *plugin = check_plugin(L, 1);
    lua_pushstring(L, plugin->name);
    lua_pushstring(L, plugin->path);
    lua_pushboolean(L, plugin_live(plugin) != NULL);
    return 3;
}

/* core.live_image(handle) -> handle of the image that is live now, nil: closed. Only inside core.pinned. */
static int l_live_image(lua_State *L)
{
    struct plugin *plugin = check_plugin(L, 1);
    struct image *live = plugin_live(plugin);
    if (!live)
        return 0;
    core_push_image(L, image_retain(live));
    return 1;
}

/* f(...) with the live image pinned, so that it is not unloaded and nothing is carried meanwhile. */
static int call_pinned(lua_State *L)
{
    struct frame *frame = hold_enter(lua_touserdata(L, lua_upvalueindex(1)), L);
    if (!frame)
        return luaL_error(L, "C stack overflow (native calls are nested too deeply)");
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_insert(L, 1);
    int status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
    hold_leave(frame);
    return status == LUA_OK ? lua_gettop(L) : lua_error(L);
}

/* core.pinned(handle, f) -> function */
static int l_pinned(lua_State *L)
{
    check_plugin(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    lua_pushcclosure(L, call_pinned, 2);
    return 1;
}

/* core.is_shared(handle) -> do other states have it */
static int l_is_shared(lua_State *L)
{
    lua_pushboolean(L, check_plugin(L, 1)->is_shared);
    return 1;
}

/* core.hold_begin(handle): calls of other threads wait from here on. */
static int l_hold_begin(lua_State *L)
{
    hold_begin(check_plugin(L, 1));
    return 0;
}

/* core.hold_await(handle, us) -> true; or false, who is inside after so long */
static int l_hold_await(lua_State *L)
{
    char who[256];
    bool is_reached = hold_await(check_plugin(L, 1), (unsigned)luaL_checkinteger(L, 2), who, sizeof who);
    lua_pushboolean(L, is_reached);
    lua_pushstring(L, is_reached ? NULL : who);
    return 2;
}

/* core.hold_end(handle) */
static int l_hold_end(lua_State *L)
{
    hold_end(check_plugin(L, 1));
    return 0;
}

void core_open_share(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"share", l_share}, {"plugin_names", l_plugin_names}, {"plugin_about", l_plugin_about},
        {"live_image", l_live_image}, {"pinned", l_pinned}, {"is_shared", l_is_shared},
        {"hold_begin", l_hold_begin}, {"hold_await", l_hold_await}, {"hold_end", l_hold_end}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
