#include "receiver.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <mach/notify.h>

#include "journal_inline.h"
#include "kernel_forms.h"
#include "message_handler.h"
#include "receiver_clock.h"

#define RECEIVE_OPTIONS                                                \
    (MACH_RCV_MSG | MACH_RCV_TRAILER_TYPE(MACH_MSG_TRAILER_FORMAT_0) | \
     MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT))

/* Messages to the control port. */
#define STOP_ID 0x73746f70 /* "stop": the thread ends */
#define TURN_ID 0x7475726e /* "turn": the thread counts it */

/*
 * Task identity tokens are released when a burst is over: in a storm one for each hit, for the kernel makes a
 * token for each exception (task_create_identity_token, osfmk/kern/task_ident.c), and several with one call
 * if they have one name.
 */
#define TOKEN_SLOTS 64u
#define TOKEN_BATCH 64u
/* How long the thread waits for the next message of a burst before it releases the tokens of this one. */
#define LINGER_MS 10
#define RECEIVE_ERRORS 0x10004000 /* MACH_RCV_...: the reply of the same call was sent */

union receive_buffer {
    mach_msg_header_t header;
    uint8_t bytes[EXCGUARD_RECEIVE_SIZE];
};

/* Send rights to a task identity token, all under one name. */
struct held_token {
    mach_port_name_t name;
    uint32_t count;
};

struct excguard_receiver {
    struct excguard_message_handler handler;
    _Alignas(64) union receive_buffer received;

    mach_port_t task;
    mach_port_name_t port_set;
    mach_port_name_t control;
    pthread_t thread;
    struct excguard_receiver_clock clock;  /* the thread's */
    struct held_token tokens[TOKEN_SLOTS]; /* the thread's */
    uint32_t held;                         /* sum of their counts */
    int wake_fd;

    _Atomic bool stopping;
    _Atomic bool armed;
    _Atomic uint64_t turns;       /* TURN_ID messages that were handled */
    pthread_mutex_t targets_lock; /* among callers; the thread never takes it */

    _Atomic uint64_t messages;
    _Atomic uint64_t notifications;
    _Atomic uint64_t reply_failures;
    _Atomic uint64_t receive_errors;
    _Atomic uint64_t wakeups;
    _Atomic int32_t last_error;
    _Atomic bool running;
};

/* ---- rights ---- */

/*
 * The token names a task without giving anything over it away: from it we take the name port, good for a pid
 * and nothing else, and release it again. task_identity_token_get_task_port: mach/task.h, macOS 12.
 */
static uint32_t pid_of_token(uint32_t task_token) {
    mach_port_t task = MACH_PORT_NULL;
    int pid = 0;
    if (!MACH_PORT_VALID(task_token) ||
        task_identity_token_get_task_port(task_token, TASK_FLAVOR_NAME, &task) != KERN_SUCCESS) {
        return 0;
    }
    if (pid_for_task(task, &pid) != KERN_SUCCESS) {
        pid = 0;
    }
    if (MACH_PORT_VALID(task)) {
        mach_port_deallocate(mach_task_self(), task);
    }
    return pid > 0 ? (uint32_t)pid : 0;
}

/*
 * Releases all that the message still carries: descriptors, voucher, and the reply right unless it was used.
 */
static void release_rights(struct excguard_receiver *receiver) {
    struct excguard_message message;
    excguard_parse(receiver->received.bytes, sizeof receiver->received, 0, &message);
    if (message.verdict == EXCGUARD_NOTIFICATION && message.sender == EXCGUARD_SENDER_KERNEL &&
        message.msgh_id == MACH_NOTIFY_DEAD_NAME && MACH_PORT_VALID(message.notification_value)) {
        /* The name itself comes with a reference of its own, which no descriptor shows. */
        mach_port_deallocate(receiver->task, message.notification_value);
    }
    mach_msg_destroy(&receiver->received.header);
}

static void release_token(struct excguard_receiver *receiver, struct held_token *token) {
    mach_port_delta_t delta = -(mach_port_delta_t)token->count;
    if (token->count != 0 &&
        mach_port_mod_refs(receiver->task, token->name, MACH_PORT_RIGHT_SEND, delta) != KERN_SUCCESS) {
        mach_port_mod_refs(receiver->task, token->name, MACH_PORT_RIGHT_DEAD_NAME, delta);
    }
    receiver->held -= token->count;
    token->count = 0;
}

