/*
 * What must hold for any bytes that arrive: shared by the sanitizer run over a corpus (check_messages.c) and
 * the fuzzer (fuzz_messages.c). A property that fails aborts, so either tool shows the input.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mach/exception_types.h>
#include <mach/kern_return.h>

#include "journal.h"
#include "message_handler.h"
#include "parser.h"
#include "wire.h"

#define MUST(condition)                                                             \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                \
        }                                                                           \
    } while (0)

#define OWN_PID 4242u
#define TARGET_ID 7u
#define NOW_NS UINT64_C(1700000000000000123)

static struct excguard_journal *journal;
static struct excguard_message_handler *handler;

static uint32_t pid_of_token(uint32_t token) {
    return token % 3 == 0 ? OWN_PID : token % 3 == 1 ? token : 0;
}

static void start_properties(void) {
    char path[] = "/tmp/excguard-properties-XXXXXX", error[256];
    int fd = mkstemp(path);
    MUST(fd >= 0);
    close(fd);
    MUST(excguard_journal_open(path, 8, 260400, &journal, error, sizeof error) == EXCGUARD_JOURNAL_OK);
    unlink(path);
    handler = calloc(1, sizeof *handler);
    MUST(handler != NULL);
}

static void check_parse(const uint8_t *bytes, size_t size, uint32_t flags) {
    struct excguard_message message;
    memset(&message, 0xa5, sizeof message);
    uint32_t verdict = excguard_parse(bytes, size, flags, &message);
    MUST(verdict == message.verdict);
    MUST(verdict <= EXCGUARD_TRAILING_BYTES);
    MUST(message.sender <= EXCGUARD_SENDER_USER);
    MUST(strcmp(excguard_verdict_name(verdict), "invalid") != 0);
    MUST(flags == EXCGUARD_PARSE_OFFLINE || verdict != EXCGUARD_TRAILING_BYTES);
    if (verdict == EXCGUARD_TOO_SHORT) {
        return;
    }
    if (verdict <= EXCGUARD_UNREGISTERED_BEHAVIOR) {
        MUST(message.msgh_size <= size);
        MUST(message.trailer_size != 0 || flags == EXCGUARD_PARSE_OFFLINE);
        MUST((size_t)message.trailer_offset + message.trailer_size <= size);
    }
    if ((message.present & EXCGUARD_HAS_STATE) != 0) {
        MUST(message.state_count <= EXCGUARD_STATE_MAX);
        MUST(message.state_offset + 4 * message.state_count == message.msgh_size);
    }
    uint8_t reply[EXCGUARD_REPLY_SIZE];
    int32_t ret_code = excguard_build_reply(&message, KERN_SUCCESS, reply);
    MUST(ret_code == (message.behavior == EXCEPTION_IDENTITY_PROTECTED ? KERN_SUCCESS : KERN_FAILURE));
    MUST(excguard_load32(reply) == (message.msgh_bits & 0x1f));
    MUST(excguard_load32(reply + 4) == EXCGUARD_REPLY_SIZE);
    MUST(excguard_load32(reply + 8) == message.reply_port);
    MUST(excguard_load32(reply + 20) == (uint32_t)message.msgh_id + 100);
    MUST(excguard_load32(reply + 32) == (uint32_t)ret_code);
}

/* The rules of message_handler.h, said once more. */
static uint32_t expected_verdict(const struct excguard_message *message, int is_target) {
    if (!is_target) {
        return EXCGUARD_UNKNOWN_PORT;
    }
    switch (message->verdict) {
    case EXCGUARD_ACCEPTED:
        return message->sender != EXCGUARD_SENDER_KERNEL ? EXCGUARD_SENDER_NOT_KERNEL
               : message->exception != EXC_GUARD         ? EXCGUARD_NOT_GUARD
                                                         : EXCGUARD_ACCEPTED;
    case EXCGUARD_NOTIFICATION:
        return message->sender != EXCGUARD_SENDER_KERNEL          ? EXCGUARD_SENDER_NOT_KERNEL
               : message->msgh_id == 70 || message->msgh_id == 71 ? EXCGUARD_NOTIFICATION
                                                                  : EXCGUARD_UNEXPECTED_NOTIFICATION;
    case EXCGUARD_UNREGISTERED_BEHAVIOR:
        return message->sender != EXCGUARD_SENDER_KERNEL ? EXCGUARD_SENDER_NOT_KERNEL
                                                         : EXCGUARD_UNREGISTERED_BEHAVIOR;
    default:
        return message->verdict;
    }
}

