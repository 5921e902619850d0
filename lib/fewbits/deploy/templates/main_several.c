/* Runs the network once: reads the bytes of all images from standard input, one image after the other. */

#include <stdio.h>

#include "$name.h"

static int read_image(uint8_t *image, long size, int max_pixel)
{
    for (long i = 0; i < size; i++) {
        const int byte = getchar();
        if (byte == EOF || byte > max_pixel) {
            fprintf(stderr, "an image of %ld bytes from 0 to %d ends or is wrong at byte %ld\n", size, max_pixel, i);
            return 0;
        }
        image[i] = (uint8_t)byte;
    }
    return 1;
}

static void print_codes(const int32_t *codes, int count)
{
    printf("codes");
    for (int i = 0; i < count; i++)
        printf(" %ld", (long)codes[i]);
    printf("\n");
}

int main(void)
{
$reading
    return 0;
}
