/* threads.c: for threads.lua: a clock around calls of a Lua function, and what hotlua is measured against:
 * a host that takes a pthread rwlock for reading around each call and for writing around each reload. */
#include <dlfcn.h>
#include <lauxlib.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int call(lua_State *L)
{
    lua_pushvalue(L, 1);
    lua_pushinteger(L, 1);
    lua_pushinteger(L, 2);
    lua_call(L, 2, 1);
    int result = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return result;
}

/* count(f, ms) -> calls of f(1, 2), nanoseconds that they took, how many gave something else than 3 */
static int l_count(lua_State *L)
{
    uint64_t began = now_ns(), limit = began + (uint64_t)luaL_checkinteger(L, 2) * 1000000u, now;
    lua_Integer calls = 0, wrong = 0;
    do {
        for (int i = 0; i < 1000; i++)
            wrong += call(L) != 3;
        calls += 1000;
        now = now_ns();
    } while (now < limit);
    lua_pushinteger(L, calls);
    lua_pushinteger(L, (lua_Integer)(now - began));
    lua_pushinteger(L, wrong);
    return 3;
}

/* How many calls took how long, in steps of a sixteenth. */
enum { STEPS = 16, BUCKETS = 64 * STEPS };

static unsigned bucket_of(uint64_t ns)
{
    unsigned shift = ns < STEPS ? 0 : 63u - (unsigned)__builtin_clzll(ns) - 4;
    return shift * STEPS + (unsigned)(ns >> shift);
}

static double value_of(unsigned bucket)
{
    unsigned shift = bucket < 2 * STEPS ? 0 : bucket / STEPS - 1;
    return (double)((uint64_t)(bucket - shift * STEPS) << shift);
}

/* time(f, ms) -> mean, 99.9th percentile and longest time of one call, the clock's own included, in ns */
static int l_time(lua_State *L)
{
    static __thread uint64_t counts[BUCKETS];
    uint64_t began = now_ns(), limit = began + (uint64_t)luaL_checkinteger(L, 2) * 1000000u;
    uint64_t before = began, longest = 0, calls = 0, sum = 0;
    unsigned bucket = 0;
    memset(counts, 0, sizeof counts);
    while (before < limit) {
        call(L);
        uint64_t now = now_ns(), took = now - before;
        counts[bucket_of(took)]++;
        longest = took > longest ? took : longest;
        before = now;
        calls++;
    }
    for (; sum + counts[bucket] < calls - calls / 1000; bucket++)
        sum += counts[bucket];
    lua_pushnumber(L, (double)(before - began) / (double)calls);
    lua_pushnumber(L, value_of(bucket));
    lua_pushinteger(L, (lua_Integer)longest);
    return 3;
}

/* The other host ----------------------------------------------------------------------------- */

static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static void *library;
static int (*add)(int, int);
static int *counter;

/* locked_add(a, b) */
static int l_locked_add(lua_State *L)
{
    lua_Integer a = luaL_checkinteger(L, 1), b = luaL_checkinteger(L, 2);
    pthread_rwlock_rdlock(&lock);
    int sum = add((int)a, (int)b);
    pthread_rwlock_unlock(&lock);
    lua_pushinteger(L, sum);
    return 1;
}

/* locked_reload(path): its one variable is carried. */
static int l_locked_reload(lua_State *L)
{
    void *next = dlopen(luaL_checkstring(L, 1), RTLD_NOW | RTLD_LOCAL), *old = library;
    if (!next)
        return luaL_error(L, "%s", dlerror());
    int *next_counter = dlsym(next, "counter");
    int (*next_add)(int, int) = (int (*)(int, int))dlsym(next, "add");
    pthread_rwlock_wrlock(&lock);
    if (counter)
        *next_counter = *counter;
    counter = next_counter;
    add = next_add;
    library = next;
    pthread_rwlock_unlock(&lock);
    if (old)
        dlclose(old);
    return 0;
}

int luaopen_threads(lua_State *L)
{
    luaL_newlib(L, ((const luaL_Reg[]){
        {"count", l_count}, {"time", l_time}, {"locked_add", l_locked_add}, {"locked_reload", l_locked_reload},
        {NULL, NULL},
    }));
    return 1;
}
