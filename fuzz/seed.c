/* seed.c: a plugin with something of everything, from which the fuzz targets start. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum colour { RED = -1, GREEN, BLUE = 1 << 20 };
typedef struct node node;

struct point {
    int x, y;
    unsigned flag : 3, rest : 29;
    union { double d; uint64_t bits; };
};

struct node {
    node *next, *children[4];
    const char *name;
    struct point at;
    enum colour colour;
    int (*compare)(const node *, const node *);
    long values[];
};

struct point origin = {1, 2, 3, 4, {0.5}};
static int calls;
const char *const names[] = {"red", "green", "blue"};
static __thread int per_thread = 7;
node *volatile head;
long double wide;
_Bool is_ready;
_Complex double rotation;

static void __attribute__((constructor)) begin(void)
{
    is_ready = 1;
}

int add(int a, int b)
{
    static int sum;
    return sum += a + b + ++calls + per_thread;
}

const char *name_of(enum colour colour)
{
    return names[colour < 0 ? 0 : 1];
}

size_t walk(const node *from, void (*visit)(void *, const node *), void *context)
{
    size_t count = 0;
    for (; from; from = from->next, count++)
        visit(context, from);
    return count;
}

struct point scale(struct point p, double factor)
{
    p.d *= factor;
    return p;
}

void report(const char *format, ...)
{
    printf("%s %p\n", format, (void *)head);
}