static void release_tokens(struct excguard_receiver *receiver) {
    for (uint32_t slot = 0; slot < TOKEN_SLOTS; slot++) {
        release_token(receiver, &receiver->tokens[slot]);
    }
}

/* Takes over the send right that a message brought; it is released later. */
static void hold_token(struct excguard_receiver *receiver, mach_port_name_t name) {
    struct held_token *token = &receiver->tokens[(name >> 8) % TOKEN_SLOTS]; /* MACH_PORT_INDEX */
    if (!MACH_PORT_VALID(name)) {
        return;
    }
    if (token->name != name || token->count == TOKEN_BATCH) {
        release_token(receiver, token);
    }
    token->name = name;
    token->count++;
    receiver->held++;
}

/* A reply was not sent. Two errors give the message and its rights back (libsyscall/mach/mach_msg.c). */
static void fail_reply(struct excguard_receiver *receiver, mach_msg_header_t *reply,
                       mach_msg_return_t result) {
    atomic_fetch_add_explicit(&receiver->reply_failures, 1, memory_order_relaxed);
    atomic_store_explicit(&receiver->last_error, result, memory_order_relaxed);
    if (result == MACH_SEND_INVALID_DEST || result == MACH_SEND_TIMED_OUT) {
        mach_msg_destroy(reply);
    }
}

/* Sends the reply, if there is a right to send it to, which it uses up. */
static void send_reply(struct excguard_receiver *receiver, mach_msg_header_t *reply) {
    mach_msg_header_t *request = &receiver->received.header;
    mach_msg_bits_t right = MACH_MSGH_BITS_REMOTE(request->msgh_bits);
    if (!MACH_PORT_VALID(request->msgh_remote_port) ||
        (right != MACH_MSG_TYPE_PORT_SEND_ONCE && right != MACH_MSG_TYPE_PORT_SEND)) {
        return;
    }
    /*
     * A send-once right never waits. A send right could, if its port's queue is full: then it gets no reply.
     */
    mach_msg_return_t result = mach_msg(reply, MACH_SEND_MSG | MACH_SEND_TIMEOUT, EXCGUARD_REPLY_SIZE, 0,
                                        MACH_PORT_NULL, 0, MACH_PORT_NULL);
    request->msgh_remote_port = MACH_PORT_NULL;
    if (result != MACH_MSG_SUCCESS) {
        fail_reply(receiver, reply, result);
        excguard_renew_replies(&receiver->handler);
    }
}

/* ---- the thread ---- */

static bool is_reader_waiting(const struct excguard_receiver *receiver) {
    return receiver->wake_fd >= 0 && atomic_load_explicit(&receiver->armed, memory_order_relaxed);
}

static void wake(struct excguard_receiver *receiver) {
    /* The record is written before `armed` is read; excguard_receiver_arm does the reverse. */
    atomic_thread_fence(memory_order_seq_cst);
    if (!is_reader_waiting(receiver) || !atomic_exchange(&receiver->armed, false)) {
        return;
    }
    while (write(receiver->wake_fd, "", 1) < 0 && errno == EINTR) {
    }
    atomic_fetch_add_explicit(&receiver->wakeups, 1, memory_order_relaxed);
}

/*
 * Asks for one notification when `port` has no senders any more, after send rights were made of it `made`
 * times.
 */
static kern_return_t request_no_senders(struct excguard_receiver *receiver, mach_port_name_t port,
                                        mach_port_name_t notify, mach_port_mscount_t made) {
    mach_port_t previous = MACH_PORT_NULL;
    kern_return_t result = mach_port_request_notification(receiver->task, port, MACH_NOTIFY_NO_SENDERS, made,
                                                          notify, MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous);
    if (result == KERN_SUCCESS && MACH_PORT_VALID(previous)) {
        mach_port_deallocate(receiver->task, previous);
    }
    return result;
}

