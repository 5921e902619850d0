/* The $which of the sums of a pixel and codes times factor. */
static WIDE void $function($sum *sums, int n, const $in *codes, $sum factor)
{
    for (int i = 0; i < n; i++)
        sums[i] = codes[i] * factor $compare sums[i] ? codes[i] * factor : sums[i];
}
