/* The sum of 1/k^2 up to n, and a polynomial by Horner's rule. */
double zeta2(int n)
{
    double sum = 0;
    for (int k = n; k >= 1; k--)
        sum += 1.0 / ((double)k * k);
    return sum;
}

double polynomial(double x)
{
    static const double coefficients[] = {1, -2, 0.5, 3};
    double value = 0;
    for (int i = 3; i >= 0; i--)
        value = value * x + coefficients[i];
    return value;
}
