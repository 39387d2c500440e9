/* call_crash.c: after a crash in a plugin call: what happened, in words, as a Lua error. Runs on the
 * stack of the thunk, whose frame is dead: it may only raise. */
#include "call_internal.h"

#include "debuginfo.h"
#include "guard.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Symbols ------------------------------------------------------------------------------------ */

/* The name of the function and, where debug info tells, the source line of code in the image. */
static bool locate(const struct image *image, const void *pc, struct debug_line *line)
{
    *line = (struct debug_line){0};
    if (!image || !image->is_mapped || !image_contains(image, pc))
        return false;
    if (image->debug && debuginfo_line(image->debug, (uintptr_t)pc - image->bias, line))
        return true;
    for (size_t i = 0; i < image->export_count; i++) {
        const struct export *export = &image->exports[i];
        if (export->target <= pc && (!line->function || export->target > (void *)line->file)) {
            line->function = export->name;
            line->file = export->target;
        }
    }
    line->file = NULL;
    return true;
}

/* Where the plugin's own code was: the crash itself, or the innermost of its frames that led there. */
static bool locate_crash(const struct crash *crash, struct debug_line *line)
{
    if (locate(crash->image, crash->pc, line))
        return true;
    for (size_t i = 0; i < crash->trace_count; i++)
        if (locate(crash->image, (char *)crash->trace[i] - 1, line))
            return true;
    return false;
}

/* The text ----------------------------------------------------------------------------------- */

static void add_place(luaL_Buffer *buffer, const struct debug_line *line)
{
    char number[24];
    if (!line->file)
        return;
    snprintf(number, sizeof number, ":%d", line->line);
    luaL_addstring(buffer, " at ");
    luaL_addstring(buffer, line->file);
    luaL_addstring(buffer, number);
}

static void add_cause(luaL_Buffer *buffer, const struct crash *crash)
{
    char text[64];
    if (crash->is_overflow) {
        luaL_addstring(buffer, ": stack overflow");
    } else if (crash->has_address) {
        snprintf(text, sizeof text, ": invalid address 0x%lx", (unsigned long)crash->address);
        luaL_addstring(buffer, text);
    } else if (crash->exit) {
        snprintf(text, sizeof text, ": it called %s(%d)", crash->exit, crash->exit_status);
        luaL_addstring(buffer, text);
    } else if (crash->signal == SIGABRT) {
        luaL_addstring(buffer, ": it called abort");
    }
}

static void add_frame(luaL_Buffer *buffer, const struct image *image, void *address)
{
    struct debug_line line;
    Dl_info info = {0};
    luaL_addstring(buffer, "\n\t[C] ");
    if (locate(image, address, &line)) {
        luaL_addstring(buffer, line.function ? line.function : "?");
        add_place(buffer, &line);
        return;
    }
    if (dladdr(address, &info) == 0 || !info.dli_fname) {
        luaL_addstring(buffer, "?");
        return;
    }
    const char *slash = strrchr(info.dli_fname, '/');
    luaL_addstring(buffer, info.dli_sname ? info.dli_sname : "?");
    luaL_addstring(buffer, " in ");
    luaL_addstring(buffer, slash ? slash + 1 : info.dli_fname);
}

static void add_frames(luaL_Buffer *buffer, const struct crash *crash)
{
    add_frame(buffer, crash->image, crash->pc);
    for (size_t i = 0; i < crash->trace_count; i++)
        add_frame(buffer, crash->image, (char *)crash->trace[i] - 1);
}

/* Push "SIGSEGV in 'poke' (plugin 'greeter', generation 2) at src/greeter.c:41: ...". [-0 +1] */
static void push_description(lua_State *L, const struct crash *crash)
{
    luaL_Buffer buffer;
    struct debug_line line = {0};
    char text[32];
    const struct image *image = crash->image;
    bool is_known = locate_crash(crash, &line);
    luaL_buffinit(L, &buffer);
    luaL_addstring(&buffer, guard_signal_name(crash));
    luaL_addstring(&buffer, " in '");
    luaL_addstring(&buffer, is_known && line.function ? line.function : crash->function);
    luaL_addstring(&buffer, "'");
    if (image && image_owner(image)) {
        snprintf(text, sizeof text, "', generation %u)", image->generation);
        luaL_addstring(&buffer, " (plugin '");
        luaL_addstring(&buffer, image_owner(image)->name);
        luaL_addstring(&buffer, text);
    }
    add_place(&buffer, &line);
    add_cause(&buffer, crash);
    add_frames(&buffer, crash);
    luaL_pushresult(&buffer);
}

/* The landing -------------------------------------------------------------------------------- */

void call_crashed(void *argument)
{
    struct frame *frame = argument;
    struct thread *thread = thread_self();
    const struct crash *crash = guard_crash();
    struct image *image = crash->image;
    lua_State *L = frame->L;
    frame->stack |= FRAME_IS_HOST;
    guard_end_timed(thread, frame);
    lua_settop(L, 0);
    luaL_where(L, 1);
    push_description(L, crash);
    if (image && image_owner(image) && call_on_crash)
        call_on_crash(L, image, lua_tostring(L, -1));
    thread_set_top(thread, frame);
    frame_set_image(frame, NULL);
    frame_unpin(frame);
    if (thread->top == thread->frames && thread->pending_error != THREAD_NO_ERROR) {
        luaL_unref(L, LUA_REGISTRYINDEX, thread->pending_error);
        thread->pending_error = THREAD_NO_ERROR;
    }
    lua_concat(L, 2);
    lua_error(L);
    __builtin_unreachable();
}
