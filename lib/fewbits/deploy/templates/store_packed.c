/* The codes of a pixel, two in a byte, from the place first on; what shares a byte with them stays. */
static WIDE void $function(const $sum *codes, int n, uint8_t *out, int first)
{
    int i = first & 1;
    uint8_t *bytes = out + first / 2;
    if (i) {
        *bytes = (uint8_t)((*bytes & 15) | (codes[0] & 15) * 16);
        bytes++;
    }
    for (; i + 1 < n; i += 2)
        *bytes++ = (uint8_t)((codes[i] & 15) | (codes[i + 1] & 15) * 16);
    if (i < n)
        *bytes = (uint8_t)((*bytes & 240) | (codes[i] & 15));
}
