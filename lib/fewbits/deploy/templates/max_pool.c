/* The largest code of each window. */
static WIDE void $function(memory *m, const struct windows *w, const $in *in, $finisher *finish, void *out)
{
    for (int pixel = 0; pixel < w->out_height * w->out_width; pixel++) {
        const int top = pixel / w->out_width * w->down - w->top;
        const int left = pixel % w->out_width * w->right - w->left;
        for (int i = 0; i < w->channels; i++)
            $sums[i] = $lowest;
        for (int y = top < 0 ? 0 : top; y < top + w->rows && y < w->height; y++)
            for (int x = left < 0 ? 0 : left; x < left + w->columns && x < w->width; x++) {
                const $code *codes = ${at}(y * w->width + x) * w->channels$end;
                for (int i = 0; i < w->channels; i++)
                    $sums[i] = codes[i] > $sums[i] ? codes[i] : $sums[i];
            }
        finish($sums, pixel, out);
    }
}
