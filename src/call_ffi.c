/* call_ffi.c: calls through libffi: structs by value, long double and _Complex, more arguments than
 * registers, variadic functions. */
#include "call_internal.h"

#include "memory.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 16 };

static size_t round_up(size_t size)
{
    return (size + ALIGN - 1) / ALIGN * ALIGN;
}

static bool describe(struct signature *signature, const struct type *type, struct error *error)
{
    signature->native_result = native_result(&signature->natives, type->target, error);
    bool ok = signature->native_result != NULL;
    for (unsigned i = 0; ok && i < signature->count; i++) {
        ffi_type *native = native_type(&signature->natives, type->parameters[i].type, error);
        signature->natives_of_arguments[i] = native;
        ok = native != NULL;
    }
    return ok;
}

/* libffi reads an argument's size rounded up to whole registers. */
static void lay_out(struct signature *signature)
{
    size_t used = 0;
    for (unsigned i = 0; i < signature->count; i++) {
        signature->arguments[i].offset = (unsigned)used;
        used += round_up(signature->natives_of_arguments[i]->size);
    }
    signature->storage_size = used;
    signature->result_size = round_up(signature->native_result->size) + ALIGN;
}

/* Where libffi 3.4 writes too much ------------------------------------------------------------ */

#ifdef __x86_64__
/* It copies the whole of a struct to where the integer register's value is kept. For a struct of an integer
 * and a floating word whose integer word gets the last integer register, that writes over the first floating
 * register's. Such an argument goes as what it is for the processor: two scalars. */

enum { INTEGER_REGISTERS = 6, FLOAT_REGISTERS = 8, WORD = 8, MAX_WORDS = 2 };

/* What an argument takes of either kind of register; nothing: it goes on the stack. */
struct need {
    unsigned integers, floats;
    bool is_integer[MAX_WORDS];
};

static bool is_floating(const ffi_type *type)
{
    return type == &ffi_type_float || type == &ffi_type_double || type == &ffi_type_complex_float ||
           type == &ffi_type_complex_double;
}

static bool is_extended(const ffi_type *type)
{
    return type == &ffi_type_longdouble || type == &ffi_type_complex_longdouble;
}

static struct need need_of_struct(const ffi_type *type)
{
    struct need need = {.integers = 0};
    size_t end = 0;
    for (ffi_type **element = type->elements; *element; element++) {
        size_t place = (end + (*element)->alignment - 1) / (*element)->alignment * (*element)->alignment;
        if (is_extended(*element))
            return (struct need){.integers = 0};
        need.is_integer[place / WORD] |= !is_floating(*element);
        end = place + (*element)->size;
    }
    for (size_t word = 0; word * WORD < type->size; word++)
        ++*(need.is_integer[word] ? &need.integers : &need.floats);
    return need;
}

static struct need need_of(const ffi_type *type)
{
    if (is_extended(type) || (type->type == FFI_TYPE_STRUCT && type->size > MAX_WORDS * WORD))
        return (struct need){.integers = 0};
    if (type->type == FFI_TYPE_STRUCT)
        return need_of_struct(type);
    if (is_floating(type))
        return (struct need){.floats = (unsigned)(type->size + WORD - 1) / WORD};
    return (struct need){.integers = 1};
}

/* Exchange the argument's description for one of each of its words. */
static void split(struct signature *signature, unsigned index, const struct need *need)
{
    ffi_type **types = signature->natives_of_arguments;
    memmove(&types[index + 2], &types[index + 1], (signature->count - index - 1) * sizeof *types);
    for (int word = 0; word < MAX_WORDS; word++)
        types[index + word] = need->is_integer[word] ? &ffi_type_uint64 : &ffi_type_double;
    signature->split = index + 1;
}

static void split_mixed(struct signature *signature)
{
    const ffi_type *result = signature->native_result;
    bool is_in_memory = result->type == FFI_TYPE_STRUCT && result->size > MAX_WORDS * WORD;
    unsigned integers = is_in_memory, floats = 0;
    for (unsigned i = 0; i < signature->count; i++) {
        struct need need = need_of(signature->natives_of_arguments[i]);
        bool fits = integers + need.integers <= INTEGER_REGISTERS && floats + need.floats <= FLOAT_REGISTERS;
        if (!fits)
            continue;
        integers += need.integers;
        floats += need.floats;
        if (need.integers == 1 && need.floats == 1 && integers == INTEGER_REGISTERS) {
            split(signature, i, &need);
            return;
        }
    }
}
#else
static void split_mixed(struct signature *signature)
{
    (void)signature;
}
#endif

