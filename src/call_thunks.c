/* call_thunks.c: the fast way for common signatures: one function for each pattern of parameters and
 * result, made from the one inlined below. What a thunk does not take as it is (another type of
 * value, a wrong count) goes to call_general, which converts or raises. */
#include "call_internal.h"

#include <string.h>

enum { MOST = 6 };           /* parameters of a thunk */

/* A pattern: three bits for each parameter, from the lowest. */
enum class { NONE, I, D, A };            /* integer, double, address */

#define PATTERN(a, b, c, d, e, f) \
    ((a) | (b) << 3 | (c) << 6 | (d) << 9 | (e) << 12 | (f) << 15)
#define CLASS_OF(pattern, i) ((pattern) >> 3 * (i) & 7)

#define always_inline inline __attribute__((always_inline))

/* Arguments ---------------------------------------------------------------------------------- */

static always_inline bool take_integer(lua_State *L, int index, const struct argument *argument,
                                       int64_t *value)
{
    if (!lua_isinteger(L, index))
        return false;
    *value = lua_tointegerx(L, index, NULL);
    return (uint64_t)*value - (uint64_t)argument->minimum <= argument->span;
}

static always_inline bool take_double(lua_State *L, int index, double *value)
{
    if (lua_type(L, index) != LUA_TNUMBER)
        return false;
    *value = lua_tonumberx(L, index, NULL);
    return true;
}

static always_inline bool take_address(lua_State *L, int index, const struct argument *argument,
                                       int64_t *value)
{
    void *pointer;
    if (argument->takes_text && lua_type(L, index) == LUA_TSTRING)
        pointer = (void *)lua_tolstring(L, index, NULL);
    else if (!object_pointer(L, index, argument->pointer, &pointer))
        return false;
    *value = (intptr_t)pointer;
    return true;
}

/* Both calling conventions number integer and floating registers apart, so that only how many of
 * each there are decides how to call. */
struct values {
    int64_t integers[MOST];
    double doubles[MOST];
};

static always_inline bool take_all(lua_State *L, const struct signature *signature, unsigned pattern,
                                   struct values *values)
{
    unsigned integers = 0, doubles = 0;
#pragma GCC unroll 6
    for (int i = 0; i < MOST; i++) {
        const struct argument *argument = &signature->arguments[i];
        if (CLASS_OF(pattern, i) == I && !take_integer(L, i + 1, argument, &values->integers[integers++]))
            return false;
        if (CLASS_OF(pattern, i) == D && !take_double(L, i + 1, &values->doubles[doubles++]))
            return false;
        if (CLASS_OF(pattern, i) == A && !take_address(L, i + 1, argument, &values->integers[integers++]))
            return false;
    }
    return true;
}

/* Calls -------------------------------------------------------------------------------------- */

static always_inline unsigned count_of(unsigned pattern, bool is_double)
{
    unsigned count = 0;
#pragma GCC unroll 6
    for (int i = 0; i < MOST; i++)
        count += CLASS_OF(pattern, i) != NONE && (CLASS_OF(pattern, i) == D) == is_double;
    return count;
}

#define X(n) v->integers[n]
#define Y(n) v->doubles[n]
#define N int64_t
#define F double
#define CALL(k, m, types, ...) case (k) * 8 + (m): return ((result_type (*) types)target)(__VA_ARGS__)

/* The possible numbers of integers and doubles. `result_type` is the function's. */
#define CALLS \
    case 0: return ((result_type (*)(void))target)(); \
    CALL(1, 0, (N), X(0)); \
    CALL(2, 0, (N, N), X(0), X(1)); \
    CALL(3, 0, (N, N, N), X(0), X(1), X(2)); \
    CALL(4, 0, (N, N, N, N), X(0), X(1), X(2), X(3)); \
    CALL(5, 0, (N, N, N, N, N), X(0), X(1), X(2), X(3), X(4)); \
    CALL(6, 0, (N, N, N, N, N, N), X(0), X(1), X(2), X(3), X(4), X(5)); \
    CALL(0, 1, (F), Y(0)); \
    CALL(0, 2, (F, F), Y(0), Y(1)); \
    CALL(0, 3, (F, F, F), Y(0), Y(1), Y(2)); \
    CALL(0, 4, (F, F, F, F), Y(0), Y(1), Y(2), Y(3)); \
    CALL(0, 5, (F, F, F, F, F), Y(0), Y(1), Y(2), Y(3), Y(4)); \
    CALL(0, 6, (F, F, F, F, F, F), Y(0), Y(1), Y(2), Y(3), Y(4), Y(5)); \
    CALL(1, 1, (N, F), X(0), Y(0)); \
    CALL(1, 2, (N, F, F), X(0), Y(0), Y(1)); \
    CALL(2, 1, (N, N, F), X(0), X(1), Y(0))

