/* The sum of each window: an average that is still to be divided. */
static WIDE void $function(memory *m, const struct windows *w, const $in *in, $finisher *finish, void *out)
{
    for (int pixel = 0; pixel < w->out_height * w->out_width; pixel++) {
        const int top = pixel / w->out_width * w->down, left = pixel % w->out_width * w->right;
        for (int i = 0; i < w->channels; i++)
            $sums[i] = 0;
        for (int y = top; y < top + w->rows; y++)
            for (int x = left; x < left + w->columns; x++) {
                const $code *codes = ${at}(y * w->width + x) * w->channels$end;
                for (int i = 0; i < w->channels; i++)
                    $sums[i] += codes[i];
            }
        finish($sums, pixel, out);
    }
}