/* Describing and calling --------------------------------------------------------------------- */

static unsigned native_count(const struct signature *signature)
{
    return signature->count + (signature->split != 0);
}

static bool prepare(struct signature *signature, struct error *error)
{
    ffi_status status = ffi_prep_cif(&signature->cif, FFI_DEFAULT_ABI, native_count(signature),
                                     signature->native_result, signature->natives_of_arguments);
    return status == FFI_OK || error_set(error, "libffi does not take its signature");
}

bool call_prepare_ffi(struct signature *signature, const struct type *type, struct error *error)
{
    if (!describe(signature, type, error))
        return false;
    lay_out(signature);
    split_mixed(signature);
    return prepare(signature, error);
}

struct signature *call_new(const struct type *type)
{
    size_t count = (size_t)type->count;
    size_t size = sizeof(struct signature) + count * sizeof(struct argument);
    struct signature *signature = memory_take(size + (count + 1) * sizeof(ffi_type *));
    signature->count = (unsigned)count;
    signature->natives_of_arguments = (ffi_type **)(signature->arguments + count);
    return signature;
}

void call_free(struct signature *signature)
{
    if (!signature)
        return;
    native_types_free(signature->natives);
    free(signature);
}

struct signature *call_new_ffi(const struct type *type, struct error *error)
{
    struct signature *signature = call_new(type);
    if (describe(signature, type, error) && prepare(signature, error))
        return signature;
    call_free(signature);
    return NULL;
}

ffi_cif *call_ffi_cif(struct signature *signature)
{
    return &signature->cif;
}

/* Where the declared arguments are, in the order of their descriptions. */
static void gather(const struct signature *signature, char *storage, void **values)
{
    for (unsigned i = 0; i < signature->count; i++) {
        *values++ = storage + signature->arguments[i].offset;
        if (signature->split == i + 1)
            *values++ = storage + signature->arguments[i].offset + sizeof(uint64_t);
    }
}

void call_fixed(void *target, const struct signature *signature, char *storage, void *result)
{
    void *values[signature->count + 1];
    gather(signature, storage, values);
    ffi_call((ffi_cif *)&signature->cif, FFI_FN(target), result, values);
}

/* Variadic functions ------------------------------------------------------------------------- */

static bool convert(lua_State *L, int index, const struct signature *signature,
                    struct variadic *value, struct plugin *plugin, int *pushed, struct error *error)
{
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
        value->type = lua_isinteger(L, index) ? &ffi_type_sint64 : &ffi_type_double;
        if (lua_isinteger(L, index))
            value->integer = lua_tointeger(L, index);
        else
            value->number = lua_tonumber(L, index);
        return true;
    case LUA_TBOOLEAN:
        value->type = &ffi_type_sint64;
        value->integer = lua_toboolean(L, index);
        return true;
    case LUA_TTABLE: case LUA_TFUNCTION: case LUA_TTHREAD:
        return error_set(error, "number, string or C object expected, got %s", luaL_typename(L, index));
    default:
        value->type = &ffi_type_pointer;
        return object_store(L, index, signature->any_pointer, &value->pointer, plugin, pushed, error);
    }
}

int call_convert_variadic(lua_State *L, const struct signature *signature, char *storage, int given,
                          struct plugin *plugin, int *pushed, struct error *error)
{
    struct variadic *values = (struct variadic *)(storage + signature->storage_size);
    int declared = (int)signature->count;
    for (int i = declared; i < given; i++)
        if (!convert(L, i + 1, signature, &values[i - declared], plugin, pushed, error))
            return i + 1;
    return 0;
}

/* Integers go as 64 bits, which va_arg reads as well as an int: the conventions of both processors
 * give each a whole register or stack word. */
void call_variadic(void *target, const struct signature *signature, char *storage, int given,
                   void *result)
{
    struct variadic *extra = (struct variadic *)(storage + signature->storage_size);
    unsigned declared = native_count(signature);
    unsigned count = declared + (unsigned)given - signature->count;
    ffi_type *types[count + 1];
    void *values[count + 1];
    ffi_cif cif;
    gather(signature, storage, values);
    memcpy(types, signature->natives_of_arguments, declared * sizeof *types);
    for (unsigned i = declared; i < count; i++) {
        types[i] = extra[i - declared].type;
        values[i] = &extra[i - declared].pointer;
    }
    ffi_prep_cif_var(&cif, FFI_DEFAULT_ABI, declared, count, signature->native_result, types);
    ffi_call(&cif, FFI_FN(target), result, values);
}
