/* codes / divisor, rounded $how, no less than low and no more than high. */
static WIDE void $function($sum *codes, int n, $sum divisor, $sum low, $sum high)
{
    for (int i = 0; i < n; i++) {
        $sum whole = codes[i] / divisor - (codes[i] % divisor < 0);$round
        codes[i] = whole < low ? low : whole > high ? high : whole;
    }
}
