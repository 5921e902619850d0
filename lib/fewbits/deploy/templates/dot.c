/* The sum of n products. */
static $sum $function(const $patch *patch, const $kernel *weights, int n)
{
    $sum sum = 0;
    for (int i = 0; i < n; i++)
        sum += ($sum)patch[i] * weights[i];
    return sum;
}
