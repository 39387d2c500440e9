/* callback_call.c: C calls a Lua function: on the state's own thread at once, from another thread
 * through the host's queue. Never lets a Lua error through to C. */
#include "callback_internal.h"

#include "fork_lock.h"
#include "host.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PATIENCE_SECONDS = 5, STACK_ROOM = 30, FEW_ARGUMENTS = 4 };

/* A call by another thread. It is freed by who delivers it if it is queued, else by the caller, who
 * waits. */
struct request {
    struct callback *callback;
    struct callbacks *state;
    const char *arguments;   /* a copy, behind this */
    void *result;
    bool is_queued;          /* void: nobody waits */
    bool is_answered;
    struct request *next, **link;        /* in the state's list */
};

/* Around what threads other than the state's own read of it, and around requests. */
FORK_LOCK(lock)
static pthread_cond_t answered = PTHREAD_COND_INITIALIZER;

/* Errors ------------------------------------------------------------------------------------- */

static bool is_native_call_below(const struct thread *thread)
{
    for (const struct frame *frame = thread->frames; frame < thread->top; frame++)
        if (!(frame->stack & FRAME_IS_HOST))
            return true;
    return false;
}

static int raise_value(lua_State *L)
{
    return lua_error(L);
}

/* The error on top waits for the native call in progress to return; without one it is reported. A second
 * one during the same call is dropped. [-1 +0] */
void callback_take_error(lua_State *L, struct thread *thread)
{
    if (!is_native_call_below(thread)) {
        lua_pushcfunction(L, raise_value);
        lua_insert(L, -2);
        host_call(L, 1, "error in a callback");
    } else if (thread->pending_error == THREAD_NO_ERROR) {
        thread->pending_error = luaL_ref(L, LUA_REGISTRYINDEX);
    } else {
        lua_pop(L, 1);
    }
}

void callback_raise_pending(lua_State *L)
{
    struct thread *thread = thread_self();
    int reference = thread->pending_error;
    if (reference == THREAD_NO_ERROR || is_native_call_below(thread))
        return;
    thread->pending_error = THREAD_NO_ERROR;
    lua_rawgeti(L, LUA_REGISTRYINDEX, reference);
    luaL_unref(L, LUA_REGISTRYINDEX, reference);
    lua_error(L);
}

/* Calls that need memory: all inside a protected call ---------------------------------------- */

struct invocation {
    struct callback *callback;
    const struct callback_signature *signature;  /* stays, also if the function frees its callback */
    const char *arguments;
    void *result;
};

