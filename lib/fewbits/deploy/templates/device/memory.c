/* What a compiler may call of a C library that is not there: it turns some loops into these. */

#include <stddef.h>
#include <stdint.h>

typedef uint32_t __attribute__((may_alias)) word;

static int aligned(const void *place)
{
    return ((uintptr_t)place & (sizeof(word) - 1)) == 0;
}

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    char *out = to;
    const char *in = from;
    if (aligned(out) && aligned(in))
        for (; count >= sizeof(word); out += sizeof(word), in += sizeof(word), count -= sizeof(word))
            *(word *)out = *(const word *)in;
    while (count--)
        *out++ = *in++;
    return to;
}

void *memset(void *to, int value, size_t count)
{
    char *out = to;
    if (aligned(out))
        for (; count >= sizeof(word); out += sizeof(word), count -= sizeof(word))
            *(word *)out = (unsigned char)value * 0x01010101u;
    while (count--)
        *out++ = (char)value;
    return to;
}
