/* object_internal.h: what the object_*.c files share: the layout of objects, of the class that each
 * C type has in a Lua state, and the conversions of scalars. */
#ifndef HOTLUA_OBJECT_INTERNAL_H
#define HOTLUA_OBJECT_INTERNAL_H

#include "borrow.h"
#include "object.h"

#include <lauxlib.h>
#include <string.h>

/* How a value is loaded and stored; SCALAR_OTHER goes by object_push and object_store. */
enum scalar {
    SCALAR_OTHER, SCALAR_INT8, SCALAR_INT16, SCALAR_INT32, SCALAR_INT64, SCALAR_UINT8,
    SCALAR_UINT16, SCALAR_UINT32, SCALAR_FLOAT, SCALAR_DOUBLE, SCALAR_BOOL, SCALAR_BITS
};

struct member {              /* a field as Lua reaches it: those of anonymous members too */
    const char *key;         /* the interned Lua string of its name; long names are not interned */
    const struct type *type;
    uint64_t offset;         /* bytes from the start of the outermost struct */
    enum scalar scalar;
    bool is_const;
    bool is_positional;      /* has a place in { 1, 2 }; of a union only the first one has */
    uint16_t bit_offset, bit_size;
};

enum { CLASS_ACCEPTED = 4 };

/* Something outside Lua that a userdata, which begins with this, holds. It is let go at the second
 * call of its __gc: finalizers of the same cycle may still use objects that depend on it. */
struct reference {
    void (*release)(struct reference *reference);
    bool is_doomed;          /* __gc has come once */
    struct reference *next, **link;      /* in the state's list */
};

/* What a Lua state knows of one plain C type; shared by all its objects through their metatable. */
struct class {
    struct reference reference;
    const struct type *type;             /* plain and complete */
    const struct type *record;           /* struct or union reached by `.`: the type itself, or the
                                            pointee; NULL */
    const struct type *element;          /* reached by [i]; NULL */
    uint64_t stride;                     /* bytes of an element, 0: not known */
    enum scalar element_scalar;
    bool is_const;                       /* pointee or elements are const */
    bool is_read;                        /* members were made */
    struct member *members;              /* in the order of declaration */
    size_t member_count;
    struct member **buckets;             /* by address of the interned key, open addressing */
    size_t mask;
    /* Pointer types that objects of this class may be passed as; their tables are retained. */
    const struct type *accepted[CLASS_ACCEPTED];
    struct types *accepted_tables[CLASS_ACCEPTED];
    unsigned next_accepted;
};

enum {
    OBJECT_CONST = 1,        /* refuses to be written */
    OBJECT_POINTER = 2,      /* `address` is a pointer's value; [i] and `.` go through it */
    OBJECT_OWNED = 4,        /* the memory is this userdata's own */
    OBJECT_CHECKED = 8,      /* there is an image or a `live`: look before each access */
    OBJECT_ROOT = 16,        /* views of its parts keep this very object */
};

#define OBJECT_UNBOUNDED UINT64_MAX

/* A view of a live variable, or of a part of it, finds it again after each reload. */
struct live {
    struct plugin *plugin;
    const char *variable;    /* kept by the state */
    const struct type *type; /* the whole variable's */
    uint64_t offset;         /* of this part */
    struct borrow *borrow;   /* what it was reached through, NULL: the plain api */
};

/* User value 1: the object that the memory belongs to, for an owned object the table of what its
 * pointers lead to, or nil. User value 2, where `image` is set: the image's handle. */
struct object {
    const void *tag;         /* &object_tag */
    void *address;
    struct class *class;
    unsigned flags;
    uint64_t count;          /* elements of an array, OBJECT_UNBOUNDED: not known; 1 otherwise */
    struct image *image;     /* its memory is inside this one; NULL: never checked */
    struct live *live;       /* in the same userdata; NULL */
    uint64_t size;           /* owned: bytes of its memory */
};

extern const char object_tag, object_type_tag;

/* The object at index, NULL if the value is none. */
static inline struct object *object_test(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TUSERDATA || lua_rawlen(L, index) < sizeof(struct object))
        return NULL;
    struct object *object = lua_touserdata(L, index);
    return object->tag == &object_tag ? object : NULL;
}

/* object.c: may the memory be used ----------------------------------------------------------- */

struct object *object_check(lua_State *L, int index);    /* raises "C object expected, got …" */
/* Make sure that the memory is there, following a live variable to the live image; raises. */
void object_revalidate(lua_State *L, int index, struct object *object);
void object_raise_null(lua_State *L, struct object *object);
/* Raise unless the object's memory may be written. `what` names the part: "field 'x'". */
void object_check_write(lua_State *L, struct object *object, bool is_const, const char *what);

/* Where fields and elements start: raises if the memory has gone or the pointer is null. */
static inline char *object_base(lua_State *L, int index, struct object *object)
{
    if (object->flags & OBJECT_CHECKED)
        object_revalidate(L, index, object);
    if (!object->address)
        object_raise_null(L, object);
    return object->address;
}

/* object_class.c: classes and references ----------------------------------------------------- */

/* Push the metatable of the plain type's class. [-0 +1] */
struct class *object_push_class(lua_State *L, const struct type *type);
/* The member of that name; `key` is the Lua string at index 2 or the like. NULL if there is none. */
const struct member *object_find_member(lua_State *L, struct class *class, const char *key);
void object_read_members(lua_State *L, struct class *class);
enum scalar object_scalar_of(const struct type *type);
/* Push the handle that keeps `image`. [-0 +1] */
void object_push_image(lua_State *L, struct image *image);
/* The string, interned in this state for as long as that lives. */
const char *object_intern(lua_State *L, const char *text);
/* The type table of the state's type expressions, a fresh one with `renew`. */
struct types *object_expression_types(lua_State *L, bool renew);
void object_open_classes(lua_State *L);