/* What the result leads to (a string, a literal) stays until the next result. */
static void keep_result(lua_State *L, struct callback *callback, int first)
{
    lua_newtable(L);
    for (int i = first; i < lua_gettop(L); i++) {
        lua_pushvalue(L, i);
        lua_rawseti(L, -2, i - first + 1);
    }
    luaL_unref(L, LUA_REGISTRYINDEX, callback->kept);
    callback->kept = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* Small integers fill the whole register. */
static void extend(const struct type *plain, void *result)
{
    unsigned unused = 64 - (unsigned)plain->size * 8;
    int64_t value;
    if ((plain->kind != TYPE_INT && plain->kind != TYPE_ENUM) || !plain->is_signed || unused >= 64)
        return;
    memcpy(&value, result, sizeof value);
    value = (int64_t)((uint64_t)value << unused) >> unused;
    memcpy(result, &value, sizeof value);
}

static void store_result(lua_State *L, const struct invocation *call)
{
    struct error error = {0};
    const struct type *type = call->signature->result, *plain = type_plain(type);
    int pushed = 0, index = lua_gettop(L);
    if (!object_store(L, index, type, call->result, call->callback->plugin, &pushed, &error))
        luaL_error(L, "bad result of a callback (%s)", error.text);
    extend(plain, call->result);
    if ((plain->kind == TYPE_POINTER || pushed > 0) && call->callback->state)
        keep_result(L, call->callback, index);
}

/* Have the object on top given again for the same pointer. [-0 +0] */
static void remember_pointer(lua_State *L, struct callback *callback, unsigned number)
{
    struct callback_pointer *pointer = &callback->pointers[number - 1];
    lua_State *shelf = callback->state->shelf;
    pointer->object = object_test(L, -1);
    pointer->stamp = image_stamp();
    lua_pushvalue(L, -1);
    lua_xmove(L, shelf, 1);
    lua_replace(shelf, pointer->slot);
}

/* An object for a pointer into no image, nor where one was, is as the one before, but for the address. False:
 * not that simple. */
static bool push_alike(lua_State *L, const struct callback *callback, unsigned number, void *value)
{
    const struct callback_pointer *known = &callback->pointers[number - 1];
    if (!value || !known->object || known->object->flags != OBJECT_POINTER || known->object->image)
        return false;
    struct image *image = image_of_address(value);
    if (!image)
        image = image_gone_from(value);
    image_release(image);
    if (image)
        return false;
    struct object *object = lua_newuserdatauv(L, sizeof *object, 1);
    *object = *known->object;
    object->address = value;
    lua_getmetatable(callback->state->shelf, known->slot);
    lua_xmove(callback->state->shelf, L, 1);
    lua_setmetatable(L, -2);
    return true;
}

static void push_pointer(lua_State *L, struct callback *callback, const struct callback_argument *argument,
                         const char *place)
{
    void *value;
    memcpy(&value, place, sizeof value);
    if (!push_alike(L, callback, argument->pointer, value))
        object_push(L, argument->type, (void *)place, NULL, true);
    remember_pointer(L, callback, argument->pointer);
}

static int run_protected(lua_State *L)
{
    struct invocation *call = lua_touserdata(L, 1);
    const struct callback_signature *signature = call->signature;
    bool is_void = signature->result->plain->kind == TYPE_VOID;
    callback_push_slot(L, call->callback->state, call->callback->function);
    for (unsigned i = 0; i < signature->count; i++) {
        const struct callback_argument *argument = &signature->arguments[i];
        const char *place = call->arguments + argument->offset;
        if (argument->pointer)
            push_pointer(L, call->callback, argument, place);
        else if (!object_push_scalar(L, argument->scalar, place))
            object_push(L, argument->type, (void *)place, NULL, true);
    }
    lua_call(L, (int)signature->count, !is_void);
    if (!is_void)
        store_result(L, call);
    return 0;
}

static __attribute__((noinline)) void run_general(lua_State *L, struct thread *thread,
                                                  struct callback *callback,
                        const char *arguments, void *result)
{
    struct invocation call = {callback, callback->signature, arguments, result};
    if (!lua_checkstack(L, (int)call.signature->count + STACK_ROOM)) {
        fprintf(stderr, "hotlua: a callback was not run: stack overflow\n");
        return;
    }
    struct frame *frame = thread_enter_host(L);
    if (!frame)
        return;
    lua_pushcfunction(L, run_protected);
    lua_pushlightuserdata(L, &call);
    int status = lua_pcall(L, 1, 0, 0);
    thread_leave_host(frame);
    if (status != LUA_OK)
        callback_take_error(L, thread);
}

/* Calls that need none ----------------------------------------------------------------------- */

static int store_protected(lua_State *L)
{
    struct invocation *call = lua_touserdata(L, 1);
    lua_settop(L, 2);
    store_result(L, call);
    return 0;
}

/* In a protected call. */
__attribute__((noinline)) void callback_store_uncommon(lua_State *L, struct thread *thread,
                                                       struct callback *callback,
                                                       const struct callback_signature *signature,
                                                       void *result)
{
    struct invocation call = {callback, signature, NULL, result};
    lua_pushcfunction(L, store_protected);
    lua_pushlightuserdata(L, &call);
    lua_rotate(L, -3, -1);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK)
        callback_take_error(L, thread);
}

static inline bool push_known_pointer(lua_State *L, const struct callback *callback,
                                      const struct callback_argument *argument, const char *place)
{
    void *value;
    memcpy(&value, place, sizeof value);
    return callback_push_known_pointer(L, callback, argument->pointer, value);
}

/* Push the function and its arguments. False, with nothing pushed: that needs memory. */
static inline bool push_simple(lua_State *L, const struct callback *callback, const char *arguments)
{
    const struct callback_signature *signature = callback->signature;
    const struct callback_argument *argument = signature->arguments, *end = argument + signature->count;
    callback_push_slot(L, callback->state, callback->function);
    for (; argument < end; argument++) {
        const char *place = arguments + argument->offset;
        int32_t integer;
        memcpy(&integer, place, sizeof integer);
        if (argument->scalar == SCALAR_INT32)
            lua_pushinteger(L, integer);
        else if (!argument->pointer)
            object_push_scalar(L, argument->scalar, place);
        else if (!push_known_pointer(L, callback, argument, place)) {
            lua_pop(L, (int)(argument - signature->arguments) + 1);
            return false;
        }
    }
    return true;
}

