/*
 * Sums over the hit counters of a journal: several counters are one series of the metrics, or one target.
 *
 * Which series and target a counter belongs to stays the same as long as the journal is open, so that is
 * found once; a scrape only adds, in one pass over the counters in use.
 */
#ifndef EXCGUARD_HIT_SUMS_H
#define EXCGUARD_HIT_SUMS_H

#include <stdbool.h>
#include <stdint.h>

#include "journal.h"

/* What the counter in a slot belongs to: indices of struct excguard_hit_sums. */
struct excguard_hit_label {
    uint64_t key; /* of the counter (struct excguard_hit_counter); 0: not known yet */
    uint32_t series;
    uint32_t target;
};

/* Arrays of the caller's, as long as the labels demand. */
struct excguard_hit_sums {
    uint64_t *hits; /* by series: recorded and lost */
    uint64_t *last_ns;
    uint64_t *target_hits;
    uint64_t *target_last_ns;
    uint64_t lost; /* hits without a record */
};

/*
 * Adds the journal's counters to `sums`. `labels`: EXCGUARD_HIT_SLOTS of them, by slot. A counter that has
 * hits and another key than its label, a new one for example, is left out. Returns whether there was none.
 * Any thread may call it.
 */
bool excguard_hit_sums_add(const struct excguard_journal *journal, const struct excguard_hit_label *labels,
                           struct excguard_hit_sums *sums);

#endif
