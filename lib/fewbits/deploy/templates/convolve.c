/* Each filter times each window, plus bias; four windows at a time where there are as many. */
static void $function(memory *m, const struct windows *w, const $in *in,
                      const $kernel *kernel, const $sum *bias, $finisher *finish, void *out)
{
    const int pixels = w->out_height * w->out_width, filters = w->out_channels;
    const int n = w->rows * w->columns * w->channels;
    for (int pixel = 0, count; pixel < pixels; pixel += count) {
        count = pixels - pixel < 4 ? 1 : 4;
        for (int k = 0; k < count; k++)
            $gather(m, w, in, pixel + k, $patches + k * n);
        for (int f = 0; f < filters; f++)
            if (count == 4)
                $dot_four($patches, kernel + f * n, n, bias[f], $sums + f, filters);
            else
                $sums[f] = bias[f] + $dot($patches, kernel + f * n, n);
        for (int k = 0; k < count; k++)
            finish($sums + k * filters, pixel + k, out);
    }
}