static void handle_notification(struct excguard_receiver *receiver) {
    const mach_no_senders_notification_t *notification = (const void *)receiver->received.bytes;
    mach_port_name_t notify = notification->not_header.msgh_local_port;
    struct excguard_target *target = excguard_find_notified(&receiver->handler, notify);
    atomic_fetch_add_explicit(&receiver->notifications, 1, memory_order_relaxed);
    if (target == NULL || excguard_is_target_free(&receiver->handler, target) ||
        notification->not_header.msgh_id != MACH_NOTIFY_NO_SENDERS) {
        return;
    }
    atomic_fetch_add_explicit(&target->no_senders, 1, memory_order_relaxed);
    /* A request is good for one notification. What happens between the two is not missed: see `made`. */
    request_no_senders(receiver, atomic_load(&target->port), notify, notification->not_count + 1);
}

/*
 * A hit of the usual form brings a send-once right for the reply and the token, nothing else. Its reply takes
 * the place of the request, and is sent by the call that receives the next message. If the reader waits to be
 * woken it is sent before, so that the program does not wait for that. True: the reply is still to be sent.
 *
 * The processor may read `armed` before others see the record, and so miss a reader that arms in that very
 * moment. A fence would prevent it, at a fifth of the turn. With a token held none is needed: then the thread
 * waits LINGER_MS at most for the next message, and looks again.
 */
static bool finish_usual(struct excguard_receiver *receiver, const mach_msg_header_t *reply) {
    uint8_t *request = receiver->received.bytes;
    hold_token(receiver, excguard_load32(request + EXCGUARD_PROTECTED(task_id_token_t)));
    memcpy(request, reply, EXCGUARD_REPLY_SIZE);
    if (receiver->held == 0) {
        atomic_thread_fence(memory_order_seq_cst);
    }
    if (!is_reader_waiting(receiver)) {
        return true;
    }
    mach_msg_return_t result = mach_msg(&receiver->received.header, MACH_SEND_MSG, EXCGUARD_REPLY_SIZE, 0,
                                        MACH_PORT_NULL, MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL);
    if (result != MACH_MSG_SUCCESS) {
        fail_reply(receiver, &receiver->received.header, result);
    }
    wake(receiver);
    return false;
}

/* True: a reply that is still to be sent is in the receive buffer. */
static bool handle_message(struct excguard_receiver *receiver) {
    const mach_msg_header_t *request = &receiver->received.header;
    uint64_t received_at = excguard_ticks();
    uint64_t now_ns = excguard_time_of_day(&receiver->clock, received_at);
    struct excguard_handled_message handled =
        excguard_handle_message(&receiver->handler, receiver->received.bytes, now_ns);
    uint32_t verdict = handled.verdict;
    if (verdict == EXCGUARD_ACCEPTED) {
        uint64_t ready_at = excguard_ticks();
        uint64_t taken = ready_at > received_at ? ready_at - received_at : 0;
        excguard_journal_reply_time(receiver->handler.journal, excguard_ticks_ns(&receiver->clock, taken));
        if (request->msgh_bits == EXCGUARD_KERNEL_BITS && MACH_PORT_VALID(request->msgh_remote_port)) {
            return finish_usual(receiver, &handled.reply->header);
        }
    }
    release_tokens(receiver); /* so that nothing of earlier messages is held once this one has its reply */
    if (verdict != EXCGUARD_NOTIFICATION) {
        send_reply(receiver, &handled.reply->header);
    } else {
        handle_notification(receiver);
    }
    release_rights(receiver);
    if (verdict == EXCGUARD_ACCEPTED || verdict == EXCGUARD_NOTIFICATION) {
        wake(receiver);
    }
    return false;
}

/* False: the port set is gone. */
static bool survives_error(struct excguard_receiver *receiver, mach_msg_return_t result) {
    switch (result) {
    case MACH_RCV_INTERRUPTED:
        return true;
    case MACH_RCV_TOO_LARGE: /* without MACH_RCV_LARGE the kernel has thrown it away */
        excguard_journal_reject(receiver->handler.journal, EXCGUARD_TOO_LARGE);
        return true;
    case MACH_RCV_BODY_ERROR: /* received, but for some of what it carried */
        release_rights(receiver);
        break;
    case MACH_RCV_HEADER_ERROR: /* thrown away */
        break;
    default:
        atomic_store_explicit(&receiver->last_error, result, memory_order_relaxed);
        atomic_fetch_add_explicit(&receiver->receive_errors, 1, memory_order_relaxed);
        return false;
    }
    atomic_store_explicit(&receiver->last_error, result, memory_order_relaxed);
    atomic_fetch_add_explicit(&receiver->receive_errors, 1, memory_order_relaxed);
    return true;
}

