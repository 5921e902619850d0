/* The image with zeros between its pixels, as a transposed convolution reads it. */
static void $function(memory *m, const struct windows *w, const $in *in, $finisher *finish, void *out)
{
    for (int pixel = 0; pixel < w->out_height * w->out_width; pixel++) {
        const int y = pixel / w->out_width, x = pixel % w->out_width;
        const int inside = y % w->down == 0 && x % w->right == 0;
        const $code *codes = ${at}(y / w->down * w->width + x / w->right) * w->channels$end;
        for (int i = 0; i < w->channels; i++)
            $sums[i] = inside ? codes[i] : 0;
        finish($sums, pixel, out);
    }
}