/* Is there room for a callback on the Lua stack? A native call that Lua made has left most of the
 * LUA_MINSTACK slots that it has by right. */
static inline bool has_room(lua_State *L, const struct thread *thread, int count)
{
    bool is_fresh = thread->top > thread->frames && !(thread->top[-1].stack & FRAME_FLAGS);
    return (is_fresh && count <= FEW_ARGUMENTS) || lua_checkstack(L, count + STACK_ROOM);
}

/* The whole call, if it can be made without memory. `here`: an address in the C stack frame that calls. */
static inline bool run_simple(lua_State *L, struct thread *thread, struct callback *callback,
                              const char *arguments, void *result, uintptr_t here)
{
    const struct callback_signature *signature = callback->signature;
    enum scalar scalar = signature->result_scalar;
    int count = (int)signature->count;
    if (!signature->is_simple || !has_room(L, thread, count))
        return false;
    struct frame *frame = thread_enter_host_at(thread, L, here);
    if (!frame)
        return false;
    if (!push_simple(L, callback, arguments)) {
        thread_set_top(thread, frame);
        return false;
    }
    int status = lua_pcall(L, count, scalar != SCALAR_OTHER, 0);
    thread_set_top(thread, frame);
    if (__builtin_expect(status != LUA_OK, 0))
        callback_take_error(L, thread);
    else if (scalar != SCALAR_OTHER && callback_store_simple(L, scalar, result))
        lua_pop(L, 1);
    else if (scalar != SCALAR_OTHER)
        callback_store_uncommon(L, thread, callback, signature, result);
    return true;
}

/* Other threads ------------------------------------------------------------------------------ */

/* Both under the lock. */
static void link_request(struct request *request)
{
    request->next = request->state->requests;
    request->link = &request->state->requests;
    if (request->next)
        request->next->link = &request->next;
    request->state->requests = request;
}

static void unlink_request(struct request *request)
{
    *request->link = request->next;
    if (request->next)
        request->next->link = request->link;
}

void callback_gather(const struct callback_signature *signature, void *const *values, char *storage)
{
    for (unsigned i = 0; i < signature->count; i++)
        memcpy(storage + signature->arguments[i].offset, values[i],
               type_plain(signature->arguments[i].type)->size);
}

static bool is_text_argument(const struct callback_argument *argument)
{
    const struct type *plain = argument->type->plain;
    return plain->kind == TYPE_POINTER && plain->target->is_const && type_is_text(plain->target);
}

static size_t size_of_texts(const struct callback_signature *signature, const char *storage)
{
    size_t size = 0;
    for (unsigned i = 0; i < signature->count; i++) {
        char *text = NULL;
        if (is_text_argument(&signature->arguments[i]))
            memcpy(&text, storage + signature->arguments[i].offset, sizeof text);
        size += text ? strlen(text) + 1 : 0;
    }
    return size;
}

/* Since nobody waits for a void call, its strings are copied: to the room behind the storage. */
static void copy_texts(const struct callback_signature *signature, char *storage)
{
    char *room = storage + signature->storage;
    for (unsigned i = 0; i < signature->count; i++) {
        char *text = NULL, *place = storage + signature->arguments[i].offset;
        if (is_text_argument(&signature->arguments[i]))
            memcpy(&text, place, sizeof text);
        if (!text)
            continue;
        memcpy(place, &room, sizeof room);
        room = stpcpy(room, text) + 1;
    }
}

/* A request with a copy of the arguments. NULL for want of memory. */
static struct request *make_request(struct callback *callback, const char *arguments, void *result)
{
    const struct callback_signature *signature = callback->signature;
    bool is_void = signature->result->plain->kind == TYPE_VOID;
    size_t texts = is_void ? size_of_texts(signature, arguments) : 0;
    struct request *request = malloc(sizeof *request + signature->storage + texts);
    if (!request)
        return NULL;
    char *storage = (char *)(request + 1);
    *request = (struct request){
        .callback = callback, .state = callback->state, .arguments = storage, .result = result,
        .is_queued = is_void,
    };
    memcpy(storage, arguments, signature->storage);
    if (is_void)
        copy_texts(signature, storage);
    return request;
}

