/* core_trust.c: for Lua: whether others could have written a file, and who signed an image. */
#include "core.h"

#include "stage.h"
#include "trust.h"

#include <lauxlib.h>
#include <unistd.h>

/* core.untrusted_path(path) -> nil | why a file there is refused where trust is needed */
static int l_untrusted_path(lua_State *L)
{
    struct error error = {0};
    int descriptor = trust_open(luaL_checkstring(L, 1), &error);
    if (descriptor < 0) {
        lua_pushstring(L, error.text);
        return 1;
    }
    close(descriptor);
    return 0;
}

/* core.needs_trust() -> does this process need it, as root does? */
static int l_needs_trust(lua_State *L)
{
    lua_pushboolean(L, trust_is_needed());
    return 1;
}

/* core.check_minisign(image, source, signature path, public key) -> nil | what is wrong with it */
static int l_check_minisign(lua_State *L)
{
    struct stage *stage = core_check_image(L, 1)->stage;
    struct error error = {0};
    if (trust_check_minisign(stage_bytes(stage), stage_size(stage), luaL_checkstring(L, 2),
                             luaL_checkstring(L, 3), luaL_checkstring(L, 4), &error))
        return 0;
    lua_pushstring(L, error.text);
    return 1;
}

void core_open_trust(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"untrusted_path", l_untrusted_path}, {"needs_trust", l_needs_trust},
        {"check_minisign", l_check_minisign}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
