/* A constant for each channel, such as a bias that comes behind the rounding. */
static WIDE void $function($sum *codes, int n, const $sum *constants)
{
    for (int i = 0; i < n; i++)
        codes[i] += constants[i];
}
