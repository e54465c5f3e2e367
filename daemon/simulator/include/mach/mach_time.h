/* osfmk/mach/mach_time.h */
#ifndef _MACH_MACH_TIME_H_
#define _MACH_MACH_TIME_H_

#include <stdint.h>

#include <mach/kern_return.h>

struct mach_timebase_info {
    uint32_t numer;
    uint32_t denom;
};
typedef struct mach_timebase_info *mach_timebase_info_t;
typedef struct mach_timebase_info mach_timebase_info_data_t;

#ifdef __cplusplus
extern "C" {
#endif

extern kern_return_t mach_timebase_info(mach_timebase_info_t info);
extern uint64_t mach_absolute_time(void);
extern uint64_t mach_continuous_time(void);

#ifdef __cplusplus
}
#endif

#endif
