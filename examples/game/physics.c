/* All state of the game is here, in plain statics. */
enum { WIDTH = 60, HEIGHT = 18, BALLS = 5 };

struct ball {
    double x, y, vx, vy;
};

static const double gravity = 20;    /* cells per second squared */
static const double bounce = 0.9;    /* speed kept at the floor */

struct ball balls[BALLS];
int frame;

static void start(void)
{
    for (int i = 0; i < BALLS; i++)
        balls[i] = (struct ball){5 + 10 * i, 2 + i, 12 - 4 * i, 0};
}

static void move(struct ball *ball, double seconds)
{
    ball->vy += gravity * seconds;
    ball->x += ball->vx * seconds;
    ball->y += ball->vy * seconds;
    if (ball->x < 0 || ball->x > WIDTH - 1) {
        ball->vx = -ball->vx;
        ball->x = ball->x < 0 ? 0 : WIDTH - 1;
    }
    if (ball->y > HEIGHT - 1) {
        ball->y = HEIGHT - 1;
        ball->vy = -ball->vy * bounce;
    }
}

void step(double seconds)
{
    if (frame++ == 0)
        start();
    for (int i = 0; i < BALLS; i++)
        move(&balls[i], seconds);
}
