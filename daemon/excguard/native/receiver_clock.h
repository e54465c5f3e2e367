/*
 * The receiver's time: the time of day at a message, and how long its reply took.
 *
 * It comes from the processor's counter, which runs at a constant rate (every Mac's and any recent
 * processor's does) and costs a third of a clock that the system keeps. What a tick is gets measured against
 * the steady clock, first over a few milliseconds and then over about a second, when both clocks are read
 * again: so a clock that is set is followed within a second.
 */
#ifndef EXCGUARD_RECEIVER_CLOCK_H
#define EXCGUARD_RECEIVER_CLOCK_H

#include <stdint.h>
#include <time.h>

#define EXCGUARD_NS_PER_SECOND UINT64_C(1000000000)
#define EXCGUARD_CALIBRATE_FIRST_NS (2 * UINT64_C(1000000))
#define EXCGUARD_CALIBRATE_MAX_NS (10 * EXCGUARD_NS_PER_SECOND)

__extension__ typedef unsigned __int128 excguard_uint128;

/* One moment by the counter, the steady clock and the time of day; and what a tick is. */
struct excguard_receiver_clock {
    uint64_t ticks;
    uint64_t steady_ns;
    uint64_t wall_ns;
    uint64_t tick_ns; /* nanoseconds, times 2^32 */
    uint64_t valid;   /* ticks after which the clocks are read again */
};

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

static inline uint64_t excguard_clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * EXCGUARD_NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

/*
 * On macOS the steady clock is mach_continuous_time, which goes on while the system sleeps;
 * mach_absolute_time does not, and times of day computed from it would be late by the sleep. Neither system
 * needs a system call for either clock.
 *
 * A tick is measured between two moments that are close enough that no sleep is likely between.
 */
static void excguard_read_clocks(struct excguard_receiver_clock *clock) {
    uint64_t width = UINT64_MAX, ticks = 0, steady = 0;
    for (int i = 0; i < 3; i++) { /* the try with the least between its two reads of the counter */
        uint64_t before = excguard_ticks(), now = excguard_clock_ns(CLOCK_MONOTONIC_RAW),
                 after = excguard_ticks();
        if (after - before < width) {
            width = after - before;
            ticks = before + width / 2;
            steady = now;
        }
    }
    uint64_t elapsed = steady - clock->steady_ns;
    if (elapsed >= EXCGUARD_CALIBRATE_FIRST_NS && elapsed <= EXCGUARD_CALIBRATE_MAX_NS &&
        ticks > clock->ticks) {
        /* Not in 128 bits: their division is a function of the compiler's, which libSystem does not have. */
        clock->tick_ns = (uint64_t)((double)elapsed * 0x1p32 / (double)(ticks - clock->ticks));
        clock->valid = (EXCGUARD_NS_PER_SECOND << 32) / clock->tick_ns;
    }
    clock->ticks = ticks;
    clock->steady_ns = steady;
    clock->wall_ns = excguard_clock_ns(CLOCK_REALTIME);
}

/* Returns when a tick has been measured. */
static void excguard_start_clock(struct excguard_receiver_clock *clock) {
    *clock = (struct excguard_receiver_clock){0};
    excguard_read_clocks(clock);
    while (clock->tick_ns == 0) {
        nanosleep(&(struct timespec){.tv_nsec = EXCGUARD_CALIBRATE_FIRST_NS}, NULL);
        excguard_read_clocks(clock);
    }
}

/* The length of `ticks`, in nanoseconds. */
static inline uint64_t excguard_ticks_ns(const struct excguard_receiver_clock *clock, uint64_t ticks) {
    return (uint64_t)(((excguard_uint128)ticks * clock->tick_ns) >> 32);
}

/* The time of day when the counter was at `ticks`, which was just read: nanoseconds since 1970. */
static inline uint64_t excguard_time_of_day(struct excguard_receiver_clock *clock, uint64_t ticks) {
    if (__builtin_expect(ticks - clock->ticks > clock->valid, 0)) { /* also when the counter went back */
        excguard_read_clocks(clock);
        return clock->wall_ns;
    }
    return clock->wall_ns + excguard_ticks_ns(clock, ticks - clock->ticks);
}

#endif
