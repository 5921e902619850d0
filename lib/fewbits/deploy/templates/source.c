/* $name: $what

   Made by fewbits $version. Read it from ${name}_run_in, at the end: a call for each layer. A call makes the sums of one
   pixel after the other, and `finish` turns these into codes and puts them where the next layer reads. The numbers are
   in ${name}_numbers.h. */

#include "$name.h"
$include
#ifndef ${NAME}_MEMORY
#define ${NAME}_MEMORY
#endif
#ifndef ${NAME}_CONST
#define ${NAME}_CONST
#endif

/* What C leaves to the compiler: >> of a negative number must round down, an int must have 32 bits. */
typedef char assert_shift[(-1 >> 1) == -1 ? 1 : -1];
typedef char assert_int[sizeof(int) >= 4 ? 1 : -1];

/* What is before a function whose loops vectors make faster. gcc needs to be told at -O2; on a PC, it compiles the
   function for several processors, and the one that runs it chooses. Define WIDE as nothing to do without. */
#ifndef WIDE
#if !defined(__GNUC__) || defined(__clang__) || !defined(__OPTIMIZE__) || defined(__OPTIMIZE_SIZE__)
#define WIDE
#elif defined(__x86_64__) && defined(__GLIBC__) && __GNUC__ >= 12
#define WIDE \
    __attribute__((optimize("tree-vectorize", "vect-cost-model=dynamic"), \
                   target_clones("arch=x86-64-v4", "avx2", "default")))
#elif defined(__SSE2__) || defined(__ARM_NEON)
#define WIDE __attribute__((optimize("tree-vectorize", "vect-cost-model=dynamic")))
#else
#define WIDE
#endif
#endif

/* Patches end with zeros, so that their length is a multiple of this. */
#if defined(__SSE2__) || defined(__ARM_NEON)
#define LANES 16
#elif defined(__GNUC__) && defined(__ARM_FEATURE_DSP) && !defined(__ARM_BIG_ENDIAN)
#define DSP
#define LANES 4
#else
#define LANES 1
#endif

typedef struct ${name}_memory memory;
typedef char assert_memory[sizeof(memory) <= ${NAME}_MEMORY_BYTES ? 1 : -1];

/* Where windows lie on an image of `height` x `width` pixels, and how many pixels that makes. */
struct windows {
    int height, width, channels;
    int rows, columns;           /* of one window */
    int down, right;             /* from a window to the next */
    int row_step, column_step;   /* from a pixel of a window to the next: dilation */
    int top, left;               /* rows and columns of zeros before the image */
    int out_height, out_width, out_channels;
};

#include "${name}_numbers.h"

/* Turns the sums of a pixel into codes, and stores them. */
$finishers
$functions
/* The layers: what becomes of their sums. */

$layers
void ${name}_run_in(memory *m, $parameters)
{
$calls
}

#ifndef ${NAME}_NO_STATIC_MEMORY
${NAME}_MEMORY static memory static_memory;

void ${name}_run($parameters)
{
    ${name}_run_in(&static_memory, $arguments);
}
#endif
