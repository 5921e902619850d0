/* The products of codes and factors; with a step of 0, all channels have one factor. */
static WIDE void $function($sum *sums, int n, const $in *codes, const $factor *factors, int step)
{
    for (int i = 0; i < n; i++)
        sums[i] = ($sum)codes[i] * factors[i * step];
}
