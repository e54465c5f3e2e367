/*
 * The journal: every guard hit that was acknowledged to the kernel, in a file that outlives the process.
 *
 * A mapped file of four parts: header, hit counters, counters of refusals and reply times, ring of records.
 * One thread writes (the receiver), one reads (Python), in one process (flock on the file). Both only store
 * and load memory that is shared with the page cache, so what either has done when the process is killed, at
 * whatever instruction, is in the file; the next start finds it. (It is not meant to survive a loss of
 * power.)
 *
 * The order of the writer's stores makes a kill harmless:
 *   1. the record, which also says what its hit counter will be (`count_after`) -- not yet visible
 *   2. head = seq + 1                                                          -- the record now exists
 *   3. the hit counter = count_after (in the record only its low half)
 * Opening repeats step 3 for the newest record: done already or not, the outcome is the same. The reply to
 * the kernel comes after step 3, so an acknowledged hit is always recorded and counted, once. With the ring
 * full the hit is counted in its counter's `lost` instead, one store, without a record.
 *
 * The reader's one store is tail, after it has dealt with the records: killed before it, the next start
 * brings the same records again, with the same seq and marked as recovered.
 */
#ifndef EXCGUARD_JOURNAL_H
#define EXCGUARD_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#include "parser.h"

#define EXCGUARD_JOURNAL_VERSION 2u
#define EXCGUARD_RECORD_SIZE 128u
#define EXCGUARD_HIT_SLOTS 8192u /* 50 targets with every flavor of the tables, and room for unknown ones */

/* Flags of a record. */
#define EXCGUARD_RECORD_REGISTERS 1u   /* pc, lr, sp were in the message */
#define EXCGUARD_RECORD_INHERITED 2u   /* the process inherited the port: pid is not the target's own */
#define EXCGUARD_RECORD_PID_UNKNOWN 4u /* the task identity token did not yield a pid; pid is 0 */
#define EXCGUARD_RECORD_KNOWN 8u       /* the tables know this flavor on this release */
#define EXCGUARD_RECORD_STATE 16u      /* the message came with thread state */
#define EXCGUARD_RECORD_NO_SUBCODE 32u /* the source leaves it out, 0 stands for it; never the receiver's */

/*
 * One guard hit, written once and never changed. 128 bytes, two cache lines: only a hit with thread state
 * needs the second, and without one the writer leaves it alone.
 */
struct excguard_record {
    uint64_t seq;     /* 0, 1, 2 ... over the life of the file */
    uint64_t time_ns; /* when the message was received, nanoseconds since 1970 (CLOCK_REALTIME) */
    uint64_t thread_id;
    uint32_t pid;
    uint32_t target_id;
    uint64_t code;
    uint64_t subcode;
    uint32_t count_after; /* `recorded` of its hit counter, this record included, modulo 2^32 */
    uint32_t release;     /* under which its severity was decided */
    uint16_t hit_slot;    /* index of its hit counter */
    int16_t reply;        /* kern_return_t of the reply */
    uint16_t flags;       /* EXCGUARD_RECORD_... */
    uint8_t behavior;     /* EXCEPTION_IDENTITY_PROTECTED (4) or EXCEPTION_STATE_IDENTITY_PROTECTED (5) */
    uint8_t severity;     /* enum excguard_severity */

    /*
     * Undefined without EXCGUARD_RECORD_STATE in flags; pc, lr and sp without
     * EXCGUARD_RECORD_REGISTERS.
     */
    uint32_t state_flavor;
    uint32_t state_count;
    uint64_t pc; /* pc, sp, lr: as in the message (see parser.h on pointer authentication) */
    uint64_t sp;
    uint64_t lr;
    uint64_t reserved[4];
};

/*
 * The count of one (target, guard type, flavor). hits = recorded + lost; both only grow.
 * Every flavor has a counter of its own until too many unknown ones have been seen; those that come later
 * share one with flavor EXCGUARD_FLAVOR_OTHER for their target and guard type. When no counter is left at
 * all, slot 0 (target_id 0, guard_type 0, flavor EXCGUARD_FLAVOR_OTHER) takes the rest.
 */
#define EXCGUARD_FLAVOR_OTHER 0x1fffffffu

struct excguard_hit_counter {
    uint64_t key; /* target_id << 32 | code >> 32; 0: free */
    uint64_t recorded;
    uint64_t lost; /* without a record: the ring was full */
    uint64_t last_time_ns;
    uint32_t target_id;
    uint32_t guard_type;
    uint32_t flavor;
    uint32_t severity; /* enum excguard_severity */
    uint32_t known;    /* 1: the tables know it on this release */
    uint32_t slot;     /* its place, which it keeps as long as the journal is open */
    uint32_t reserved[2];
};

/*
 * Reply times: from mach_msg's return with the message until the record is written and the reply ready. The
 * calls of the kernel that send the reply, with the next receive, and release tokens (receiver.c) come later.
 * Upper bounds in nanoseconds, inclusive; the last bucket has none. buckets[i] are not cumulative.
 */
#define EXCGUARD_REPLY_BOUNDS 16u
extern const uint64_t excguard_reply_bounds_ns[EXCGUARD_REPLY_BOUNDS];

