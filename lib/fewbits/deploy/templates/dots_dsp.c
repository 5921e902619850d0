#include <arm_acle.h>

/* Four weights in a word, and two codes. */
static inline int8x4_t four_weights(const int8_t *weights)
{
    int8x4_t word;
    __builtin_memcpy(&word, weights, 4);
    return word;
}

static inline int16x2_t two_codes(const int16_t *codes)
{
    int16x2_t word;
    __builtin_memcpy(&word, codes, 4);
    return word;
}

/* Makes the order of codes that of weights which are widened: the first and the third, the second and the fourth. */
static void pair(int16_t *patch, int step)
{
    for (int i = 0; i < step; i += 4) {
        const int16_t second = patch[i + 1];
        patch[i + 1] = patch[i + 2];
        patch[i + 2] = second;
    }
}

/* Two filters times two patches, plus bias. A function of its own: all that its loop needs is in registers. */
static __attribute__((noinline)) void ${function}_two(const int16_t *a, const int16_t *b, int step, const int8_t *v,
                                                      const int8_t *w, int32_t *sums_a, int32_t *sums_b, int second)
{
    int32_t av = sums_a[0], aw = sums_a[second], bv = sums_b[0], bw = sums_b[second];
    const int16_t *end = a + step;
    do {
        const int8x4_t vs = four_weights(v), ws = four_weights(w);
        int16x2_t x = __sxtb16(vs), y = __sxtb16(ws), codes = two_codes(a);
        av = __smlad(codes, x, av);
        aw = __smlad(codes, y, aw);
        codes = two_codes(b);
        bv = __smlad(codes, x, bv);
        bw = __smlad(codes, y, bw);
        x = __sxtb16(vs >> 8);
        y = __sxtb16(ws >> 8);
        codes = two_codes(a + 2);
        av = __smlad(codes, x, av);
        aw = __smlad(codes, y, aw);
        codes = two_codes(b + 2);
        bv = __smlad(codes, x, bv);
        bw = __smlad(codes, y, bw);
        a += 4;
        b += 4;
        v += 4;
        w += 4;
    } while (a < end);
    sums_a[second] = aw;
    sums_a[0] = av;
    sums_b[second] = bw;
    sums_b[0] = bv;
}

/* Every filter times four patches, plus bias. */
static void ${function}_four(const int16_t *patches, int step, const int8_t *kernel, int n, const int32_t *bias,
                             int filters, int32_t *sums, int apart)
{
    for (int k = 0; k < 4; k++)
        for (int f = 0; f < filters; f++)
            sums[k * apart + f] = bias[f];
    for (int k = 0; k < 4; k += 2, patches += 2 * step, sums += 2 * apart)
        for (int f = 0; f < filters; f += 2) {
            const int second = f + 1 < filters; /* else the last filter, twice */
            const int8_t *v = kernel + f * n;
            ${function}_two(patches, patches + step, step, v, v + second * n, sums + f, sums + apart + f, second);
        }
}

/* Every filter times a patch, plus bias: four filters share each read of the patch, two products an instruction. */
static void $function(const int16_t *patch, int step, const int8_t *kernel, int n, const int32_t *bias, int filters,
                      int32_t *sums, int apart)
{
    (void)apart;
    int f = 0;
    for (; f + 4 <= filters; f += 4) {
        const int8_t *a = kernel + f * n, *b = a + n, *c = b + n, *d = c + n;
        int32_t sum_a = bias[f], sum_b = bias[f + 1], sum_c = bias[f + 2], sum_d = bias[f + 3];
        for (int i = 0; i < step; i += 4) {
            const int16x2_t first = two_codes(patch + i), second = two_codes(patch + i + 2);
            int8x4_t weights = four_weights(a + i);
            sum_a = __smlad(second, __sxtb16(weights >> 8), __smlad(first, __sxtb16(weights), sum_a));
            weights = four_weights(b + i);
            sum_b = __smlad(second, __sxtb16(weights >> 8), __smlad(first, __sxtb16(weights), sum_b));
            weights = four_weights(c + i);
            sum_c = __smlad(second, __sxtb16(weights >> 8), __smlad(first, __sxtb16(weights), sum_c));
            weights = four_weights(d + i);
            sum_d = __smlad(second, __sxtb16(weights >> 8), __smlad(first, __sxtb16(weights), sum_d));
        }
        sums[f] = sum_a;
        sums[f + 1] = sum_b;
        sums[f + 2] = sum_c;
        sums[f + 3] = sum_d;
    }
    for (; f < filters; f++) {
        const int8_t *a = kernel + f * n;
        int32_t sum = bias[f];
        for (int i = 0; i < step; i += 4) {
            const int8x4_t weights = four_weights(a + i);
            sum = __smlad(two_codes(patch + i), __sxtb16(weights), sum);
            sum = __smlad(two_codes(patch + i + 2), __sxtb16(weights >> 8), sum);
        }
        sums[f] = sum;
    }
}
