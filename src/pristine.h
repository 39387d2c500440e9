/* pristine.h: the initial values of an image's writable data, as its constructors left them: the
 * base of the three-way merge. Pages that nobody wrote cost nothing. */
#ifndef HOTLUA_PRISTINE_H
#define HOTLUA_PRISTINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image;
struct pristine;

/* Remember the writable segments of the image just opened; `*taken` stays NULL when it has none. Pages that
 * are still the file's are not copied: image->stage has to live as long. False: out of memory. */
bool pristine_take(const struct image *image, struct pristine **taken);
void pristine_free(struct pristine *pristine);

/* Copy `size` bytes that `address` (inside the image) held initially. False if it was not writable
 * data (then the memory itself is still what it was). */
bool pristine_read(const struct pristine *pristine, const void *address, void *buffer, size_t size);
/* The same without a copy where it can be: NULL when all the bytes are zero, else a pointer to
 * them,
 * which is `buffer` if they had to be brought together. The range must be writable data. */
const void *pristine_view(const struct pristine *pristine, const void *address, size_t size,
                          void *buffer);
/* Is the whole range writable data that pristine_take has seen? */
bool pristine_covers(const struct pristine *pristine, const void *address, size_t size);
/* Does the memory at `address` still hold its initial value? */
bool pristine_is_untouched(const struct pristine *pristine, const void *address, size_t size);

/* The pages written since pristine_take as far as the kernel can tell: one bit per page, malloc'ed,
 * NULL when it does not say. It may call a page written that is not, never the reverse. */
unsigned char *pristine_ask_written(const struct pristine *pristine);
/* Does that map rule out that the range was written? */
bool pristine_is_clean(const struct pristine *pristine, const unsigned char *written,
                       const void *address, size_t size);

/* Call `each` with the stretches of memory that may have been written since, until it returns false. */
void pristine_each_written(const struct pristine *pristine,
                           bool (*each)(void *context, const void *start, size_t size), void *context);

/* Give the image's writable data its initial values again (before an older generation takes
 * over). */
void pristine_restore(const struct pristine *pristine);
/* The same of what lies between two addresses. */
void pristine_restore_part(const struct pristine *pristine, const void *start, const void *end);

#endif
