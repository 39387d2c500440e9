/* heap.h: the typed objects that plugins allocate through hotlua/plugin.h: which there are, of what type,
 * whose. One lock for the process; no call of a plugin takes it. Knows nothing of how objects are converted:
 * carry_heap.c. */
#ifndef HOTLUA_HEAP_H
#define HOTLUA_HEAP_H

#include "error.h"
#include "image.h"

struct heap;

enum heap_freed { HEAP_FREED, HEAP_WAS_FREED, HEAP_FOREIGN };

/* `count` zeroed objects of `size` bytes whose type is spelled `type`: a string constant of the image that
 * asks, which tells whose they are. From any thread. NULL when memory is out. */
void *heap_allocate(const char *type, size_t size, size_t count);
/* Free what heap_allocate gave (also by the address that it had before a move). From any thread. Anything
 * else is left alone: was freed (an object's place that is empty now), foreign (not known). `where`: an
 * address of the image that asks; what one frees while the objects move for its sake is free when it is
 * committed. */
enum heap_freed heap_free(void *object, const void *where);

/* The image became the plugin's live one: what it allocated before that joins the plugin's objects. */
void heap_adopt(struct plugin *plugin, struct image *image);
/* The plugin was closed: its objects go with the last of its images. */
void heap_close(struct plugin *plugin);
/* The image has left the address space: forget its addresses, before another one can have them. */
void heap_forget(const struct image *image);
/* ... and its part in the objects: the last of a closed plugin's images takes them along. May take long
 * where much old memory of moved objects is to be given back. */
void heap_leave(struct image *image);

struct heap_counts {
    size_t objects, bytes;
    size_t old_bytes;        /* of the memory that objects had before they moved */
};

struct heap_counts heap_count(const struct plugin *plugin);

#endif