/* object_guess.c ------------------------------------------------------------------------------ */

/* Does the table at index, given for a pointer to const `record`s, list them, instead of being one? */
bool object_is_list(lua_State *L, int index, const struct type *record);

/* object_new.c: making objects --------------------------------------------------------------- */

/* Push an object that owns zeroed memory for `type` and `extra` bytes more (of a flexible member). */
struct object *object_push_owned(lua_State *L, const struct type *type, uint64_t extra);
/* Push a view of memory at `address`. `live`, if given, is what it is a part of. */
struct object *object_push_view(lua_State *L, const struct type *type, void *address,
                                const struct origin *origin, const struct live *live);
struct object *object_push_pointer(lua_State *L, const struct type *type, void *value,
                                   const struct origin *origin);
/* Push the value of a part (field, element) of the object at `index`, `offset` bytes from its base. */
void object_push_part(lua_State *L, int index, struct object *object, const struct type *type,
                      char *address);

/* object_store.c ----------------------------------------------------------------------------- */

/* May an object of `class` be passed as a pointer of that type; remembers the answer. */
bool object_is_accepted(struct class *class, const struct type *type);
uint64_t object_load_bits(const char *address, unsigned bit_offset, unsigned bit_size);
bool object_store_bits(lua_State *L, int index, const struct member *member, char *address,
                       struct error *error);
/* The name of the value at index's type for "… expected, got X". Points into `buffer` or Lua. */
const char *object_name_of(lua_State *L, int index, char *buffer, size_t size);
/* The C spelling of the type. Returns buffer. */
const char *object_spell(const struct type *type, char *buffer, size_t size);

/* object_fill.c: structs, unions, arrays ------------------------------------------------------ */

struct fill {                /* what object_store is given, for the way down into tables */
    lua_State *L;
    struct plugin *plugin;
    int *pushed;
    struct error *error;
};

bool object_store_aggregate(struct fill *fill, int index, const struct type *type, char *address);
/* Fill zeroed memory of a record, `size` bytes (a flexible member reaches to their end), from the table
 * at index: by name, by position. */
bool object_fill_record(struct fill *fill, int index, const struct type *record, char *address,
                        uint64_t size);
/* The same for `count` elements. */
bool object_fill_list(struct fill *fill, int index, const struct type *element, char *address,
                      uint64_t count);
/* How many bytes does the flexible array that ends the record need for the table at index? */
uint64_t object_flexible_size(lua_State *L, int index, const struct type *record);

/* object_keep.c: what stored pointers lead to ------------------------------------------------- */

/* Assign to a part of the object at `index`: stores the value at `value`, keeps alive what it leads
 * to, raises. */
void object_assign_part(lua_State *L, int index, struct object *object, const struct type *type,
                        char *address, int value, const char *what);
/* Push what keeps alive the target of the pointer stored at `address` in the object at `index`,
 * or nil. [-0 +1] */
void object_push_kept(lua_State *L, int index, struct object *object, const char *address);

/* Push the object at that address that was stored in memory outside Lua, or nil. [-0 +1] */
void object_push_pinned(lua_State *L, const void *value);
/* Keep `count` values from stack index `first` on with the owned object at `index`. */
void object_keep_pushed(lua_State *L, int index, int first, int count);
/* Keep what the object at `source`, which was copied into the owned one at `index`, keeps. */
void object_keep_copied(lua_State *L, int index, int source);

/* The others --------------------------------------------------------------------------------- */

int object_index(lua_State *L);          /* object_index.c: metamethods */
int object_newindex(lua_State *L);
int object_length(lua_State *L);
int object_call(lua_State *L);           /* of pointers to functions alone */
int object_pairs(lua_State *L);
int object_equal(lua_State *L);
int object_tostring(lua_State *L);       /* object_text.c */
int object_concat(lua_State *L);
void object_open_types(lua_State *L);    /* object_type.c: type objects; new, cast, sizeof … */
void object_open_memory(lua_State *L);   /* object_memory.c: string, copy, address */

static inline const struct type *type_plain(const struct type *type)
{
    return type_complete(type->plain);
}

/* Is it `char` itself? Signed and unsigned ones are bytes, not text. */
static inline bool type_is_text(const struct type *type)
{
    return type->plain->is_char && strcmp(type->plain->name, "char") == 0;
}

/* Push a scalar; false if it is SCALAR_OTHER or SCALAR_BITS. [-0 +(0|1)] */
static inline bool object_push_scalar(lua_State *L, enum scalar scalar, const char *address)
{
    switch (scalar) {
#define LOAD(kind, ctype, push) \
    case kind: { ctype value; memcpy(&value, address, sizeof value); push(L, value); return true; }
    LOAD(SCALAR_INT32, int32_t, lua_pushinteger)
    LOAD(SCALAR_DOUBLE, double, lua_pushnumber)
    LOAD(SCALAR_INT64, int64_t, lua_pushinteger)
    LOAD(SCALAR_UINT8, uint8_t, lua_pushinteger)
    LOAD(SCALAR_UINT32, uint32_t, lua_pushinteger)
    LOAD(SCALAR_FLOAT, float, lua_pushnumber)
    LOAD(SCALAR_INT8, int8_t, lua_pushinteger)
    LOAD(SCALAR_INT16, int16_t, lua_pushinteger)
    LOAD(SCALAR_UINT16, uint16_t, lua_pushinteger)
    LOAD(SCALAR_BOOL, uint8_t, lua_pushboolean)
#undef LOAD
    default:
        return false;
    }
}

#endif
