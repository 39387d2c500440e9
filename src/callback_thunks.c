/* callback_thunks.c: the fast way in for callbacks of common signatures: one function for each pattern of
 * up to three arguments and kind of result, made from the one inlined below. What it does not take as it is
 * (another thread, a new pointer, no native call below) goes to callback_invoke. */
#include "callback_entry.h"
#include "callback_internal.h"

#ifdef __x86_64__

enum { MOST = CALLBACK_THUNK_INTEGERS };
enum passed { NONE, I, P, D };            /* integer, enum or boolean; pointer object; double */

#define PATTERN(a, b, c) ((a) | (b) << 2 | (c) << 4)
#define CLASS_OF(pattern, i) ((pattern) >> 2 * (i) & 3)

#define always_inline inline __attribute__((always_inline))
#define unlikely(x) __builtin_expect(!!(x), 0)

/* As the registers came: integers and doubles are numbered apart. */
struct values {
    int64_t integers[MOST];
    double doubles[MOST];
};

/* All that is not simple, from storage as the entries of callback_entry.h would have saved it. */
static __attribute__((noinline)) void invoke_general(struct callback *callback, const struct values *values,
                                                     void *result)
{
    char storage[(CALLBACK_INTEGER_REGISTERS + CALLBACK_FLOAT_REGISTERS) * 8] = {0};
    memcpy(storage, values->integers, sizeof values->integers);
    memcpy(storage + CALLBACK_INTEGER_REGISTERS * 8, values->doubles, sizeof values->doubles);
    callback_invoke(callback, storage, result);
}

/* Push the arguments. False, with some of them pushed: a pointer is new. */
static always_inline bool push_all(lua_State *L, const struct callback *callback,
                                   const struct callback_signature *signature, unsigned pattern,
                                   const struct values *values)
{
    unsigned integers = 0, doubles = 0, pointers = 0;
#pragma GCC unroll 3
    for (int i = 0; i < MOST; i++) {
        enum scalar scalar = CLASS_OF(pattern, i) == I ? signature->arguments[i].scalar : SCALAR_OTHER;
        if (CLASS_OF(pattern, i) == I && __builtin_expect(scalar == SCALAR_INT32, 1))
            lua_pushinteger(L, (int32_t)values->integers[integers++]);
        else if (CLASS_OF(pattern, i) == I)
            object_push_scalar(L, scalar, (const char *)&values->integers[integers++]);
        if (CLASS_OF(pattern, i) == D)
            lua_pushnumber(L, values->doubles[doubles++]);
        if (CLASS_OF(pattern, i) == P &&
            !callback_push_known_pointer(L, callback, ++pointers, (void *)values->integers[integers++]))
            return false;
    }
    return true;
}

static always_inline int count_of(unsigned pattern)
{
    return (CLASS_OF(pattern, 0) != NONE) + (CLASS_OF(pattern, 1) != NONE) + (CLASS_OF(pattern, 2) != NONE);
}

/* The whole call, made by a native call from Lua on the state's own thread. False, with nothing done: it is
 * not, or memory is needed. `here`: an address in the C stack frame of the thunk. */
static always_inline bool run(struct callback *callback, unsigned pattern, const struct values *values,
                              void *result, uintptr_t here)
{
    struct thread *thread = thread_self_record;
    if (unlikely(!thread || callback->thread != thread))
        return false;
    struct frame *frame = thread->top;
    if (unlikely(frame == thread->frames || frame >= thread->frames + THREAD_FRAMES - 4))
        return false;
    uintptr_t below = frame[-1].stack;   /* the native call's: a flag means that it is none, or over */
    if (unlikely(below & FRAME_FLAGS || below <= here))
        return false;
    const struct callback_signature *signature = callback->signature;
    lua_State *L = frame[-1].L;
    frame_set_export(frame, NULL);
    frame->stack = here | FRAME_IS_HOST;
    frame->L = L;
    thread_set_top(thread, frame + 1);
    int top = CLASS_OF(pattern, 0) == P || CLASS_OF(pattern, 1) == P || CLASS_OF(pattern, 2) == P
        ? lua_gettop(L) : 0;
    callback_push_slot(L, callback->state, callback->function);
    if (unlikely(!push_all(L, callback, signature, pattern, values))) {
        lua_settop(L, top);
        thread_set_top(thread, frame);
        return false;
    }
    enum scalar scalar = signature->result_scalar;
    int status = lua_pcallk(L, count_of(pattern), scalar != SCALAR_OTHER, 0, 0, NULL);
    thread_set_top(thread, frame);
    if (unlikely(status != LUA_OK))
        callback_take_error(L, thread);
    else if (scalar != SCALAR_OTHER && __builtin_expect(callback_store_simple(L, scalar, result), 1))
        lua_settop(L, -2);
    else if (scalar != SCALAR_OTHER)
        callback_store_uncommon(L, thread, callback, signature, result);
    return true;
}

static always_inline uint64_t call_integer(struct callback *callback, unsigned pattern,
                                           const struct values *values, uintptr_t here)
{
    uint64_t result = 0;
    if (!run(callback, pattern, values, &result, here))
        invoke_general(callback, values, &result);
    return result;
}

