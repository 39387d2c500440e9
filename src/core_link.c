/* core_link.c: which plugins are linked with each other, or call each other. */
#include "core.h"

#include "image_link.h"
#include "native_symbol.h"
#include "slot.h"

#include <lauxlib.h>

/* core.has_links() -> is any plugin linked with another, or calls it through hot_symbol? */
static int l_has_links(lua_State *L)
{
    lua_pushboolean(L, image_any_link() || native_symbol_any_use());
    return 1;
}

static void add(lua_State *L, int list, struct plugin *plugin)
{
    lua_pushlightuserdata(L, plugin);
    lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
}

/* core.linked(image) -> handles of the plugins that it is linked with, of those that its code calls through
 * hot_symbol */
static int l_linked(lua_State *L)
{
    const struct image *image = core_check_image(L, 1);
    lua_settop(L, 1);
    lua_newtable(L);
    for (size_t i = 0; i < image->link_count; i++)
        if (image->links[i]->plugin)
            add(L, 2, image->links[i]->plugin);
    lua_newtable(L);
    for (struct plugin *used = NULL; (used = native_symbol_next_used(image, used));)
        add(L, 3, used);
    return 2;
}

/* core.is_linked_with(image, library) -> boolean */
static int l_is_linked_with(lua_State *L)
{
    const struct image *image = core_check_image(L, 1), *library = core_check_image(L, 2);
    bool is_linked = false;
    for (size_t i = 0; i < image->link_count; i++)
        is_linked |= image->links[i] == library;
    lua_pushboolean(L, is_linked);
    return 1;
}

/* core.is_used(image) -> is any mapped image linked with it? */
static int l_is_used(lua_State *L)
{
    lua_pushboolean(L, image_is_used(core_check_image(L, 1)));
    return 1;
}

void core_open_link(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"has_links", l_has_links}, {"linked", l_linked}, {"is_linked_with", l_is_linked_with},
        {"is_used", l_is_used}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
