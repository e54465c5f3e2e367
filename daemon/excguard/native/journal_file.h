/*
 * The journal file, byte by byte: header page, hit counters, ring. Host byte order; the magic number is read
 * as one, so a file from a machine of the other order is foreign. Internal to the journal.
 */
#ifndef EXCGUARD_JOURNAL_FILE_H
#define EXCGUARD_JOURNAL_FILE_H

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "journal.h"
#include "wire.h"

#define EXCGUARD_JOURNAL_MAGIC UINT64_C(0x6c6e726a64477845) /* "ExGdjrnl" */
#define EXCGUARD_CACHE_LINE 64
#define EXCGUARD_VERDICT_SLOTS 64 /* more than there are, so that new verdicts do not change the layout */
#define EXCGUARD_REPLY_SLOTS 31

struct journal_header {
    _Atomic uint64_t magic; /* stored last when a file is made: without it the file was never finished */
    uint32_t version;
    uint32_t header_size;
    uint32_t record_size;
    uint32_t capacity;
    uint32_t hit_slots;
    /* That severities in counters and records were decided for; 0 while the counters are being reset. */
    _Atomic uint32_t release;
    /*
     * Records from here on belong to the counters as they are; older ones to counters that were reset.
     */
    uint64_t counters_since;
    uint64_t made_ns;           /* when the file was made, since 1970 */
    uint64_t counting_since_ns; /* when the hit counters began */

    /* The writer's: the seq of the next record. */
    alignas(EXCGUARD_CACHE_LINE) _Atomic uint64_t head;
    /* The reader's: the seq of the oldest record it has not given back. */
    alignas(EXCGUARD_CACHE_LINE) _Atomic uint64_t tail;

    /* The writer's. */
    alignas(EXCGUARD_CACHE_LINE) _Atomic uint64_t rejected[EXCGUARD_VERDICT_SLOTS];
    _Atomic uint64_t reply_buckets[EXCGUARD_REPLY_SLOTS];
    _Atomic uint64_t reply_sum_ns;
    alignas(EXCGUARD_CACHE_LINE) uint8_t reserved[3136];
};

/* Two numbers that are loaded, added and stored as one. */
typedef uint64_t excguard_pair __attribute__((vector_size(16)));

/* As struct excguard_hit_counter, with what it takes to be read while it is written. */
struct journal_hit_counter {
    _Atomic uint64_t key;
    _Atomic uint64_t recorded;
    _Atomic uint64_t lost;
    _Atomic uint64_t last_time_ns;
    uint32_t target_id;
    uint32_t guard_type;
    uint32_t flavor;
    uint16_t severity;
    uint16_t known;
    excguard_pair
        record_end; /* what the ends of its records' first lines have in common: excguard_record_end */
};

/*
 * A record's hit_slot, reply, flags, behavior and severity as one number. Sums of tags of different fields
 * are the tag of all of them.
 */
EXCGUARD_INLINE uint64_t excguard_tag(uint32_t hit_slot, uint32_t reply, uint32_t flags, uint32_t behavior,
                                      uint32_t severity) {
    return (uint64_t)hit_slot | (uint64_t)reply << 16 | (uint64_t)flags << 32 | (uint64_t)behavior << 48 |
           (uint64_t)severity << 56;
}
static_assert(offsetof(struct excguard_record, hit_slot) == 56 &&
                  offsetof(struct excguard_record, reply) == 58 &&
                  offsetof(struct excguard_record, flags) == 60 &&
                  offsetof(struct excguard_record, behavior) == 62 &&
                  offsetof(struct excguard_record, severity) == 63,
              "excguard_tag");

/* The last 16 bytes of a record's first line. */
EXCGUARD_INLINE excguard_pair excguard_record_end(uint32_t count_after, uint32_t release, uint64_t tag) {
    return (excguard_pair){(uint64_t)release << 32 | count_after, tag};
}
static_assert(offsetof(struct excguard_record, count_after) == 48 &&
                  offsetof(struct excguard_record, release) == 52,
              "excguard_record_end");
static_assert(offsetof(struct excguard_record, pid) == offsetof(struct excguard_record, thread_id) + 8 &&
                  offsetof(struct excguard_record, target_id) == offsetof(struct excguard_record, pid) + 4 &&
                  offsetof(struct excguard_record, subcode) == offsetof(struct excguard_record, code) + 8,
              "struct journal_entry");

static_assert(sizeof(struct journal_header) == 4096, "one page, so that the counters begin on one");
static_assert(sizeof(struct journal_hit_counter) == EXCGUARD_CACHE_LINE, "one cache line a counter");
static_assert(sizeof(struct excguard_hit_counter) == sizeof(struct journal_hit_counter),
              "the copy given out");
