/*
 * A run of records that are alike: what a storm consists of, and what is counted without looking at each.
 */
#ifndef EXCGUARD_RECORD_RUN_H
#define EXCGUARD_RECORD_RUN_H

#include <stdint.h>

#include "journal.h"

/*
 * How many of `records`, which are `count` and not 0, from the first on are of its target, process and code,
 * and have no program counter (0: the first has one). `*earliest_ns` and `*latest_ns`: the bounds of their
 * times.
 */
uint32_t excguard_record_run(const struct excguard_record *records, uint32_t count, uint64_t *earliest_ns,
                             uint64_t *latest_ns);

#endif
