/* Weights of $bits bits from bytes of $each. The first of each byte come first, behind them the second, and so on. */
static WIDE void $function(const int8_t *bytes, int count, int8_t *weights)
{
    int i = 0;
#ifdef DSP
    for (; i + 4 <= count; i += 4) {
        uint32_t word, four;
        __builtin_memcpy(&word, bytes + i, 4);
$words
    }
#endif
    for (; i < count; i++) {
        const int byte = bytes[i];
$codes
    }
}
