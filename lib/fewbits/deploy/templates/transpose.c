/* The image with rows as columns. */
static void $function(const struct windows *w, const $in *in, $finisher *finish, void *out)
{
    for (int pixel = 0; pixel < w->out_height * w->out_width; pixel++) {
        const int y = pixel % w->out_width, x = pixel / w->out_width;
        for (int i = 0; i < w->channels; i++)
            $sums[i] = in[(y * w->width + x) * w->channels + i];
        finish($sums, pixel, out);
    }
}
