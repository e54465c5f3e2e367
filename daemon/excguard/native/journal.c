#include "journal.h"

#include "guard.h"
#include "journal_file.h"
#include "journal_inline.h"

const uint64_t excguard_reply_bounds_ns[EXCGUARD_REPLY_BOUNDS] = {
    1000,   2000,    5000,    10000,   20000,    50000,    100000,    200000,
    500000, 1000000, 2000000, 5000000, 10000000, 50000000, 100000000, 1000000000,
};

/* ---- hit counters ---- */

/*
 * Of the slots, a quarter for flavors that are in no table and a quarter never used, so that probing stays
 * short.
 */
#define MAX_UNKNOWN_USED (EXCGUARD_HIT_SLOTS / 4)
#define MAX_USED (EXCGUARD_HIT_SLOTS / 4 * 3)
#define OTHER_KEY(key) (((key) & ~(uint64_t)EXCGUARD_FLAVOR_OTHER) | EXCGUARD_FLAVOR_OTHER)

excguard_pair excguard_counter_record_end(const struct journal_hit_counter *counter, uint32_t slot,
                                          uint32_t release) {
    uint32_t flags = counter->known ? EXCGUARD_RECORD_KNOWN : 0;
    return excguard_record_end(0, release, excguard_tag(slot, 0, flags, 0, counter->severity));
}

void excguard_journal_begin_counter(struct journal_map *map, uint32_t slot, uint64_t key, uint32_t release) {
    struct journal_hit_counter *counter = &map->hits[slot];
    struct excguard_guard guard;
    excguard_guard_decode(key << 32, release, &guard);
    counter->target_id = (uint32_t)(key >> 32);
    counter->guard_type = guard.guard_type;
    counter->flavor = guard.flavor;
    counter->severity =
        (uint16_t)(guard.flavor == EXCGUARD_FLAVOR_OTHER ? EXCGUARD_SEVERITY_UNKNOWN : guard.severity);
    counter->known = guard.known;
    counter->record_end = excguard_counter_record_end(counter, slot, release);
    atomic_store_explicit(&counter->key, key, memory_order_release); /* last: now it is in use */
}

/*
 * The slot of `key`, or the free one where it belongs. There is always a free one (MAX_USED), unless another
 * program has written to the file: then it is slot 0, that of all others.
 */
static size_t probe(const struct excguard_journal *journal, uint64_t key) {
    size_t home = excguard_hit_home(key);
    for (size_t step = 0; step < EXCGUARD_HIT_SLOTS; step++) {
        size_t slot = (home + step) % EXCGUARD_HIT_SLOTS;
        uint64_t found = atomic_load_explicit(&journal->map->hits[slot].key, memory_order_relaxed);
        if (found == key || found == 0) {
            return slot;
        }
    }
    return 0;
}

struct journal_hit_counter *excguard_journal_find_counter(struct excguard_journal *journal, uint64_t key) {
    size_t slot = probe(journal, key);
    if (atomic_load_explicit(&journal->map->hits[slot].key, memory_order_relaxed) == key) {
        return &journal->map->hits[slot];
    }
    struct excguard_guard guard;
    excguard_guard_decode(key << 32, journal->release, &guard);
    if (!guard.known && journal->hit_slots_used >= MAX_UNKNOWN_USED) {
        key = OTHER_KEY(key);
        slot = probe(journal, key);
        if (atomic_load_explicit(&journal->map->hits[slot].key, memory_order_relaxed) == key) {
            return &journal->map->hits[slot];
        }
    }
    if (journal->hit_slots_used >= MAX_USED || slot == 0) {
        return &journal->map->hits[0];
    }
    excguard_journal_begin_counter(journal->map, (uint32_t)slot, key, journal->release);
    excguard_mark_used(journal, (uint32_t)slot);
    return &journal->map->hits[slot];
}

/* ---- writer ---- */

int excguard_journal_append(struct excguard_journal *journal, const struct excguard_hit *hit) {
    struct journal_map *map = journal->map;
    struct journal_hit_counter *counter =
        excguard_journal_find_counter(journal, excguard_hit_key(hit->target_id, hit->code));
    uint64_t seq = excguard_journal_head(map);
    /* Acquire: the reader has finished reading before it stores the tail. */
    journal->full_at = atomic_load_explicit(&map->header.tail, memory_order_acquire) + journal->mask + 1;
    if (seq == journal->full_at) {
        atomic_store_explicit(&counter->last_time_ns, hit->time_ns, memory_order_relaxed);
        excguard_bump(&counter->lost, 1);
        return 0;
    }
    struct excguard_record *record = &journal->map->ring[seq & journal->mask];
    if ((hit->flags & EXCGUARD_RECORD_STATE) != 0) {
        record->pc = hit->pc;
        record->lr = hit->lr;
        record->sp = hit->sp;
        record->state_flavor = hit->state_flavor;
        record->state_count = hit->state_count;
    }
    const struct journal_entry entry = {
        .time_ns = hit->time_ns,
        .offender = {hit->thread_id, (uint64_t)hit->target_id << 32 | hit->pid},
        .tag = excguard_tag(0, hit->reply, hit->flags, hit->behavior, 0),
    };
    const uint64_t codes[2] = {hit->code, hit->subcode};
    excguard_journal_write(map, record, seq, counter, entry, codes);
    return 1;
}

void excguard_journal_reject(struct excguard_journal *journal, uint32_t verdict) {
    if (verdict < EXCGUARD_VERDICT_COUNT) {
        excguard_bump(&journal->map->header.rejected[verdict], 1);
    }
}

