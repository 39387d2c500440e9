/* call_compile.c: from a C function type to the way of calling it: which conversions, which
 * registers, which thunk. Never enters Lua. */
#include "call_internal.h"

#include "cdecl.h"
#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Parameters and results --------------------------------------------------------------------- */

static bool is_integer(const struct type *plain)
{
    return (plain->kind == TYPE_INT || plain->kind == TYPE_ENUM) && plain->size <= 8;
}

static bool is_bytes(const struct type *plain)
{
    return plain->kind == TYPE_VOID || (plain->kind == TYPE_INT && plain->size == 1);
}

static void set_range(struct argument *argument, const struct type *plain)
{
    unsigned bits = (unsigned)plain->size * 8;
    argument->span = bits < 64 ? ((uint64_t)1 << bits) - 1 : UINT64_MAX;
    argument->minimum = 0;
    if (plain->is_signed || bits == 64)
        argument->minimum = -(int64_t)(argument->span / 2) - 1;
}

static void compile_argument(struct argument *argument, const struct type *type)
{
    const struct type *plain = type_complete(type->plain);
    argument->kind = ARGUMENT_OTHER;
    argument->type = type;
    argument->size = plain->size <= 8 ? (unsigned char)plain->size : 0;
    if (is_integer(plain)) {
        argument->kind = ARGUMENT_INTEGER;
        set_range(argument, plain);
    } else if (plain->kind == TYPE_FLOAT && plain->size == sizeof(double)) {
        argument->kind = ARGUMENT_DOUBLE;
    } else if (plain->kind == TYPE_FLOAT && plain->size == sizeof(float)) {
        argument->kind = ARGUMENT_FLOAT;
    } else if (plain->kind == TYPE_POINTER) {
        argument->kind = ARGUMENT_ADDRESS;
        argument->pointer = plain;
        argument->takes_text = plain->target->is_const && is_bytes(plain->target->plain);
    }
}

static bool is_text(const struct type *plain)
{
    const struct type *target = plain->target;
    return plain->kind == TYPE_POINTER && target->is_const && target->plain->is_char &&
           strcmp(target->plain->name, "char") == 0;
}

static void compile_result(struct signature *signature, const struct type *type)
{
    const struct type *plain = type_complete(type->plain);
    signature->result = RESULT_OTHER;
    signature->result_type = type;
    if (plain->kind == TYPE_VOID) {
        signature->result = RESULT_VOID;
    } else if (is_integer(plain)) {
        signature->result = RESULT_INTEGER;
        signature->shift = (unsigned char)(64 - 8 * plain->size);
        signature->is_signed = plain->is_signed;
    } else if (plain->kind == TYPE_FLOAT && plain->size == sizeof(double)) {
        signature->result = RESULT_DOUBLE;
    } else if (plain->kind == TYPE_FLOAT && plain->size == sizeof(float)) {
        signature->result = RESULT_FLOAT;
    } else if (plain->kind == TYPE_BOOL) {
        signature->result = RESULT_BOOL;
    } else if (is_text(plain)) {
        signature->result = RESULT_TEXT;
    }
}

/* Registers ---------------------------------------------------------------------------------- */

static bool has_register_result(const struct signature *signature)
{
    return signature->result != RESULT_OTHER ||
           signature->result_type->plain->kind == TYPE_POINTER;
}

/* Give each argument its register. False if one does not come in a register. */
static bool place_in_registers(struct signature *signature)
{
    unsigned integers = 0, floats = 0;
    for (unsigned i = 0; i < signature->count; i++) {
        struct argument *argument = &signature->arguments[i];
        const struct type *plain = argument->type->plain;
        if (argument->kind == ARGUMENT_DOUBLE || argument->kind == ARGUMENT_FLOAT)
            argument->offset = (unsigned)sizeof(uint64_t[CALL_INTEGER_REGISTERS]) + 8 * floats++;
        else if (argument->kind != ARGUMENT_OTHER || plain->kind == TYPE_BOOL)
            argument->offset = 8 * integers++;
        else
            return false;
        argument->is_signed = argument->kind == ARGUMENT_INTEGER && plain->is_signed &&
                              argument->size < 8;
    }
    return integers <= CALL_INTEGER_REGISTERS && floats <= CALL_FLOAT_REGISTERS;
}

static void use_registers(struct signature *signature)
{
    signature->is_in_registers = true;
    signature->is_result_float = signature->result == RESULT_DOUBLE || signature->result == RESULT_FLOAT;
    signature->storage_size = sizeof(struct registers);
    signature->result_size = 16;
}

static const struct type *any_pointer(struct types *table)
{
    const struct type *any = types_qualified(table, types_basic(table, "void"), true, false);
    return types_pointer_to(table, any);
}

static struct signature *compile(const struct type *type, struct error *error)
{
    struct signature *signature = call_new(type);
    for (unsigned i = 0; i < signature->count; i++)
        compile_argument(&signature->arguments[i], type->parameters[i].type);
    compile_result(signature, type->target);
    signature->is_variadic = type->is_variadic;
    if (signature->is_variadic)
        signature->any_pointer = any_pointer(type->table);
    if (!signature->is_variadic && has_register_result(signature) && place_in_registers(signature)) {
        use_registers(signature);
        return signature;
    }
    for (unsigned i = 0; i < signature->count; i++)
        signature->arguments[i].is_signed = false;
    if (call_prepare_ffi(signature, type, error))
        return signature;
    call_free(signature);
    return NULL;
}

/* Exports ------------------------------------------------------------------------------------ */

static char *format_refusal(const struct export *export, const char *why)
{
    char text[ERROR_TEXT + 256];
    snprintf(text, sizeof text, "'%s' cannot be called: %s", export->name, why);
    return memory_copy_text(text);
}

/* Others may be reading the export: its thunk is the last to change. */
static void publish(struct export *export, struct signature *signature, char *refusal)
{
    slot_lock();
    if (export->signature || export->refusal) {
        call_free(signature);
        free(refusal);
    } else {
        slot_entry *thunk = call_refused;
        if (signature)
            thunk = call_find_thunk(signature);
        export->signature = signature;
        export->refusal = refusal;
        __atomic_store_n(&export->thunk, thunk ? thunk : call_general, __ATOMIC_RELEASE);
    }
    slot_unlock();
}

static struct signature *compile_locked(const struct type *type, struct error *error)
{
    types_lock(type->table);
    struct signature *signature = compile(type_complete(type->plain), error);
    types_unlock(type->table);
    return signature;
}

bool call_is_possible(const struct export *export, struct error *error)
{
    struct error why = {0};
    struct signature *signature = export->signature ? NULL : compile_locked(export->type, &why);
    bool is_possible = export->signature || signature;
    call_free(signature);
    if (is_possible)
        return true;
    char *text = format_refusal(export, why.text);
    error_set(error, "%s", text);
    free(text);
    return false;
}

void call_compile(struct export *export)
{
    struct error error = {0};
    if (export->signature || export->refusal)
        return;
    struct signature *signature = compile_locked(export->type, &error);
    publish(export, signature, signature ? NULL : format_refusal(export, error.text));
}

void call_refuse(struct export *export, const char *why)
{
    publish(export, NULL, memory_copy_text(why));
}

void call_free_signature(struct export *export)
{
    call_free((struct signature *)export->signature);
    free((char *)export->refusal);
    export->signature = NULL;
    export->refusal = NULL;
}
