/*
 * Times excguard_handle_message, the receiver's own function, over a batch of messages, beside the bare copy
 * of each message's 80 bytes into a ring of slots of a record's size.
 *
 *   hot_path BATCH CAPACITY ROUNDS DIRECTORY
 *
 * Both rings are mapped files of CAPACITY slots, as the journal is; a round is one pass over the batch by
 * each, in turn, so that what disturbs the one disturbs the other. Prints one line a kind of message: kind,
 * then the median and the quartiles of nanoseconds a message, of the copy and of ours.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "journal.h"
#include "message_handler.h"
#include "must.h"
#include "thread_state.h"
#include "wire.h"

#define MESSAGE_SIZE 80u
#define MESSAGES 1000u
#define PID 4242u

struct kind {
    const char *name;
    uint64_t state; /* thread_state.h; 0: none */
};

static const struct kind kinds[] = {
    {"identity_protected", 0},
    {"state_identity_protected x86_64", EXCGUARD_X86_STATE64},
    {"state_identity_protected arm64", EXCGUARD_ARM_STATE64},
};

static uint32_t pid_of_token(uint32_t token) {
    (void)token;
    return PID;
}

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int ascending(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/*
 * The batch as it is received: each message with the kernel's trailer behind it, and with thread state if
 * asked for.
 */
static uint8_t *received(const uint8_t *batch, uint64_t state, size_t *stride) {
    uint32_t words = (uint32_t)state;
    uint32_t size = state == 0 ? MESSAGE_SIZE : MESSAGE_SIZE + 8 + 4 * words;
    *stride = size + sizeof(mach_msg_audit_trailer_t);
    uint8_t *messages = calloc(1, MESSAGES * *stride + EXCGUARD_RECEIVE_SIZE);
    MUST(messages != NULL);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        uint8_t *message = messages + i * *stride;
        memcpy(message, batch + i * MESSAGE_SIZE, MESSAGE_SIZE);
        if (state != 0) {
            excguard_store32(message + offsetof(mach_msg_header_t, msgh_size), size);
            excguard_store32(message + offsetof(mach_msg_header_t, msgh_id),
                             EXCGUARD_ID_RAISE_STATE_IDENTITY_PROTECTED);
            excguard_store32(message + MESSAGE_SIZE, (uint32_t)(state >> 32));
            excguard_store32(message + MESSAGE_SIZE + 4, words);
            for (uint32_t word = 0; word < words; word++) {
                excguard_store32(message + MESSAGE_SIZE + 8 + 4 * word, i * 2654435761u + word);
            }
        }
        excguard_store32(message + size + 4, sizeof(mach_msg_audit_trailer_t));
        excguard_store32(message + size + 16,
                         1); /* KERNEL_SECURITY_TOKEN_VALUE; the audit token stays zero */
    }
    return messages;
}

