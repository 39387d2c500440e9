/* Counts its calls, also over reloads. */
static int calls;

double apply(double x) { return x + 10 + 0 * ++calls; }
int call_count(void) { return calls; }
