/* Codes times factor; those below zero times a slope of their own. */
static WIDE void $function($sum *codes, int n, const $slope *slopes, $sum factor)
{
    for (int i = 0; i < n; i++)
        codes[i] *= codes[i] < 0 ? slopes[i] : factor;
}
