/* call_internal.h: what the call_*.c files share: compiled signatures, and the steps of a call. */
#ifndef HOTLUA_CALL_INTERNAL_H
#define HOTLUA_CALL_INTERNAL_H

#include "arch.h"
#include "call.h"
#include "callback.h"
#include "native.h"
#include "object.h"
#include "thread.h"

#include <lauxlib.h>

#define call_likely(x) __builtin_expect(!!(x), 1)
#define call_unlikely(x) __builtin_expect(!!(x), 0)

enum { CALL_INTEGER_REGISTERS = 6, CALL_FLOAT_REGISTERS = 8 };   /* used by the call by registers */

enum argument_kind { ARGUMENT_INTEGER, ARGUMENT_DOUBLE, ARGUMENT_FLOAT, ARGUMENT_ADDRESS, ARGUMENT_OTHER };

enum result_kind {
    RESULT_VOID, RESULT_INTEGER, RESULT_DOUBLE, RESULT_FLOAT, RESULT_BOOL, RESULT_TEXT, RESULT_OTHER
};

struct argument {
    unsigned char kind;      /* enum argument_kind: how the common values of it are converted */
    bool takes_text;         /* address: a Lua string may be passed as it is */
    bool is_signed;          /* kept in an integer register and sign-extended there */
    unsigned char size;      /* bytes of a scalar */
    unsigned offset;         /* where its value goes in the storage of a call */
    int64_t minimum;         /* integer: the value less this is at most `span` */
    uint64_t span;
    const struct type *type;
    const struct type *pointer;          /* address: the plain type */
};

/* The storage of a call by registers. */
struct registers {
    uint64_t integers[CALL_INTEGER_REGISTERS];
    double floats[CALL_FLOAT_REGISTERS];
};

struct signature {
    unsigned count;          /* of the declared parameters */
    unsigned char result;    /* enum result_kind */
    unsigned char shift;     /* result integer: 64 less its bits */
    bool is_signed;          /* result integer */
    bool is_variadic;
    bool is_in_registers;    /* no libffi needed */
    bool is_result_float;    /* in registers: it comes in a floating register */
    size_t storage_size;     /* bytes for all declared arguments */
    size_t result_size;      /* bytes that the call may write */
    const struct type *result_type;
    const struct type *any_pointer;      /* const void *: for variadic arguments */
    struct native_types *natives;        /* the rest: where libffi is needed */
    ffi_type *native_result;
    unsigned split;                      /* this argument, from 1, goes as its two words (0: none) */
    ffi_type **natives_of_arguments;     /* in the same block as this: as many, one more with `split` */
    ffi_cif cif;
    struct argument arguments[];
};

/* A variadic argument in the storage, behind the declared ones. */
struct variadic {
    union {
        int64_t integer;
        double number;
        void *pointer;
    };
    ffi_type *type;
};

/* call_ffi.c --------------------------------------------------------------------------------- */

/* Prepare libffi's description and lay out the storage. False with error if it cannot be called. */
bool call_prepare_ffi(struct signature *signature, const struct type *type, struct error *error);

/* The description alone, for a callback of that type; call_free frees it. */
struct signature *call_new_ffi(const struct type *type, struct error *error);
ffi_cif *call_ffi_cif(struct signature *signature);
/* An empty signature with room for the parameters of the function type. */
struct signature *call_new(const struct type *type);
void call_free(struct signature *signature);

/* Convert the arguments beyond the declared ones. Returns the index of the first that cannot be, with
 * error; 0 if all went well. */
int call_convert_variadic(lua_State *L, const struct signature *signature, char *storage, int given,
                          struct plugin *plugin, int *pushed, struct error *error);

/* Call through libffi. */
void call_fixed(void *target, const struct signature *signature, char *storage, void *result);
void call_variadic(void *target, const struct signature *signature, char *storage, int given,
                   void *result);

/* call_compile.c ----------------------------------------------------------------------------- */

/* The export cannot be called, for the reason given in full. */
void call_refuse(struct export *export, const char *why);

/* call_thunks.c ------------------------------------------------------------------------------ */

/* The thunk for a signature in registers, NULL if none is that special. */
slot_entry *call_find_thunk(const struct signature *signature);

/* call_general.c ----------------------------------------------------------------------------- */

/* Calls with any signature. Also where the thunks go with arguments that they do not take. */
slot_entry call_general;

/* Push the result found at `memory`; `length` is that of a text. [-0 +(0|1)] */
int call_push_result(lua_State *L, const struct signature *signature, struct image *image,
                     void *memory, size_t length);

/* call_crash.c ------------------------------------------------------------------------------- */

/* Where the guard continues after a crash in the call of this frame: raises. */
void call_crashed(void *frame);

/* A slot of a function pointer, an old image's function, a bare symbol has no plugin. */
static inline bool call_is_bare(const struct slot *slot)
{
    return slot->plugin == NULL;
}

/* Steps of a call ---------------------------------------------------------------------------- */

static inline slot_entry *call_thunk(struct export *export)
{
    return __atomic_load_n(&export->thunk, __ATOMIC_ACQUIRE);
}

/* The plugin's code begins to run right after this. */
#define call_enter(thread, frame, L_) \
    ((frame)->L = (L_), (void)0); \
    arch_save_stack(&(frame)->stack); \
    thread_set_top(thread, (frame) + 1)

/* A result register's meaning as an integer of the result's width. */
static inline lua_Integer call_widen(const struct signature *signature, uint64_t value)
{
    value <<= signature->shift;
    return signature->is_signed ? (int64_t)value >> signature->shift
                                : (lua_Integer)(value >> signature->shift);
}

/* It has returned. Raises a pending error of a callback. */
static inline void call_leave(lua_State *L, struct thread *thread, struct frame *frame)
{
    thread_set_top(thread, frame);
    frame_set_export(frame, NULL);
    thread->kept_errno = *thread->errno_place;
    if (call_unlikely(thread->pending_error != THREAD_NO_ERROR))
        callback_raise_pending(L);
}

#endif
