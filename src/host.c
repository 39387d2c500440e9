/* host.c: one Lua state of the host: its loop, luv on it, and the queue through which other threads
 * reach it. Knows nothing of reloads. */
#include "host.h"

#include "call.h"
#include "core.h"
#include "interrupt.h"
#include "loader.h"
#include "memory.h"
#include "slot.h"

#include <errno.h>
#include <lauxlib.h>
#include <luv/luv.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct message {
    void (*deliver)(lua_State *L, void *context);
    void *context;
    struct message *next;
};

struct queue {
    struct message *first, **last;
};

struct host {
    struct slot_owner slots;     /* first: plugins know it as their owner */
    lua_State *L;
    uv_loop_t loop;
    uv_async_t wake;             /* unreferenced unless something is awaited (host_await) */
    pthread_t thread;
    pthread_mutex_t lock;        /* of the queues */
    struct queue posted, mail;
    int jobs;                    /* host_work in progress */
    unsigned ended;              /* jobs so far; both are atomic */
    uint64_t spin_until_ns;      /* the result of a job is awaited without sleeping until then */
    int awaited;                 /* reasons to keep the loop alive */
    bool is_running;             /* inside uv_run */
    volatile bool is_stopped;    /* hot.stop() */
    bool is_closing;
    volatile bool is_interrupted;    /* host_interrupt: errors that come of it are not worth a word */
};

static const char host_key = 0;          /* its address is the registry key */

/* A processor that sleeps takes as long to wake as a small reload takes in all. So for this long after a job
 * has begun the loop, where it has nothing else to do, looks for its result instead of sleeping. */
enum { SPIN_NS = 1000 * 1000 };

/* The signal that asked the program to end, 0: none; and whom to interrupt. */
static volatile sig_atomic_t ending_signal;
static struct host *main_host;

struct host *host_of(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &host_key);
    struct host *host = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return host;
}

uv_loop_t *host_loop(struct host *host)
{
    return &host->loop;
}

/* Errors ------------------------------------------------------------------------------------- */

static int add_traceback(lua_State *L)
{
    const char *text = lua_tostring(L, 1);
    if (!text)
        return 1;            /* an error object stays what it is: a failed assertion, say */
    luaL_traceback(L, L, text, 1);
    return 1;
}

/* Hand the error on top to hot's error handler (Lua: core.on_error), or print it. [-1 +0] */
static void report_error(lua_State *L, const char *what)
{
    if (host_of(L)->is_interrupted) {
        lua_pop(L, 1);
        return;
    }
    lua_rawgetp(L, LUA_REGISTRYINDEX, &core_error_key);
    if (lua_isfunction(L, -1)) {
        lua_insert(L, -2);
        lua_pushstring(L, what);
        if (lua_pcall(L, 2, 0, 0) == LUA_OK)
            return;
        lua_pop(L, 1);
        return;
    }
    lua_pop(L, 1);
    fprintf(stderr, "hotlua: %s: %s\n", what, luaL_tolstring(L, -1, NULL));
    lua_pop(L, 2);
}

bool host_call(lua_State *L, int arguments, const char *what)
{
    int base = lua_gettop(L) - arguments;
    lua_pushcfunction(L, add_traceback);
    lua_insert(L, base);
    bool ok = lua_pcall(L, arguments, 0, base) == LUA_OK;
    if (!ok)
        report_error(L, what);
    lua_remove(L, base);
    return ok;
}

/* luv's way of calling back: as its own, but an error never ends the process. */
static int luv_call(lua_State *L, int arguments, int results, int flags)
{
    if (flags & LUVF_CALLBACK_NOERRMSG && flags & LUVF_CALLBACK_NOTRACEBACK) {
        int status = lua_pcall(L, arguments, results, 0);
        if (status != LUA_OK)
            lua_pop(L, 1);
        return status == LUA_OK ? 0 : -status;
    }
    int base = lua_gettop(L) - arguments;
    lua_pushcfunction(L, add_traceback);
    lua_insert(L, base);
    int status = lua_pcall(L, arguments, results, base);
    lua_remove(L, base);
    if (status == LUA_OK)
        return results == LUA_MULTRET ? lua_gettop(L) - base + 1 : results;
    report_error(L, "error in a luv callback");
    return -status;
}

