/*
 * pc, lr and sp out of a thread state of either architecture, 64 or 32 bits wide, bare or in the "unified"
 * state that says inside which of the two it is.
 *
 * Flavor numbers overlap between the architectures (1 is ARM_THREAD_STATE and x86_THREAD_STATE32, 7 is
 * x86_THREAD_STATE and ARM_EXCEPTION_STATE64), so a state is known by flavor and count together; no two of
 * these pairs are equal. Numbers and offsets: osfmk/mach/i386/thread_status.h, osfmk/mach/arm/thread_status.h
 * and the _structs.h beside them, xnu-11417.121.6.
 */
#ifndef EXCGUARD_THREAD_STATE_H
#define EXCGUARD_THREAD_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

struct excguard_registers {
    uint64_t pc;
    uint64_t lr; /* 0 on Intel */
    uint64_t sp;
};

#define EXCGUARD_STATE_KEY(flavor, count) ((uint64_t)(flavor) << 32 | (count))

#define EXCGUARD_X86_STATE32 EXCGUARD_STATE_KEY(1, 16)       /* x86_THREAD_STATE32 */
#define EXCGUARD_X86_STATE64 EXCGUARD_STATE_KEY(4, 42)       /* x86_THREAD_STATE64 */
#define EXCGUARD_X86_UNIFIED EXCGUARD_STATE_KEY(7, 44)       /* x86_THREAD_STATE */
#define EXCGUARD_X86_FULL_STATE64 EXCGUARD_STATE_KEY(23, 50) /* x86_THREAD_FULL_STATE64, begins like 64 */
#define EXCGUARD_ARM_STATE EXCGUARD_STATE_KEY(1, 17)         /* ARM_THREAD_STATE of a 32-bit thread */
#define EXCGUARD_ARM_UNIFIED EXCGUARD_STATE_KEY(1, 70)       /* ARM_THREAD_STATE, unified */
#define EXCGUARD_ARM_STATE64 EXCGUARD_STATE_KEY(6, 68)       /* ARM_THREAD_STATE64 */
#define EXCGUARD_ARM_STATE32 EXCGUARD_STATE_KEY(9, 17)       /* ARM_THREAD_STATE32 */

/* Byte offsets in the states themselves. */
#define EXCGUARD_X86_32_ESP 28
#define EXCGUARD_X86_32_EIP 40
#define EXCGUARD_X86_64_RSP 56
#define EXCGUARD_X86_64_RIP 128
#define EXCGUARD_ARM_32_SP 52
#define EXCGUARD_ARM_32_LR 56
#define EXCGUARD_ARM_32_PC 60
#define EXCGUARD_ARM_64_LR 240
#define EXCGUARD_ARM_64_SP 248
#define EXCGUARD_ARM_64_PC 256
/* The unified states begin with the flavor and count of the state inside; that one follows. */
#define EXCGUARD_UNIFIED_HEADER 8

EXCGUARD_INLINE bool excguard_read_bare_registers(uint64_t key, const uint8_t *state,
                                                  struct excguard_registers *out) {
    switch (key) {
    case EXCGUARD_X86_STATE64:
    case EXCGUARD_X86_FULL_STATE64:
        out->pc = excguard_load64(state + EXCGUARD_X86_64_RIP);
        out->lr = 0;
        out->sp = excguard_load64(state + EXCGUARD_X86_64_RSP);
        return true;
    case EXCGUARD_ARM_STATE64:
        out->pc = excguard_load64(state + EXCGUARD_ARM_64_PC);
        out->lr = excguard_load64(state + EXCGUARD_ARM_64_LR);
        out->sp = excguard_load64(state + EXCGUARD_ARM_64_SP);
        return true;
    case EXCGUARD_X86_STATE32:
        out->pc = excguard_load32(state + EXCGUARD_X86_32_EIP);
        out->lr = 0;
        out->sp = excguard_load32(state + EXCGUARD_X86_32_ESP);
        return true;
    case EXCGUARD_ARM_STATE:
    case EXCGUARD_ARM_STATE32:
        out->pc = excguard_load32(state + EXCGUARD_ARM_32_PC);
        out->lr = excguard_load32(state + EXCGUARD_ARM_32_LR);
        out->sp = excguard_load32(state + EXCGUARD_ARM_32_SP);
        return true;
    default:
        return false;
    }
}

/* `count` words of state must be readable at `state`. False: not a state with registers that we know. */
EXCGUARD_INLINE bool excguard_read_registers(uint32_t flavor, uint32_t count, const uint8_t *state,
                                             struct excguard_registers *out) {
    uint64_t key = EXCGUARD_STATE_KEY(flavor, count);
    if (key == EXCGUARD_ARM_UNIFIED || key == EXCGUARD_X86_UNIFIED) {
        uint64_t inner = EXCGUARD_STATE_KEY(excguard_load32(state), excguard_load32(state + 4));
        bool fits = key == EXCGUARD_ARM_UNIFIED
                        ? inner == EXCGUARD_ARM_STATE64 || inner == EXCGUARD_ARM_STATE32
                        : inner == EXCGUARD_X86_STATE64 || inner == EXCGUARD_X86_STATE32;
        return fits && excguard_read_bare_registers(inner, state + EXCGUARD_UNIFIED_HEADER, out);
    }
    return excguard_read_bare_registers(key, state, out);
}

#endif