struct excguard_reply_histogram {
    uint64_t buckets[EXCGUARD_REPLY_BOUNDS + 1];
    uint64_t sum_ns;
};

enum excguard_journal_status {
    EXCGUARD_JOURNAL_OK = 0,
    EXCGUARD_JOURNAL_ERROR = 1,    /* a system call failed: its errno is in the message */
    EXCGUARD_JOURNAL_LOCKED = 2,   /* another process has it open */
    EXCGUARD_JOURNAL_FOREIGN = 3,  /* the file is not a journal, or of another version */
    EXCGUARD_JOURNAL_CORRUPT = 4,  /* the file is a journal whose content contradicts itself */
    EXCGUARD_JOURNAL_CAPACITY = 5, /* the file has another capacity than requested, or that one is invalid */
    EXCGUARD_JOURNAL_NO_SPACE = 6, /* no room on the disk for all of it */
};

struct excguard_journal;

/*
 * Opens the journal at `path`, creating it when there is none, and repairs what a killed writer left half
 * done. `capacity`: number of records, a power of two from 8 to 16777216; 0: whatever an existing file has
 * (65536 for a new one). All of the file's blocks are allocated here, so that a full disk shows now and never
 * as a signal later. `release`: decides severities (guard.h). Hit counters that were kept under another
 * release, or under tables that said otherwise, start again from 0; records stay. On failure *out is NULL,
 * and `error` (`error_size` bytes) gets one line: what is wrong with which file, what to do. The file
 * descriptor is close-on-exec. Returns enum excguard_journal_status.
 */
int excguard_journal_open(const char *path, uint32_t capacity, uint32_t release,
                          struct excguard_journal **out, char *error, size_t error_size);

/*
 * Checks the journal at `path` as excguard_journal_open does, and changes nothing; `error` as there.
 * `pending` gets the number of records that wait. EXCGUARD_JOURNAL_LOCKED: an excguard has it open.
 */
int excguard_journal_examine(const char *path, uint32_t release, uint64_t *pending, char *error,
                             size_t error_size);

/* Unmaps, unlocks and closes. No thread may use the journal any more. NULL is allowed. */
void excguard_journal_close(struct excguard_journal *journal);

/* 1 when the open made the file, 0 when there was one. */
int excguard_journal_created(const struct excguard_journal *journal);
uint32_t excguard_journal_capacity(const struct excguard_journal *journal);

/* Records with a seq below this were in the file when it was opened: mark them as recovered. */
uint64_t excguard_journal_recovered_until(const struct excguard_journal *journal);

/* When the file was made, and when its hit counters began: nanoseconds since 1970. */
uint64_t excguard_journal_made_ns(const struct excguard_journal *journal);
uint64_t excguard_journal_counting_since_ns(const struct excguard_journal *journal);

/* ---- reader: one thread ---- */

/*
 * The oldest unread records, in order, at most `max`; *records points into the mapping and stays
 * valid until excguard_journal_advance passes them. Returns how many there are there (a batch ends at the
 * ring's end, so ask again until 0).
 */
uint32_t excguard_journal_peek(const struct excguard_journal *journal, const struct excguard_record **records,
                               uint32_t max);

/* Marks the `count` oldest records as read: their slots are free again. */
void excguard_journal_advance(struct excguard_journal *journal, uint32_t count);

/* The number of unread records. */
uint64_t excguard_journal_pending(const struct excguard_journal *journal);

/* ---- counters: any thread, at any time ---- */

/* Copies the hit counters in use, at most `max` (EXCGUARD_HIT_SLOTS are enough). Returns how many. */
uint32_t excguard_journal_hits(const struct excguard_journal *journal, struct excguard_hit_counter *out,
                               uint32_t max);
/* Hits without a record because the ring was full, over the life of the counters. */
uint64_t excguard_journal_lost(const struct excguard_journal *journal);
/* Messages refused, by verdict. */
void excguard_journal_rejected(const struct excguard_journal *journal, uint64_t out[EXCGUARD_VERDICT_COUNT]);
void excguard_journal_replies(const struct excguard_journal *journal, struct excguard_reply_histogram *out);

/* ---- writer: one thread ---- */

/* A hit as the writer has it; the journal adds seq, severity and counts. */
struct excguard_hit {
    uint64_t time_ns;
    uint64_t thread_id;
    uint64_t code;
    uint64_t subcode;
    uint32_t pid;
    uint32_t target_id; /* not 0 */
    uint32_t reply;     /* kern_return_t, not negative */
    uint32_t behavior;
    uint32_t flags; /* EXCGUARD_RECORD_..., all but KNOWN */
    uint32_t state_flavor;
    uint32_t state_count;
    uint64_t pc;
    uint64_t lr;
    uint64_t sp;
};

/*
 * Records and counts one hit. Returns 1 when it has a record, 0 when the ring was full and it was only
 * counted.
 */
int excguard_journal_append(struct excguard_journal *journal, const struct excguard_hit *hit);

/* Counts one refused message. */
void excguard_journal_reject(struct excguard_journal *journal, uint32_t verdict);

/* Counts one reply and its time. */
void excguard_journal_reply_time(struct excguard_journal *journal, uint64_t nanoseconds);

#endif