/* The queue ---------------------------------------------------------------------------------- */

static bool take_message(struct host *host, struct queue *queue, struct message *taken)
{
    pthread_mutex_lock(&host->lock);
    struct message *message = queue->first;
    if (message) {
        *taken = *message;
        queue->first = message->next;
        if (!queue->first)
            queue->last = &queue->first;
    }
    pthread_mutex_unlock(&host->lock);
    free(message);
    return message != NULL;
}

static bool is_empty(struct host *host, const struct queue *queue)
{
    pthread_mutex_lock(&host->lock);
    bool empty = !queue->first;
    pthread_mutex_unlock(&host->lock);
    return empty;
}

static void add_message(struct host *host, struct queue *queue,
                        void (*deliver)(lua_State *L, void *context), void *context)
{
    struct message *message = memory_take(sizeof *message);
    *message = (struct message){deliver, context, NULL};
    pthread_mutex_lock(&host->lock);
    *queue->last = message;
    queue->last = &message->next;
    pthread_mutex_unlock(&host->lock);
}

static void empty_queue(struct host *host, struct queue *queue, lua_State *L)
{
    struct message message;
    luaL_checkstack(L, 20, NULL);
    while (take_message(host, queue, &message))
        message.deliver(L, message.context);
}

void host_drain(struct host *host, lua_State *L)
{
    slot_disarm(&host->slots);
    empty_queue(host, &host->posted, L);
}

/* Where a call of an armed plugin goes: what waits is delivered before the call. */
static int call_safe_point(lua_State *L, struct slot *slot)
{
    struct host *host = slot->plugin->owner;
    if (pthread_equal(host->thread, pthread_self()))
        host_drain(host, L);
    return slot_usual(slot)(L, slot);
}

static void serve_queues(struct host *host)
{
    if (!is_empty(host, &host->posted))
        host_drain(host, host->L);
    empty_queue(host, &host->mail, host->L);
}

static void on_wake(uv_async_t *wake)
{
    serve_queues(wake->data);
}

void host_post(struct host *host, void (*deliver)(lua_State *L, void *context), void *context)
{
    add_message(host, &host->posted, deliver, context);
    slot_arm(&host->slots);
    uv_async_send(&host->wake);
}

void host_mail(struct host *host, void (*deliver)(lua_State *L, void *context), void *context)
{
    add_message(host, &host->mail, deliver, context);
    uv_async_send(&host->wake);
}

struct job {
    struct host *host;
    void (*work)(void *context);
    void (*done)(lua_State *L, void *context);
    void *context;
};

static void finish_job(lua_State *L, void *context)
{
    struct job job = *(struct job *)context;
    free(context);
    host_await(job.host, -1);
    job.done(L, job.context);
    host_end_job(job.host);
}

static void run_job(void *context)
{
    struct job *job = context;
    job->work(job->context);
    host_post(job->host, finish_job, job);
}

void host_begin_job(struct host *host)
{
    __atomic_store_n(&host->spin_until_ns, uv_hrtime() + SPIN_NS, __ATOMIC_RELAXED);
    __atomic_add_fetch(&host->jobs, 1, __ATOMIC_RELEASE);
}

void host_end_job(struct host *host)
{
    __atomic_sub_fetch(&host->jobs, 1, __ATOMIC_RELEASE);
    __atomic_add_fetch(&host->ended, 1, __ATOMIC_RELEASE);
}

static unsigned ended_count(struct host *host)
{
    return __atomic_load_n(&host->ended, __ATOMIC_ACQUIRE);
}

static int job_count(struct host *host)
{
    return __atomic_load_n(&host->jobs, __ATOMIC_ACQUIRE);
}

