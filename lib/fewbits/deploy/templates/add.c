/* $name: the sum of images, pixel by pixel. */
static void $function($parameters, void *out)
{
    for (int pixel = 0; pixel < $pixels; pixel++) {
        for (int i = 0; i < $channels; i++)
            $sums[i] = 0;
$lines
        $finish($sums, pixel, out);
    }
}
