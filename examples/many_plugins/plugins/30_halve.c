double apply(double x) { return x / 2; }
