/*
 * How a record is written: inline, because the receiver's usual path makes no calls (message_handler.c). The
 * order of the stores is the whole point: journal.h says why.
 */
#ifndef EXCGUARD_JOURNAL_INLINE_H
#define EXCGUARD_JOURNAL_INLINE_H

#include <string.h>

#include "journal_file.h"

/* One thread adds: no atomic read-modify-write is needed, only that readers see a whole number. */
static inline void excguard_bump(_Atomic uint64_t *counter, uint64_t by) {
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by,
                          memory_order_relaxed);
}

EXCGUARD_INLINE uint64_t excguard_journal_head(const struct journal_map *map) {
    return atomic_load_explicit(&map->header.head, memory_order_relaxed);
}

/*
 * Writes the record of `seq`, for which there is room, and counts it in `counter`. `codes`: code and
 * subcode, 16 bytes. The second line of the record has been seen to before.
 */
EXCGUARD_INLINE void excguard_journal_write(struct journal_map *map, struct excguard_record *record,
                                            uint64_t seq, struct journal_hit_counter *counter,
                                            const struct journal_entry entry, const void *codes) {
    uint64_t count = atomic_load_explicit(&counter->recorded, memory_order_relaxed) + 1;
    record->seq = seq;
    record->time_ns = entry.time_ns;
    memcpy(&record->thread_id, &entry.offender, sizeof entry.offender);
    memcpy(&record->code, codes, 2 * sizeof(uint64_t));
    excguard_pair end = counter->record_end + excguard_record_end((uint32_t)count, 0, entry.tag);
    memcpy(&record->count_after, &end, sizeof end);

    /*
     * Release: neither compiler nor processor moves what is above below it, nor the second store before the
     * first.
     */
    atomic_store_explicit(&map->header.head, seq + 1, memory_order_release);
    atomic_store_explicit(&counter->recorded, count, memory_order_release);
    atomic_store_explicit(&counter->last_time_ns, entry.time_ns, memory_order_relaxed);
}

#endif
