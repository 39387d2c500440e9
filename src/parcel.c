/* parcel.c: Lua values as bytes: a letter for the kind, then the value. Holds nothing of the state that it
 * was packed in. */
#include "parcel.h"

#include "memory.h"
#include "object.h"

#include <lauxlib.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 2000 };     /* tables within tables: each takes some of the C stack */

/* Letters. A table is followed by key and value in turn, up to END. */
enum kind {
    NIL = 'n', FALSE = 'f', TRUE = 't', INTEGER = 'i', FLOAT = 'd', STRING = 's', LIGHT = 'l',
    POINTER = 'p', TABLE = 'T', SEEN = 'r', END = 'e',
};

struct parcel {
    size_t size, room;       /* bytes used and had */
    int count;               /* values */
    unsigned char *bytes;
};

/* Packing ------------------------------------------------------------------------------------ */

struct packer {
    lua_State *L;
    struct parcel *parcel;
    int seen;                /* stack index of a table: tables already packed -> their number */
    lua_Integer tables;      /* how many */
    int argument;            /* the value being packed, as the caller counts */
};

static void add_bytes(struct packer *packer, const void *bytes, size_t size)
{
    struct parcel *parcel = packer->parcel;
    if (parcel->size + size > parcel->room) {
        size_t room = 2 * (parcel->size + size) + 64;
        unsigned char *grown = realloc(parcel->bytes, room);
        if (!grown)
            luaL_error(packer->L, "not enough memory");
        parcel->bytes = grown;
        parcel->room = room;
    }
    memcpy(parcel->bytes + parcel->size, bytes, size);
    parcel->size += size;
}

static void add_kind(struct packer *packer, enum kind kind)
{
    unsigned char letter = (unsigned char)kind;
    add_bytes(packer, &letter, 1);
}

static void add_word(struct packer *packer, enum kind kind, const void *word)
{
    add_kind(packer, kind);
    add_bytes(packer, word, 8);
}

static int refuse(struct packer *packer, int index)
{
    static const char hint[] = "nil, booleans, numbers, strings, pointers and tables of them can";
    const char *name = luaL_typename(packer->L, index);
    if (luaL_getmetafield(packer->L, index, "__name") == LUA_TSTRING)
        name = lua_tostring(packer->L, -1);
    return luaL_error(packer->L, "a value of type '%s' (in value #%d) cannot be sent to another thread: %s",
                      name, packer->argument, hint);
}

/* A pointer travels as an address; what it points to is the process's. */
static void add_object(struct packer *packer, int index)
{
    const struct type *type = NULL;
    void *place = object_address(packer->L, index, &type);
    if (!place || type->plain->kind != TYPE_POINTER)
        refuse(packer, index);
    add_word(packer, POINTER, place);
}

static void add_value(struct packer *packer, int index, int depth);

static void add_table(struct packer *packer, int index, int depth)
{
    lua_State *L = packer->L;
    lua_pushvalue(L, index);
    if (lua_rawget(L, packer->seen) != LUA_TNIL) {
        lua_Integer number = lua_tointeger(L, -1);
        lua_pop(L, 1);
        add_word(packer, SEEN, &number);
        return;
    }
    lua_pop(L, 1);
    if (depth >= DEEPEST)
        luaL_error(L, "value #%d has tables nested more than %d deep", packer->argument, DEEPEST);
    lua_pushvalue(L, index);
    lua_pushinteger(L, ++packer->tables);
    lua_rawset(L, packer->seen);
    add_kind(packer, TABLE);
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        int value = lua_gettop(L);
        add_value(packer, value - 1, depth + 1);
        add_value(packer, value, depth + 1);
    }
    add_kind(packer, END);
}

static void add_text(struct packer *packer, int index)
{
    size_t length;
    const char *text = lua_tolstring(packer->L, index, &length);
    add_word(packer, STRING, &length);
    add_bytes(packer, text, length);
}

/* `index` is absolute. A key is never converted here: lua_next would lose its place. */
static void add_value(struct packer *packer, int index, int depth)
{
    lua_State *L = packer->L;
    luaL_checkstack(L, 8, "tables nested too deeply");
    switch (lua_type(L, index)) {
    case LUA_TNIL: add_kind(packer, NIL); break;
    case LUA_TBOOLEAN: add_kind(packer, lua_toboolean(L, index) ? TRUE : FALSE); break;
    case LUA_TSTRING: add_text(packer, index); break;
    case LUA_TTABLE: add_table(packer, index, depth); break;
    case LUA_TLIGHTUSERDATA: add_word(packer, LIGHT, &(void *){lua_touserdata(L, index)}); break;
    case LUA_TUSERDATA: add_object(packer, index); break;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index))
            add_word(packer, INTEGER, &(lua_Integer){lua_tointeger(L, index)});
        else
            add_word(packer, FLOAT, &(lua_Number){lua_tonumber(L, index)});
        break;
    default: refuse(packer, index);
    }
}

