/*
 * libFuzzer over the journal: a file that another program has changed, before it is opened and while it is in
 * use.
 *
 * The input is a list of steps. Those with the highest bit clear change the file by one number, or truncate
 * it; the others are what excguard does with its journal. Without a change while it is open, every record can
 * be read and the file opens again; in any case nothing is accessed outside of the mapping, and every call
 * ends.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mach/exception_types.h>

#include "journal.h"
#include "journal_file.h"
#include "journal_watch.h"
#include "must.h"
#include "record_run.h"

enum { CAPACITY = 8, RELEASE = 260400, STEPS_MAX = 64 };

static char path[64];
static int fd = -1;
static uint8_t *whole; /* the file as it was made */
static size_t whole_size;
static uint32_t used[CAPACITY]; /* the slots of the counters that are in use */
static struct excguard_journal *journal;

static int open_journal(uint32_t capacity) {
    char error[200];
    return excguard_journal_open(path, capacity, RELEASE, &journal, error, sizeof error);
}

static void append(uint8_t kind) {
    static const uint64_t codes[] = {UINT64_C(0x2000020000002703), UINT64_C(0x4000000100000005),
                                     UINT64_C(0xe000000500000001), UINT64_C(0x2000000800000001)};
    struct excguard_hit hit = {.time_ns = 1000 + kind,
                               .code = codes[kind & 3],
                               .pid = 40,
                               .target_id = 1 + (kind >> 2 & 1),
                               .reply = 5,
                               .behavior = EXCEPTION_IDENTITY_PROTECTED,
                               .flags = kind & 8 ? EXCGUARD_RECORD_STATE : 0};
    excguard_journal_append(journal, &hit);
}

static void make(void) {
    snprintf(path, sizeof path, "/dev/shm/excguard-fuzz-%d", (int)getpid());
    unlink(path);
    MUST(open_journal(CAPACITY) == EXCGUARD_JOURNAL_OK);
    for (uint8_t kind = 0; kind < 12; kind++) {
        append(kind);
        if (kind == 6) {
            excguard_journal_advance(journal, 5);
        }
    }
    for (uint32_t slot = 0, at = 0; slot < EXCGUARD_HIT_SLOTS && at < CAPACITY; slot++) {
        if (journal->map->hits[slot].key != 0) {
            used[at++] = slot;
        }
    }
    excguard_journal_close(journal);
    journal = NULL;
    fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat status;
    MUST(fd >= 0 && fstat(fd, &status) == 0);
    whole_size = (size_t)status.st_size;
    whole = malloc(whole_size);
    MUST(whole != NULL && pread(fd, whole, whole_size, 0) == (ssize_t)whole_size);
}

/* One change of the file: where and what, of 11 bytes. */
static void change(const uint8_t *step) {
    uint16_t where;
    uint64_t value;
    memcpy(&where, step + 1, sizeof where);
    memcpy(&value, step + 3, sizeof value);
    size_t at = 0, width = 1u << (step[0] >> 4 & 3);
    switch (step[0] & 7) {
    case 0:
        MUST(ftruncate(fd, (off_t)(value % (2 * whole_size))) == 0);
        return;
    case 1:
    case 2:
        at = where % 256;
        break;
    case 3:
    case 4:
        at = sizeof(struct journal_header) + 64 * (size_t)used[where >> 6 & 7] + where % 64;
        break;
    case 5:
        at = sizeof(struct journal_map) + where % (CAPACITY * EXCGUARD_RECORD_SIZE);
        break;
    default:
        at = (size_t)where * 9 % whole_size;
    }
    if (at + width <= whole_size) {
        MUST(pwrite(fd, &value, width, (off_t)at) == (ssize_t)width);
    }
}

static void read_all(int intact) {
    for (;;) {
        const struct excguard_record *records;
        uint32_t count = excguard_journal_peek(journal, &records, 3);
        if (count == 0) {
            MUST(!intact || excguard_journal_pending(journal) == 0);
            return;
        }
        uint64_t seq = records[0].seq, earliest, latest;
        if (!intact && !excguard_journal_intact(journal, seq, seq, count)) {
            return;
        }
        MUST(excguard_journal_intact(journal, seq, seq, count));
        MUST(excguard_record_run(records, count, &earliest, &latest) <= count);
        excguard_journal_advance(journal, count);
    }
}

static void use(uint8_t step, int intact) {
    static struct excguard_hit_counter counters[EXCGUARD_HIT_SLOTS];
    uint64_t rejected[EXCGUARD_VERDICT_COUNT];
    struct excguard_reply_histogram replies;
    switch (step >> 4 & 7) {
    case 0:
        read_all(intact);
        break;
    case 1:
        MUST(excguard_journal_hits(journal, counters, EXCGUARD_HIT_SLOTS) <= EXCGUARD_HIT_SLOTS);
        excguard_journal_lost(journal);
        break;
    case 2:
        excguard_journal_reject(journal, step % EXCGUARD_VERDICT_COUNT);
        excguard_journal_rejected(journal, rejected);
        break;
    case 3:
        excguard_journal_reply_time(journal, UINT64_C(1) << (step & 15));
        excguard_journal_replies(journal, &replies);
        break;
    default:
        append(step);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    char error[200];
    if (whole == NULL) {
        make();
    }
    MUST(ftruncate(fd, (off_t)whole_size) == 0);
    MUST(pwrite(fd, whole, whole_size, 0) == (ssize_t)whole_size);
    size_t at = 0;
    for (; at + 11 <= size && bytes[at] < 128; at += 11) {
        change(bytes + at);
    }
    uint64_t pending = 0;
    int examined = excguard_journal_examine(path, RELEASE, &pending, error, sizeof error);
    int status = open_journal(0);
    /* An empty file, or one of zeros, is one that was not finished: opening makes it again. */
    MUST(status == examined || status == EXCGUARD_JOURNAL_OK);
    if (status != EXCGUARD_JOURNAL_OK) {
        MUST(journal == NULL);
        return 0;
    }
    MUST(examined != EXCGUARD_JOURNAL_OK || excguard_journal_created(journal) ||
         excguard_journal_pending(journal) == pending);
    excguard_journal_watch(journal);
    int intact = 1;
    for (int steps = 0; at < size && steps < STEPS_MAX; steps++) {
        if (bytes[at] >= 128) {
            use(bytes[at++], intact);
        } else if (at + 11 <= size) {
            change(bytes + at);
            at += 11;
            intact = 0;
        } else {
            break;
        }
    }
    if (intact) {
        read_all(1);
    }
    excguard_journal_unwatch(journal);
    excguard_journal_close(journal);
    journal = NULL;
    if (intact) {
        MUST(open_journal(0) == EXCGUARD_JOURNAL_OK && excguard_journal_pending(journal) == 0);
        excguard_journal_close(journal);
        journal = NULL;
    }
    return 0;
}
