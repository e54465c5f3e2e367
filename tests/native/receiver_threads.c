/*
 * The receiver and all that may go on beside it, for ThreadSanitizer: two threads raise guards, one reads
 * records and counters, one adds, names and removes targets, while the receiver's answers.
 *
 *   receiver_threads JOURNAL ROUNDS
 */
#include <excsim.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <mach/mach.h>

#include "hit_sums.h"
#include "journal.h"
#include "must.h"
#include "receiver.h"

#define CODE (UINT64_C(1) << 61 | UINT64_C(0x200) << 32)
#define TARGET 3u

static struct excguard_journal *journal;
static struct excguard_receiver *receiver;
static unsigned long rounds;
static _Atomic bool done;

static void *raise_guards(void *argument) {
    uint64_t which = *(const uint64_t *)argument;
    for (unsigned long i = 0; i < rounds; i++) {
        MUST(excsim_raise(CODE | (which + i % 3) << 32, i) == KERN_FAILURE);
    }
    return NULL;
}

static void *read_journal(void *argument) {
    unsigned long *read_records = argument;
    static struct excguard_hit_counter hits[EXCGUARD_HIT_SLOTS];
    static struct excguard_hit_label labels[EXCGUARD_HIT_SLOTS];
    uint64_t summed_before = 0;

    while (!atomic_load(&done) || excguard_journal_pending(journal) > 0) {
        const struct excguard_record *records;
        uint32_t count = excguard_journal_peek(journal, &records, 16);
        for (uint32_t i = 0; i < count; i++) {
            MUST(records[i].target_id == TARGET && records[i].pid == (uint32_t)getpid());
            MUST(records[i].subcode < rounds);
        }
        excguard_journal_advance(journal, count);
        *read_records += count;
        uint64_t rejected[EXCGUARD_VERDICT_COUNT];
        struct excguard_reply_histogram replies;
        struct excguard_receiver_stats stats;
        uint32_t used = excguard_journal_hits(journal, hits, EXCGUARD_HIT_SLOTS);
        for (uint32_t i = 0; i < used; i++) {
            labels[hits[i].slot].key = hits[i].key;
        }
        uint64_t sum = 0, last_ns = 0, target_sum = 0, target_last_ns = 0;
        struct excguard_hit_sums sums = {&sum, &last_ns, &target_sum, &target_last_ns, 0};
        excguard_hit_sums_add(journal, labels, &sums); /* all are one series */
        MUST(sum == target_sum && last_ns == target_last_ns && sum >= summed_before);
        summed_before = sum;
        excguard_journal_rejected(journal, rejected);
        excguard_journal_replies(journal, &replies);
        excguard_receiver_stats(receiver, &stats);
        excguard_receiver_arm(receiver);
    }
    return NULL;
}

static void *change_targets(void *argument) {
    (void)argument;
    for (uint32_t i = 0; !atomic_load(&done); i++) {
        uint32_t target = 100 + i % 7;
        mach_port_name_t port = 0x40003 + (i % 7 << 8);
        MUST(excguard_receiver_add_target(receiver, port, target, EXCGUARD_REPLY_FORWARD) == KERN_SUCCESS);
        MUST(excguard_receiver_set_pid(receiver, target, 1) == KERN_SUCCESS);
        MUST(excguard_receiver_set_pid(receiver, TARGET, i % 2 ? getpid() : 0) == KERN_SUCCESS);
        MUST(excguard_receiver_no_senders(receiver, target) == 0);
        MUST(excguard_receiver_remove_target(receiver, target) == KERN_SUCCESS);
    }
    return NULL;
}

int main(int argc, char **argv) {
    char error[256];
    int wakeup[2];
    MUST(argc == 3 && pipe(wakeup) == 0);
    rounds = strtoul(argv[2], NULL, 10);
    if (excguard_journal_open(argv[1], 64, 260400, &journal, error, sizeof error) != EXCGUARD_JOURNAL_OK) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    mach_port_t task = mach_task_self();
    mach_port_t port_set, port;
    mach_port_options_t options = {.flags = MPO_EXCEPTION_PORT | MPO_INSERT_SEND_RIGHT};
    MUST(mach_port_allocate(task, MACH_PORT_RIGHT_PORT_SET, &port_set) == KERN_SUCCESS);
    MUST(mach_port_construct(task, &options, 0, &port) == KERN_SUCCESS);
    MUST(mach_port_move_member(task, port, port_set) == KERN_SUCCESS);
    MUST(excguard_receiver_start(journal, port_set, -1, &receiver) == KERN_SUCCESS);
    MUST(excguard_receiver_add_target(receiver, port, TARGET, EXCGUARD_REPLY_FORWARD) == KERN_SUCCESS);
    int behavior = (int)(EXCEPTION_IDENTITY_PROTECTED | MACH_EXCEPTION_CODES);
    MUST(task_set_exception_ports(task, EXC_MASK_GUARD, port, behavior, THREAD_STATE_NONE) == KERN_SUCCESS);

    unsigned long read_records = 0;
    uint64_t first = 0, second = 1;
    pthread_t raisers[2], reader, changer;
    MUST(pthread_create(&reader, NULL, read_journal, &read_records) == 0);
    MUST(pthread_create(&changer, NULL, change_targets, NULL) == 0);
    MUST(pthread_create(&raisers[0], NULL, raise_guards, &first) == 0);
    MUST(pthread_create(&raisers[1], NULL, raise_guards, &second) == 0);
    pthread_join(raisers[0], NULL);
    pthread_join(raisers[1], NULL);
    atomic_store(&done, true);
    pthread_join(changer, NULL);
    pthread_join(reader, NULL);
    excguard_receiver_stop(receiver);
    MUST(read_records + excguard_journal_lost(journal) == 2 * rounds);
    excguard_journal_close(journal);
    printf("%lu\n", read_records);
    return 0;
}
