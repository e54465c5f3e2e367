/*
 * The receiver without a kernel: every Mach function that it calls is here, and counted.
 *
 *     receiver_calls JOURNAL MESSAGES TOKENS
 *
 * Has it receive so many hits of one target, each from the same thread, with so many different tokens by
 * turns, and prints how often it called what, and the nanoseconds a message, as `name value` lines.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <mach/mach.h>

#include "journal_inline.h"
#include "must.h"
#include "receiver.h"
#include "wire.h"

enum { PORT_SET = 0x103, CONTROL = 0x203, PORT = 0x303, REPLY = 0x503, TOKEN = 0x10003, PID = 4242 };

mach_port_t mach_task_self_ = 0x3;

static unsigned long left, tokens, mach_msg_calls, replies, released, release_calls, other_calls;
static double started, ended;
static _Atomic bool done;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static _Atomic bool go;
static bool stop;
static struct excguard_journal *journal;

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void fill(uint8_t *message) {
    const uint64_t codes[2] = {UINT64_C(0x2000020000000000) | 0x1f03, 0};
    const mach_msg_header_t header = {
        .msgh_bits =
            MACH_MSGH_BITS(MACH_MSG_TYPE_PORT_SEND_ONCE, MACH_MSG_TYPE_PORT_SEND) | MACH_MSGH_BITS_COMPLEX,
        .msgh_size = sizeof(struct excguard_raise_identity_protected_request),
        .msgh_remote_port = REPLY,
        .msgh_local_port = PORT,
        .msgh_id = EXCGUARD_ID_RAISE_IDENTITY_PROTECTED,
    };
    struct excguard_raise_identity_protected_request request = {
        .Head = header,
        .msgh_body = {1},
        .task_id_token_t = {.name = TOKEN + ((mach_port_name_t)(left % tokens) << 8),
                            .disposition = MACH_MSG_TYPE_PORT_SEND,
                            .type = MACH_MSG_PORT_DESCRIPTOR},
        .thread_id = 77,
        .exception = EXC_GUARD,
        .codeCnt = 2,
    };
    memcpy(request.code, codes, sizeof codes);
    mach_msg_audit_trailer_t trailer = {.msgh_trailer_size = sizeof trailer};
    memcpy(message, &request, sizeof request);
    memcpy(message + sizeof request, &trailer, sizeof trailer);
}

mach_msg_return_t mach_msg(mach_msg_header_t *message, mach_msg_option_t option, mach_msg_size_t send_size,
                           mach_msg_size_t rcv_size, mach_port_name_t rcv_name, mach_msg_timeout_t timeout,
                           mach_port_name_t notify) {
    (void)rcv_size, (void)rcv_name, (void)timeout, (void)notify;
    if (message->msgh_remote_port == CONTROL && (option & MACH_SEND_MSG) != 0) { /* excguard_receiver_stop */
        pthread_mutex_lock(&lock);
        stop = true;
        pthread_cond_signal(&changed);
        pthread_mutex_unlock(&lock);
        return MACH_MSG_SUCCESS;
    }
    while (!atomic_load_explicit(&go, memory_order_acquire)) { /* until the target is there */
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    mach_msg_calls++;
    if ((option & MACH_SEND_MSG) != 0) {
        const struct excguard_reply *reply = (const void *)message;
        MUST(send_size == sizeof *reply && reply->Head.msgh_remote_port == REPLY);
        MUST(reply->Head.msgh_id == EXCGUARD_ID_RAISE_IDENTITY_PROTECTED + EXCGUARD_REPLY_ID_OFFSET);
        MUST(reply->RetCode == KERN_FAILURE);
        replies++;
        /* Its record is in the journal, or counted as lost, before the reply leaves; that of no other hit is.
         */
        MUST(excguard_journal_head(journal->map) + excguard_journal_lost(journal) == replies);
    }
    if ((option & MACH_RCV_MSG) == 0) {
        return MACH_MSG_SUCCESS;
    }
    if (left > 0) {
        if (started == 0) {
            started = now_ns();
        }
        left--;
        fill((uint8_t *)message);
        return MACH_MSG_SUCCESS;
    }
    if (ended == 0) {
        ended = now_ns();
    }
    if ((option & MACH_RCV_TIMEOUT) != 0) {
        return MACH_RCV_TIMED_OUT;
    }
    atomic_store(&done, true);
    pthread_mutex_lock(&lock);
    while (!stop) {
        pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
    *message = (mach_msg_header_t){.msgh_size = sizeof *message, .msgh_local_port = CONTROL};
    return MACH_MSG_SUCCESS;
}

static void release(mach_port_name_t name, unsigned long count) {
    if (name >= TOKEN) {
        released += count;
        release_calls++;
    } else {
        other_calls++;
    }
}

/* Releases the descriptor's right, as libsyscall does, by a call. */
void mach_msg_destroy(mach_msg_header_t *message) {
    if ((message->msgh_bits & MACH_MSGH_BITS_COMPLEX) != 0) {
        release(TOKEN, 1);
    }
}

kern_return_t mach_port_mod_refs(ipc_space_t task, mach_port_name_t name, mach_port_right_t right,
                                 mach_port_delta_t delta) {
    (void)task, (void)right;
    release(name, (unsigned long)-delta);
    return KERN_SUCCESS;
}

kern_return_t mach_port_deallocate(ipc_space_t task, mach_port_name_t name) {
    (void)task;
    release(name, 1);
    return KERN_SUCCESS;
}

kern_return_t mach_port_allocate(ipc_space_t task, mach_port_right_t right, mach_port_name_t *name) {
    (void)task, (void)right;
    *name = CONTROL;
    return KERN_SUCCESS;
}

kern_return_t mach_port_move_member(ipc_space_t task, mach_port_name_t member, mach_port_name_t after) {
    (void)task, (void)member, (void)after;
    return KERN_SUCCESS;
}

kern_return_t mach_port_request_notification(ipc_space_t task, mach_port_name_t name, mach_msg_id_t id,
                                             mach_port_mscount_t sync, mach_port_t notify,
                                             mach_msg_type_name_t type, mach_port_t *previous) {
    (void)task, (void)name, (void)id, (void)sync, (void)notify, (void)type;
    *previous = MACH_PORT_NULL;
    return KERN_SUCCESS;
}

kern_return_t task_identity_token_get_task_port(task_id_token_t token, task_flavor_t flavor,
                                                mach_port_t *task) {
    (void)token, (void)flavor;
    *task = 0x603;
    other_calls++;
    return KERN_SUCCESS;
}

kern_return_t pid_for_task(mach_port_name_t task, int *pid) {
    (void)task;
    *pid = PID;
    other_calls++;
    return KERN_SUCCESS;
}

static uint64_t wall_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Reads what there is, so that there is room. Each record has the time of day at which it was made. */
static void check_times(uint64_t first_ns) {
    const uint64_t second = 1000000000;
    const struct excguard_record *records;
    uint32_t count = excguard_journal_peek(journal, &records, UINT32_MAX);
    uint64_t now = wall_ns();
    for (uint32_t i = 0; i < count; i++) {
        MUST(records[i].time_ns + second > first_ns && records[i].time_ns < now + second);
    }
    excguard_journal_advance(journal, count);
}

int main(int argc, char **argv) {
    char error[512];
    struct excguard_receiver *receiver;
    struct excguard_reply_histogram times;
    uint64_t counted = 0, first_ns = wall_ns();
    MUST(argc == 4);
    unsigned long messages = strtoul(argv[2], NULL, 10);
    MUST(excguard_journal_open(argv[1], 65536, 260400, &journal, error, sizeof error) == EXCGUARD_JOURNAL_OK);
    left = messages;
    tokens = strtoul(argv[3], NULL, 10);
    MUST(excguard_receiver_start(journal, PORT_SET, -1, &receiver) == KERN_SUCCESS);
    MUST(excguard_receiver_add_target(receiver, PORT, 1, EXCGUARD_REPLY_FORWARD) == KERN_SUCCESS);
    MUST(excguard_receiver_set_pid(receiver, 1, PID) == KERN_SUCCESS);
    atomic_store(&go, true);
    while (!atomic_load(&done)) {
        check_times(first_ns);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    excguard_receiver_stop(receiver);
    excguard_journal_replies(journal, &times);
    for (uint32_t i = 0; i <= EXCGUARD_REPLY_BOUNDS; i++) {
        counted += times.buckets[i];
    }
    printf("messages %lu\nmach_msg %lu\nreplies %lu\nreleased %lu\nrelease_calls %lu\nother %lu\n", messages,
           mach_msg_calls, replies, released, release_calls, other_calls);
    printf("timed %llu\nns %.1f\n", (unsigned long long)counted, (ended - started) / (double)messages);
    excguard_journal_close(journal);
    return 0;
}
