/* The codes of a pixel, two in a byte, from the place first on; what shares a byte with them stays. */
static void $function(const $sum *codes, int n, uint8_t *out, int first)
{
    for (int i = first; i < first + n; i++) {
        const int code = (int)codes[i - first] & 15;
        out[i >> 1] = (uint8_t)(i & 1 ? (out[i >> 1] & 15) | (code << 4) : (out[i >> 1] & 240) | code);
    }
}
