/* The image with a border of zeros, or without its border. */
static void $function(memory *m, const struct windows *w, const $in *in, $finisher *finish, void *out)
{
    for (int pixel = 0; pixel < w->out_height * w->out_width; pixel++) {
        const int y = pixel / w->out_width - w->top, x = pixel % w->out_width - w->left;
        const int inside = y >= 0 && y < w->height && x >= 0 && x < w->width;
        const $code *codes = inside ? ${at}(y * w->width + x) * w->channels$end : $nowhere;
        for (int i = 0; i < w->channels; i++)
            $sums[i] = inside ? codes[i] : 0;
        finish($sums, pixel, out);
    }
}
