double apply(double x) { return 2 * x; }
