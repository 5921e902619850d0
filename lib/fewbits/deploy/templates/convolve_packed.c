/* The same with $each weights in a byte; each filter begins with a byte. Four filters are unpacked at a time. */
static void $function(memory *m, const struct windows *w, const $in *in,
                      const int8_t *kernel, const $sum *bias, $finisher *finish, void *out)
{
    const int pixels = w->out_height * w->out_width, filters = w->out_channels;
    const int n = w->rows * w->columns * w->channels, step = (n + LANES - 1) / LANES * LANES;
    const int bytes = (n + $each - 1) / $each;
    for (int pixel = 0, count; pixel < pixels; pixel += count) {
        count = pixels - pixel < 4 ? 1 : 4;
        for (int k = 0; k < count; k++)
            $gather(m, w, in, pixel + k, $patches + k * step, step - n);
$pairs        for (int f = 0, some; f < filters; f += some) {
            some = filters - f < 4 ? filters - f : 4;
            for (int k = 0; k < some; k++)
                $unpack(kernel + (f + k) * bytes, bytes, m->weights + k * step);
            (count == 4 ? ${dots}_four : $dots)($patches, step, m->weights, step, bias + f, some, $sums + f, filters);
        }
        for (int k = 0; k < count; k++)
            finish($sums + k * filters, pixel + k, out);
    }
}