/* Sends the reply in the receive buffer, if there is one, and receives the next message: one call for both.
 */
static mach_msg_return_t next_message(struct excguard_receiver *receiver, bool reply) {
    mach_msg_option_t options = RECEIVE_OPTIONS | (reply ? MACH_SEND_MSG : 0);
    mach_msg_timeout_t timeout = MACH_MSG_TIMEOUT_NONE;
    if (receiver->held != 0) {
        options |= MACH_RCV_TIMEOUT;
        timeout = LINGER_MS;
    }
    return mach_msg(&receiver->received.header, options, reply ? EXCGUARD_REPLY_SIZE : 0,
                    sizeof receiver->received, receiver->port_set, timeout, MACH_PORT_NULL);
}

/* A message to the control port. False: the thread is to end. */
static bool take_control_message(struct excguard_receiver *receiver) {
    bool stop = atomic_load_explicit(&receiver->stopping, memory_order_acquire);
    mach_msg_destroy(&receiver->received.header);
    atomic_fetch_add(&receiver->turns, 1);
    return !stop;
}

static void *run(void *argument) {
    struct excguard_receiver *receiver = argument;
    bool reply = false;
    excguard_start_clock(&receiver->clock);
    for (bool alive = true; alive;) {
        mach_msg_return_t result = next_message(receiver, reply);
        bool sent = result == MACH_MSG_SUCCESS || (result & RECEIVE_ERRORS) == RECEIVE_ERRORS;
        if (reply && !sent) {
            fail_reply(receiver, &receiver->received.header, result);
            reply = false;
            continue;
        }
        reply = false;
        if (result == MACH_RCV_TIMED_OUT) {
            release_tokens(receiver);
            wake(receiver); /* finish_usual */
            continue;
        }
        if (result != MACH_MSG_SUCCESS) {
            alive = survives_error(receiver, result);
        } else if (receiver->received.header.msgh_local_port == receiver->control) {
            alive = take_control_message(receiver);
        } else {
            excguard_bump(&receiver->messages, 1);
            reply = handle_message(receiver);
        }
    }
    release_tokens(receiver);
    atomic_store(&receiver->running, false);
    wake(receiver);
    return NULL;
}

/* ---- for callers ---- */

static kern_return_t start_thread(struct excguard_receiver *receiver) {
    sigset_t all, before;
    sigfillset(&all);        /* the caller's threads handle signals */
    sigdelset(&all, SIGBUS); /* but for one that a thread raises itself: journal_watch.h */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    atomic_store(&receiver->running, true);
    int error = pthread_create(&receiver->thread, NULL, run, receiver);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0 ? KERN_SUCCESS : KERN_RESOURCE_SHORTAGE;
}

static void destroy_port(struct excguard_receiver *receiver, mach_port_name_t port) {
    if (port != MACH_PORT_NULL) {
        mach_port_mod_refs(receiver->task, port, MACH_PORT_RIGHT_RECEIVE, -1);
    }
}

static void free_receiver(struct excguard_receiver *receiver) {
    for (uint32_t slot = 0; slot < EXCGUARD_TARGET_SLOTS; slot++) {
        destroy_port(receiver, atomic_load(&receiver->handler.targets[slot].notify_port));
    }
    destroy_port(receiver, receiver->control);
    pthread_mutex_destroy(&receiver->targets_lock);
    free(receiver);
}

kern_return_t excguard_receiver_start(struct excguard_journal *journal, mach_port_t port_set, int wake_fd,
                                      struct excguard_receiver **out) {
    *out = NULL;
    struct excguard_receiver *receiver = aligned_alloc(64, (sizeof *receiver + 63) & ~(size_t)63);
    if (receiver == NULL) {
        return KERN_RESOURCE_SHORTAGE;
    }
    memset(receiver, 0, sizeof *receiver);
    excguard_message_handler_init(&receiver->handler, journal, pid_of_token);
    receiver->task = mach_task_self();
    receiver->port_set = port_set;
    receiver->wake_fd = wake_fd;
    pthread_mutex_init(&receiver->targets_lock, NULL);
    kern_return_t result = mach_port_allocate(receiver->task, MACH_PORT_RIGHT_RECEIVE, &receiver->control);
    if (result == KERN_SUCCESS) {
        result = mach_port_move_member(receiver->task, receiver->control, port_set);
    }
    if (result == KERN_SUCCESS) {
        result = start_thread(receiver);
    }
    if (result != KERN_SUCCESS) {
        free_receiver(receiver);
        return result;
    }
    *out = receiver;
    return KERN_SUCCESS;
}

