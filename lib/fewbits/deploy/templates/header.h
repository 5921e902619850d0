/* $name: $what

   Integers alone: it computes the codes that fewbits' integer network computes, bit for bit. Nothing is allocated.
   Weights and tables take $weight_bytes bytes of constants. A call works in $ram_bytes bytes of memory, of which
   $arena_bytes are the arena, where images lie between layers, and $scratch_bytes are rows of sums. */

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
#define ${NAME}_MEMORY_BYTES $ram_bytes /* arena and scratch */

$values

/* The memory of a call. What it holds before does not matter, and it may be used for something else after. */
struct ${name}_memory {
$memory
};

/* $meaning */

/* In memory that the caller gives: calls in different memories may run at the same time. */
void ${name}_run_in(struct ${name}_memory *memory, $parameters);

/* In static memory: only one call at a time. With ${NAME}_NO_STATIC_MEMORY defined, both are left out. */
#ifndef ${NAME}_NO_STATIC_MEMORY
void ${name}_run($parameters);
#endif

/* What may be defined when $name.c is compiled:
   ${NAME}_MEMORY: attributes of the static memory, such as __attribute__((section(".bss.fast"), aligned(32)));
   ${NAME}_CONST: attributes of the tables, such as __attribute__((section(".qspi"))).
   The tables are read as any memory is, so PROGMEM of AVR will not do. */

#ifdef __cplusplus
}
#endif

#endif
