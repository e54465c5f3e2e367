/*
 * The processor's counter: it runs at a constant rate (every Mac's and any recent processor's does), and
 * costs a third of a clock that the system keeps. What a tick is has to be measured: receiver.c.
 */
#ifndef EXCGUARD_TICKS_H
#define EXCGUARD_TICKS_H

#include <stdint.h>

static inline uint64_t excguard_ticks(void) {
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
#error "unknown processor"
#endif
}

#endif
