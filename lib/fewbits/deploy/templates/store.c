/* The codes of a pixel, to where the next layer reads them. */
static WIDE void $function(const $sum *codes, int n, $out *out)
{
    for (int i = 0; i < n; i++)
        out[i] = ($out)codes[i];
}
