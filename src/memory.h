/* memory.h: pieces of memory that have to be had, because the work in progress has no way back: list cells,
 * names, messages between threads. When the allocator has no more, the reserve is given up for them; what is
 * begun after that is refused until there is a reserve again. Anything whose size a file decides is asked for
 * elsewhere, and may fail. */
#ifndef HOTLUA_MEMORY_H
#define HOTLUA_MEMORY_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* Is there a reserve, or can one be had now? To be asked before work begins; any thread. */
bool memory_is_ready(void);

/* Zeroed; for free(). Ends the process, with a message, when the reserve did not suffice. */
void *memory_take(size_t size);
void *memory_take_array(size_t count, size_t size);
/* Zeroed, at a multiple of `alignment`. */
void *memory_take_aligned(size_t alignment, size_t size);
/* As realloc(), on the same terms. */
void *memory_resize(void *memory, size_t size);
/* Copies of texts. NULL for NULL. */
char *memory_copy_text(const char *text);
char *memory_format(const char *format, va_list values);

#endif
