/* Runs $name on every image of the file `images`, and writes to the file `found` what each run took and its codes.
   Both files are on the machine that emulates this one: semihosting asks it to open, read and write them. */

#include "$name.h"

#include "board.h"

#define PAINT 0xa5a5a5a5u /* fills the stack, to see how far down it is used */

static uint8_t images[$image_bytes]; /* one for each input */
static struct {
    uint32_t ticks, stack;
    int32_t codes[$codes];
} found;

static int open_file(const char *name, int length, int mode)
{
    const uintptr_t block[3] = {(uintptr_t)name, mode, length};
    return semihost(SYS_OPEN, (uintptr_t)block);
}

/* Returns how many bytes were not read or written. */
static int transfer(int operation, int file, void *bytes, int count)
{
    const uintptr_t block[3] = {file, (uintptr_t)bytes, count};
    return semihost(operation, (uintptr_t)block);
}

void run_all(void)
{
    const int in = open_file("images", 6, READ_BYTES), out = open_file("found", 5, WRITE_BYTES);
    while (transfer(SYS_READ, in, images, sizeof images) == 0) {
        volatile uint32_t *const top = (uint32_t *)stack_pointer(), *lowest;
        for (lowest = stack_bottom; lowest < top; lowest++)
            *lowest = PAINT;
        const uint32_t first = ticks(), before = ticks();
        ${name}_run($arguments);
        const uint32_t after = ticks();
        for (lowest = stack_bottom; *lowest == PAINT && lowest < top; lowest++)
            ;
        found.stack = (uintptr_t)top - (uintptr_t)lowest;
        found.ticks = after - before - (before - first); /* reading the ticks takes some, too */
        if (transfer(SYS_WRITE, out, &found, sizeof found))
            leave(FAILED);
    }
    leave(DONE);
}
