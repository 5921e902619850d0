/* Classifies one image: reads ${NAME}_HEIGHT x ${NAME}_WIDTH x ${NAME}_CHANNELS bytes from standard input. */

#include <stdio.h>

#include "$name.h"

#define BYTES ((unsigned long)${NAME}_HEIGHT * ${NAME}_WIDTH * ${NAME}_CHANNELS)

static uint8_t image[BYTES];
static int32_t logits[${NAME}_LOGITS];

int main(void)
{
    unsigned long count = 0;
    int byte, best = 0;
    while ((byte = getchar()) != EOF) {
        if (count < BYTES) {
            if (byte > ${NAME}_MAX_PIXEL) {
                fprintf(stderr, "byte %lu is %d; a pixel is at most %d\n", count, byte, ${NAME}_MAX_PIXEL);
                return 1;
            }
            image[count] = (uint8_t)byte;
        }
        count++;
    }
    if (count != BYTES) {
        fprintf(stderr, "%lu bytes on standard input; an image has %d x %d x %d = %lu\n", count, ${NAME}_HEIGHT,
                ${NAME}_WIDTH, ${NAME}_CHANNELS, BYTES);
        return 1;
    }
    ${name}_run(image, logits);
    for (int i = 1; i < ${NAME}_LOGITS; i++)
        if (logits[i] > logits[best])
            best = i;
    printf("class %d\ncodes", best);
    for (int i = 0; i < ${NAME}_LOGITS; i++)
        printf(" %ld", (long)logits[i]);
    printf("\n");
    return 0;
}
