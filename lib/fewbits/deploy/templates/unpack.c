/* n codes of 4 bits from the place first on, a byte each; the first of a byte is in its lower half. */
static const int8_t *$function(int8_t *row, const uint8_t *in, int first, int n)
{
    for (int i = 0; i < n; i++) {
        const int code = (in[(first + i) >> 1] >> (((first + i) & 1) * 4)) & 15;
        row[i] = (int8_t)($value);
    }
    return row;
}
