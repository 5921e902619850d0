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

$sizes

#define ${NAME}_WEIGHT_BYTES $weight_bytes /* constants: kernels, biases, tables; code comes on top */
#define ${NAME}_ARENA_BYTES $arena_bytes
#define ${NAME}_SCRATCH_BYTES $scratch_bytes

/* $meaning
   The arena is static: only one call at a time. */
void ${name}_run($parameters);

#ifdef __cplusplus
}
#endif

#endif
