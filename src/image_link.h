/* image_link.h: plugins that were linked with each other (DT_NEEDED): each image is linked with an image of
 * the other plugin, not with whatever file of that name the dynamic loader would find. */
#ifndef HOTLUA_IMAGE_LINK_H
#define HOTLUA_IMAGE_LINK_H

#include "image.h"

/* Before image_open: where the image needs a library that is a plugin (by its SONAME, or else its file's
 * name), have it linked with the first of `fresh` that is it, or with the plugin's live image. Those stay
 * mapped as long as this one. False with error. */
bool image_link(struct image *image, struct image *const *fresh, size_t fresh_count, struct error *error);
/* The image is not mapped any more, or never will be: lets go of what it was linked with. */
void image_unlink(struct image *image);

/* Is any image linked with another? */
bool image_any_link(void);
/* Is any mapped image linked with this one? */
bool image_is_used(const struct image *image);

#endif
