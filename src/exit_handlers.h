/* exit_handlers.h: what plugins register for the end of their image: atexit, and the static objects of C++
 * (__cxa_atexit). Kept here instead of in the C library, so that an image whose state has moved on can end
 * without them. They run when the image's own destructors call __cxa_finalize, as they do from the C library,
 * which then also takes back handlers of fork (pthread_atfork). */
#ifndef HOTLUA_EXIT_HANDLERS_H
#define HOTLUA_EXIT_HANDLERS_H

#include <stddef.h>
#include <stdint.h>

/* Forget all that an image in those `size` bytes has registered, and have its handlers of fork taken back. */
void exit_handlers_drop(uintptr_t base, size_t size);

#endif
