/* callback_signature.c: how a callback of a C function type gets its arguments, and the C pointers
 * for it: a stub of ours where all arguments come in registers, a libffi closure otherwise. */
#include "callback_entry.h"
#include "callback_internal.h"

#include "arch.h"
#include "fork_lock.h"
#include "memory.h"
#include "native.h"

#include <ffi.h>
#include <pthread.h>
#include <stdlib.h>

enum { WORD = 8 };

static bool is_float(const struct type *plain)
{
    return plain->kind == TYPE_FLOAT && plain->size <= sizeof(double);
}

static bool is_word(const struct type *plain)
{
    return plain->kind == TYPE_BOOL || plain->kind == TYPE_POINTER ||
           ((plain->kind == TYPE_INT || plain->kind == TYPE_ENUM) && plain->size <= WORD);
}

/* Give every argument its register's place. False if one does not come in a register. */
static bool place_in_registers(struct callback_signature *signature)
{
    unsigned integers = 0, floats = 0;
    const struct type *result = type_plain(signature->result);
    if (!is_word(result) && !is_float(result) && result->kind != TYPE_VOID)
        return false;
    for (unsigned i = 0; i < signature->count; i++) {
        struct callback_argument *argument = &signature->arguments[i];
        const struct type *plain = type_plain(argument->type);
        if (is_word(plain))
            argument->offset = integers++ * WORD;
        else if (is_float(plain))
            argument->offset = (CALLBACK_INTEGER_REGISTERS + floats++) * WORD;
        else
            return false;
    }
    signature->has_floats = floats > 0;
    signature->storage = (CALLBACK_INTEGER_REGISTERS + CALLBACK_FLOAT_REGISTERS) * WORD;
    return integers <= CALLBACK_INTEGER_REGISTERS && floats <= CALLBACK_FLOAT_REGISTERS;
}

static void place_in_storage(struct callback_signature *signature)
{
    signature->storage = 0;
    for (unsigned i = 0; i < signature->count; i++) {
        const struct type *plain = type_plain(signature->arguments[i].type);
        size_t align = plain->align > WORD ? plain->align : WORD;
        signature->storage = (signature->storage + align - 1) & ~(align - 1);
        signature->arguments[i].offset = (unsigned)signature->storage;
        signature->storage += plain->size;
    }
}

static bool is_value(const struct type *plain)
{
    return plain->kind != TYPE_UNSUPPORTED && plain->kind != TYPE_FUNCTION && !plain->is_incomplete &&
           plain->kind != TYPE_ARRAY;
}

static bool can_be_called_back(const struct type *type, struct error *error)
{
    if (type->is_variadic)
        return error_set(error, "a variadic function cannot be a callback");
    const struct type *result = type_plain(type->target);
    if (!is_value(result))
        return error_set(error, "a callback cannot return this type: %s",
                         result->reason ? result->reason : "it is incomplete");
    for (uint64_t i = 0; i < type->count; i++) {
        const struct type *plain = type_plain(type->parameters[i].type);
        if (!is_value(plain) || plain->kind == TYPE_VOID)
            return error_set(error, "a callback cannot take its argument #%d: %s", (int)i + 1,
                             plain->reason ? plain->reason : "its type is incomplete");
    }
    return true;
}

/* Does Lua get an object for it, rather than a string or a function? */
static bool is_object_pointer(const struct type *type)
{
    const struct type *plain = type_plain(type);
    if (plain->kind != TYPE_POINTER || type_plain(plain->target)->kind == TYPE_FUNCTION)
        return false;
    return !(plain->target->is_const && type_is_text(plain->target));
}

static struct callback_signature *compile(const struct type *type, struct error *error)
{
    struct callback_signature *signature;
    if (!can_be_called_back(type, error))
        return NULL;
    signature = memory_take(sizeof *signature + type->count * sizeof *signature->arguments);
    signature->type = type;
    signature->result = type->target;
    signature->result_scalar = object_scalar_of(type->target);
    signature->count = (unsigned)type->count;
    const struct type *result = type_plain(type->target);
    signature->is_simple = signature->result_scalar != SCALAR_OTHER || result->kind == TYPE_VOID;
    for (unsigned i = 0; i < signature->count; i++) {
        struct callback_argument *argument = &signature->arguments[i];
        argument->type = type->parameters[i].type;
        argument->scalar = object_scalar_of(argument->type);
        if (is_object_pointer(argument->type))
            argument->pointer = ++signature->pointers;
        signature->is_simple &= argument->scalar != SCALAR_OTHER || argument->pointer;
    }
    signature->is_in_registers = place_in_registers(signature);
    if (signature->is_in_registers)
        callback_find_thunk(signature);
    else
        place_in_storage(signature);
    types_retain(type->table);
    return signature;
}

struct callback_signature *callback_signature_of(struct callbacks *state, const struct type *type,
                                                 struct error *error)
{
    struct callback_signature *signature = state->signatures;
    while (signature && signature->type != type && !types_same(signature->type, type))
        signature = signature->next;
    if (!signature) {
        signature = compile(type, error);
        if (!signature)
            return NULL;
        signature->next = state->signatures;
        state->signatures = signature;
    }
    signature->uses++;
    return signature;
}

void callback_signature_sweep(struct callbacks *state)
{
    for (struct callback_signature **place = &state->signatures; *place;) {
        struct callback_signature *signature = *place;
        if (signature->uses > 0) {
            place = &signature->next;
            continue;
        }
        *place = signature->next;
        types_release(signature->type->table);
        free(signature);
    }
}