static always_inline uint64_t call_integer(void *target, unsigned pattern, const struct values *v)
{
    typedef uint64_t result_type;
    switch (count_of(pattern, false) * 8 + count_of(pattern, true)) {
        CALLS;
    }
    __builtin_unreachable();
}

static always_inline double call_double(void *target, unsigned pattern, const struct values *v)
{
    typedef double result_type;
    switch (count_of(pattern, false) * 8 + count_of(pattern, true)) {
        CALLS;
    }
    __builtin_unreachable();
}

static always_inline float call_float(void *target, unsigned pattern, const struct values *v)
{
    typedef float result_type;
    switch (count_of(pattern, false) * 8 + count_of(pattern, true)) {
        CALLS;
    }
    __builtin_unreachable();
}

/* A result that is copied or made into an object: the image stays pinned meanwhile, since making it
 * may run a finalizer that calls plugins. */
static int push_kept(lua_State *L, struct thread *thread, struct frame *frame,
                     struct export *export, uint64_t value)
{
    size_t length = 0;
    if (export->signature->result == RESULT_TEXT && value)
        length = strlen((const char *)(uintptr_t)value);
    frame->stack |= FRAME_IS_HOST;
    thread->kept_errno = *thread->errno_place;
    int count = call_push_result(L, export->signature, export->image, &value, length);
    thread_set_top(thread, frame);
    frame_unpin(frame);
    if (call_unlikely(thread->pending_error != THREAD_NO_ERROR))
        callback_raise_pending(L);
    return count;
}

/* Every thunk: pin, convert, call, push. */
static always_inline int run(lua_State *L, struct slot *slot, slot_entry *self, unsigned pattern,
                             enum result_kind result)
{
    struct thread *thread = thread_self();
    struct frame *frame = thread->top;
    struct export *export = frame_pin(frame, slot);
    struct values values;
    slot_entry *thunk = call_thunk(export);
    if (call_unlikely(thunk != self)) {
        frame_unpin(frame);
        return thunk(L, slot);
    }
    const struct signature *signature = export->signature;
    unsigned count = count_of(pattern, false) + count_of(pattern, true);
    if (call_unlikely(lua_gettop(L) != (int)count || frame >= thread->frames + THREAD_FRAMES - 4 ||
                      !take_all(L, signature, pattern, &values))) {
        frame_unpin(frame);
        return call_general(L, slot);
    }
    call_enter(thread, frame, L);
    if (result == RESULT_DOUBLE) {
        double value = call_double(export->target, pattern, &values);
        call_leave(L, thread, frame);
        lua_pushnumber(L, value);
        return 1;
    }
    if (result == RESULT_FLOAT) {
        float value = call_float(export->target, pattern, &values);
        call_leave(L, thread, frame);
        lua_pushnumber(L, value);
        return 1;
    }
    uint64_t value = call_integer(export->target, pattern, &values);
    if (result == RESULT_TEXT || result == RESULT_OTHER)
        return push_kept(L, thread, frame, export, value);
    if (result == RESULT_INTEGER)
        value = (uint64_t)call_widen(signature, value);      /* not after the image may go */
    call_leave(L, thread, frame);
    if (result == RESULT_VOID)
        return 0;
    if (result == RESULT_BOOL)
        lua_pushboolean(L, value & 0xff);
    else
        lua_pushinteger(L, (lua_Integer)value);
    return 1;
}

/* The thunks --------------------------------------------------------------------------------- */

