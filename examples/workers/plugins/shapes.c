/* Sums the areas of shapes, from several threads at once. What they share is guarded as in any C program: the
 * totals by atomics, and each thread has a place of its own besides. */
static long shapes;                      /* of all threads */
static double areas[16];                 /* of each */

static double area_of(int width, int height)
{
    return (double)width * height;
}

double add(int thread, int width, int height)
{
    __atomic_add_fetch(&shapes, 1, __ATOMIC_RELAXED);
    return areas[thread] += area_of(width, height);
}

long count(void)
{
    return __atomic_load_n(&shapes, __ATOMIC_RELAXED);
}
