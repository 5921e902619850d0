/* The same for four patches that stand one behind the other: each weight is read once for all. */
static void $function(const $patch *a, const $kernel *weights, int n, $sum bias, $sum *sums, int apart)
{
    const $patch *b = a + n, *c = b + n, *d = c + n;
    $sum sum_a = bias, sum_b = bias, sum_c = bias, sum_d = bias;
    for (int i = 0; i < n; i++) {
        sum_a += ($sum)a[i] * weights[i];
        sum_b += ($sum)b[i] * weights[i];
        sum_c += ($sum)c[i] * weights[i];
        sum_d += ($sum)d[i] * weights[i];
    }
    sums[0] = sum_a;
    sums[apart] = sum_b;
    sums[2 * apart] = sum_c;
    sums[3 * apart] = sum_d;
}
