/*
 * Sums over hit counters: several counters are one series of the metrics, or one target.
 *
 * Which counters belong to a sum stays the same until a counter is added, so it is computed once; a scrape
 * only adds.
 */
#ifndef EXCGUARD_HIT_SUMS_H
#define EXCGUARD_HIT_SUMS_H

#include <stdbool.h>
#include <stdint.h>

#include "journal.h"

/* Which counters belong to each sum: those from ends[i - 1] to ends[i] of `members`, which are indices. */
struct excguard_sum_members {
    const uint32_t *members;
    const uint32_t *ends;
    uint32_t sums;
};

/* Whether `counters` are those of `keys`, in that order. */
bool excguard_hit_keys_equal(const struct excguard_hit_counter *counters, const uint64_t *keys,
                             uint32_t count);

/*
 * For each sum the number of hits (recorded and lost), and the time of the last one (0: none). Every index of
 * `of` must be one of `counters`. `last_ns` may be NULL.
 */
void excguard_hit_sums(const struct excguard_hit_counter *counters, const struct excguard_sum_members *of,
                       uint64_t *hits, uint64_t *last_ns);

/* How many hits of `counters` have no record. */
uint64_t excguard_hits_lost(const struct excguard_hit_counter *counters, uint32_t count);

#endif
