/* The image enlarged: each pixel several times. */
static void $function(memory *m, const struct windows *w, const $in *in, $finisher *finish, void *out)
{
    for (int pixel = 0; pixel < w->out_height * w->out_width; pixel++) {
        const int y = pixel / w->out_width / w->rows, x = pixel % w->out_width / w->columns;
        const $code *codes = ${at}(y * w->width + x) * w->channels$end;
        for (int i = 0; i < w->channels; i++)
            $sums[i] = codes[i];
        finish($sums, pixel, out);
    }
}
