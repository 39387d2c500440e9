/* error.h: the one error value of all services: what failed, in words that a user can act on.
 * A service that fails fills it and returns false or NULL; it never prints and never exits. */
#ifndef HOTLUA_ERROR_H
#define HOTLUA_ERROR_H

#include <stdbool.h>

enum { ERROR_TEXT = 2048 };

struct error {
    char stage[16];          /* the stage of the reload that failed, or "" when the caller knows */
    char text[ERROR_TEXT];   /* one sentence: file, symbol and cause; no trailing newline */
};

/* Fill `error` (which may be NULL) from a printf format. Always returns false, so that a service
 * can `return error_set(error, …)`. A text too long for the buffer ends in "...". */
bool error_set(struct error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The same, naming the stage too. */
bool error_set_stage(struct error *error, const char *stage, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
