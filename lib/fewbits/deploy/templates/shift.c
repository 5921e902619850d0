/* codes / 2^shift, rounded $how, no less than low and no more than high. */
static WIDE void $function($sum *codes, int n, int shift, $sum low, $sum high)
{
    for (int i = 0; i < n; i++) {
        $sum whole = codes[i] >> shift;$round
        codes[i] = whole < low ? low : whole > high ? high : whole;
    }
}