/* The lock is held. */
static struct excguard_target *target_with_id(struct excguard_receiver *receiver, uint32_t target_id) {
    for (uint32_t slot = 0; slot < EXCGUARD_TARGET_SLOTS; slot++) {
        struct excguard_target *target = &receiver->handler.targets[slot];
        if (!excguard_is_target_free(&receiver->handler, target) && target->id_shifted >> 32 == target_id) {
            return target;
        }
    }
    return NULL;
}

static kern_return_t add_target(struct excguard_receiver *receiver, mach_port_name_t port, uint32_t target_id,
                                uint32_t own_reply) {
    if (excguard_find_target(&receiver->handler, port) != NULL ||
        target_with_id(receiver, target_id) != NULL) {
        return KERN_NAME_EXISTS;
    }
    uint32_t used = 0;
    for (uint32_t slot = 0; slot < EXCGUARD_TARGET_SLOTS; slot++) {
        used += !excguard_is_target_free(&receiver->handler, &receiver->handler.targets[slot]);
    }
    if (used >= EXCGUARD_MAX_TARGETS ||
        excguard_add_target(&receiver->handler, port, target_id, own_reply) == NULL) {
        return KERN_NO_SPACE;
    }
    return KERN_SUCCESS;
}

kern_return_t excguard_receiver_add_target(struct excguard_receiver *receiver, mach_port_name_t port,
                                           uint32_t target_id, uint32_t reply_policy) {
    if (!MACH_PORT_VALID(port) || target_id == 0 || reply_policy > EXCGUARD_REPLY_CONSUME) {
        return KERN_INVALID_ARGUMENT;
    }
    uint32_t own_reply = reply_policy == EXCGUARD_REPLY_CONSUME ? KERN_SUCCESS : KERN_FAILURE;
    pthread_mutex_lock(&receiver->targets_lock);
    kern_return_t result = add_target(receiver, port, target_id, own_reply);
    pthread_mutex_unlock(&receiver->targets_lock);
    return result;
}

kern_return_t excguard_receiver_set_pid(struct excguard_receiver *receiver, uint32_t target_id, int32_t pid) {
    pthread_mutex_lock(&receiver->targets_lock);
    struct excguard_target *target = target_with_id(receiver, target_id);
    if (target != NULL) {
        atomic_store(&target->owner, target->id_shifted | (pid > 0 ? (uint32_t)pid : 0));
    }
    pthread_mutex_unlock(&receiver->targets_lock);
    return target != NULL ? KERN_SUCCESS : KERN_INVALID_NAME;
}

static mach_msg_return_t send_control(const struct excguard_receiver *receiver, mach_msg_id_t id) {
    mach_msg_header_t message = {
        .msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, 0),
        .msgh_size = sizeof message,
        .msgh_remote_port = receiver->control,
        .msgh_id = id,
    };
    return mach_msg(&message, MACH_SEND_MSG, sizeof message, 0, MACH_PORT_NULL, MACH_MSG_TIMEOUT_NONE,
                    MACH_PORT_NULL);
}

/*
 * Returns when the thread has dealt with whatever it had received before, and sees what the caller has
 * stored. It handles a message for that: so its usual turns need no atomic operation. The lock is held.
 */
static void wait_for_turn(struct excguard_receiver *receiver) {
    uint64_t before = atomic_load(&receiver->turns);
    if (send_control(receiver, TURN_ID) != MACH_MSG_SUCCESS) {
        return; /* no kernel any more, and so no message either */
    }
    while (atomic_load(&receiver->turns) == before && atomic_load(&receiver->running)) {
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    }
}

