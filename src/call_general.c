/* call_general.c: calls of any signature: every argument converted as the contract of values says,
 * then a call by registers or through libffi. Where the thunks go with what they do not take. */
#include "call_internal.h"

#include "cdecl.h"
#include "guard.h"
#include "hold.h"

#include <alloca.h>
#include <string.h>

/* What a call needs on its way; lives on the C stack. */
struct call {
    lua_State *L;
    struct slot *slot;
    struct thread *thread;
    struct frame *frame;
    struct export *export;
    const struct signature *signature;
    struct plugin *plugin;   /* whose lifetime callbacks made for it have; NULL: none */
    char *storage;           /* the arguments */
    int given;               /* how many */
    int pushed;              /* temporaries above them on the Lua stack */
};

/* Errors ------------------------------------------------------------------------------------- */

/* Leave the frame: the call does not take place. */
static void give_up(struct call *call)
{
    frame_set_image(call->frame, NULL);
    thread_set_top(call->thread, call->frame);
    frame_unpin(call->frame);
}

static const char *expected_value(const struct argument *argument, char *buffer, size_t size)
{
    enum type_kind kind = argument->type->plain->kind;
    if (kind == TYPE_INT || kind == TYPE_FLOAT || kind == TYPE_ENUM)
        return "number";
    if (kind == TYPE_BOOL)
        return "boolean";
    if (argument->takes_text)
        return "string";
    cdecl_print(buffer, size, argument->type, "");
    return buffer;
}

static int raise_count(struct call *call)
{
    char buffer[256];
    lua_State *L = call->L;
    const struct signature *signature = call->signature;
    const char *name = call->export->name;
    if (call->given < (int)signature->count) {
        const struct argument *missing = &signature->arguments[call->given];
        lua_pushfstring(L, "bad argument #%d to '%s' (%s expected, got no value)", call->given + 1,
                        name, expected_value(missing, buffer, sizeof buffer));
    } else {
        lua_pushfstring(L, "wrong number of arguments to '%s' (%d expected, got %d)", name,
                        (int)signature->count, call->given);
    }
    give_up(call);
    return luaL_error(L, "%s", lua_tostring(L, -1));
}

static int raise_argument(struct call *call, int index, const struct error *error)
{
    lua_State *L = call->L;
    lua_pushfstring(L, "bad argument #%d to '%s' (%s)", index, call->export->name, error->text);
    give_up(call);
    return luaL_error(L, "%s", lua_tostring(L, -1));
}

static int raise_unmapped(struct call *call)
{
    const struct image *image = call->export->image;
    lua_State *L = call->L;
    lua_pushfstring(L, "'%s' belongs to generation %d of plugin '%s', which has been unloaded",
                    call->export->name, (int)image->generation,
                    image->plugin ? image->plugin->name : image->source);
    give_up(call);
    return luaL_error(L, "%s", lua_tostring(L, -1));
}

/* Arguments ---------------------------------------------------------------------------------- */

/* What a register holds of a short signed integer is extended by the caller. */
static void extend(const struct argument *argument, char *place)
{
    unsigned shift = 64 - 8 * argument->size;
    int64_t value;
    memcpy(&value, place, sizeof value);
    value = (int64_t)((uint64_t)value << shift) >> shift;
    memcpy(place, &value, sizeof value);
}

static void convert(struct call *call, int index, const struct argument *argument)
{
    lua_State *L = call->L;
    char *place = call->storage + argument->offset;
    void *pointer;
    if (argument->kind == ARGUMENT_INTEGER && lua_isinteger(L, index)) {
        lua_Integer value = lua_tointeger(L, index);
        if ((uint64_t)value - (uint64_t)argument->minimum <= argument->span) {
            memcpy(place, &value, argument->size);
            if (argument->is_signed)
                extend(argument, place);
            return;
        }
    } else if (argument->kind == ARGUMENT_DOUBLE && lua_type(L, index) == LUA_TNUMBER) {
        lua_Number value = lua_tonumber(L, index);
        memcpy(place, &value, sizeof value);
        return;
    } else if (argument->kind == ARGUMENT_FLOAT && lua_type(L, index) == LUA_TNUMBER) {
        float value = (float)lua_tonumber(L, index);
        memcpy(place, &value, sizeof value);
        return;
    } else if (argument->kind == ARGUMENT_ADDRESS &&
               object_pointer(L, index, argument->pointer, &pointer)) {
        memcpy(place, &pointer, sizeof pointer);
        return;
    }
    struct error error;
    if (!object_store(L, index, argument->type, place, call->plugin, &call->pushed, &error))
        raise_argument(call, index, &error);
    if (argument->is_signed)
        extend(argument, place);
}

static void convert_all(struct call *call)
{
    const struct signature *signature = call->signature;
    for (unsigned i = 0; i < signature->count; i++)
        convert(call, (int)i + 1, &signature->arguments[i]);
}

/* Calls -------------------------------------------------------------------------------------- */

#define INTEGERS uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t
#define DOUBLES double, double, double, double, double, double, double, double
#define REGISTERS(r) \
    (r)->integers[0], (r)->integers[1], (r)->integers[2], (r)->integers[3], (r)->integers[4], \
    (r)->integers[5], (r)->floats[0], (r)->floats[1], (r)->floats[2], (r)->floats[3], \
    (r)->floats[4], (r)->floats[5], (r)->floats[6], (r)->floats[7]

/* Load every argument register; a function takes from them what it has parameters for. Both System V
 * on x86-64 and AAPCS64 number the two classes of registers apart. */
