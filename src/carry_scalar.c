/* carry_scalar.c: one scalar of the old type to one of the new: which step does it, and the general
 * conversion: bit-fields, enumerators by name, numbers of rare sizes. */
#include "carry_internal.h"

#include "memory.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct number {
    bool is_real;
    __int128 integer;
    long double real;
};

/* ---- Compiling ---- */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool is_number(const struct type *type)
{
    return type->kind == TYPE_BOOL || type->kind == TYPE_INT || type->kind == TYPE_ENUM ||
           type->kind == TYPE_FLOAT;
}

/* Are the bytes of a value of both types read the same way? */
static bool is_same_number(const struct type *from, const struct type *to)
{
    bool is_whole = from->kind == TYPE_INT || from->kind == TYPE_ENUM;
    bool are_alike = is_whole ? to->kind == TYPE_INT || to->kind == TYPE_ENUM
        : from->kind == to->kind;
    if (!are_alike || from->size != to->size)
        return false;
    if (from->kind == TYPE_FLOAT && from->size > 8)
        return same_text(from->name, to->name);
    return !is_whole || from->is_signed == to->is_signed;
}

/* Not readable by the general conversion: half floats, decimal floats, other 16-byte ones. */
static bool is_exotic(const struct type *type)
{
    if (type->kind != TYPE_FLOAT)
        return type->size > 16;
    bool is_long = type->size == sizeof(long double) && same_text(type->name, "long double");
    return type->size != 4 && type->size != 8 && !is_long;
}

/* Is every enumerator still there with its value? */
static bool keeps_enumerators(const struct type *from, const struct type *to)
{
    for (uint64_t i = 0; i < from->count; i++) {
        const struct enumerator *same = type_find_enumerator(to, from->values[i].name);
        if (!same || same->value != from->values[i].value)
            return false;
    }
    return true;
}

static int compare_from(const void *a, const void *b)
{
    const struct carry_name *left = a, *right = b;
    if (left->from != right->from)
        return left->from < right->from ? -1 : 1;
    return left->is_gone - right->is_gone;
}

/* Of several names of one value the first that the new enum has too counts. */
static struct carry_names *make_names(const struct type *from, const struct type *to)
{
    struct carry_names *names = memory_take(sizeof *names + from->count * sizeof *names->list);
    for (uint64_t i = 0; i < from->count; i++) {
        const struct enumerator *old = &from->values[i];
        const struct enumerator *new = type_find_enumerator(to, old->name);
        names->list[i] = (struct carry_name){old->value, new ? new->value : 0, old->name, !new};
        names->is_renumbered |= new && new->value != old->value;
    }
    qsort(names->list, from->count, sizeof *names->list, compare_from);
    for (uint64_t i = 0; i < from->count; i++)
        if (names->count == 0 || names->list[names->count - 1].from != names->list[i].from)
            names->list[names->count++] = names->list[i];
    return names;
}

static void set_lost(struct carry_step *step, const char *why)
{
    step->kind = STEP_LOST;
    step->why = why;
}

static bool is_plain_number(const struct type *type)
{
    return type->kind == TYPE_INT || type->kind == TYPE_FLOAT || type->kind == TYPE_BOOL;
}

/* A pointer to an int must not become one to a double; all else is the program's own affair. */
static bool can_point_to(const struct type *from, const struct type *to)
{
    from = from->target->plain;
    to = to->target->plain;
    return from->is_char || to->is_char || !is_plain_number(from) || !is_plain_number(to) ||
           (from->size == to->size && (from->kind == TYPE_FLOAT) == (to->kind == TYPE_FLOAT));
}

static void compile_pointer(struct carry_step *step)
{
    bool is_pointer = step->from_type->kind == TYPE_POINTER && step->to_type->kind == TYPE_POINTER;
    if (!is_pointer || step->from_size != sizeof(char *) || step->to_size != sizeof(char *))
        set_lost(step, "the types have nothing in common");
    else if (!can_point_to(step->from_type, step->to_type))
        set_lost(step, "it would point to a value of another type");
    else
        step->kind = STEP_POINTER;
    step->is_same = step->kind == STEP_POINTER;
}

