/* Codes times factor are added to the sums of a pixel. */
static WIDE void $function($sum *sums, int n, const $in *codes, $sum factor)
{
    for (int i = 0; i < n; i++)
        sums[i] += codes[i] * factor;
}
