/* One step of the loop: moves, waits, and tells where it is. */
#include <unistd.h>

static double position;
static double speed = 1.0;

double step(void)
{
    usleep(100000);
    position += speed;
    return position;
}