static void compile_rest(struct carry_step *step)
{
    const struct type *from = step->from_type, *to = step->to_type;
    bool is_same = from->kind == to->kind && from->size == to->size && same_text(from->name,
                                                                                 to->name);
    step->is_same = is_same;
    step->kind = STEP_COPY;
    if (!is_same)
        set_lost(step, "the types have nothing in common");
}

void carry_compile_scalar(struct carry_compiler *compiler, struct carry_step *step)
{
    const struct type *from = type_complete(step->from_type), *to = type_complete(step->to_type);
    if (from->kind == TYPE_POINTER || to->kind == TYPE_POINTER) {
        compile_pointer(step);
        return;
    }
    if (!is_number(from) || !is_number(to)) {
        compile_rest(step);
        return;
    }
    bool is_by_name = from->kind == TYPE_ENUM && to->kind == TYPE_ENUM && !keeps_enumerators(from,
                                                                                             to);
    bool is_in_bits = step->from_bits || step->to_bits;
    if (is_by_name) {
        struct carry_names *names = make_names(from, to);
        step->names = names;
        carry_own(compiler, names);
    }
    step->is_same = !is_by_name && is_same_number(from, to) && step->from_bits == step->to_bits;
    if (step->is_same && !is_in_bits) {
        step->kind = STEP_COPY;
    } else if (!is_by_name && !is_in_bits && carry_find_kernel(from, to)) {
        step->kind = STEP_NUMBER;
        step->kernel = carry_find_kernel(from, to);
    } else if (is_exotic(from) || is_exotic(to)) {
        set_lost(step, "such numbers are not converted");
    } else {
        step->kind = STEP_GENERAL;
    }
}

/* ---- Loading and storing ---- */

static uint64_t low_bits(unsigned count)
{
    return count >= 64 ? UINT64_MAX : ((uint64_t)1 << count) - 1;
}

/* The bit-field's bytes, which are few enough for this: at most 9. */
static unsigned __int128 load_unit(const char *at, unsigned bit, unsigned bits)
{
    unsigned __int128 unit = 0;
    memcpy(&unit, at + bit / 8, (bit % 8 + bits + 7) / 8);
    return unit;
}

static __int128 load_integer(const struct type *type, const char *at, unsigned bit, unsigned bits)
{
    if (bits) {
        uint64_t raw = (uint64_t)(load_unit(at, bit, bits) >> bit % 8) & low_bits(bits);
        bool is_negative = type->is_signed && raw >> (bits - 1) & 1;
        return is_negative ? (__int128)(int64_t)(raw | ~low_bits(bits)) : (__int128)raw;
    }
    if (type->size == 16) {
        __int128 wide;
        memcpy(&wide, at, sizeof wide);
        return wide;
    }
    uint64_t raw = 0;
    memcpy(&raw, at, type->size);
    unsigned shift = 64 - 8 * (unsigned)type->size;
    return type->is_signed ? (__int128)((int64_t)(raw << shift) >> shift) : (__int128)raw;
}

static long double load_real(const struct type *type, const char *at)
{
    float single;
    double twice;
    long double wide;
    if (type->size == sizeof single)
        return memcpy(&single, at, sizeof single), single;
    if (type->size == sizeof twice)
        return memcpy(&twice, at, sizeof twice), twice;
    return memcpy(&wide, at, sizeof wide), wide;
}

static struct number load(const struct carry_step *step, const char *from)
{
    const struct type *type = step->from_type;
    if (type->kind == TYPE_FLOAT)
        return (struct number){.is_real = true, .real = load_real(type, from)};
    return (struct number){.integer = load_integer(type, from, step->from_bit, step->from_bits)};
}

static bool fits_integer(const struct type *type, unsigned bits, __int128 value)
{
    bits = bits ? bits : 8 * (unsigned)type->size;
    if (bits >= 127)
        return type->is_signed || value >= 0;
    __int128 above = (__int128)1 << (type->is_signed ? bits - 1 : bits);
    return value < above && value >= (type->is_signed ? -above : 0);
}

static bool store_integer(const struct carry_step *step, char *to, __int128 value)
{
    const struct type *type = step->to_type;
    if (type->kind == TYPE_BOOL)
        value = value != 0;
    if (!fits_integer(type, step->to_bits, value))
        return false;
    if (step->to_bits) {
        unsigned shift = step->to_bit % 8, bytes = (shift + step->to_bits + 7) / 8;
        unsigned __int128 mask = (unsigned __int128)low_bits(step->to_bits) << shift;
        unsigned __int128 unit = load_unit(to, step->to_bit, step->to_bits);
        unit = (unit & ~mask) | ((unsigned __int128)value << shift & mask);
        memcpy(to + step->to_bit / 8, &unit, bytes);
    } else
        memcpy(to, &value, type->size);
    return true;
}