#define THUNK(name, pattern, result) \
    static int name(lua_State *L, struct slot *slot) \
    { \
        return run(L, slot, name, pattern, result); \
    }

/* EACH(OF, ...) for every pattern; OF(a, b, c, d, e, f, ...) */
#define LAST(OF, a, b, c, R, n) \
    OF(a, b, c, NONE, NONE, NONE, R, n)
#define THIRD(OF, a, b, R, n) \
    OF(a, b, NONE, NONE, NONE, NONE, R, n) LAST(OF, a, b, I, R, n) LAST(OF, a, b, D, R, n) \
    LAST(OF, a, b, A, R, n)
#define SECOND(OF, a, R, n) \
    OF(a, NONE, NONE, NONE, NONE, NONE, R, n) THIRD(OF, a, I, R, n) THIRD(OF, a, D, R, n) \
    THIRD(OF, a, A, R, n)
#define EACH(OF, R, n) \
    OF(NONE, NONE, NONE, NONE, NONE, NONE, R, n) SECOND(OF, I, R, n) SECOND(OF, D, R, n) \
    SECOND(OF, A, R, n) \
    OF(I, I, I, I, NONE, NONE, R, n) OF(I, I, I, I, I, NONE, R, n) OF(I, I, I, I, I, I, R, n) \
    OF(D, D, D, D, NONE, NONE, R, n) OF(D, D, D, D, D, NONE, R, n) OF(D, D, D, D, D, D, R, n) \
    OF(A, I, I, I, NONE, NONE, R, n) OF(A, A, A, A, NONE, NONE, R, n) OF(A, A, I, I, NONE, NONE, R, n)

#define DEFINE(a, b, c, d, e, f, R, n) THUNK(n##_##a##b##c##d##e##f, PATTERN(a, b, c, d, e, f), R)
#define ENTRY(a, b, c, d, e, f, R, n) {PATTERN(a, b, c, d, e, f), n##_##a##b##c##d##e##f},

EACH(DEFINE, RESULT_VOID, void_of)
EACH(DEFINE, RESULT_INTEGER, integer_of)
EACH(DEFINE, RESULT_DOUBLE, double_of)
EACH(DEFINE, RESULT_FLOAT, float_of)
EACH(DEFINE, RESULT_BOOL, bool_of)
EACH(DEFINE, RESULT_TEXT, text_of)
EACH(DEFINE, RESULT_OTHER, other_of)

struct thunk {
    unsigned pattern;
    slot_entry *entry;
};

/* By enum result_kind. */
static const struct thunk thunks[][64] = {
    [RESULT_VOID] = {EACH(ENTRY, RESULT_VOID, void_of)},
    [RESULT_INTEGER] = {EACH(ENTRY, RESULT_INTEGER, integer_of)},
    [RESULT_DOUBLE] = {EACH(ENTRY, RESULT_DOUBLE, double_of)},
    [RESULT_FLOAT] = {EACH(ENTRY, RESULT_FLOAT, float_of)},
    [RESULT_BOOL] = {EACH(ENTRY, RESULT_BOOL, bool_of)},
    [RESULT_TEXT] = {EACH(ENTRY, RESULT_TEXT, text_of)},
    [RESULT_OTHER] = {EACH(ENTRY, RESULT_OTHER, other_of)},
};

slot_entry *call_find_thunk(const struct signature *signature)
{
    static const enum class class_of[] = {
        [ARGUMENT_INTEGER] = I, [ARGUMENT_DOUBLE] = D, [ARGUMENT_ADDRESS] = A,
    };
    unsigned pattern = 0;
    if (!signature->is_in_registers || signature->count > MOST)
        return NULL;
    for (unsigned i = 0; i < signature->count; i++) {
        unsigned kind = signature->arguments[i].kind;
        if (kind != ARGUMENT_INTEGER && kind != ARGUMENT_DOUBLE && kind != ARGUMENT_ADDRESS)
            return NULL;
        pattern |= class_of[kind] << 3 * i;
    }
    for (const struct thunk *thunk = thunks[signature->result]; thunk->entry; thunk++)
        if (thunk->pattern == pattern)
            return thunk->entry;
    return NULL;
}
