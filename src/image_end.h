/* image_end.h: the end of an image's own code: its destructors and exit handlers. */
#ifndef HOTLUA_IMAGE_END_H
#define HOTLUA_IMAGE_END_H

#include "image.h"

/* Before dlclose: run the destructors and exit handlers of the mapped image, the last first, under the guard
 * and with a time limit. Nothing of it runs where its state has moved to another image (image->has_moved_on):
 * they would release what is the other's now. Afterwards the loader has nothing to run, except for what is
 * said in image_end.c. False when one crashed or did not end: `why` says what, and the image must stay
 * mapped. */
bool image_end(struct image *image, char *why, size_t size);

#endif