static int box_gc(lua_State *L)
{
    struct parcel **box = lua_touserdata(L, 1);
    parcel_free(*box);
    *box = NULL;
    return 0;
}

/* A parcel that goes with the Lua stack should packing raise. [-0 +1] */
static struct parcel **push_box(lua_State *L)
{
    struct parcel **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    if (luaL_newmetatable(L, "hotlua.parcel")) {
        lua_pushcfunction(L, box_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    *box = memory_take(sizeof **box);
    if (!*box)
        luaL_error(L, "not enough memory");
    return box;
}

struct parcel *parcel_pack(lua_State *L, int first, int hidden)
{
    int last = lua_gettop(L);
    luaL_checkstack(L, 8, NULL);
    struct parcel **box = push_box(L), *parcel = *box;
    lua_newtable(L);
    struct packer packer = {.L = L, .parcel = parcel, .seen = last + 2};
    for (int i = first; i <= last; i++) {
        packer.argument = i - first + 1 - hidden;
        add_value(&packer, i, 0);
    }
    parcel->count = last - first + 1;
    *box = NULL;
    lua_settop(L, last);
    return parcel;
}

void parcel_free(struct parcel *parcel)
{
    if (parcel)
        free(parcel->bytes);
    free(parcel);
}

/* Unpacking ---------------------------------------------------------------------------------- */

struct unpacker {
    lua_State *L;
    const unsigned char *at;
    int seen;                /* stack index of the list of tables */
    lua_Integer tables;
};

static void take(struct unpacker *unpacker, void *bytes, size_t size)
{
    memcpy(bytes, unpacker->at, size);
    unpacker->at += size;
}

static void push_pointer(lua_State *L, void *pointer)
{
    lua_pushliteral(L, "void *");
    const struct type *type = object_check_type(L, lua_gettop(L));
    object_push(L, type, &pointer, NULL, false);
    lua_remove(L, -2);
}

static void push_value(struct unpacker *unpacker, unsigned char kind);

static void push_table(struct unpacker *unpacker)
{
    lua_State *L = unpacker->L;
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawseti(L, unpacker->seen, ++unpacker->tables);
    while (*unpacker->at != END) {
        push_value(unpacker, *unpacker->at++);
        push_value(unpacker, *unpacker->at++);
        lua_rawset(L, -3);
    }
    unpacker->at++;
}

static void push_value(struct unpacker *unpacker, unsigned char kind)
{
    lua_State *L = unpacker->L;
    union {
        lua_Integer integer;
        lua_Number number;
        size_t length;
        void *pointer;
    } word = {0};
    luaL_checkstack(L, 8, NULL);
    if (strchr("idslpr", kind))
        take(unpacker, &word, 8);
    switch ((enum kind)kind) {
    case NIL: lua_pushnil(L); break;
    case FALSE: case TRUE: lua_pushboolean(L, kind == TRUE); break;
    case INTEGER: lua_pushinteger(L, word.integer); break;
    case FLOAT: lua_pushnumber(L, word.number); break;
    case STRING:
        lua_pushlstring(L, (const char *)unpacker->at, word.length);
        unpacker->at += word.length;
        break;
    case LIGHT: lua_pushlightuserdata(L, word.pointer); break;
    case POINTER: push_pointer(L, word.pointer); break;
    case SEEN: lua_rawgeti(L, unpacker->seen, word.integer); break;
    case TABLE: push_table(unpacker); break;
    case END: break;
    }
}

int parcel_unpack(lua_State *L, const struct parcel *parcel)
{
    luaL_checkstack(L, parcel->count + 8, "too many values");
    lua_newtable(L);
    struct unpacker unpacker = {.L = L, .at = parcel->bytes, .seen = lua_gettop(L)};
    for (int i = 0; i < parcel->count; i++)
        push_value(&unpacker, *unpacker.at++);
    lua_remove(L, unpacker.seen);
    return parcel->count;
}