static bool store_real(const struct type *type, char *to, long double value)
{
    float single = (float)value;
    double twice = (double)value;
    if (type->size == sizeof single) {
        memcpy(to, &single, sizeof single);
        return !isinf(single) || isinf(value);
    }
    if (type->size == sizeof twice) {
        memcpy(to, &twice, sizeof twice);
        return !isinf(twice) || isinf(value);
    }
    memset(to, 0, type->size);
    memcpy(to, &value, LDBL_MANT_DIG == 64 ? 10
           : sizeof value);   /* the x87's has 6 bytes of padding */
    return true;
}

static bool is_exact(const struct type *type, __int128 value)
{
    long double real = (long double)value;
    if (type->size == 4)
        real = (float)value;
    if (type->size == 8)
        real = (double)value;
    return real > -0x1p126L && real < 0x1p126L && (__int128)real == value;
}

static bool store(const struct carry_step *step, char *to, const struct number *number)
{
    const struct type *type = step->to_type;
    if (type->kind == TYPE_FLOAT && number->is_real)
        return store_real(type, to, number->real);
    if (type->kind == TYPE_FLOAT)
        return is_exact(type, number->integer) && store_real(type, to,
                                                             (long double)number->integer);
    if (!number->is_real)
        return store_integer(step, to, number->integer);
    if (type->kind == TYPE_BOOL)
        return store_integer(step, to, number->real != 0);
    bool is_whole = number->real > -0x1p126L && number->real < 0x1p126L &&
                    truncl(number->real) == number->real;
    return is_whole && store_integer(step, to, (__int128)number->real);
}

/* ---- Enumerators by name ---- */

static const struct carry_name *find_name(const struct carry_names *names, int64_t value)
{
    size_t low = 0, high = names->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (names->list[middle].from == value)
            return &names->list[middle];
        if (names->list[middle].from < value)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* A value made of several enumerators of one bit each. */
static bool map_flags(const struct carry_names *names, int64_t value, int64_t *mapped)
{
    uint64_t rest = (uint64_t)value;
    *mapped = 0;
    for (size_t i = 0; i < names->count; i++) {
        const struct carry_name *name = &names->list[i];
        bool is_one_bit = name->from > 0 && (name->from & (name->from - 1)) == 0;
        if (!is_one_bit || !(rest & (uint64_t)name->from))
            continue;
        if (name->is_gone)
            return false;
        rest &= ~(uint64_t)name->from;
        *mapped |= name->to;
    }
    return rest == 0;
}

static bool map_name(const struct carry_names *names, int64_t value, int64_t *mapped, char said[80])
{
    const struct carry_name *name = find_name(names, value);
    if (name && name->is_gone) {
        snprintf(said, 80, "the new enum has no %.50s", name->name);
        return false;
    }
    *mapped = name ? name->to : value;
    if (name || !names->is_renumbered || map_flags(names, value, mapped))
        return true;
    snprintf(said, 80, "%lld is no enumerator's value", (long long)value);
    return false;
}

/* ---- Converting ---- */

static void say_number(const struct number *number, char said[80])
{
    if (number->is_real)
        snprintf(said, 80, "%.17Lg", number->real);
    else if (number->integer > INT64_MAX)
        snprintf(said, 80, "%llu", (unsigned long long)number->integer);
    else
        snprintf(said, 80, "%lld", (long long)number->integer);
}

enum carry_result carry_convert_scalar(const struct carry_step *step, const char *from, char *to,
                                       char said[80])
{
    struct number number = load(step, from);
    char buffer[32];
    if (step->names) {
        int64_t mapped;
        if (!map_name(step->names, (int64_t)number.integer, &mapped, said))
            return VALUE_LOST;
        number.integer = mapped;
    }
    memcpy(buffer, to, step->to_size);
    if (!store(step, buffer, &number)) {
        say_number(&number, said);
        return VALUE_UNFIT;
    }
    memcpy(to, buffer, step->to_size);
    return VALUE_DONE;
}