static void check_record(const struct excguard_message *message, uint32_t pid, int32_t reply) {
    const struct excguard_record *record;
    MUST(excguard_journal_peek(journal, &record, 1) == 1);
    uint32_t state = (message->present & EXCGUARD_HAS_STATE) != 0 ? EXCGUARD_RECORD_STATE : 0;
    uint32_t registers = (message->present & EXCGUARD_HAS_REGISTERS) != 0 ? EXCGUARD_RECORD_REGISTERS : 0;
    uint32_t owner = pid == 0 ? EXCGUARD_RECORD_PID_UNKNOWN : pid != OWN_PID ? EXCGUARD_RECORD_INHERITED : 0;
    MUST((record->flags & ~EXCGUARD_RECORD_KNOWN) == (state | registers | owner));
    MUST(record->time_ns == NOW_NS);
    MUST(record->code == message->code && record->subcode == message->subcode);
    MUST(record->thread_id == message->thread_id);
    MUST(record->pid == pid && record->target_id == TARGET_ID);
    MUST(record->behavior == message->behavior && record->reply == reply);
    MUST(!registers || (record->pc == message->pc && record->lr == message->lr && record->sp == message->sp));
    MUST(!state ||
         (record->state_flavor == message->state_flavor && record->state_count == message->state_count));
    MUST(record->release == 260400);
    excguard_journal_advance(journal, 1);
}

/* Makes the thread and the code known that the message would have if it were well formed. */
static void make_usual(const uint8_t *buffer) {
    uint64_t thread_id = excguard_load64(buffer + 48);
    handler->threads[thread_id % EXCGUARD_THREAD_SLOTS] =
        (struct excguard_thread){thread_id, (uint64_t)TARGET_ID << 32 | OWN_PID};
    struct excguard_hit hit = {.code = excguard_load64(buffer + 64), .target_id = TARGET_ID};
    excguard_journal_append(journal, &hit);
    excguard_journal_advance(journal, 1);
}

/* The receiver's way, by the known forms where they fit, must end where the parser's does. */
static void check_answer(const uint8_t *bytes, size_t size, int is_target) {
    /* A block of its own, so that a read beyond the receive buffer is seen. */
    uint8_t *buffer = malloc(EXCGUARD_RECEIVE_SIZE);
    MUST(buffer != NULL);
    memset(buffer, 0xa5, EXCGUARD_RECEIVE_SIZE);
    memcpy(buffer, bytes, size < EXCGUARD_RECEIVE_SIZE ? size : EXCGUARD_RECEIVE_SIZE);
    struct excguard_message message;
    excguard_parse(buffer, EXCGUARD_RECEIVE_SIZE, 0, &message);
    uint32_t port = message.local_port;
    is_target = is_target && port != MACH_PORT_NULL && port != MACH_PORT_DEAD;

    memset(handler, 0, sizeof *handler);
    excguard_message_handler_init(handler, journal, pid_of_token);
    if (is_target) {
        struct excguard_target *target = excguard_add_target(handler, port, TARGET_ID, KERN_SUCCESS);
        MUST(target != NULL);
        target->owner = target->id_shifted | OWN_PID;
    }
    /*
     * Of a thread that was never seen; then of one that is known, with a counter that is there: the usual
     * case.
     */
    for (int usual = 0; usual < 2; usual++) {
        uint32_t pid = pid_of_token(message.task_token);
        if (usual) {
            make_usual(buffer);
            pid = OWN_PID;
        }
        struct excguard_handled_message answer = excguard_handle_message(handler, buffer, NOW_NS);
        uint32_t verdict = answer.verdict;
        MUST(verdict == expected_verdict(&message, is_target));
        int32_t ret_code = KERN_FAILURE;
        if (verdict == EXCGUARD_ACCEPTED) {
            int own = pid == OWN_PID && message.behavior == EXCEPTION_IDENTITY_PROTECTED;
            ret_code = own ? KERN_SUCCESS : KERN_FAILURE;
            check_record(&message, pid, ret_code);
        }
        MUST(excguard_journal_pending(journal) == 0);
        uint8_t expected[EXCGUARD_REPLY_SIZE];
        excguard_build_reply(&message, ret_code, expected);
        MUST(memcmp(answer.reply->bytes, expected, sizeof expected) == 0);
    }
    free(buffer);
}

static void check_properties(const uint8_t *bytes, size_t size) {
    for (uint32_t misalignment = 0; misalignment < 4; misalignment++) {
        uint8_t *block = malloc(size + misalignment);
        MUST(block != NULL || size + misalignment == 0);
        if (size > 0) {
            memcpy(block + misalignment, bytes, size);
        }
        check_parse(block + misalignment, size, 0);
        check_parse(block + misalignment, size, EXCGUARD_PARSE_OFFLINE);
        free(block);
    }
    check_answer(bytes, size, 0);
    check_answer(bytes, size, 1);
}
