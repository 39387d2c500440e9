/* memory.c: the reserve, and the allocations that may use it up. */
#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RESERVE_BYTES = 1 << 20 };

static void *reserve;

bool memory_is_ready(void)
{
    if (__atomic_load_n(&reserve, __ATOMIC_RELAXED))
        return true;
    void *none = NULL, *fresh = malloc(RESERVE_BYTES);
    if (fresh && !__atomic_compare_exchange_n(&reserve, &none, fresh, false, __ATOMIC_ACQ_REL,
                                              __ATOMIC_RELAXED))
        free(fresh);
    return fresh || none;
}

/* Is it worth trying again? */
static bool give_up_reserve(void)
{
    void *given = __atomic_exchange_n(&reserve, NULL, __ATOMIC_ACQ_REL);
    free(given);
    return given != NULL;
}

static _Noreturn void end(void)
{
    fputs("hotlua: out of memory\n", stderr);
    abort();
}

void *memory_take(size_t size)
{
    return memory_take_array(1, size);
}

void *memory_take_array(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (!memory && give_up_reserve())
        memory = calloc(count, size);
    if (!memory)
        end();
    return memory;
}

void *memory_take_aligned(size_t alignment, size_t size)
{
    void *memory = aligned_alloc(alignment, size);
    if (!memory && give_up_reserve())
        memory = aligned_alloc(alignment, size);
    if (!memory)
        end();
    return memset(memory, 0, size);
}

void *memory_resize(void *memory, size_t size)
{
    void *resized = realloc(memory, size);
    if (!resized && give_up_reserve())
        resized = realloc(memory, size);
    if (!resized)
        end();
    return resized;
}

char *memory_copy_text(const char *text)
{
    size_t size = text ? strlen(text) + 1 : 0;
    return text ? memcpy(memory_take(size), text, size) : NULL;
}

char *memory_format(const char *format, va_list values)
{
    va_list again;
    va_copy(again, values);
    int length = vsnprintf(NULL, 0, format, values);
    char *text = memory_take((size_t)length + 1);
    vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}
