/*
 * Thread state of this machine's architecture: osfmk/mach/thread_status.h, machine/thread_status.h,
 * machine/thread_state.h.
 */
#ifndef _MACH_THREAD_STATUS_H_
#define _MACH_THREAD_STATUS_H_

#include <mach/arm/thread_status.h>
#include <mach/i386/thread_status.h>
#include <mach/message.h>

typedef natural_t *thread_state_t;
typedef int thread_state_flavor_t;
typedef thread_state_flavor_t *thread_state_flavor_array_t;

/* 1296 on both architectures since xnu-8019 (macOS 12); 614 on x86_64 before. */
#define THREAD_STATE_MAX (1296)

#if defined(__aarch64__)
#define THREAD_STATE_NONE 5
#define MACHINE_THREAD_STATE ARM_THREAD_STATE
#define MACHINE_THREAD_STATE_COUNT ARM_UNIFIED_THREAD_STATE_COUNT
#else
#define THREAD_STATE_NONE 13
#define MACHINE_THREAD_STATE x86_THREAD_STATE
#define MACHINE_THREAD_STATE_COUNT x86_THREAD_STATE_COUNT
#endif

#endif
