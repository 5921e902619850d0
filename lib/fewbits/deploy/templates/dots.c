/* Every filter times four patches, plus bias: each weight is read once for all. The sums of a patch are `apart` from
   those of the next. */
static WIDE void ${function}_four(const $patch *a, int step, const $kernel *kernel, int n, const $sum *bias,
                                  int filters, $sum *sums, int apart)
{
    const $patch *b = a + step, *c = b + step, *d = c + step;
    for (int f = 0; f < filters; f++) {
        const $kernel *weights = kernel + f * n;
        $sum sum_a = bias[f], sum_b = bias[f], sum_c = bias[f], sum_d = bias[f];
        for (int i = 0; i < (step & -LANES); i++) {
            sum_a += ($sum)a[i] * weights[i];
            sum_b += ($sum)b[i] * weights[i];
            sum_c += ($sum)c[i] * weights[i];
            sum_d += ($sum)d[i] * weights[i];
        }
        sums[f] = sum_a;
        sums[f + apart] = sum_b;
        sums[f + 2 * apart] = sum_c;
        sums[f + 3 * apart] = sum_d;
    }
}

/* Every filter times a patch, plus bias: four filters share each read of the patch. */
static WIDE void $function(const $patch *patch, int step, const $kernel *kernel, int n, const $sum *bias,
                           int filters, $sum *sums, int apart)
{
    (void)apart;
    int f = 0;
    for (; f + 4 <= filters; f += 4) {
        const $kernel *a = kernel + f * n, *b = a + n, *c = b + n, *d = c + n;
        $sum sum_a = bias[f], sum_b = bias[f + 1], sum_c = bias[f + 2], sum_d = bias[f + 3];
        for (int i = 0; i < (step & -LANES); i++) {
            sum_a += ($sum)patch[i] * a[i];
            sum_b += ($sum)patch[i] * b[i];
            sum_c += ($sum)patch[i] * c[i];
            sum_d += ($sum)patch[i] * d[i];
        }
        sums[f] = sum_a;
        sums[f + 1] = sum_b;
        sums[f + 2] = sum_c;
        sums[f + 3] = sum_d;
    }
    for (; f < filters; f++) {
        const $kernel *weights = kernel + f * n;
        $sum sum = bias[f];
        for (int i = 0; i < (step & -LANES); i++)
            sum += ($sum)patch[i] * weights[i];
        sums[f] = sum;
    }
}
