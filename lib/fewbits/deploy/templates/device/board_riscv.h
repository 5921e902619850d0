/* RISC-V on the board `virt`. */

#include <stdint.h>

enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT = 0x18, READ_BYTES = 1, WRITE_BYTES = 5 };
enum { DONE = 0x20026, FAILED = 0x20023 }; /* application exit, run-time error */

extern uint32_t stack_bottom[], stack_top[];
void run_all(void);

static int semihost(int operation, uintptr_t argument)
{
    register int a0 __asm__("a0") = operation;
    register uintptr_t a1 __asm__("a1") = argument;
    __asm__ volatile(".option push\n.option norvc\n.balign 16\n" /* the three must lie on one page */
                     "slli zero, zero, 0x1f\nebreak\nsrai zero, zero, 7\n.option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return a0;
}

static void leave(int reason)
{
    for (;;)
        semihost(SYS_EXIT, reason);
}

static inline uintptr_t stack_pointer(void)
{
    uintptr_t sp;
    __asm__ volatile("mv %0, sp" : "=r"(sp));
    return sp;
}

static inline uint32_t ticks(void)
{
    uint32_t retired;
    __asm__ volatile("rdinstret %0" : "=r"(retired)::"memory");
    return retired;
}

__attribute__((aligned(4), used)) static void fault(void)
{
    leave(FAILED);
}

__attribute__((section(".start"), naked, used)) static void start(void)
{
    __asm__ volatile("la sp, stack_top\nla t0, fault\ncsrw mtvec, t0\nj run_all");
}
