/* The image less its mean. */
static WIDE void $function(memory *m, const struct windows *w, const $in *in, const int16_t *mean,
                      $finisher *finish, void *out)
{
    for (int pixel = 0; pixel < w->height * w->width; pixel++) {
        for (int i = 0; i < w->channels; i++)
            $sums[i] = in[pixel * w->channels + i] - mean[i];
        finish($sums, pixel, out);
    }
}
