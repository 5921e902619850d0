/* Runs the network once: reads the bytes of all images from standard input, one image after the other. */

#include <stdio.h>

#include "$name.h"

$held

static int take(uint8_t *pixels, size_t size, int max_pixel)
{
    for (size_t i = 0; i < size; i++) {
        const int byte = getchar();
        if (byte == EOF || byte > max_pixel) {
            fprintf(stderr, "an image of %lu bytes from 0 to %d ends or is wrong at byte %lu\n", (unsigned long)size,
                    max_pixel, (unsigned long)i);
            return 0;
        }
        pixels[i] = (uint8_t)byte;
    }
    return 1;
}

static void give(const int32_t *codes, int count)
{
    printf("codes");
    for (int i = 0; i < count; i++)
        printf(" %ld", (long)codes[i]);
    printf("\n");
}

int main(void)
{
    if ($taken) {
        ${name}_run($arguments);
        $given
        return 0;
    }
    return 1;
}
