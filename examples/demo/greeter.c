#include <stdio.h>

static int count;
int version = 1;

const char *greet(const char *name)
{
    static char text[100];
    snprintf(text, sizeof text, "Hello, %s! (greeting %d)", name, ++count);
    return text;
}
