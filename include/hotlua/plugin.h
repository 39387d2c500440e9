/* hotlua/plugin.h: what a plugin may tell its host. Optional: a plugin needs no header at all.
 * Everything works without the host too (a unit test in C, another program): then each function
 * falls back to plain C, as said at each. C11 and C++. */
#ifndef HOTLUA_PLUGIN_H
#define HOTLUA_PLUGIN_H

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Marks a variable that is always carried to the next image, whatever `carry` says:
 *     static HOT_STATE int visits; */
#define HOT_STATE __attribute__((section("hot_state"), used))

/* Marks one that never is: it begins with the new image's initial value.
 *     static HOT_TRANSIENT char scratch[4096]; */
#define HOT_TRANSIENT __attribute__((section("hot_transient"), used))

/* The host's side; NULL without a host. Not to be called directly. */
#define HOT_HOST __attribute__((weak, visibility("default")))
HOT_HOST extern void hot_host_emit(const char *name, const char *types, va_list values);
HOT_HOST extern void hot_host_log(const char *level, const char *text);
HOT_HOST extern void *hot_host_allocate(const char *type, size_t size, size_t count);
HOT_HOST extern void hot_host_free(void *object, const char *where);
HOT_HOST extern void *hot_host_symbol(const char *plugin, const char *name);

/* Raises the event `emit` in Lua: plugin:on("emit", function(name, ...) end). `types` has a letter for each
 * value: i int, l long or int64_t, d double, b bool (as int), s const char * (copied), p void *; NULL is nil.
 *     hot_emit("hit", "isd", 7, "wall", 0.5);
 * From any thread. On the thread that loaded the plugin the handlers have run when it returns; from
 * another they run later on that one. Without a host nothing happens. */
static inline void hot_emit(const char *name, const char *types, ...)
{
    va_list values;
    if (!hot_host_emit)
        return;
    va_start(values, types);
    hot_host_emit(name, types, values);
    va_end(values);
}

/* Writes a line to the host's log, "level: text": level is "debug", "info", "warning" or "error". Without a
 * host, to stderr. */
__attribute__((format(printf, 2, 3)))
static inline void hot_log(const char *level, const char *format, ...)
{
    char text[1024];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    if (hot_host_log)
        hot_host_log(level, text);
    else
        fprintf(stderr, "%s: %s\n", level, text);
}

/* Typed heap objects, zeroed: when the layout of their type changes, a reload moves each to the new layout,
 * and typed pointers to it follow. `type` is one that the debug info names: struct session, session_t, struct
 * entry *. NULL when memory is out. They go with hot_free, or with the plugin. From any thread. Without a
 * host: calloc and free.
 *     struct session *s = hot_new(struct session); ... hot_free(s); */
#define hot_new(type) hot_new_array(type, 1)
#define hot_new_array(type, count) ((type *)hot_allocate(#type, sizeof(type), (count)))

static inline void *hot_allocate(const char *type, size_t size, size_t count)
{
    return hot_host_allocate ? hot_host_allocate(type, size, count) : calloc(count, size);
}

/* Anything else than an object of hot_new or hot_new_array, and one that was freed already, is left alone
 * with an error in the host's log. NULL is fine. */
static inline void hot_free(void *object)
{
    if (hot_host_free)
        hot_host_free(object, "hot_free");
    else
        free(object);
}

/* The address of another plugin's function that stays valid across reloads: calls through it go to the
 * live image, from any thread, also one that the plugin started itself. While the function or its plugin is
 * gone a call gives 0 (the host says so once, on stderr). NULL when there is no such plugin or function now,
 * and without a host. Ask once and keep it:
 *     static int (*distance)(int, int);
 *     distance = (int (*)(int, int))hot_symbol("physics", "distance"); */
static inline void *hot_symbol(const char *plugin, const char *name)
{
    return hot_host_symbol ? hot_host_symbol(plugin, name) : NULL;
}

#ifdef __cplusplus
}
#endif

#endif