void excguard_journal_reply_time(struct excguard_journal *journal, uint64_t nanoseconds) {
    uint32_t bucket = 0;
    while (bucket < EXCGUARD_REPLY_BOUNDS && nanoseconds > excguard_reply_bounds_ns[bucket]) {
        bucket++;
    }
    excguard_bump(&journal->map->header.reply_sum_ns, nanoseconds);
    excguard_bump(&journal->map->header.reply_buckets[bucket], 1);
}

/*
 * ---- reader ----
 *
 * The tail is loaded relaxed, as the reader alone stores it; the head with acquire, so that the records
 * before it are whole.
 */

uint64_t excguard_journal_pending(const struct excguard_journal *journal) {
    uint64_t tail = atomic_load_explicit(&journal->map->header.tail, memory_order_relaxed);
    return atomic_load_explicit(&journal->map->header.head, memory_order_acquire) - tail;
}

uint32_t excguard_journal_peek(const struct excguard_journal *journal, const struct excguard_record **records,
                               uint32_t max) {
    uint64_t tail = atomic_load_explicit(&journal->map->header.tail, memory_order_relaxed);
    uint64_t count = atomic_load_explicit(&journal->map->header.head, memory_order_acquire) - tail;
    uint64_t until_end = journal->mask + 1 - (tail & journal->mask);
    *records = &journal->map->ring[tail & journal->mask];
    count = count < until_end ? count : until_end;
    return count < max ? (uint32_t)count : max;
}

void excguard_journal_advance(struct excguard_journal *journal, uint32_t count) {
    uint64_t pending = excguard_journal_pending(journal);
    uint64_t tail = atomic_load_explicit(&journal->map->header.tail, memory_order_relaxed);
    /* Release: the slots are the writer's again once it sees this, so all reading of them is over by then. */
    atomic_store_explicit(&journal->map->header.tail, tail + (count < pending ? count : pending),
                          memory_order_release);
}

/*
 * ---- counters ----
 *
 * Loaded relaxed: each is a number by itself, and a hit may be in one and not yet in another. What does not
 * change, the key and what follows from it, is there before the counter is in use (excguard_mark_used).
 */

uint32_t excguard_journal_hits(const struct excguard_journal *journal, struct excguard_hit_counter *out,
                               uint32_t max) {
    uint32_t count = 0;
    for (uint32_t slot = excguard_next_used(journal, 0); slot < EXCGUARD_HIT_SLOTS && count < max;
         slot = excguard_next_used(journal, slot + 1)) {
        const struct journal_hit_counter *counter = &journal->map->hits[slot];
        uint64_t key = atomic_load_explicit(&counter->key, memory_order_relaxed);
        uint64_t recorded = atomic_load_explicit(&counter->recorded, memory_order_relaxed);
        uint64_t lost = atomic_load_explicit(&counter->lost, memory_order_relaxed);
        if (key == 0 || recorded + lost == 0) {
            continue; /* made for a hit that is just being recorded, or emptied by another program */
        }
        out[count++] = (struct excguard_hit_counter){
            .key = key,
            .recorded = recorded,
            .lost = lost,
            .last_time_ns = atomic_load_explicit(&counter->last_time_ns, memory_order_relaxed),
            .target_id = (uint32_t)(key >> 32), /* from the key: whatever became of the file, they fit */
            .guard_type = (uint32_t)(key >> 29) & 7,
            .flavor = (uint32_t)key & EXCGUARD_FLAVOR_OTHER,
            .severity = counter->severity,
            .known = counter->known,
            .slot = slot,
        };
    }
    return count;
}

uint64_t excguard_journal_lost(const struct excguard_journal *journal) {
    uint64_t lost = 0;
    for (uint32_t slot = excguard_next_used(journal, 0); slot < EXCGUARD_HIT_SLOTS;
         slot = excguard_next_used(journal, slot + 1)) {
        lost += atomic_load_explicit(&journal->map->hits[slot].lost, memory_order_relaxed);
    }
    return lost;
}

void excguard_journal_rejected(const struct excguard_journal *journal, uint64_t out[EXCGUARD_VERDICT_COUNT]) {
    for (uint32_t verdict = 0; verdict < EXCGUARD_VERDICT_COUNT; verdict++) {
        out[verdict] = atomic_load_explicit(&journal->map->header.rejected[verdict], memory_order_relaxed);
    }
}

void excguard_journal_replies(const struct excguard_journal *journal, struct excguard_reply_histogram *out) {
    for (uint32_t bucket = 0; bucket <= EXCGUARD_REPLY_BOUNDS; bucket++) {
        out->buckets[bucket] =
            atomic_load_explicit(&journal->map->header.reply_buckets[bucket], memory_order_relaxed);
    }
    out->sum_ns = atomic_load_explicit(&journal->map->header.reply_sum_ns, memory_order_relaxed);
}

/* ---- facts ---- */

int excguard_journal_created(const struct excguard_journal *journal) {
    return journal->created;
}

uint32_t excguard_journal_capacity(const struct excguard_journal *journal) {
    return (uint32_t)(journal->mask + 1);
}

uint64_t excguard_journal_made_ns(const struct excguard_journal *journal) {
    return journal->map->header.made_ns;
}

uint64_t excguard_journal_counting_since_ns(const struct excguard_journal *journal) {
    return journal->map->header.counting_since_ns;
}

uint64_t excguard_journal_recovered_until(const struct excguard_journal *journal) {
    return journal->recovered_until;
}