void host_work(struct host *host, void (*work)(void *context),
               void (*done)(lua_State *L, void *context), void *context)
{
    struct job *job = memory_take(sizeof *job);
    *job = (struct job){host, work, done, context};
    host_begin_job(host);
    host_await(host, 1);
    loader_run(run_job, job);
}

void host_await(struct host *host, int change)
{
    host->awaited += change;
    if (host->is_closing)
        return;
    if (host->awaited > 0)
        uv_ref((uv_handle_t *)&host->wake);
    else
        uv_unref((uv_handle_t *)&host->wake);
}

/* Signals ------------------------------------------------------------------------------------ */

/* The first signal ends the program in order, also out of Lua code that never returns to the loop;
 * the second one kills. */
static void on_signal(int number)
{
    int kept = errno;
    ending_signal = number;
    signal(number, SIG_DFL);
    if (main_host) {             /* not between two runs of a watched script */
        if (pthread_equal(main_host->thread, pthread_self()))
            interrupt_here();
        else
            interrupt_thread(main_host->thread);
        uv_async_send(&main_host->wake);
    }
    errno = kept;
}

void host_interrupt(struct host *host)
{
    host->is_interrupted = true;
    interrupt_thread(host->thread);
    host_stop(host);
}

bool host_was_interrupted(struct host *host)
{
    return host->is_interrupted;
}

int host_exit_status(void)
{
    return ending_signal ? 128 + ending_signal : 0;
}

static void listen_to_signals(struct host *host)
{
    main_host = host;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* Running ------------------------------------------------------------------------------------ */

bool host_is_running(struct host *host)
{
    return host->is_running;
}

bool host_enter_loop(struct host *host, bool is_running)
{
    bool was_running = host->is_running;
    host->is_running = is_running;
    return was_running;
}

/* Is there another processor for the loader's thread to run on meanwhile? */
static bool has_processors(void)
{
    static int count;
    cpu_set_t set;
    if (count == 0)
        count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count > 1;
}

/* Serve the loop without sleeping until a job is done or its time is up. */
static void spin(struct host *host)
{
    unsigned before = ended_count(host);
    while (ended_count(host) == before && !ending_signal &&
           uv_hrtime() < __atomic_load_n(&host->spin_until_ns, __ATOMIC_RELAXED)) {
        uv_run(&host->loop, UV_RUN_NOWAIT);
        serve_queues(host);      /* a loop with nothing to wait for does not look */
        sched_yield();           /* the probe's process may want this processor */
    }
}

bool host_turn(struct host *host, bool may_block)
{
    if (host->is_running)
        return false;
    host->is_running = true;
    unsigned before = ended_count(host);
    if (may_block)
        fflush(stdout);      /* who prints into a pipe wants it read before the next event */
    if (may_block && job_count(host) > 0 && has_processors())
        spin(host);
    bool is_done = ended_count(host) != before;
    bool more = uv_run(&host->loop, may_block && !is_done ? UV_RUN_ONCE : UV_RUN_NOWAIT) != 0;
    serve_queues(host);
    host->is_running = false;
    return more;
}

void host_stop(struct host *host)
{
    host->is_stopped = true;
    uv_async_send(&host->wake);
}

int host_run(struct host *host)
{
    host->is_stopped = false;
    while (!ending_signal && !host->is_stopped && host_turn(host, true))
        ;
    return host_exit_status();
}

bool host_was_stopped(struct host *host)
{
    return host->is_stopped;
}

/* Opening and closing ------------------------------------------------------------------------ */

/* The preloaded `luv`: on this host's loop, with what luv gets wrong on a shared loop put right. */
static int open_luv(lua_State *L)
{
    struct host *host = host_of(L);
    luv_set_loop(L, &host->loop);
    luv_set_callback(L, luv_call);
    luaopen_luv(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "hotlua.luv");
    lua_call(L, 1, 1);
    lua_pushvalue(L, -2);
    lua_call(L, 1, 0);
    return 1;
}

/* luv's own further states (new_thread, new_work): hotlua is in them as in this one. */
static lua_State *open_thread_state(void)
{
    lua_State *L = luaL_newstate();
    if (!L)
        return NULL;
    luaL_openlibs(L);
    if (!host_open(L))
        return L;
    lua_getglobal(L, "require");
    lua_pushliteral(L, "luv");
    if (lua_pcall(L, 1, 1, 0) != LUA_OK)
        fprintf(stderr, "hotlua: a thread cannot open luv: %s\n", lua_tostring(L, -1));
    lua_settop(L, 0);
    return L;
}

static void close_thread_state(lua_State *L)
{
    struct host *host = host_of(L);
    if (host)
        host_close(host);
    lua_close(L);
    if (host)
        host_free(host);
}

/* The loop takes three descriptors. */
static bool open_loop(struct host *host)
{
    int failure = uv_loop_init(&host->loop);
    if (failure == 0) {
        failure = uv_async_init(&host->loop, &host->wake, on_wake);
        if (failure)
            uv_loop_close(&host->loop);
    }
    if (failure)
        fprintf(stderr, "hotlua: no event loop: %s\n", uv_strerror(failure));
    return failure == 0;
}

struct host *host_open(lua_State *L)
{
    struct host *host = memory_take(sizeof *host);
    if (!open_loop(host)) {
        free(host);
        return NULL;
    }
    host->slots.safe_point = call_safe_point;
    host->L = L;
    host->thread = pthread_self();
    host->posted.last = &host->posted.first;
    host->mail.last = &host->mail.first;
    pthread_mutex_init(&host->lock, NULL);
    host->wake.data = host;
    uv_unref((uv_handle_t *)&host->wake);
    lua_pushlightuserdata(L, host);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &host_key);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, open_luv);
    lua_setfield(L, -2, "luv");
    lua_pushcfunction(L, luaopen_hotlua_core);
    lua_setfield(L, -2, "hotlua.core");
    lua_pop(L, 1);
    call_open(L);
    interrupt_open(L);
    if (!main_host) {
        listen_to_signals(host);
        luv_set_thread_cb(open_thread_state, close_thread_state);
    }
    return host;
}

