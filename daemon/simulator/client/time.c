/* mach/mach_time.h: one unit of mach_absolute_time is a nanosecond here, as on Intel Macs. */
#include <time.h>

#include "mach/mach_time.h"

static uint64_t read_clock(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

kern_return_t mach_timebase_info(mach_timebase_info_t info) {
    *info = (mach_timebase_info_data_t){1, 1};
    return KERN_SUCCESS;
}

uint64_t mach_absolute_time(void) {
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t mach_continuous_time(void) {
    return read_clock(CLOCK_BOOTTIME);
}
