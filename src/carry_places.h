/* carry_places.h: what the old image holds that pointers may point to. Of the carry only. */
#ifndef HOTLUA_CARRY_PLACES_H
#define HOTLUA_CARRY_PLACES_H

#include "carry_internal.h"

struct carry_place {         /* a function or variable of the old image */
    uintptr_t start, new_start;          /* new_start 0: it has no counterpart */
    uint64_t size, new_size;
    const struct type *from_type, *to_type;          /* NULL: unknown */
    const char *name;
    bool is_function;
};

struct carry_strings {       /* the texts in read-only data */
    const struct image *old_image, *new_image;
    const char **table;      /* open addressing: strings of the new image by their text */
    size_t capacity;         /* a power of two, 0: there are none */
    struct carry_area *old_areas, *new_areas;        /* read-only data, end with an empty one */
};

struct carry_places {
    struct carry_place *list;            /* sorted by address */
    size_t count;
    struct carry_strings strings;
};

void carry_index_strings(struct carry_strings *strings, const struct image *old_image,
                         const struct image *new_image);
void carry_free_strings(struct carry_strings *strings);
/* The equal string of the new image; NULL: the pointer is not to a string constant of the old
 * image, or the new one has none like it. */
const char *carry_find_string(const struct carry_strings *strings, const char *pointer);

#endif