kern_return_t excguard_receiver_silence_target(struct excguard_receiver *receiver, uint32_t target_id) {
    pthread_mutex_lock(&receiver->targets_lock);
    const struct excguard_target *target = target_with_id(receiver, target_id);
    if (target != NULL) {
        /* KERN_NOT_IN_SET: nothing is received from it anyway. */
        mach_port_move_member(receiver->task, atomic_load(&target->port), MACH_PORT_NULL);
        wait_for_turn(receiver);
    }
    pthread_mutex_unlock(&receiver->targets_lock);
    return target != NULL ? KERN_SUCCESS : KERN_INVALID_NAME;
}

kern_return_t excguard_receiver_remove_target(struct excguard_receiver *receiver, uint32_t target_id) {
    pthread_mutex_lock(&receiver->targets_lock);
    struct excguard_target *target = target_with_id(receiver, target_id);
    if (target != NULL) {
        excguard_free_target(&receiver->handler, target);
        wait_for_turn(receiver);
        /* The request dies with the port that it names. */
        destroy_port(receiver, atomic_load(&target->notify_port));
        /* One that was received before is still recognized as its notification. */
        wait_for_turn(receiver);
        atomic_store(&target->notify_port, MACH_PORT_NULL);
    }
    pthread_mutex_unlock(&receiver->targets_lock);
    return target != NULL ? KERN_SUCCESS : KERN_INVALID_NAME;
}

/* The lock is held. */
static kern_return_t watch_senders(struct excguard_receiver *receiver, struct excguard_target *target) {
    mach_port_name_t notify = MACH_PORT_NULL;
    kern_return_t result = mach_port_allocate(receiver->task, MACH_PORT_RIGHT_RECEIVE, &notify);
    if (result != KERN_SUCCESS) {
        return result;
    }
    result = mach_port_move_member(receiver->task, notify, receiver->port_set);
    if (result == KERN_SUCCESS) {
        atomic_store_explicit(&target->notify_port, notify, memory_order_release);
        result = request_no_senders(receiver, atomic_load(&target->port), notify, 1);
    }
    if (result != KERN_SUCCESS) {
        atomic_store(&target->notify_port, MACH_PORT_NULL);
        destroy_port(receiver, notify);
    }
    return result;
}

kern_return_t excguard_receiver_watch_senders(struct excguard_receiver *receiver, uint32_t target_id) {
    pthread_mutex_lock(&receiver->targets_lock);
    struct excguard_target *target = target_with_id(receiver, target_id);
    kern_return_t result = KERN_INVALID_NAME;
    if (target != NULL) {
        result = atomic_load(&target->notify_port) == MACH_PORT_NULL ? watch_senders(receiver, target)
                                                                     : KERN_NAME_EXISTS;
    }
    pthread_mutex_unlock(&receiver->targets_lock);
    return result;
}

uint64_t excguard_receiver_no_senders(struct excguard_receiver *receiver, uint32_t target_id) {
    pthread_mutex_lock(&receiver->targets_lock);
    const struct excguard_target *target = target_with_id(receiver, target_id);
    uint64_t count = target != NULL ? atomic_load(&target->no_senders) : 0;
    pthread_mutex_unlock(&receiver->targets_lock);
    return count;
}

void excguard_receiver_arm(struct excguard_receiver *receiver) {
    atomic_store(&receiver->armed, true);
    if (!atomic_load(&receiver->running)) {
        wake(receiver); /* the thread no longer does */
    }
}

void excguard_receiver_stats(const struct excguard_receiver *receiver, struct excguard_receiver_stats *out) {
    *out = (struct excguard_receiver_stats){
        .messages = atomic_load_explicit(&receiver->messages, memory_order_relaxed),
        .notifications = atomic_load_explicit(&receiver->notifications, memory_order_relaxed),
        .reply_failures = atomic_load_explicit(&receiver->reply_failures, memory_order_relaxed),
        .receive_errors = atomic_load_explicit(&receiver->receive_errors, memory_order_relaxed),
        .wakeups = atomic_load_explicit(&receiver->wakeups, memory_order_relaxed),
        .last_error = atomic_load_explicit(&receiver->last_error, memory_order_relaxed),
        .running = atomic_load(&receiver->running),
    };
}

void excguard_receiver_stop(struct excguard_receiver *receiver) {
    if (receiver == NULL) {
        return;
    }
    atomic_store_explicit(&receiver->stopping, true, memory_order_release);
    send_control(receiver, STOP_ID);
    pthread_join(receiver->thread, NULL);
    free_receiver(receiver);
}
