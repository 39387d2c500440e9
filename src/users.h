/* users.h: who may still use an image although no call is inside it: threads that it started, handlers of
 * signals, of the program's end and of thread-specific data, variables of other plugins. To unmap it under
 * them would be a crash later, elsewhere. */
#ifndef HOTLUA_USERS_H
#define HOTLUA_USERS_H

#include "image.h"

#include <uv.h>

/* Is there one? Then `why` says who, in words. Looks at what there is at this moment: a thread may end, a
 * handler may be taken back. Any thread. */
bool users_find(const struct image *image, char *why, size_t size);

/* The same of the handles of a loop, the environment and the standard streams, on the loop's thread.
 * `is_closing`: what there is are handles that have been closed and are gone after a turn of the
 * loop. */
bool users_find_handle(const struct image *image, uv_loop_t *loop, char *why, size_t size,
                       bool *is_closing);

/* Does one of the `size` bytes' words point into the image? Its address, NULL for none. */
const void *users_find_pointer(const struct image *image, const void *bytes, size_t size);

/* Write to stderr which words of the process's writable memory point into the image, and where they are: a
 * help for finding what a plugin left behind, when HOTLUA_SCAN is set in the environment. */
void users_scan(const struct image *image);

#endif
