/* pristine.h: the initial values of an image's writable data, as its constructors left them: the
 * base of the three-way merge. Zero pages that nobody wrote cost nothing. */
#ifndef HOTLUA_PRISTINE_H
#define HOTLUA_PRISTINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image;
struct pristine;

/* Remember the writable segments of the image just opened. NULL when it has none or memory is out. */
struct pristine *pristine_take(const struct image *image);
void pristine_free(struct pristine *pristine);

/* Copy `size` bytes that `address` (inside the image) held initially. False if it was not writable
 * data (then the memory itself is still what it was). */
bool pristine_read(const struct pristine *pristine, const void *address, void *buffer, size_t size);
/* Does the memory at `address` still hold its initial value? */
bool pristine_is_untouched(const struct pristine *pristine, const void *address, size_t size);

/* Give the image's writable data its initial values again (before an older generation takes over). */
void pristine_restore(const struct pristine *pristine);

#endif
