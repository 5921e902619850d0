/* What a compiler may call of a C library that is not there: it turns some loops into these. */

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    char *out = to;
    for (const char *in = from; count; count--)
        *out++ = *in++;
    return to;
}

void *memset(void *to, int value, size_t count)
{
    for (char *out = to; count; count--)
        *out++ = (char)value;
    return to;
}
