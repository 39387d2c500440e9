/* A few types, as a program has them. */
#include <string.h>

enum kind { CIRCLE, SQUARE };

struct point { double x, y; };

struct shape {
    enum kind kind;
    struct point centre;
    double size;
};

struct shape shapes[16];
int shape_count;

int add_shape(struct shape shape)
{
    if (shape_count == 16)
        return -1;
    shapes[shape_count] = shape;
    return shape_count++;
}

double area(const struct shape *shape)
{
    return (shape->kind == CIRCLE ? 3.14159265 : 1.0) * shape->size * shape->size;
}

void each_shape(void (*visit)(int index, struct shape *shape))
{
    for (int i = 0; i < shape_count; i++)
        visit(i, &shapes[i]);
}
