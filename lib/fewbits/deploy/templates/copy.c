/* The codes as they are, for what `finish` does with them. */
static WIDE void $function(memory *m, const struct windows *w, const $in *in, $finisher *finish, void *out)
{
    for (int pixel = 0; pixel < w->height * w->width; pixel++) {
        const $code *codes = ${at}pixel * w->channels$end;
        for (int i = 0; i < w->channels; i++)
            $sums[i] = codes[i];
        finish($sums, pixel, out);
    }
}