static_assert(sizeof(struct excguard_record) == EXCGUARD_RECORD_SIZE, "two cache lines a record");
static_assert(offsetof(struct excguard_record, state_flavor) == EXCGUARD_CACHE_LINE,
              "thread state has the second line");
static_assert(EXCGUARD_VERDICT_COUNT <= EXCGUARD_VERDICT_SLOTS, "room for every verdict");
static_assert(EXCGUARD_REPLY_BOUNDS + 1 <= EXCGUARD_REPLY_SLOTS, "room for every bucket");
static_assert((EXCGUARD_HIT_SLOTS & (EXCGUARD_HIT_SLOTS - 1)) == 0 && EXCGUARD_HIT_SLOTS <= UINT16_MAX,
              "hit_slot");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "atomics in a file must be plain memory");

/* The file, mapped. */
struct journal_map {
    struct journal_header header;
    struct journal_hit_counter hits[EXCGUARD_HIT_SLOTS];
    struct excguard_record ring[];
};

#define EXCGUARD_SLOT_BITS 64u

/* An open journal. */
struct excguard_journal {
    struct journal_map *map;

    /* The writer's alone. */
    uint64_t mask;    /* capacity - 1 */
    uint64_t full_at; /* no room for this seq: tail when it was last read, plus capacity */
    uint32_t release; /* that severities are decided for */
    uint32_t hit_slots_used;

    /*
     * Which hit counters are in use, a bit each: set by the writer, read by any thread. Not in the file,
     * where another program could change it: opening finds it again.
     */
    _Atomic uint64_t used[EXCGUARD_HIT_SLOTS / EXCGUARD_SLOT_BITS];

    int fd;
    bool created;
    uint64_t recovered_until;
    size_t size;
};

EXCGUARD_INLINE uint64_t excguard_hit_key(uint32_t target_id, uint64_t code) {
    return (uint64_t)target_id << 32 | code >> 32;
}

EXCGUARD_INLINE size_t excguard_hit_home(uint64_t key) {
    /* Fibonacci hashing: 2^64 / golden ratio. The upper bits are the well mixed ones. */
    return (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - 13));
}
static_assert(EXCGUARD_HIT_SLOTS == 1u << 13, "excguard_hit_home");

/*
 * Says that the counter of `slot` is in use. One thread stores: no atomic read-modify-write. Release: who
 * sees the bit sees the counter's key and what follows from it.
 */
EXCGUARD_INLINE void excguard_mark_used(struct excguard_journal *journal, uint32_t slot) {
    _Atomic uint64_t *word = &journal->used[slot / EXCGUARD_SLOT_BITS];
    uint64_t bits = atomic_load_explicit(word, memory_order_relaxed);
    atomic_store_explicit(word, bits | UINT64_C(1) << slot % EXCGUARD_SLOT_BITS, memory_order_release);
    journal->hit_slots_used++;
}

/* The first counter in use from `slot` on; EXCGUARD_HIT_SLOTS: there is none. */
EXCGUARD_INLINE uint32_t excguard_next_used(const struct excguard_journal *journal, uint32_t slot) {
    while (slot < EXCGUARD_HIT_SLOTS) {
        uint64_t bits = atomic_load_explicit(&journal->used[slot / EXCGUARD_SLOT_BITS], memory_order_acquire);
        bits >>= slot % EXCGUARD_SLOT_BITS;
        if (bits != 0) {
            return slot + (uint32_t)__builtin_ctzll(bits);
        }
        slot = (slot / EXCGUARD_SLOT_BITS + 1) * EXCGUARD_SLOT_BITS;
    }
    return EXCGUARD_HIT_SLOTS;
}

/* What the writer brings to a record, in the pieces that it is stored in. */
struct journal_entry {
    uint64_t time_ns;
    excguard_pair offender; /* thread_id; target_id << 32 | pid */
    uint64_t tag;           /* excguard_tag of reply, flags and behavior */
};

/*
 * The counter of `key`, found or made, when it is not at its home. Never fails (see EXCGUARD_FLAVOR_OTHER).
 */
struct journal_hit_counter *excguard_journal_find_counter(struct excguard_journal *journal, uint64_t key);

/* The record_end of a counter, which follows from the rest of it. */
excguard_pair excguard_counter_record_end(const struct journal_hit_counter *counter, uint32_t slot,
                                          uint32_t release);

/* Begins the counter of `key` in the free slot `slot`. */
void excguard_journal_begin_counter(struct journal_map *map, uint32_t slot, uint64_t key, uint32_t release);

#endif
