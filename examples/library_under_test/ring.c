/* ring.c: a ring buffer of integers. */
#include <stdbool.h>

#ifndef CAPACITY
#define CAPACITY 8
#endif

static int values[CAPACITY];
static unsigned first, count;

bool ring_put(int value)
{
    if (count == CAPACITY)
        return false;
    values[(first + count++) % CAPACITY] = value;
    return true;
}

bool ring_take(int *value)
{
    if (count == 0)
        return false;
    *value = values[first];
    first = (first + 1) % CAPACITY;
    count--;
    return true;
}

unsigned ring_count(void)
{
    return count;
}
