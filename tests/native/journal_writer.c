/*
 * A daemon reduced to its journal, to be killed at any moment: one thread appends hits as fast as it can and
 * notes each one as acknowledged once it is journalled; another reads records, logs their numbers, and gives
 * them back.
 *
 *   journal_writer JOURNAL ACKNOWLEDGED LOG
 *
 * ACKNOWLEDGED: a file of KINDS 64-bit counts, mapped. LOG: 64-bit sequence numbers, appended. Writes one
 * byte to standard output when it is under way, and ends only by a signal.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "journal.h"

#define KINDS 5u
#define CAPACITY 64u
#define BATCH 16u

static struct excguard_journal *journal;
static int log_fd;

static void *read_records(void *argument) {
    (void)argument;
    for (;;) {
        const struct excguard_record *records;
        uint32_t count = excguard_journal_peek(journal, &records, BATCH);
        uint64_t seqs[BATCH];
        for (uint32_t i = 0; i < count; i++) {
            seqs[i] = records[i].seq;
        }
        if (count > 0 && write(log_fd, seqs, count * sizeof seqs[0]) != (ssize_t)(count * sizeof seqs[0])) {
            abort();
        }
        excguard_journal_advance(journal, count);
    }
    return NULL;
}

int main(int argc, char **argv) {
    char error[256];
    if (argc != 4) {
        return 2;
    }
    if (excguard_journal_open(argv[1], CAPACITY, 260400, &journal, error, sizeof error) !=
        EXCGUARD_JOURNAL_OK) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    int acknowledged_fd = open(argv[2], O_RDWR);
    log_fd = open(argv[3], O_WRONLY | O_APPEND | O_CREAT, 0600);
    _Atomic uint64_t *acknowledged =
        mmap(NULL, KINDS * sizeof *acknowledged, PROT_READ | PROT_WRITE, MAP_SHARED, acknowledged_fd, 0);
    pthread_t reader;
    if (acknowledged == MAP_FAILED || log_fd < 0 || pthread_create(&reader, NULL, read_records, NULL) != 0) {
        return 1;
    }
    for (uint64_t number = 0;; number++) {
        uint32_t kind = (uint32_t)(number * 2654435761u >> 7) % KINDS;
        struct excguard_hit hit = {
            .time_ns = number,
            .code = UINT64_C(1) << 61 | UINT64_C(0x100) << (32 + kind),
            .target_id = 1,
            .reply = 5,
            .behavior = 4,
        };
        excguard_journal_append(journal, &hit);
        atomic_fetch_add_explicit(&acknowledged[kind], 1, memory_order_seq_cst);
        if (number == 0 && write(STDOUT_FILENO, "", 1) != 1) {
            return 1;
        }
    }
}
