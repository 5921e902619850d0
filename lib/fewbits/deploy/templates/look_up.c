/* The entry of a table for each code; the table begins with that of first. */
static WIDE void $function($sum *codes, int n, const $entry *table, $sum first)
{
    for (int i = 0; i < n; i++)
        codes[i] = table[codes[i] - first];
}
