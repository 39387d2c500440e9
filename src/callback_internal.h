/* callback_internal.h: what the callback*.c files share: the record behind each C pointer. */
#ifndef HOTLUA_CALLBACK_INTERNAL_H
#define HOTLUA_CALLBACK_INTERNAL_H

#include "callback.h"
#include "object_internal.h"
#include "thread.h"

#include <string.h>

struct callbacks;            /* what one Lua state has */

struct callback_argument {
    const struct type *type;
    enum scalar scalar;
    unsigned offset;         /* of its value in the storage of the arguments */
    unsigned pointer;        /* the how manieth that Lua gets as a pointer object, from 1; 0: it is none */
};

/* The object that Lua got for a pointer last time, and gets again for the same one. */
struct callback_pointer {
    const struct object *object;         /* NULL: none yet */
    unsigned stamp;          /* image_stamp() as it was then */
    int slot;                /* of the object, on the state's shelf */
};

/* How a callback of one C function type takes its arguments. Shared, counted by `uses`. */
struct callback_signature {
    const struct type *type; /* TYPE_FUNCTION; its table is retained */
    const struct type *result;
    enum scalar result_scalar;
    unsigned uses;
    unsigned count;          /* arguments */
    unsigned pointers;       /* arguments that are pointer objects */
    bool is_simple;          /* scalars, and pointers seen before: no memory is needed to enter Lua */
    bool is_in_registers;    /* the storage is what an entry of callback_entry.h saves */
    bool has_floats;
    void *thunk;             /* made for this pattern of arguments, NULL: none is */
    unsigned thunk_integers; /* how many of its arguments come in integer registers */
    size_t storage;          /* bytes of all arguments */
    struct callback_signature *next;     /* in the state's list */
    struct callback_argument arguments[];
};

/* Never freed: C may hold its pointer for ever. */
struct callback {
    void *volatile entry;    /* offset 0: where its stub jumps to; NULL: it is libffi's closure */
    void *volatile thunk;    /* offset 8: where an entry of a thunk jumps to */
    struct thread *volatile thread;      /* the Lua state's; NULL: dead, C gets zero */
    struct callbacks *state;
    struct callback_signature *signature;
    int function;            /* slot on the state's shelf */
    int kept;                /* registry reference of what its last result leads to */
    unsigned uses;           /* hot.callback objects; one more if it was made by a conversion */
    bool is_implicit;        /* made by a conversion: lives as long as the plugin */
    bool is_reported;        /* that it was called after its death */
    struct plugin *plugin;
    void *pointer;           /* what C calls */
    struct callback_pointer *pointers;   /* as many as the signature has; NULL: dead */
    struct callback *same;   /* the next one of the same Lua function */
    struct callback *next, **link;       /* in the state's list, or among the dead */
    char *where;             /* dead: where its function was defined */
};

struct callbacks {
    lua_State *L;            /* the main one */
    lua_State *shelf;        /* a coroutine that never runs: its stack holds what callbacks need, by slot.
                                Much faster than the registry */
    int free_slot;           /* first of a list in the slots themselves; 0: none */
    struct thread *thread;
    struct host *host;       /* NULL: other threads cannot reach this state */
    struct callback *first;
    struct callback_signature *signatures;
    struct request *requests;            /* of other threads, not yet answered */
};

/* Push what is in the slot. [-0 +1] */
static inline void callback_push_slot(lua_State *L, const struct callbacks *state, int slot)
{
    lua_pushvalue(state->shelf, slot);
    lua_xmove(state->shelf, L, 1);
}

/* callback_call.c ---------------------------------------------------------------------------- */

/* C calls: fills the 8 bytes (or more, for a struct) at `result`, which is on the stack, with zeros if that
 * is not possible. */
void callback_invoke(struct callback *callback, const char *arguments, void *result);
/* The same from another thread than the state's, or of a dead callback; `arguments` in storage, or the
 * `values` one by one. */
void callback_invoke_elsewhere(struct callback *callback, const char *arguments, void *const *values,
                               void *result);
/* Copy the values of the arguments to their places in the storage. */
void callback_gather(const struct callback_signature *signature, void *const *values, char *storage);
/* From here on C gets zero. `where` (malloc'ed, taken over) says whose function it was. */
void callback_die(struct callback *callback, char *where);
/* Make a new or a long dead record ready for use; its thread is still to be set. */
void callback_reset(struct callback *callback, struct callback_signature *signature);
/* The state is closing: answer who waits with zero. */
void callback_close_requests(struct callbacks *state);

/* Of the above, what callback_thunks.c has a use for, too. */
/* Give the error on top to the native call in progress, or report it. [-1 +0] */
void callback_take_error(lua_State *L, struct thread *thread);
/* Convert the result on top, which is not of the common kinds. [-1 +0] */
void callback_store_uncommon(lua_State *L, struct thread *thread, struct callback *callback,
                             const struct callback_signature *signature, void *result);

/* Push the object of a pointer that came before. False: another one came last, the object was since used to
 * receive another pointer, or the address may be in another image now. [-0 +(0|1)] */
static inline bool callback_push_known_pointer(lua_State *L, const struct callback *callback, unsigned number,
                                               void *value)
{
    const struct callback_pointer *known = &callback->pointers[number - 1];
    if (!value) {
        lua_pushnil(L);
        return true;
    }
    if (!known->object || known->object->address != value || known->stamp != image_stamp())
        return false;
    callback_push_slot(L, callback->state, known->slot);
    return true;
}

/* Store a number or boolean where no memory is needed for it. False: not that simple. */
static inline bool callback_store_simple(lua_State *L, enum scalar scalar, void *result)
{
    int64_t value = 0;
    if (scalar == SCALAR_INT32 && lua_isinteger(L, -1)) {
        value = lua_tointegerx(L, -1, NULL);
        if (value != (int32_t)value)
            return false;
        memcpy(result, &value, sizeof value);
        return true;
    }
    if (scalar == SCALAR_DOUBLE || scalar == SCALAR_FLOAT) {
        if (lua_type(L, -1) != LUA_TNUMBER)
            return false;
        lua_Number number = lua_tonumberx(L, -1, NULL);
        if (scalar == SCALAR_DOUBLE)
            memcpy(result, &number, sizeof number);
        else
            memcpy(result, &(float){(float)number}, sizeof(float));
        return true;
    }
    if (scalar == SCALAR_BOOL && lua_isboolean(L, -1))
        value = lua_toboolean(L, -1);
    else if (lua_isinteger(L, -1) && scalar != SCALAR_BOOL)
        value = lua_tointegerx(L, -1, NULL);
    else
        return false;
    if (scalar != SCALAR_INT64 && scalar != SCALAR_BOOL)
        return false;
    memcpy(result, &value, sizeof value);
    return true;
}

/* callback_thunks.c -------------------------------------------------------------------------- */

/* Give the signature the function made for its pattern of arguments, if there is one. */
void callback_find_thunk(struct callback_signature *signature);

/* callback_signature.c ----------------------------------------------------------------------- */

/* The signature of the function type, counted once more; NULL with error if it cannot be called back. */
struct callback_signature *callback_signature_of(struct callbacks *state, const struct type *type,
                                                 struct error *error);
/* Counts once less. One that is not used goes when no callback is running, which may still need it. */
void callback_signature_release(struct callbacks *state, struct callback_signature *signature);
/* Free all that are not used. */
void callback_signature_sweep(struct callbacks *state);
/* Make the C pointer of the record, or give the one it has the way in for its signature. */
bool callback_make_pointer(struct callback *callback, struct error *error);

#endif
