/*
 * What one turn of the receiver's thread costs beside the loop that mach_msg_server (libsyscall) runs around
 * a server stub of MIG, both over the same fake mach_msg, which copies a message of the batch.
 *
 *   receiver_turn WHAT BATCH MESSAGES STATE JOURNAL
 *
 * WHAT: "receiver", "server", or "bare", a loop that does no more than call mach_msg. STATE: 1 for messages
 * with the thread state of x86_64, 0 without. Prints the nanoseconds of the processor a message.
 *
 * Only functions that the receiver has had since 0.1 are used, so that other builds can be measured.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <mach/mach.h>

#include "journal.h"
#include "mig_server.h"
#include "must.h"
#include "receiver.h"

enum { PORT_SET = 0x103, CONTROL = 0x203, PID = 4242, MESSAGES = 1000, MESSAGE_SIZE = 80, STATE_WORDS = 42 };
enum { CAPACITY = 16384, DRAIN = CAPACITY / 2 };

mach_port_t mach_task_self_ = 0x3;

static uint8_t batch[MESSAGES][MESSAGE_SIZE + 8 + 4 * STATE_WORDS + sizeof(mach_msg_audit_trailer_t)];
static size_t received_size;
static unsigned long left, replies, records;
static double started, ended;
static _Atomic bool go, done, stop;
static struct excguard_journal *journal;

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now); /* both ends of a run are on one thread */
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void pause_shortly(void) {
    nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

/* Reads the journal, in place of another thread: so the figures are the same on one processor. */
static void drain(void) {
    uint64_t pending = excguard_journal_pending(journal);
    records += pending;
    excguard_journal_advance(journal, (uint32_t)pending);
}

static void read_batch(const char *path, bool state) {
    FILE *file = fopen(path, "rb");
    MUST(file != NULL);
    uint32_t size = MESSAGE_SIZE + (state ? 8 + 4 * STATE_WORDS : 0);
    received_size = size + sizeof(mach_msg_audit_trailer_t);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        uint8_t *message = batch[i];
        MUST(fread(message, 1, MESSAGE_SIZE, file) == MESSAGE_SIZE);
        uint32_t token = 0x100003 + (i << 8); /* the kernel makes one for each exception */
        memcpy(message + 28, &token, sizeof token);
        if (state) {
            const uint32_t flavor_and_count[] = {4, STATE_WORDS}; /* x86_THREAD_STATE64 */
            mach_msg_header_t *header = (void *)message;
            header->msgh_size = size;
            header->msgh_id = 2410; /* mach_exception_raise_state_identity_protected */
            memcpy(message + MESSAGE_SIZE, flavor_and_count, sizeof flavor_and_count);
            memset(message + MESSAGE_SIZE + sizeof flavor_and_count, (int)i, 4 * STATE_WORDS);
        }
        const mach_msg_audit_trailer_t trailer = {.msgh_trailer_size = sizeof trailer,
                                                  .msgh_sender = KERNEL_SECURITY_TOKEN_VALUE};
        memcpy(message + size, &trailer, sizeof trailer);
    }
    fclose(file);
}

/* The end of all messages: waits until the receiver is to stop, and gives it the message that says so. */
static mach_msg_return_t finish(mach_msg_header_t *message, mach_msg_option_t option) {
    if (ended == 0) {
        ended = now_ns();
    }
    if ((option & MACH_RCV_TIMEOUT) != 0) {
        return MACH_RCV_TIMED_OUT;
    }
    atomic_store(&done, true);
    while (!atomic_load(&stop)) {
        pause_shortly();
    }
    *message = (mach_msg_header_t){.msgh_size = sizeof *message, .msgh_local_port = CONTROL};
    return MACH_MSG_SUCCESS;
}

