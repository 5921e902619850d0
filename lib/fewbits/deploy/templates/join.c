/* $name: the $what of images, pixel by pixel. */
static void $function(memory *m, $parameters, void *out)
{
    for (int pixel = 0; pixel < $pixels; pixel++) {
$lines
        $finish($sums, pixel, out);
    }
}
