/* Codes on a finer grid. */
static WIDE void $function($sum *codes, int n, $sum factor)
{
    for (int i = 0; i < n; i++)
        codes[i] *= factor;
}