static always_inline double call_double(struct callback *callback, unsigned pattern,
                                        const struct values *values, uintptr_t here)
{
    uint64_t bits = call_integer(callback, pattern, values, here);
    double result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

/* The thunks: the record comes behind the integer arguments, the doubles where they are. ---------- */

#define N int64_t
#define HERE (uintptr_t)__builtin_frame_address(0)
#define BODY(call, pattern, ...) \
    { struct values values = {__VA_ARGS__}; return call(callback, pattern, &values, HERE); }

/* Named by what they take: integers or pointers (the pattern tells), then doubles. */
#define WITH_0_0(type, call, name, p) static type name(struct callback *callback) BODY(call, p, {0}, {0})
#define WITH_1_0(type, call, name, p) static type name(N a, struct callback *callback) BODY(call, p, {a}, {0})
#define WITH_2_0(type, call, name, p) \
    static type name(N a, N b, struct callback *callback) BODY(call, p, {a, b}, {0})
#define WITH_3_0(type, call, name, p) \
    static type name(N a, N b, N c, struct callback *callback) BODY(call, p, {a, b, c}, {0})
#define WITH_0_1(type, call, name, p) \
    static type name(struct callback *callback, double x) BODY(call, p, {0}, {x})
#define WITH_0_2(type, call, name, p) \
    static type name(struct callback *callback, double x, double y) BODY(call, p, {0}, {x, y})
#define WITH_0_3(type, call, name, p) \
    static type name(struct callback *callback, double x, double y, double z) BODY(call, p, {0}, {x, y, z})
#define WITH_1_1(type, call, name, p) \
    static type name(N a, struct callback *callback, double x) BODY(call, p, {a}, {x})
#define WITH_1_2(type, call, name, p) \
    static type name(N a, struct callback *callback, double x, double y) BODY(call, p, {a}, {x, y})
#define WITH_2_1(type, call, name, p) \
    static type name(N a, N b, struct callback *callback, double x) BODY(call, p, {a, b}, {x})

/* EACH(OF): OF(arguments in integer registers, in floating ones, the classes) for every pattern. */
#define EACH(OF) \
    OF(0, 0, NONE, NONE, NONE) OF(1, 0, I, NONE, NONE) OF(1, 0, P, NONE, NONE) OF(0, 1, D, NONE, NONE) \
    OF(2, 0, I, I, NONE) OF(2, 0, I, P, NONE) OF(2, 0, P, I, NONE) OF(2, 0, P, P, NONE) \
    OF(1, 1, I, D, NONE) OF(1, 1, D, I, NONE) OF(1, 1, P, D, NONE) OF(1, 1, D, P, NONE) OF(0, 2, D, D, NONE) \
    OF(3, 0, I, I, I) OF(3, 0, I, I, P) OF(3, 0, I, P, I) OF(3, 0, I, P, P) OF(3, 0, P, I, I) \
    OF(3, 0, P, I, P) OF(3, 0, P, P, I) OF(3, 0, P, P, P) OF(2, 1, D, I, P) OF(2, 1, I, D, P) \
    OF(2, 1, P, I, D) OF(2, 1, P, D, P) OF(1, 2, D, D, P) OF(1, 2, P, D, D) OF(0, 3, D, D, D)

#define DEFINE(n, m, a, b, c) \
    WITH_##n##_##m(uint64_t, call_integer, integer_##a##b##c, PATTERN(a, b, c)) \
    WITH_##n##_##m(double, call_double, double_##a##b##c, PATTERN(a, b, c))
#define ENTRY(n, m, a, b, c) {PATTERN(a, b, c), n, (void *)integer_##a##b##c, (void *)double_##a##b##c},

EACH(DEFINE)

static const struct {
    unsigned pattern, integers;
    void *of_integer, *of_double;        /* by the result */
} thunks[] = {EACH(ENTRY)};

static bool is_integer(enum scalar scalar)
{
    return scalar != SCALAR_OTHER && scalar != SCALAR_FLOAT && scalar != SCALAR_DOUBLE && scalar != SCALAR_BITS;
}

void callback_find_thunk(struct callback_signature *signature)
{
    unsigned pattern = 0;
    bool is_taken = signature->is_simple && signature->count <= MOST && signature->result_scalar != SCALAR_FLOAT;
    for (unsigned i = 0; is_taken && i < signature->count; i++) {
        const struct callback_argument *argument = &signature->arguments[i];
        enum passed as = argument->pointer ? P : argument->scalar == SCALAR_DOUBLE ? D : I;
        is_taken = as != I || is_integer(argument->scalar);
        pattern |= as << 2 * i;
    }
    for (size_t i = 0; is_taken && i < sizeof thunks / sizeof *thunks; i++)
        if (thunks[i].pattern == pattern) {
            bool is_double = signature->result_scalar == SCALAR_DOUBLE;
            signature->thunk = is_double ? thunks[i].of_double : thunks[i].of_integer;
            signature->thunk_integers = thunks[i].integers;
        }
}

#else

void (*const callback_entry_thunk[CALLBACK_THUNK_INTEGERS + 1])(void);

void callback_find_thunk(struct callback_signature *signature)
{
    (void)signature;
}

#endif
