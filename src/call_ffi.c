/* call_ffi.c: calls through libffi: structs by value, long double and _Complex, more arguments than
 * registers, variadic functions. */
#include "call_internal.h"

#include "memory.h"

#include <stdlib.h>

enum { ALIGN = 16 };

static size_t round_up(size_t size)
{
    return (size + ALIGN - 1) / ALIGN * ALIGN;
}

static bool describe(struct signature *signature, const struct type *type, struct error *error)
{
    signature->native_result = native_type(&signature->natives, type->target, error);
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

bool call_prepare_ffi(struct signature *signature, const struct type *type, struct error *error)
{
    if (!describe(signature, type, error))
        return false;
    lay_out(signature);
    ffi_status status = ffi_prep_cif(&signature->cif, FFI_DEFAULT_ABI, signature->count,
                                     signature->native_result, signature->natives_of_arguments);
    return status == FFI_OK || error_set(error, "libffi does not take its signature");
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
    if (call_prepare_ffi(signature, type, error))
        return signature;
    call_free(signature);
    return NULL;
}

ffi_cif *call_ffi_cif(struct signature *signature)
{
    return &signature->cif;
}

void call_fixed(void *target, const struct signature *signature, char *storage, void *result)
{
    void *values[signature->count + 1];
    for (unsigned i = 0; i < signature->count; i++)
        values[i] = storage + signature->arguments[i].offset;
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
    unsigned count = (unsigned)given, declared = signature->count;
    ffi_type *types[count + 1];
    void *values[count + 1];
    ffi_cif cif;
    for (unsigned i = 0; i < count; i++) {
        types[i] = i < declared ? signature->natives_of_arguments[i] : extra[i - declared].type;
        values[i] = i < declared ? storage + signature->arguments[i].offset
                                 : (char *)&extra[i - declared].pointer;
    }
    ffi_prep_cif_var(&cif, FFI_DEFAULT_ABI, declared, count, signature->native_result, types);
    ffi_call(&cif, FFI_FN(target), result, values);
}
