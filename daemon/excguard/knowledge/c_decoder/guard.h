/*
 * Decodes the numbers of an EXC_GUARD code: guard type, flavor, target, and how severe it is on a given
 * release.
 *
 * code    = [63:61] guard type | [60:32] flavor | [31:0] target
 * subcode = [63:0] payload
 * (osfmk/kern/exc_guard.h, EXC_GUARD_DECODE_GUARD_TYPE and its neighbors, xnu-11417.121.6)
 *
 * The same flavor number means different things on different releases, so every look-up takes one. A release
 * is one integer, major * 10000 + minor * 100 + patch of the macOS version: 140401 is macOS 14.4.1.
 *
 * The tables come from excguard/knowledge at build time (generate_c.py writes guard_table.h); nothing here
 * repeats them.
 */
#ifndef EXCGUARD_GUARD_H
#define EXCGUARD_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "severity.h"

/*
 * One meaning of one flavor number; the rows of guard_table.h. Sorted by guard type, flavor, first release.
 */
struct excguard_guard_row {
    uint32_t guard_type;
    uint32_t flavor;
    uint32_t first_release;  /* inclusive */
    uint32_t last_release;   /* inclusive; UINT32_MAX: still so in the newest source */
    uint32_t severity;       /* enum excguard_severity */
    uint32_t soft_target;    /* bits of the target with which it is soft, whatever its severity */
    const char *kernel_name; /* NULL: the guard type has no flavors */
};

struct excguard_guard {
    uint32_t guard_type;
    uint32_t flavor;
    uint32_t target;
    uint32_t severity;       /* enum excguard_severity; of its range when the flavor is not known */
    bool known;              /* the tables have this flavor on that release */
    const char *kernel_name; /* static; NULL when not known or without a name */
};

static inline uint32_t excguard_guard_type(uint64_t code) {
    return (uint32_t)(code >> 61);
}

static inline uint32_t excguard_guard_flavor(uint64_t code) {
    return (uint32_t)(code >> 32) & 0x1fffffffu;
}

static inline uint32_t excguard_guard_target(uint64_t code) {
    return (uint32_t)code;
}

/* Decodes `code` as `release` means it. Never fails: a flavor that is not in the tables has known = false. */
void excguard_guard_decode(uint64_t code, uint32_t release, struct excguard_guard *out);

/*
 * How severe a flavor in no table is: as its range, which ends at `last_flavor` (not set where no range has
 * it). EXCGUARD_SEVERITY_UNKNOWN for an unknown guard type.
 */
uint32_t excguard_range_severity(uint32_t guard_type, uint32_t flavor, uint32_t release,
                                 uint32_t *last_flavor);

/* The rows themselves, for the test that compares them with the tables they came from. */
const struct excguard_guard_row *excguard_guard_rows(uint32_t *count);

#endif
