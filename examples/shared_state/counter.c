/* State that several threads share needs C's own atomics, here as anywhere. */
#include <stdatomic.h>

static atomic_long count;

int weight(void)
{
    return 1;
}

void add(long amount)
{
    atomic_fetch_add_explicit(&count, amount, memory_order_relaxed);
}

long total(void)
{
    return atomic_load(&count);
}