void callback_signature_release(struct callbacks *state, struct callback_signature *signature)
{
    signature->uses--;
    if (state->thread->top == state->thread->frames)     /* no callback is running */
        callback_signature_sweep(state);
}

/* Closures ----------------------------------------------------------------------------------- */

/* A closure, which is never freed, needs its description for ever: each distinct one is kept once. */
struct description {
    struct description *next;
    struct native_types *natives;
    ffi_cif cif;
    ffi_type *arguments[];
};

FORK_LOCK(descriptions_lock)
static struct description *descriptions;

static bool is_same_native(const ffi_type *a, const ffi_type *b)
{
    if (a->type != b->type || a->size != b->size || !a->elements != !b->elements)
        return false;
    size_t i = 0;
    while (a->elements && a->elements[i] && b->elements[i] &&
           is_same_native(a->elements[i], b->elements[i]))
        i++;
    return !a->elements || (!a->elements[i] && !b->elements[i]);
}

static bool is_same_description(const ffi_cif *a, const ffi_cif *b)
{
    bool same = a->nargs == b->nargs && is_same_native(a->rtype, b->rtype);
    for (unsigned i = 0; same && i < a->nargs; i++)
        same = is_same_native(a->arg_types[i], b->arg_types[i]);
    return same;
}

/* The second eight bytes of the struct are padding, and libffi's closures take a register for them
 * that the caller does not: what comes behind would be read from the wrong ones. */
static bool ends_in_padding(const ffi_type *type)
{
    size_t end = 0;
    if (type->type != FFI_TYPE_STRUCT || type->size != 2 * WORD)
        return false;
    for (size_t i = 0; type->elements[i]; i++)
        end = (end + type->elements[i]->alignment - 1) / type->elements[i]->alignment *
              type->elements[i]->alignment + type->elements[i]->size;
    return end <= WORD;
}

static struct description *describe(const struct type *type, struct error *error)
{
    struct description *made = memory_take(sizeof *made + type->count * sizeof *made->arguments);
    ffi_type *result = native_result(&made->natives, type->target, error);
    bool ok = result != NULL;
    for (uint64_t i = 0; ok && i < type->count; i++) {
        made->arguments[i] = native_type(&made->natives, type->parameters[i].type, error);
        ok = made->arguments[i] != NULL;
        if (ok && ends_in_padding(made->arguments[i]))
            ok = error_set(error, "a callback cannot take its argument #%d: half of it is padding",
                           (int)i + 1);
    }
    if (ok && ffi_prep_cif(&made->cif, FFI_DEFAULT_ABI, (unsigned)type->count, result,
                           made->arguments) == FFI_OK)
        return made;
    if (ok)
        error_set(error, "libffi does not take this signature");
    native_types_free(made->natives);
    free(made);
    return NULL;
}

/* The description of the function type, which lives for ever. */
static ffi_cif *cif_of(const struct type *type, struct error *error)
{
    struct description *made = describe(type, error);
    if (!made)
        return NULL;
    pthread_mutex_lock(&descriptions_lock);
    struct description *known = descriptions;
    while (known && !is_same_description(&known->cif, &made->cif))
        known = known->next;
    if (!known) {
        made->next = descriptions;
        descriptions = known = made;
    }
    pthread_mutex_unlock(&descriptions_lock);
    if (known != made) {
        native_types_free(made->natives);
        free(made);
    }
    return &known->cif;
}

/* libffi's side: the values, wherever they are, are copied to the storage that callback_invoke reads. */
static void on_closure(ffi_cif *cif, void *result, void **values, void *context)
{
    struct callback *callback = context;
    char room[512] __attribute__((aligned(16))), *storage = room;
    memset(result, 0, cif->rtype->size > sizeof(ffi_arg) ? cif->rtype->size : sizeof(ffi_arg));
    if (!callback->thread || callback->thread != thread_self_record) {
        callback_invoke_elsewhere(callback, NULL, values, result);
        return;
    }
    if (callback->signature->storage > sizeof room)
        storage = malloc(callback->signature->storage);
    if (!storage)
        return;
    callback_gather(callback->signature, values, storage);
    callback_invoke(callback, storage, result);
    if (storage != room)
        free(storage);
}

static void *make_closure(struct callback *callback, struct error *error)
{
    void *code = NULL;
    ffi_cif *cif = cif_of(callback->signature->type, error);
    ffi_closure *closure = cif ? ffi_closure_alloc(sizeof *closure, &code) : NULL;
    if (closure && ffi_prep_closure_loc(closure, cif, on_closure, callback, code) == FFI_OK)
        return code;
    if (closure)
        ffi_closure_free(closure);
    if (cif)
        error_set(error, "no memory for a callback: the system refuses executable memory");
    return NULL;
}

bool callback_make_pointer(struct callback *callback, struct error *error)
{
    const struct callback_signature *signature = callback->signature;
    if (signature->is_in_registers) {
        callback->entry = (void *)(signature->has_floats ? callback_entry_all : callback_entry_integers);
        callback->thunk = signature->thunk;
        if (signature->thunk)
            callback->entry = (void *)callback_entry_thunk[signature->thunk_integers];
        if (!callback->pointer)
            callback->pointer = arch_make_jump(&callback->entry);
    }
    if (!callback->pointer) {
        callback->entry = NULL;
        callback->pointer = make_closure(callback, error);
    }
    return callback->pointer != NULL;
}