static void call_by_registers(const struct call *call, void *result)
{
    const struct registers *r = (const struct registers *)call->storage;
    void *target = call->export->target;
    if (call->signature->is_result_float) {
        double value = ((double (*)(INTEGERS, DOUBLES))target)(REGISTERS(r));
        memcpy(result, &value, sizeof value);
    } else {
        uint64_t value = ((uint64_t (*)(INTEGERS, DOUBLES))target)(REGISTERS(r));
        memcpy(result, &value, sizeof value);
    }
}

static void run(const struct call *call, void *result)
{
    if (call->signature->is_in_registers)
        call_by_registers(call, result);
    else if (call->signature->is_variadic)
        call_variadic(call->export->target, call->signature, call->storage, call->given, result);
    else
        call_fixed(call->export->target, call->signature, call->storage, result);
}

/* From the arguments in storage to the result on the Lua stack. The length of a text is taken while
 * a crash is still the plugin's. */
static int complete(struct call *call, void *result)
{
    lua_State *L = call->L;
    struct frame *frame = call->frame;
    struct image *image = call->export->image;
    size_t length = 0;
    const char *text;
    const struct plugin *owner = image ? image_owner(image) : NULL;
    unsigned limit_ms = owner ? owner->timeout_ms : 0;
    if (limit_ms > 0)
        guard_begin_timed(call->thread, frame, limit_ms);
    arch_save_stack(&frame->stack);
    run(call, result);
    if (call->signature->result == RESULT_TEXT) {
        memcpy(&text, result, sizeof text);
        length = text ? strlen(text) : 0;
    }
    frame->stack |= FRAME_IS_HOST;
    call->thread->kept_errno = *call->thread->errno_place;
    if (limit_ms > 0)
        guard_end_timed(call->thread, frame);
    int count = call_push_result(L, call->signature, image, result, length);
    give_up(call);
    if (call->thread->pending_error != THREAD_NO_ERROR)
        callback_raise_pending(L);
    return count;
}

int call_push_result(lua_State *L, const struct signature *signature, struct image *image,
                     void *memory, size_t length)
{
    int64_t integer;
    double number;
    float single;
    const char *text;
    switch ((enum result_kind)signature->result) {
    case RESULT_VOID:
        return 0;
    case RESULT_INTEGER:
        memcpy(&integer, memory, sizeof integer);
        lua_pushinteger(L, call_widen(signature, (uint64_t)integer));
        return 1;
    case RESULT_DOUBLE:
        memcpy(&number, memory, sizeof number);
        lua_pushnumber(L, number);
        return 1;
    case RESULT_FLOAT:
        memcpy(&single, memory, sizeof single);
        lua_pushnumber(L, single);
        return 1;
    case RESULT_BOOL:
        lua_pushboolean(L, *(unsigned char *)memory);
        return 1;
    case RESULT_TEXT:
        memcpy(&text, memory, sizeof text);
        if (text)
            lua_pushlstring(L, text, length);
        else
            lua_pushnil(L);
        return 1;
    case RESULT_OTHER:
        break;
    }
    struct origin origin = {.image = image};
    void *pointer = NULL;
    if (type_complete(signature->result_type->plain)->kind == TYPE_POINTER)
        memcpy(&pointer, memory, sizeof pointer);
    if (pointer && object_push_owner(L, pointer))      /* strchr(buffer, c) */
        origin.owner = lua_gettop(L);
    object_push(L, signature->result_type, memory, &origin, true);
    return 1;
}

/* With the frame pushed and the image pinned. */
static int convert_and_run(struct call *call)
{
    const struct signature *signature = call->signature;
    size_t size = signature->storage_size;
    if (call->given != (int)signature->count &&
        !(signature->is_variadic && call->given > (int)signature->count))
        return raise_count(call);
    if (signature->is_variadic)
        size += sizeof(struct variadic) * (size_t)(call->given - (int)signature->count);
    call->storage = alloca(size);
    memset(call->storage, 0, size);
    convert_all(call);
    if (signature->is_variadic) {
        struct error error;
        int wrong = call_convert_variadic(call->L, signature, call->storage, call->given,
                                          call->plugin, &call->pushed, &error);
        if (wrong)
            return raise_argument(call, wrong, &error);
    }
    void *result = alloca(signature->result_size);
    return complete(call, result);
}

int call_general(lua_State *L, struct slot *slot)
{
    struct thread *thread = thread_self();
    thread_drop_abandoned(thread, (uintptr_t)__builtin_frame_address(0));
    struct frame *frame = thread->top;
    if (frame >= thread->frames + THREAD_FRAMES - 4)
        return luaL_error(L, "C stack overflow (native calls are nested too deeply)");
    struct export *export = frame_pin(frame, slot);
    frame->stack = (uintptr_t)__builtin_frame_address(0) | FRAME_IS_HOST;
    frame->L = L;
    frame_set_image(frame, call_is_bare(slot) ? export->image : NULL);
    thread_set_top(thread, frame + 1);
    if (call_unlikely(frame->image && frame->image->plugin && frame->image->plugin->is_held))
        hold_pass_image(frame);
    struct call call = {
        .L = L, .slot = slot, .thread = thread, .frame = frame, .export = export,
        .signature = export->signature, .given = lua_gettop(L),
        .plugin = export->image ? export->image->plugin : NULL,
    };
    if (call_unlikely(call_is_bare(slot) && export->image && !export->image->is_mapped))
        return raise_unmapped(&call);
    if (call_unlikely(!export->signature)) {
        slot_entry *thunk = call_thunk(export);
        give_up(&call);
        return thunk(L, slot);
    }
    return convert_and_run(&call);
}

int call_timed(lua_State *L, struct slot *slot)
{
    return call_general(L, slot);
}
