/* Cortex-M on the board MPS2. */

#include <stdint.h>

enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT = 0x18, READ_BYTES = 1, WRITE_BYTES = 5 };
enum { DONE = 0x20026, FAILED = 0x20023 }; /* application exit, run-time error */

#define TIMER ((volatile uint32_t *)0x40000000) /* counts down at 25 MHz */
#define UNALIGNED_TRAPS ((volatile uint32_t *)0xe000ed14)

extern uint32_t stack_bottom[], stack_top[];
void run_all(void);

static int semihost(int operation, uintptr_t argument)
{
    register int r0 __asm__("r0") = operation;
    register uintptr_t r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void leave(int reason)
{
    for (;;)
        semihost(SYS_EXIT, reason);
}

static inline uintptr_t stack_pointer(void)
{
    uintptr_t sp;
    __asm__ volatile("mov %0, sp" : "=r"(sp));
    return sp;
}

static inline uint32_t ticks(void)
{
    const uint32_t left = TIMER[1];
    __asm__ volatile("" ::: "memory");
    return -left;
}

static void fault(void)
{
    leave(FAILED);
}

static void reset(void)
{
#ifdef __ARM_ARCH_6M__ /* the core that executes this is larger: it must refuse what the smaller one lacks */
    *UNALIGNED_TRAPS |= 1 << 3;
#endif
    TIMER[1] = TIMER[2] = UINT32_MAX; /* value, reload */
    TIMER[0] = 1;
    run_all();
}

__attribute__((section(".start"), used)) static const void *const vectors[16] = {
    stack_top, (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault,
};
