/* Codes times factor; those below zero times slope. */
static WIDE void $function($sum *codes, int n, $sum slope, $sum factor)
{
    for (int i = 0; i < n; i++)
        codes[i] *= codes[i] < 0 ? slope : factor;
}
