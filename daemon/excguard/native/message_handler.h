/*
 * From a received message to its reply: check it, find its target, record it, build the reply.
 * All that happens between mach_msg's return and the reply, apart from the clock; the benchmark calls this
 * very function.
 *
 * The checks come in this order, and the first that fails names the refusal: known exception port, well
 * formed, of a behavior that is not insecure, sent by the kernel, of a behavior that we register, EXC_GUARD.
 * Internal to the receiver.
 */
#ifndef EXCGUARD_MESSAGE_HANDLER_H
#define EXCGUARD_MESSAGE_HANDLER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "journal.h"
#include "parser.h"
#include "wire.h"

#define EXCGUARD_TARGET_SLOTS 256u /* a power of two, twice EXCGUARD_MAX_TARGETS: probing stays short */

/*
 * Written by callers of the receiver's functions, read by its thread without a lock: `port` is stored last
 * when a target is added and first when it is removed.
 */
struct excguard_target {
    _Atomic uint32_t port; /* free: a name that has another home (excguard_message_handler_init) */
    /*
     * kern_return_t for hits of its own process under EXCEPTION_IDENTITY_PROTECTED; all others get
     * KERN_FAILURE.
     */
    uint32_t own_reply;
    uint64_t own_tag;       /* excguard_tag of such a hit */
    uint64_t id_shifted;    /* target_id << 32, as it goes into keys and owners */
    _Atomic uint64_t owner; /* id_shifted | pid of the target's own process; 0 for the pid: not known */
    _Atomic uint64_t no_senders;
    _Atomic uint32_t notify_port; /* where its no-senders notifications go; MACH_PORT_NULL: not requested */
    uint32_t reserved[5];
};

#define EXCGUARD_THREAD_SLOTS 1024u

struct excguard_thread {
    uint64_t thread_id;
    uint64_t owner; /* id_shifted of the target that it was last seen with | its pid, not 0 */
};
static_assert(sizeof(struct excguard_thread) == 16, "as in a record: struct journal_entry");

/* A reply that is being composed. */
union excguard_reply_buffer {
    mach_msg_header_t header;
    uint8_t bytes[EXCGUARD_REPLY_SIZE];
};

struct excguard_message_handler {
    struct excguard_journal *journal;
    /*
     * Turns the task identity token of a message into a pid, 0: it cannot be done. Does not consume the
     * token.
     */
    uint32_t (*pid_of_token)(uint32_t task_token);
    struct excguard_target targets[EXCGUARD_TARGET_SLOTS];
    /* Thread ids are never used again (osfmk/kern/thread.c, thread_unique_id), so what is here stays true. */
    struct excguard_thread threads[EXCGUARD_THREAD_SLOTS];
    /*
     * Replies to the usual forms, made beforehand, but for the port they go to and RetCode; and one for all
     * else.
     */
    union excguard_reply_buffer stateless_reply, state_reply, other_reply;
};

/* All slots free. */
void excguard_message_handler_init(struct excguard_message_handler *handler, struct excguard_journal *journal,
                                   uint32_t (*pid_of_token)(uint32_t));

/* The target with this port, or NULL. */
struct excguard_target *excguard_find_target(struct excguard_message_handler *handler, uint32_t port);

/*
 * The target whose notifications go to this port, or NULL. It may have been freed since; its notify_port is
 * cleared later than that.
 */
struct excguard_target *excguard_find_notified(struct excguard_message_handler *handler, uint32_t port);

/* Takes a free slot for the target. Returns it, or NULL: none is left. Not for two threads at once. */
struct excguard_target *excguard_add_target(struct excguard_message_handler *handler, uint32_t port,
                                            uint32_t id, uint32_t own_reply);
/* Frees the slot. */
void excguard_free_target(struct excguard_message_handler *handler, struct excguard_target *target);
bool excguard_is_target_free(const struct excguard_message_handler *handler,
                             const struct excguard_target *target);

struct excguard_handled_message {
    /*
     * The handler's, until the next message. Made in all cases; is there a right to send it to? See the
     * message.
     */
    union excguard_reply_buffer *reply;
    /*
     * EXCGUARD_ACCEPTED: a hit, recorded and counted; EXCGUARD_NOTIFICATION: one of the kernel's that we ask
     * for, for a target; anything else: refused and counted as that.
     */
    uint32_t verdict;
};

/* Answers the message in a receive buffer, its trailer behind it. `now_ns`: CLOCK_REALTIME. */
struct excguard_handled_message excguard_handle_message(struct excguard_message_handler *handler,
                                                        const uint8_t message[EXCGUARD_RECEIVE_SIZE],
                                                        uint64_t now_ns);

/*
 * Rebuilds the usual replies: after one could not be sent, and the kernel returned it with other names in
 * it.
 */
void excguard_renew_replies(struct excguard_message_handler *handler);

#endif
