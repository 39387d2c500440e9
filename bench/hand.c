/* hand.c: what hotlua's calls are measured against: a Lua C module written by hand, as one would write it
 * with lauxlib. Its functions are those of bench/call.lua's plugin. */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

struct point { int x, y; double weight; };

static int add(int a, int b) { return a + b; }
static double fma3(double a, double b, double c) { return a * b + c; }
static size_t length(const char *text) { return strlen(text); }
static int get_x(const struct point *p) { return p->x; }

static int check_int(lua_State *L, int index)
{
    lua_Integer value = luaL_checkinteger(L, index);
    luaL_argcheck(L, value == (int)value, index, "out of range");
    return (int)value;
}

static int l_add(lua_State *L)
{
    lua_pushinteger(L, add(check_int(L, 1), check_int(L, 2)));
    return 1;
}

static int l_fma3(lua_State *L)
{
    lua_pushnumber(L, fma3(luaL_checknumber(L, 1), luaL_checknumber(L, 2), luaL_checknumber(L, 3)));
    return 1;
}

static int l_length(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)length(luaL_checkstring(L, 1)));
    return 1;
}

static int l_get_x(lua_State *L)
{
    lua_pushinteger(L, get_x(luaL_checkudata(L, 1, "hand.point")));
    return 1;
}

static int l_index(lua_State *L)
{
    const struct point *p = luaL_checkudata(L, 1, "hand.point");
    const char *name = luaL_checkstring(L, 2);
    if (strcmp(name, "x") == 0)
        lua_pushinteger(L, p->x);
    else if (strcmp(name, "y") == 0)
        lua_pushinteger(L, p->y);
    else if (strcmp(name, "weight") == 0)
        lua_pushnumber(L, p->weight);
    else
        return luaL_error(L, "no field '%s'", name);
    return 1;
}

static int l_new_point(lua_State *L)
{
    struct point *p = lua_newuserdatauv(L, sizeof *p, 0);
    *p = (struct point){check_int(L, 1), check_int(L, 2), 0};
    luaL_setmetatable(L, "hand.point");
    return 1;
}

/* The Lua function that C calls back, as bindings by hand keep it. */
static struct { lua_State *L; int function; } called;

static int call_back(int x)
{
    lua_State *L = called.L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, called.function);
    lua_pushinteger(L, x);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        lua_pop(L, 1);
        return 0;
    }
    int is_integer, result = (int)lua_tointegerx(L, -1, &is_integer);
    lua_pop(L, 1);
    return is_integer ? result : 0;
}

static int each(int (*f)(int), int count)
{
    int sum = 0;
    for (int i = 0; i < count; i++)
        sum += f(i);
    return sum;
}

/* each(function, count): C calls back `count` times. */
static int l_each(lua_State *L)
{
    int count = check_int(L, 2);
    lua_settop(L, 1);
    called.L = L;
    called.function = luaL_ref(L, LUA_REGISTRYINDEX);
    int sum = each(call_back, count);
    luaL_unref(L, LUA_REGISTRYINDEX, called.function);
    lua_pushinteger(L, sum);
    return 1;
}

static int call_back_user(int x, void *user)
{
    lua_State *L = called.L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, called.function);
    lua_pushinteger(L, x);
    lua_pushlightuserdata(L, user);
    if (lua_pcall(L, 2, 1, 0) != LUA_OK) {
        lua_pop(L, 1);
        return 0;
    }
    int is_integer, result = (int)lua_tointegerx(L, -1, &is_integer);
    lua_pop(L, 1);
    return is_integer ? result : 0;
}

static int each_user(int (*f)(int, void *), int count, void *user)
{
    int sum = 0;
    for (int i = 0; i < count; i++)
        sum += f(i, user);
    return sum;
}

/* each_user(function, count): the same with a pointer. */
static int l_each_user(lua_State *L)
{
    int count = check_int(L, 2);
    lua_settop(L, 1);
    called.L = L;
    called.function = luaL_ref(L, LUA_REGISTRYINDEX);
    int sum = each_user(call_back_user, count, &called);
    luaL_unref(L, LUA_REGISTRYINDEX, called.function);
    lua_pushinteger(L, sum);
    return 1;
}

int luaopen_hand(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"add", l_add}, {"fma3", l_fma3}, {"length", l_length}, {"get_x", l_get_x},
        {"new_point", l_new_point}, {"each", l_each}, {"each_user", l_each_user}, {NULL, NULL},
    };
    luaL_newmetatable(L, "hand.point");
    lua_pushcfunction(L, l_index);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
