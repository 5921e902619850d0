/* $name: $what

   Integers alone: it computes the codes that fewbits' integer network computes, bit for bit.
   Weights and tables: $weight_bytes bytes of constants. Memory: $ram_bytes bytes, of which $arena_bytes are the
   arena, where images lie between layers, and $scratch_bytes are rows of sums. Nothing is allocated. */

#ifndef ${NAME}_H
#define ${NAME}_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ${NAME}_HEIGHT $height
#define ${NAME}_WIDTH $width
#define ${NAME}_CHANNELS $channels
#define ${NAME}_MAX_PIXEL $max_pixel
#define ${NAME}_LOGITS $logits

#define ${NAME}_WEIGHT_BYTES $weight_bytes /* constants: kernels, biases, tables; code comes on top */
#define ${NAME}_ARENA_BYTES $arena_bytes
#define ${NAME}_SCRATCH_BYTES $scratch_bytes

/* image: pixels from 0 to ${NAME}_MAX_PIXEL, row by row, the channels of a pixel side by side.
   logits: ${NAME}_LOGITS codes; a code stands for code $value.
   The arena is static: only one call at a time. */
void ${name}_run(const uint8_t *image, int32_t *logits);

#ifdef __cplusplus
}
#endif

#endif
