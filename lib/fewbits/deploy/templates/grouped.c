/* Each filter times the channels of its own group, in each window, plus bias. */
static WIDE void $function(memory *m, const struct windows *w, const $in *in,
                      const $kernel *kernel, const $sum *bias, int groups, $finisher *finish, void *out)
{
    const int filters = w->out_channels / groups, channels = w->channels / groups;
    for (int pixel = 0; pixel < w->out_height * w->out_width; pixel++) {
        const int top = pixel / w->out_width * w->down - w->top;
        const int left = pixel % w->out_width * w->right - w->left;
        for (int f = 0; f < w->out_channels; f++)
            $sums[f] = bias[f];
        for (int row = 0; row < w->rows; row++)
            for (int column = 0; column < w->columns; column++) {
                const int y = top + row * w->row_step, x = left + column * w->column_step;
                if (y < 0 || y >= w->height || x < 0 || x >= w->width)
                    continue;
                const $code *pixels = ${at}(y * w->width + x) * w->channels$end;
                const $kernel *weights = kernel + (row * w->columns + column) * channels;
                for (int f = 0; f < w->out_channels; f++) {
                    const $code *codes = pixels + f / filters * channels;
                    for (int i = 0; i < channels; i++)
                        $sums[f] += ($sum)codes[i] * weights[f * w->rows * w->columns * channels + i];
                }
            }
        finish($sums, pixel, out);
    }
}
