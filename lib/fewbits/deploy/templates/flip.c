/* Codes without a sign less 128, as CMSIS-NN takes them; and back. */
static WIDE void $function(uint8_t *codes, int n)
{
    for (int i = 0; i < n; i++)
        codes[i] ^= 128;
}
