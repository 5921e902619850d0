/* Each channel times a window of its own. */
static WIDE void $function(memory *m, const struct windows *w, const $in *in,
                      const $kernel *kernel, const $sum *bias, $finisher *finish, void *out)
{
    const int channels = w->channels;
    for (int pixel = 0; pixel < w->out_height * w->out_width; pixel++) {
        const int top = pixel / w->out_width * w->down - w->top;
        const int left = pixel % w->out_width * w->right - w->left;
        for (int i = 0; i < channels; i++)
            $sums[i] = bias[i];
        for (int row = 0; row < w->rows; row++)
            for (int column = 0; column < w->columns; column++) {
                const int y = top + row * w->row_step, x = left + column * w->column_step;
                if (y < 0 || y >= w->height || x < 0 || x >= w->width)
                    continue;
                const $code *codes = ${at}(y * w->width + x) * channels$end;
                const $kernel *weights = kernel + (row * w->columns + column) * channels;
                for (int i = 0; i < channels; i++)
                    $sums[i] += ($sum)codes[i] * weights[i];
            }
        finish($sums, pixel, out);
    }
}