static void close_handle(uv_handle_t *handle, void *context)
{
    struct host *host = context;
    if (handle != (uv_handle_t *)&host->wake && !uv_is_closing(handle) && !handle->data)
        uv_close(handle, NULL);
}

/* Their memory is Lua's, and luv's callbacks need the state: they must be closed before it is. */
static void close_luv_handles(lua_State *L)
{
    static const char closer[] = "local uv = ... uv.walk(function(handle) uv.close(handle) end)";
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "luv");
    lua_remove(L, -2);
    if (lua_istable(L, -1) && luaL_loadstring(L, closer) == LUA_OK) {
        lua_insert(L, -2);
        host_call(L, 1, "closing luv's handles");
    } else {
        lua_pop(L, 1);
    }
}

void host_close(struct host *host)
{
    lua_State *L = host->L;
    interrupt_close(L);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &core_close_key);
    if (lua_isfunction(L, -1))
        host_call(L, 0, "closing");
    else
        lua_pop(L, 1);
    host_await(host, 1);                 /* jobs that the watcher began keep no loop alive */
    while (job_count(host) > 0)
        host_turn(host, true);
    host_await(host, -1);
    host->is_closing = true;
    close_luv_handles(L);
    uv_unref((uv_handle_t *)&host->wake);
    host_turn(host, false);
}

void host_free(struct host *host)
{
    struct message message;
    while (take_message(host, &host->posted, &message) || take_message(host, &host->mail, &message))
        ;
    uv_walk(&host->loop, close_handle, host);
    uv_close((uv_handle_t *)&host->wake, NULL);
    uv_run(&host->loop, UV_RUN_DEFAULT);
    uv_loop_close(&host->loop);
    pthread_mutex_destroy(&host->lock);
    if (main_host == host)
        main_host = NULL;
    free(host);
}
