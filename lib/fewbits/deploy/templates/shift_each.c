/* codes / 2^shift with a shift for each channel (a negative one multiplies), rounded $how, and clipped. */
static WIDE void $function($sum *codes, int n, const int8_t *shifts, $sum low, $sum high)
{
    for (int i = 0; i < n; i++) {
        const int shift = shifts[i] > 0 ? shifts[i] : 0;
        const $sum code = shifts[i] < 0 ? codes[i] * (($sum)1 << -shifts[i]) : codes[i];
        $sum whole = code >> shift;$round
        codes[i] = whole < low ? low : whole > high ? high : whole;
    }
}