static void *mapped_ring(const char *directory, size_t capacity) {
    char path[4096];
    snprintf(path, sizeof path, "%s/copy", directory);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    static const uint8_t slot[EXCGUARD_RECORD_SIZE];
    MUST(fd >= 0);
    for (size_t i = 0; i < capacity; i++) {
        MUST(write(fd, slot, sizeof slot) == (ssize_t)sizeof slot);
    }
    void *ring = mmap(NULL, capacity * sizeof slot, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MUST(ring != MAP_FAILED);
    memset(ring, 0, capacity * sizeof slot);
    close(fd);
    return ring;
}

static double time_copy(const uint8_t *batch, uint8_t *ring, size_t capacity, size_t *head) {
    double start = now_ns();
    for (uint32_t i = 0; i < MESSAGES; i++) {
        uint8_t *slot = ring + ((*head)++ & (capacity - 1)) * EXCGUARD_RECORD_SIZE;
        memcpy(slot, batch + i * MESSAGE_SIZE, MESSAGE_SIZE);
        __asm__ volatile("" : : "r"(slot) : "memory"); /* or the compiler would remove the unread copy */
    }
    return (now_ns() - start) / MESSAGES;
}

static double time_handler(struct excguard_message_handler *handler, const uint8_t *messages, size_t stride) {
    uint32_t refused = 0;
    double start = now_ns();
    for (uint32_t i = 0; i < MESSAGES; i++) {
        struct excguard_handled_message answer =
            excguard_handle_message(handler, messages + i * stride, UINT64_C(1700000000000000000) + i);
        refused |= answer.verdict;
        __asm__ volatile("" : : "r"(answer.reply) : "memory");
    }
    double taken = (now_ns() - start) / MESSAGES;
    MUST(refused == EXCGUARD_ACCEPTED);
    return taken;
}

/* What was timed was done: the records are there, whole and counted. */
static void check_journal(struct excguard_journal *journal, const uint8_t *batch) {
    const struct excguard_record *records;
    uint32_t count = excguard_journal_peek(journal, &records, MESSAGES), checked = 0;
    while (count > 0) {
        for (uint32_t i = 0; i < count; i++, checked++) {
            const uint8_t *message = batch + checked * MESSAGE_SIZE;
            MUST(records[i].code == excguard_load64(message + 64));
            MUST(records[i].subcode == excguard_load64(message + 72));
            MUST(records[i].thread_id == excguard_load64(message + 48));
            MUST(records[i].pid == PID && records[i].target_id == 1 && records[i].reply == 5);
        }
        excguard_journal_advance(journal, count);
        count = excguard_journal_peek(journal, &records, MESSAGES);
    }
    MUST(checked == MESSAGES);
    MUST(excguard_journal_lost(journal) == 0);
}

int main(int argc, char **argv) {
    static uint8_t batch[MESSAGES * MESSAGE_SIZE];
    char path[4096], error[512];
    if (argc != 5 && argc != 6) {
        fprintf(stderr, "usage: hot_path BATCH CAPACITY ROUNDS DIRECTORY [KIND]\n");
        return 2;
    }
    FILE *file = fopen(argv[1], "rb");
    MUST(file != NULL && fread(batch, 1, sizeof batch, file) == sizeof batch);
    fclose(file);
    size_t capacity = strtoul(argv[2], NULL, 10);
    unsigned rounds = (unsigned)strtoul(argv[3], NULL, 10);
    double *copies = calloc(rounds, sizeof *copies), *answers = calloc(rounds, sizeof *answers);
    MUST(copies != NULL && answers != NULL && rounds > 0);

    struct excguard_journal *journal;
    struct excguard_message_handler *handler = calloc(1, sizeof *handler);
    snprintf(path, sizeof path, "%s/journal", argv[4]);
    if (excguard_journal_open(path, (uint32_t)capacity, 260400, &journal, error, sizeof error) !=
        EXCGUARD_JOURNAL_OK) {
        fprintf(stderr, "hot_path: %s\n", error);
        return 1;
    }
    MUST(handler != NULL);
    excguard_message_handler_init(handler, journal, pid_of_token);
    uint32_t port = excguard_load32(batch + offsetof(mach_msg_header_t, msgh_local_port));
    struct excguard_target *target = excguard_add_target(handler, port, 1, 5);
    MUST(target != NULL);
    target->owner = target->id_shifted | PID;
    uint8_t *ring = mapped_ring(argv[4], capacity);
    size_t head = 0;

    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        size_t stride;
        if (argc == 6 && strtoul(argv[5], NULL, 10) != k) {
            continue;
        }
        uint8_t *messages = received(batch, kinds[k].state, &stride);
        time_handler(handler, messages, stride);
        check_journal(journal, batch);
        /* One lap first: every page of both files has been written to, every thread and counter seen. */
        for (size_t lap = 0; lap < capacity; lap += MESSAGES) {
            time_copy(batch, ring, capacity, &head);
            time_handler(handler, messages, stride);
            excguard_journal_advance(journal, MESSAGES);
        }
        for (unsigned round = 0; round < rounds; round++) {
            copies[round] = time_copy(batch, ring, capacity, &head);
            answers[round] = time_handler(handler, messages, stride);
            excguard_journal_advance(journal, MESSAGES);
        }
        qsort(copies, rounds, sizeof *copies, ascending);
        qsort(answers, rounds, sizeof *answers, ascending);
        printf("%s,%.3f,%.3f,%.3f,%.3f,%.3f,%.3f\n", kinds[k].name, copies[rounds / 2], copies[rounds / 4],
               copies[rounds * 3 / 4], answers[rounds / 2], answers[rounds / 4], answers[rounds * 3 / 4]);
        free(messages);
    }
    excguard_journal_close(journal);
    return 0;
}
