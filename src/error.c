/* error.c: formatting of error values. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void format_text(struct error *error, const char *format, va_list arguments)
{
    int length = vsnprintf(error->text, sizeof error->text, format, arguments);
    if (length >= (int)sizeof error->text)
        memcpy(error->text + sizeof error->text - 4, "...", 4);
}

bool error_set(struct error *error, const char *format, ...)
{
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        format_text(error, format, arguments);
        va_end(arguments);
        error->stage[0] = 0;
    }
    return false;
}

bool error_set_stage(struct error *error, const char *stage, const char *format, ...)
{
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        format_text(error, format, arguments);
        va_end(arguments);
        snprintf(error->stage, sizeof error->stage, "%s", stage);
    }
    return false;
}