/* On the state's thread. */
static void deliver(lua_State *L, void *context)
{
    struct request *request = context;
    uint64_t ignored[2];
    if (request->callback->thread)
        run_general(L, request->callback->thread, request->callback, request->arguments,
                    request->is_queued ? ignored : request->result);
    pthread_mutex_lock(&lock);
    unlink_request(request);
    request->is_answered = true;
    bool is_queued = request->is_queued;
    pthread_cond_broadcast(&answered);
    pthread_mutex_unlock(&lock);
    if (is_queued)
        free(request);
}

void callback_close_requests(struct callbacks *state)
{
    pthread_mutex_lock(&lock);
    while (state->requests) {
        struct request *request = state->requests;
        unlink_request(request);
        request->is_answered = true;
        if (request->is_queued)
            free(request);
    }
    pthread_cond_broadcast(&answered);
    pthread_mutex_unlock(&lock);
}

/* Wait, under the lock, and say so when it takes long: the loop's thread may be waiting for this one. */
static void await(struct request *request)
{
    struct timespec limit;
    bool is_told = false;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += PATIENCE_SECONDS;
    while (!request->is_answered) {
        int status = is_told ? pthread_cond_wait(&answered, &lock)
                             : pthread_cond_timedwait(&answered, &lock, &limit);
        if (status == ETIMEDOUT && !request->is_answered)
            fprintf(stderr, "hotlua: a thread has waited %d s for a callback: the loop's thread is "
                    "inside a native call, or does not run its loop\n", PATIENCE_SECONDS);
        is_told |= status == ETIMEDOUT;
    }
}

static void report_unreachable(struct callback *callback)
{
    const char *where = callback->where ? callback->where : "a closed Lua state";
    if (callback->is_reported)
        return;
    callback->is_reported = true;
    if (callback->thread)
        fprintf(stderr, "hotlua: a callback was called from a thread that cannot reach its Lua state: "
                "it gets zero\n");
    else
        fprintf(stderr, "hotlua: C called a callback that was freed (the function at %s): it gets "
                "zero\n", where);
}

/* Under the lock. Returns what to wait for, NULL if nothing. */
static struct request *post(struct callback *callback, const char *arguments, void *const *values,
                            void *result)
{
    const struct callback_signature *signature = callback->signature;
    char room[512] __attribute__((aligned(16))), *storage = room;
    if (values) {
        storage = signature->storage > sizeof room ? malloc(signature->storage) : room;
        if (!storage)
            return NULL;
        callback_gather(signature, values, storage);
        arguments = storage;
    }
    struct request *request = make_request(callback, arguments, result);
    if (storage != room)
        free(storage);
    if (!request)
        return NULL;
    link_request(request);
    host_post(callback->state->host, deliver, request);
    return request->is_queued ? NULL : request;
}

void callback_invoke_elsewhere(struct callback *callback, const char *arguments, void *const *values,
                               void *result)
{
    struct request *request = NULL;
    pthread_mutex_lock(&lock);
    if (!callback->thread || !callback->state || !callback->state->host)
        report_unreachable(callback);
    else
        request = post(callback, arguments, values, result);
    if (request)
        await(request);
    pthread_mutex_unlock(&lock);
    free(request);
}

void callback_invoke(struct callback *callback, const char *arguments, void *result)
{
    struct thread *thread = thread_self_record;
    memset(result, 0, sizeof(uint64_t));
    if (__builtin_expect(!thread || callback->thread != thread, 0)) {
        callback_invoke_elsewhere(callback, arguments, NULL, result);
        return;
    }
    lua_State *L = thread_lua(thread);
    if (!L)
        L = callback->state->L;
    if (!run_simple(L, thread, callback, arguments, result, (uintptr_t)result))
        run_general(L, thread, callback, arguments, result);
}

/* Dying -------------------------------------------------------------------------------------- */

void callback_die(struct callback *callback, char *where)
{
    pthread_mutex_lock(&lock);
    callback->thread = NULL;
    callback->state = NULL;
    callback->signature = NULL;
    callback->where = where;
    pthread_mutex_unlock(&lock);
}

void callback_reset(struct callback *callback, struct callback_signature *signature)
{
    void *pointer = callback->pointer, *entry = callback->entry;
    pthread_mutex_lock(&lock);
    free(callback->where);
    *callback = (struct callback){.entry = entry, .pointer = pointer, .signature = signature};
    pthread_mutex_unlock(&lock);
}