mach_msg_return_t mach_msg(mach_msg_header_t *message, mach_msg_option_t option, mach_msg_size_t send_size,
                           mach_msg_size_t rcv_size, mach_port_name_t rcv_name, mach_msg_timeout_t timeout,
                           mach_port_name_t notify) {
    (void)rcv_size, (void)rcv_name, (void)timeout, (void)notify;
    if ((option & MACH_SEND_MSG) != 0) {
        if (send_size != 36) { /* not a reply: excguard_receiver_stop */
            atomic_store(&stop, true);
            return MACH_MSG_SUCCESS;
        }
        replies++;
    }
    if ((option & MACH_RCV_MSG) == 0) {
        return MACH_MSG_SUCCESS;
    }
    if (left == 0) {
        return finish(message, option);
    }
    if (started == 0) {
        while (!atomic_load(&go)) { /* until the target is there */
            pause_shortly();
        }
        started = now_ns();
    }
    if (journal != NULL && left % DRAIN == 0) {
        drain();
    }
    memcpy(message, batch[left % MESSAGES], received_size);
    left--;
    return MACH_MSG_SUCCESS;
}

void mach_msg_destroy(mach_msg_header_t *message) {
    (void)message;
}

kern_return_t mach_port_mod_refs(ipc_space_t task, mach_port_name_t name, mach_port_right_t right,
                                 mach_port_delta_t delta) {
    (void)task, (void)name, (void)right, (void)delta;
    return KERN_SUCCESS;
}

kern_return_t mach_port_deallocate(ipc_space_t task, mach_port_name_t name) {
    (void)task, (void)name;
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
    return KERN_SUCCESS;
}

kern_return_t pid_for_task(mach_port_name_t task, int *pid) {
    (void)task;
    *pid = PID;
    return KERN_SUCCESS;
}

static union {
    mach_msg_header_t header;
    uint8_t bytes[8192];
} request, reply;

/* mach_msg_server: the reply and the next receive are one call. */
__attribute__((noinline)) static void serve(bool stub) {
    mach_msg_option_t options = MACH_RCV_MSG | MACH_RCV_TRAILER_TYPE(MACH_MSG_TRAILER_FORMAT_0) |
                                MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT);
    mach_msg(&request.header, options, 0, sizeof request, PORT_SET, MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL);
    while (left > 0) {
        if (stub) {
            MUST(mig_server(&request.header, &reply.header));
            memcpy(&request, &reply, 36); /* it exchanges the buffers; the fake receives into one */
        }
        mach_msg(&request.header, options | MACH_SEND_MSG, 36, sizeof request, PORT_SET,
                 MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL);
    }
    ended = now_ns();
}

static void receive(const char *path) {
    char error[512];
    struct excguard_receiver *receiver;
    MUST(excguard_journal_open(path, CAPACITY, 260400, &journal, error, sizeof error) == EXCGUARD_JOURNAL_OK);
    MUST(excguard_receiver_start(journal, PORT_SET, -1, &receiver) == KERN_SUCCESS);
    const mach_msg_header_t *message = (const void *)batch[0];
    MUST(excguard_receiver_add_target(receiver, message->msgh_local_port, 1, EXCGUARD_REPLY_FORWARD) ==
         KERN_SUCCESS);
    MUST(excguard_receiver_set_pid(receiver, 1, PID) == KERN_SUCCESS);
    atomic_store(&go, true);
    while (!atomic_load(&done)) {
        pause_shortly();
    }
    excguard_receiver_stop(receiver);
    drain();
    MUST(excguard_journal_lost(journal) == 0);
    excguard_journal_close(journal);
    MUST(records == replies);
}

int main(int argc, char **argv) {
    MUST(argc == 6);
    read_batch(argv[2], strcmp(argv[4], "1") == 0);
    unsigned long messages = left = strtoul(argv[3], NULL, 10);
    if (strcmp(argv[1], "receiver") == 0) {
        receive(argv[5]);
        MUST(replies == messages);
    } else {
        atomic_store(&go, true);
        serve(strcmp(argv[1], "server") == 0);
    }
    printf("%.2f\n", (ended - started) / (double)messages);
    return 0;
}
