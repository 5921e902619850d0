/* Codes no less than low and no more than high. */
static WIDE void $function($sum *codes, int n, $sum low, $sum high)
{
    for (int i = 0; i < n; i++)
        codes[i] = codes[i] < low ? low : codes[i] > high ? high : codes[i];
}
