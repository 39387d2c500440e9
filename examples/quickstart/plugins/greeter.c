/* The plugin: plain C, no header, no glue. Save it while main.lua runs. */
#include <stdio.h>

static int count;

const char *greet(const char *name)
{
    static char text[100];
    snprintf(text, sizeof text, "Hello, %s! (greeting %d)", name, ++count);
    return text;
}
