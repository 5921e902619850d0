/* n codes of 4 bits from the place first on, a byte each; the first of a byte is in its lower half. */
static const int8_t *$function(int8_t *row, const uint8_t *in, int first, int n)
{
    int i = first & 1, code = in[first / 2] >> 4;
    const uint8_t *bytes = in + (first + i) / 2;
    row[0] = (int8_t)($value);
    for (; i + 1 < n; i += 2, bytes++) {
        code = *bytes & 15;
        row[i] = (int8_t)($value);
        code = *bytes >> 4;
        row[i + 1] = (int8_t)($value);
    }
    if (i < n) {
        code = *bytes & 15;
        row[i] = (int8_t)($value);
    }
    return row;
}
