/* carry_number.c: a loop for each pair of number types, converting one field of many elements.
 * Stops
 * at the first value that the new type cannot hold exactly (a double may be rounded to a float). */
#include "carry_internal.h"

#include <math.h>
#include <string.h>

enum class {
    CLASS_i8, CLASS_u8, CLASS_i16, CLASS_u16, CLASS_i32, CLASS_u32, CLASS_i64, CLASS_u64, CLASS_f32,
    CLASS_f64, CLASS_bool, CLASSES
};

#define DEFINE(name, from_type, to_type, convert)                                               \
    static size_t name(const char *from, size_t from_stride, char *to, size_t to_stride,        \
                       size_t count)                                                            \
    {                                                                                           \
        size_t i = 0;                                                                           \
        for (; i < count; i++, from += from_stride, to += to_stride) {                          \
            from_type value;                                                                    \
            to_type result;                                                                     \
            memcpy(&value, from, sizeof value);                                                 \
            convert                                                                             \
            memcpy(to, &result, sizeof result);                                                 \
        }                                                                                       \
        return i;                                                                               \
    }

/* Any integer to any integer: the sum with 0 is exact or overflows. */
#define INTEGER(a, ta, b, tb)                                                                   \
    DEFINE(a##_to_##b, ta, tb, if (__builtin_add_overflow(value, (ta)0, &result)) break;)

/* One above the largest value, as a power of two that every floating type can hold. */
#define ABOVE(type) (2.0 * (double)((type)1 << (sizeof(type) * 8 - 2)) * ((type)-1 > 0 ? 2.0 : 1.0))
#define BELOW(type) ((type)-1 > 0 ? 0.0 : -ABOVE(type))

#define FROM_FLOAT(a, ta, b, tb)                                                                \
    DEFINE(a##_to_##b, ta, tb,                                                                  \
        if (!(value >= BELOW(tb) && value < ABOVE(tb))) break;                                  \
        result = (tb)value;                                                                     \
        if ((ta)result != value) break;)

#define TO_FLOAT(a, ta, b, tb)                                                                  \
    DEFINE(a##_to_##b, ta, tb,                                                                  \
        result = (tb)value;                                                                     \
        if (sizeof(ta) >= sizeof(tb) &&                                                         \
            (!(result >= BELOW(ta) && result < ABOVE(ta)) || (ta)result != value)) break;)

#define TO_BOOL(a, ta) DEFINE(a##_to_bool, ta, uint8_t, result = value != 0;)
#define FROM_BOOL(b, tb) DEFINE(bool_to_##b, uint8_t, tb, result = value != 0;)

#define EACH_INTEGER(X, ...)                                                                    \
    X(__VA_ARGS__, i8, int8_t) X(__VA_ARGS__, u8, uint8_t)                                      \
    X(__VA_ARGS__, i16, int16_t) X(__VA_ARGS__, u16, uint16_t)                                  \
    X(__VA_ARGS__, i32, int32_t) X(__VA_ARGS__, u32, uint32_t)                                  \
    X(__VA_ARGS__, i64, int64_t) X(__VA_ARGS__, u64, uint64_t)

#define OF_INTEGER(a, ta)                                                                       \
    EACH_INTEGER(INTEGER, a, ta)                                                                \
    TO_FLOAT(a, ta, f32, float) TO_FLOAT(a, ta, f64, double) TO_BOOL(a, ta) FROM_BOOL(a, ta)

OF_INTEGER(i8, int8_t)
OF_INTEGER(u8, uint8_t)
OF_INTEGER(i16, int16_t)
OF_INTEGER(u16, uint16_t)
OF_INTEGER(i32, int32_t)
OF_INTEGER(u32, uint32_t)
OF_INTEGER(i64, int64_t)
OF_INTEGER(u64, uint64_t)
EACH_INTEGER(FROM_FLOAT, f32, float)
EACH_INTEGER(FROM_FLOAT, f64, double)
TO_BOOL(f32, float)
TO_BOOL(f64, double)
FROM_BOOL(f32, float)
FROM_BOOL(f64, double)
DEFINE(bool_to_bool, uint8_t, uint8_t, result = value;)
DEFINE(f32_to_f32, uint32_t, uint32_t, result = value;)
DEFINE(f64_to_f64, uint64_t, uint64_t, result = value;)
DEFINE(f32_to_f64, float, double, result = (double)value;)
DEFINE(f64_to_f32, double, float,
    result = (float)value;
    if (isinf(result) && !isinf(value)) break;)

#define ROW(a)                                                                                  \
    [CLASS_##a] = {a##_to_i8, a##_to_u8, a##_to_i16, a##_to_u16, a##_to_i32, a##_to_u32,         \
                   a##_to_i64, a##_to_u64, a##_to_f32, a##_to_f64, a##_to_bool}

static carry_kernel *const kernels[CLASSES][CLASSES] = {
    ROW(i8), ROW(u8), ROW(i16), ROW(u16), ROW(i32), ROW(u32), ROW(i64), ROW(u64), ROW(f32),
        ROW(f64),
    ROW(bool),
};

static int class_of(const struct type *type)
{
    static const signed char integers[][2] = {
        [1] = {CLASS_u8, CLASS_i8}, [2] = {CLASS_u16, CLASS_i16},
        [4] = {CLASS_u32, CLASS_i32}, [8] = {CLASS_u64, CLASS_i64},
    };
    bool has_class = type->size == 1 || type->size == 2 || type->size == 4 || type->size == 8;
    switch (type->kind) {
    case TYPE_BOOL:
        return type->size == 1 ? CLASS_bool : -1;
    case TYPE_INT: case TYPE_ENUM:
        return has_class ? integers[type->size][type->is_signed] : -1;
    case TYPE_FLOAT:
        return type->size == 4 ? CLASS_f32 : type->size == 8 ? CLASS_f64 : -1;
    default:
        return -1;
    }
}

carry_kernel *carry_find_kernel(const struct type *from, const struct type *to)
{
    int from_class = class_of(from), to_class = class_of(to);
    return from_class < 0 || to_class < 0 ? NULL : kernels[from_class][to_class];
}
