/*
 * mach_port_request_notification(): which events of a port are notified.
 * Sources: osfmk/ipc of xnu-11417.101.15.
 */
#include <mach/notify.h>

#include "check.h"

static mach_port_t notify;

static mach_port_t ask(mach_port_t port, mach_msg_id_t id,
                       mach_port_mscount_t sync) { /* returns who asked before */
    mach_port_t previous;
    if (!notify) {
        notify = receive_right(0, 0);
    }
    EXPECT(KERN_SUCCESS, mach_port_request_notification(SELF, port, id, sync, notify,
                                                        MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous));
    return previous;
}

static kern_return_t ask_in_vain(mach_port_t port, mach_msg_id_t id, mach_port_mscount_t sync) {
    mach_port_t previous;
    return mach_port_request_notification(SELF, port, id, sync, notify, MACH_MSG_TYPE_MAKE_SEND_ONCE,
                                          &previous);
}

static mach_port_t cancel(mach_port_t port, mach_msg_id_t id) {
    mach_port_t previous;
    EXPECT(KERN_SUCCESS, mach_port_request_notification(SELF, port, id, 0, MACH_PORT_NULL,
                                                        MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous));
    return previous;
}

static void nothing_came(void) {
    struct letter got;
    EXPECT(MACH_RCV_TIMED_OUT, receive_letter(notify, &got, 0));
}

/* The number that a notification of this id brings, from the kernel alone. */
static unsigned came(mach_msg_id_t id) {
    struct letter got;
    EXPECT(MACH_MSG_SUCCESS, receive_letter(notify, &got, MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT)));
    EXPECT(id, got.header.msgh_id);
    EXPECT(MACH_MSGH_BITS(0, MACH_MSG_TYPE_PORT_SEND_ONCE), got.header.msgh_bits);
    EXPECT(offsetof(mach_dead_name_notification_t, trailer), got.header.msgh_size);
    const mach_msg_audit_trailer_t *trailer = (const void *)((uint8_t *)&got + got.header.msgh_size);
    EXPECT(0, trailer->msgh_audit.val[5]);
    EXPECT(0, trailer->msgh_sender.val[0]);
    EXPECT(1, trailer->msgh_sender.val[1]);
    return ((mach_dead_name_notification_t *)&got)->not_port;
}

/* ipc_right_request_alloc, ipc_right.c; ipc_port_dnnotify, ipc_port.c */
CHECK(dead_name_notification) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    EXPECT(MACH_PORT_NULL, ask(port, MACH_NOTIFY_DEAD_NAME, 0));
    EXPECT(MACH_PORT_TYPE_SEND_RECEIVE | MACH_PORT_TYPE_DNREQUEST, type_of(port));
    nothing_came();
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -1));
    EXPECT(port, came(MACH_NOTIFY_DEAD_NAME));
    EXPECT(2, refs_of(port, MACH_PORT_RIGHT_DEAD_NAME)); /* the notification brought one */
}

/* ipc_right_request_alloc, ipc_right.c */
CHECK(dead_name_of_a_send_once_right) {
    mach_port_t port = receive_right(0, 0), once = send_once_right(port);
    ask(once, MACH_NOTIFY_DEAD_NAME, 0);
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -1));
    EXPECT(once, came(MACH_NOTIFY_DEAD_NAME));
}

/* ipc_right_dealloc, ipc_right.c; ipc_notify_port_deleted, ipc_notify.c */
CHECK(port_deleted) {
    mach_port_t port = send_right();
    ask(port, MACH_NOTIFY_DEAD_NAME, 0);
    MUST(mach_port_deallocate(SELF, port));
    EXPECT(port, came(MACH_NOTIFY_PORT_DELETED));
}

/* ipc_right_copyin (MOVE_SEND), ipc_right.c */
CHECK(port_deleted_by_sending_it_away) {
    mach_port_t port = send_right();
    ask(port, MACH_NOTIFY_DEAD_NAME, 0);
    EXPECT(MACH_MSG_SUCCESS, send_right_to(receive_right(0, 0), port, MACH_MSG_TYPE_MOVE_SEND));
    EXPECT(port, came(MACH_NOTIFY_PORT_DELETED));
}

/* ipc_right_request_alloc and ipc_right_request_cancel, ipc_right.c */
CHECK(second_request_replaces_the_first) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    ask(port, MACH_NOTIFY_DEAD_NAME, 0);
    mach_port_t previous = ask(port, MACH_NOTIFY_DEAD_NAME, 0);
    EXPECT(MACH_PORT_TYPE_SEND_ONCE, type_of(previous));
    previous = cancel(port, MACH_NOTIFY_DEAD_NAME);
    EXPECT(MACH_PORT_TYPE_SEND_ONCE, type_of(previous));
    EXPECT(MACH_PORT_NULL, cancel(port, MACH_NOTIFY_DEAD_NAME));
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -1));
    nothing_came();
}

/*
 * _kernelrpc_mach_port_request_notification_trap, mach_kernelrpc.c: ipc_object_copyout of the request before
 * it fails. A cancellation is a message to the kernel (libsyscall/mach/mach_port.c), which gives a dead name.
 */
CHECK(second_request_after_the_first_died) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0), first = receive_right(0, 0), previous;
    MUST(mach_port_request_notification(SELF, port, MACH_NOTIFY_DEAD_NAME, 0, first,
                                        MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous));
    MUST(mach_port_mod_refs(SELF, first, MACH_PORT_RIGHT_RECEIVE, -1));
    notify = receive_right(0, 0);
    EXPECT(KERN_INVALID_CAPABILITY, ask_in_vain(port, MACH_NOTIFY_DEAD_NAME, 0));
    nothing_came();
    EXPECT(MACH_PORT_TYPE_SEND_ONCE, type_of(cancel(port, MACH_NOTIFY_DEAD_NAME)));
    ask(port, MACH_NOTIFY_DEAD_NAME, 0);
    MUST(mach_port_mod_refs(SELF, notify, MACH_PORT_RIGHT_RECEIVE, -1));
    EXPECT(MACH_PORT_DEAD, cancel(port, MACH_NOTIFY_DEAD_NAME));
}

/* ipc_right_request_alloc, ipc_right.c */
CHECK(dead_name_of_the_dead) {
    mach_port_t dead = dead_name();
    struct letter got;
    ask(dead, MACH_NOTIFY_SEND_POSSIBLE, 0);
    EXPECT(dead, came(MACH_NOTIFY_DEAD_NAME));
    EXPECT(2, refs_of(dead, MACH_PORT_RIGHT_DEAD_NAME));
    EXPECT(KERN_INVALID_ARGUMENT, ask_in_vain(dead, MACH_NOTIFY_DEAD_NAME, 0));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(notify, &got, 0));
    EXPECT(MACH_NOTIFY_SEND_ONCE, got.header.msgh_id); /* the right that was offered in vain */
}

/* mach_port_request_notification, mach_port.c; ipc_notify_no_senders, ipc_notify.c */
CHECK(no_senders) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    EXPECT(MACH_PORT_NULL, ask(port, MACH_NOTIFY_NO_SENDERS, 0));
    EXPECT(1, status_of(port).mps_nsrequest);
    MUST(mach_port_insert_right(SELF, port, port, MACH_MSG_TYPE_MAKE_SEND));
    MUST(mach_port_deallocate(SELF, port));
    nothing_came();
    MUST(mach_port_deallocate(SELF, port));
    EXPECT(2, came(MACH_NOTIFY_NO_SENDERS)); /* the make-send count */
    EXPECT(0, status_of(port).mps_nsrequest);
}

/* ipc_port_nsrequest, ipc_port.c */
CHECK(no_senders_already) {
    mach_port_t port = receive_right(0, 0);
    ask(port, MACH_NOTIFY_NO_SENDERS, 0);
    EXPECT(0, came(MACH_NOTIFY_NO_SENDERS));
    ask(port, MACH_NOTIFY_NO_SENDERS, 1); /* not before another one was made */
    nothing_came();
    MUST(mach_port_insert_right(SELF, port, port, MACH_MSG_TYPE_MAKE_SEND));
    MUST(mach_port_deallocate(SELF, port));
    EXPECT(1, came(MACH_NOTIFY_NO_SENDERS));
}

/* ipc_port_release_send_and_unlock, ipc_port.c */
CHECK(no_senders_counts_rights_in_messages) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0), to = receive_right(0, 0);
    ask(port, MACH_NOTIFY_NO_SENDERS, 0);
    EXPECT(MACH_MSG_SUCCESS, send_right_to(to, port, MACH_MSG_TYPE_MOVE_SEND));
    EXPECT(MACH_PORT_TYPE_RECEIVE, type_of(port));
    nothing_came();
    MUST(mach_port_mod_refs(SELF, to, MACH_PORT_RIGHT_RECEIVE, -1));
    EXPECT(1, came(MACH_NOTIFY_NO_SENDERS));
}

/* ipc_port_destroy, ipc_port.c: ipc_notify_send_once_and_unlock of the request */
CHECK(no_senders_of_a_port_that_dies) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    struct letter got;
    ask(port, MACH_NOTIFY_NO_SENDERS, 0);
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -1));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(notify, &got, 0));
    EXPECT(MACH_NOTIFY_SEND_ONCE, got.header.msgh_id); /* the request ends unused */
    EXPECT(24, got.header.msgh_size);
}

static mach_msg_id_t next_id(void) {
    struct letter got;
    EXPECT(MACH_MSG_SUCCESS, receive_letter(notify, &got, 0));
    return got.header.msgh_id;
}

/* ipc_port_destroy, ipc_port.c: up to 12.2 the request ends before the messages in the queue do */
CHECK(no_senders_and_messages_of_a_port_that_dies) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0),
                other = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    ask(port, MACH_NOTIFY_NO_SENDERS, 0);
    ask(other, MACH_NOTIFY_DEAD_NAME, 0);
    EXPECT(MACH_MSG_SUCCESS, send_right_to(port, other, MACH_MSG_TYPE_MOVE_RECEIVE));
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -1));
    EXPECT(release() < 1203 ? MACH_NOTIFY_SEND_ONCE : MACH_NOTIFY_DEAD_NAME, next_id());
    EXPECT(release() < 1203 ? MACH_NOTIFY_DEAD_NAME : MACH_NOTIFY_SEND_ONCE, next_id());
}

/* ipc_right_destroy, ipc_right.c */
CHECK(order_of_what_ends_with_a_name) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    ask(port, MACH_NOTIFY_NO_SENDERS, 0);
    ask(port, MACH_NOTIFY_DEAD_NAME, 0);
    EXPECT(MACH_MSG_SUCCESS,
           send_for_reply(port, MACH_MSG_TYPE_MAKE_SEND_ONCE, notify, MACH_MSG_TYPE_MAKE_SEND_ONCE));
    MUST(mach_port_destroy(SELF, port));
    EXPECT(MACH_NOTIFY_SEND_ONCE, next_id()); /* of the message */
    EXPECT(MACH_NOTIFY_NO_SENDERS, next_id());
    EXPECT(MACH_NOTIFY_PORT_DELETED, next_id());
}

/* ipc_right_dealloc, ipc_right.c */
CHECK(order_of_what_ends_with_a_send_right) {
    mach_port_t port = receive_right(0, 0), to = receive_right(0, 0), send;
    mach_msg_type_name_t type;
    MUST(mach_port_extract_right(SELF, port, MACH_MSG_TYPE_MAKE_SEND, &send, &type));
    ask(port, MACH_NOTIFY_NO_SENDERS, 0);
    ask(send, MACH_NOTIFY_DEAD_NAME, 0);
    EXPECT(MACH_MSG_SUCCESS, send_right_to(to, port, MACH_MSG_TYPE_MOVE_RECEIVE));
    MUST(mach_port_deallocate(SELF, send));
    EXPECT(MACH_NOTIFY_NO_SENDERS, next_id());
    EXPECT(MACH_NOTIFY_PORT_DELETED, next_id());
}

/* ipc_port_destroy, ipc_port.c; ipc_notify_port_destroyed, ipc_notify.c */
CHECK(port_destroyed) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    struct letter got;
    EXPECT(MACH_MSG_SUCCESS, send_letter(port, MACH_MSG_TYPE_COPY_SEND, 9, 0));
    ask(port, MACH_NOTIFY_PORT_DESTROYED, 0);
    EXPECT(1, status_of(port).mps_pdrequest);
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -1));
    EXPECT(MACH_PORT_TYPE_SEND, type_of(port)); /* it lives on, in the notification */
    EXPECT(MACH_MSG_SUCCESS, receive_letter(notify, &got, 0));
    EXPECT(MACH_NOTIFY_PORT_DESTROYED, got.header.msgh_id);
    EXPECT(MACH_MSG_TYPE_PORT_RECEIVE, got.port.disposition);
    EXPECT(port, got.port.name);
    EXPECT(MACH_PORT_TYPE_SEND_RECEIVE, type_of(port));
    EXPECT(0, status_of(port).mps_pdrequest);
    EXPECT(MACH_MSG_SUCCESS, receive_letter(port, &got, 0));
    EXPECT(9, got.header.msgh_id);
}

/* ipc_port_check_circularity, ipc_port.c */
CHECK(port_destroyed_to_itself) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0), previous;
    EXPECT(KERN_SUCCESS, mach_port_request_notification(SELF, port, MACH_NOTIFY_PORT_DESTROYED, 0, port,
                                                        MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous));
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -1));
    EXPECT(MACH_PORT_TYPE_DEAD_NAME, type_of(port));
}

/* ipc_right_request_alloc, ipc_right.c; ipc_port_spnotify, ipc_port.c */
CHECK(send_possible) {
    mach_port_t port = full_port();
    struct letter got;
    ask(port, MACH_NOTIFY_SEND_POSSIBLE, 1);
    nothing_came();
    EXPECT(MACH_MSG_SUCCESS, receive_letter(port, &got, 0));
    EXPECT(port, came(MACH_NOTIFY_SEND_POSSIBLE));
    ask(port, MACH_NOTIFY_SEND_POSSIBLE, 1);
    EXPECT(port, came(MACH_NOTIFY_SEND_POSSIBLE)); /* there is room already */
}

/* MACH_SEND_NOTIFY in ipc_kmsg_copyin_header, ipc_kmsg.c; ipc_port_request_sparm, ipc_port.c */
CHECK(send_possible_armed_by_a_send) {
    mach_port_t port = full_port();
    struct letter got;
    ask(port, MACH_NOTIFY_SEND_POSSIBLE, 0);
    EXPECT(MACH_SEND_TIMED_OUT,
           send_letter(port, MACH_MSG_TYPE_COPY_SEND, 2, MACH_SEND_TIMEOUT | MACH_SEND_NOTIFY));
    nothing_came();
    EXPECT(MACH_MSG_SUCCESS, receive_letter(port, &got, 0));
    EXPECT(port, came(MACH_NOTIFY_SEND_POSSIBLE));
}

/* ipc_kmsg_copyin_header, ipc_kmsg.c, arms before ipc_kmsg_copyin_body fails */
CHECK(send_possible_armed_by_a_message_that_fails) {
    mach_port_t port = full_port(), no_right = receive_right(0, 0);
    struct letter got, letter = {
                           .header = {MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0) | MACH_MSGH_BITS_COMPLEX,
                                      offsetof(struct letter, text), port, 0, 0, 2},
                           .body = {1},
                           .port = {.name = no_right,
                                    .disposition = MACH_MSG_TYPE_COPY_SEND,
                                    .type = MACH_MSG_PORT_DESCRIPTOR},
                       };
    ask(port, MACH_NOTIFY_SEND_POSSIBLE, 0);
    EXPECT(MACH_SEND_INVALID_RIGHT,
           mach_msg(&letter.header, MACH_SEND_MSG | MACH_SEND_NOTIFY, letter.header.msgh_size, 0, 0, 0, 0));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(port, &got, 0));
    EXPECT(port, came(MACH_NOTIFY_SEND_POSSIBLE));
}

/* ipc_port_spnotify, ipc_port.c: ipc_kmsg_copyout_header alone calls it, and it does not look at the queue */
CHECK(send_possible_comes_with_a_receipt) {
    mach_port_t port = full_port();
    mach_port_limits_t limits = {.mpl_qlimit = 5};
    struct letter got;
    EXPECT(MACH_MSG_SUCCESS, send_letter(port, MACH_MSG_TYPE_MAKE_SEND_ONCE, 2, 0)); /* one too many */
    ask(port, MACH_NOTIFY_SEND_POSSIBLE, 1);
    EXPECT(MACH_MSG_SUCCESS, receive_letter(port, &got, 0));
    EXPECT(1, status_of(port).mps_msgcount);
    EXPECT(port, came(MACH_NOTIFY_SEND_POSSIBLE)); /* though it is full */

    ask(port, MACH_NOTIFY_SEND_POSSIBLE, 1);
    MUST(mach_port_set_attributes(SELF, port, MACH_PORT_LIMITS_INFO, (mach_port_info_t)&limits,
                                  MACH_PORT_LIMITS_INFO_COUNT));
    nothing_came();
    EXPECT(MACH_RCV_TOO_LARGE, /* a message that is lost has no receipt */
           mach_msg(&got.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof got.header, port, 0, 0));
    nothing_came();
    EXPECT(MACH_MSG_SUCCESS, send_letter(port, MACH_MSG_TYPE_COPY_SEND, 3, 0));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(port, &got, 0));
    EXPECT(port, came(MACH_NOTIFY_SEND_POSSIBLE));
}

/* ipc_kmsg_copyout_header, ipc_kmsg.c: it notifies, and then gives up the destination's right */
CHECK(send_possible_comes_before_no_senders) {
    mach_port_t port = full_port();
    struct letter got;
    ask(port, MACH_NOTIFY_SEND_POSSIBLE, 1);
    ask(port, MACH_NOTIFY_NO_SENDERS, 0);
    mach_port_t once = send_once_right(port), previous; /* keeps a name, and its request, of the port */
    MUST(mach_port_request_notification(SELF, once, MACH_NOTIFY_DEAD_NAME, 0, notify,
                                        MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous));
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, -1)); /* one is left, in the message */
    EXPECT(MACH_MSG_SUCCESS, receive_letter(port, &got, 0));
    EXPECT(port, came(MACH_NOTIFY_SEND_POSSIBLE));
    EXPECT(1, came(MACH_NOTIFY_NO_SENDERS));
}

/*
 * ipc_port_dnnotify, ipc_port.c: by the slots of the port's table, which ipc_port_request_grow adds from the
 * last to the first: two, three, four, and six of them since xnu-8792.41.9, two, four and eight before.
 */
CHECK(order_of_requests) {
    static const int by_size_class[] = {0, 1, 2, 4, 3}, by_doubling[] = {0, 2, 1, 4, 3};
    const int *order = release() >= 1300 ? by_size_class : by_doubling;
    mach_port_t port = receive_right(0, 0), names[5];
    for (int at = 0; at < 5; at++) {
        names[4 - at] = send_once_right(port);
    }
    for (int at = 0; at < 5; at++) {
        ask(names[at], MACH_NOTIFY_DEAD_NAME, 0);
    }
    /* A slot that is given back is the next to be used. */
    cancel(names[1], MACH_NOTIFY_DEAD_NAME);
    ask(names[1], MACH_NOTIFY_DEAD_NAME, 0);
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -1));
    for (int at = 0; at < 5; at++) {
        EXPECT(names[order[at]], came(MACH_NOTIFY_DEAD_NAME));
    }
}

/* ipc_port_request_sparm, ipc_port.c: it arms requests for send-possible notifications alone */
CHECK(dead_name_request_not_armed_by_a_send) {
    mach_port_t port = full_port();
    struct letter got;
    ask(port, MACH_NOTIFY_DEAD_NAME, 0);
    EXPECT(MACH_SEND_TIMED_OUT,
           send_letter(port, MACH_MSG_TYPE_COPY_SEND, 2, MACH_SEND_TIMEOUT | MACH_SEND_NOTIFY));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(port, &got, 0));
    nothing_came();
}

/* The port dies, and no call looks at its name. */
static void die_in_a_message(mach_port_t port) {
    mach_port_t to = receive_right(0, 0);
    EXPECT(MACH_MSG_SUCCESS, send_right_to(to, port, MACH_MSG_TYPE_MOVE_RECEIVE));
    MUST(mach_port_mod_refs(SELF, to, MACH_PORT_RIGHT_RECEIVE, -1));
}

static kern_return_t cancel_in_vain(mach_port_t port) {
    mach_port_t previous;
    return mach_port_request_notification(SELF, port, MACH_NOTIFY_DEAD_NAME, 0, MACH_PORT_NULL,
                                          MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous);
}

/* ipc_right_request_alloc, ipc_right.c: ie_request is kept until a call looks at the name */
CHECK(request_of_a_port_that_died) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    ask(port, MACH_NOTIFY_DEAD_NAME, 0);
    die_in_a_message(port);
    EXPECT(port, came(MACH_NOTIFY_DEAD_NAME));
    EXPECT(KERN_INVALID_ARGUMENT, cancel_in_vain(port));
    EXPECT(2, refs_of(port, MACH_PORT_RIGHT_DEAD_NAME)); /* with the one of the notification */
    EXPECT(KERN_SUCCESS, cancel_in_vain(port));
}

/* ipc_right_request_alloc, ipc_right.c */
CHECK(no_request_of_a_port_that_died) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    die_in_a_message(port);
    EXPECT(KERN_SUCCESS, cancel_in_vain(port));
    EXPECT(1, refs_of(port, MACH_PORT_RIGHT_DEAD_NAME));
}

/*
 * ipc_right_copyin_two_move_sends counts first; ipc_right_copyin, since 15.4, looks at the port first
 * (ipc_right.c)
 */
CHECK(two_moves_of_one_right_to_a_port_that_died) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    ask(port, MACH_NOTIFY_DEAD_NAME, 0);
    die_in_a_message(port);
    EXPECT(port, came(MACH_NOTIFY_DEAD_NAME));
    EXPECT(MACH_SEND_INVALID_DEST,
           send_for_reply(port, MACH_MSG_TYPE_MOVE_SEND, port, MACH_MSG_TYPE_MOVE_SEND));
    EXPECT(release() < 1504 ? KERN_INVALID_ARGUMENT : KERN_SUCCESS, cancel_in_vain(port));
}

static mach_port_t notified_of_room(void) {
    mach_port_t port = full_port();
    struct letter got;
    ask(port, MACH_NOTIFY_SEND_POSSIBLE, 1);
    EXPECT(MACH_MSG_SUCCESS, receive_letter(port, &got, 0));
    EXPECT(port, came(MACH_NOTIFY_SEND_POSSIBLE));
    return port;
}

/* ipc_port_spnotify takes the right from the slot, which stays the name's; ipc_right_check, ipc_right.c */
CHECK(spent_request_of_a_port_that_died) {
    mach_port_t port = notified_of_room();
    EXPECT(MACH_PORT_TYPE_SEND_RECEIVE, type_of(port));
    die_in_a_message(port);
    EXPECT(KERN_INVALID_ARGUMENT, cancel_in_vain(port));
    EXPECT(1, refs_of(port, MACH_PORT_RIGHT_DEAD_NAME));
    nothing_came();
}

/* ipc_right_delta, ipc_right.c: it adds a user reference for any slot */
CHECK(spent_request_of_the_receiver) {
    mach_port_t port = notified_of_room();
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -1));
    EXPECT(2, refs_of(port, MACH_PORT_RIGHT_DEAD_NAME));
    nothing_came();
}

/* mach_port_request_notification, mach_port.c */
CHECK(refused) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0), previous;
    ask(port, MACH_NOTIFY_PORT_DESTROYED, 0);
    EXPECT(KERN_FAILURE, ask_in_vain(port, MACH_NOTIFY_PORT_DESTROYED, 0)); /* only one */
    EXPECT(KERN_INVALID_VALUE, ask_in_vain(receive_right(0, 0), MACH_NOTIFY_PORT_DESTROYED, 1));
    EXPECT(KERN_INVALID_VALUE, ask_in_vain(port, 99, 0));
    EXPECT(KERN_INVALID_RIGHT, ask_in_vain(send_right(), MACH_NOTIFY_NO_SENDERS, 0));
    EXPECT(KERN_INVALID_NAME, ask_in_vain(no_name(), MACH_NOTIFY_NO_SENDERS, 0));
    EXPECT(KERN_INVALID_NAME, ask_in_vain(no_name(), MACH_NOTIFY_DEAD_NAME, 0));
    EXPECT(KERN_INVALID_ARGUMENT, ask_in_vain(MACH_PORT_NULL, MACH_NOTIFY_DEAD_NAME, 0));
    EXPECT(KERN_INVALID_CAPABILITY,
           mach_port_request_notification(SELF, port, MACH_NOTIFY_DEAD_NAME, 0, MACH_PORT_DEAD,
                                          MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous));
    EXPECT(KERN_INVALID_NAME, /* of the trap's own copyin, mach_kernelrpc.c */
           mach_port_request_notification(SELF, port, MACH_NOTIFY_DEAD_NAME, 0, no_name(),
                                          MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous));
}

/*
 * _kernelrpc_mach_port_request_notification_trap, mach_kernelrpc.c; ipc_kobject_server,
 * osfmk/kern/ipc_kobject.c: another kind of right goes to the kernel in a message, which MIG's routine
 * refuses and destroys.
 */
CHECK(notify_by_another_right) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0),
                other = receive_right(MPO_INSERT_SEND_RIGHT, 0), previous;
    EXPECT(MIG_TYPE_ERROR, mach_port_request_notification(SELF, port, MACH_NOTIFY_NO_SENDERS, 0, other,
                                                          MACH_MSG_TYPE_COPY_SEND, &previous));
    EXPECT(1, refs_of(other, MACH_PORT_RIGHT_SEND));
    EXPECT(MIG_TYPE_ERROR, mach_port_request_notification(SELF, port, MACH_NOTIFY_NO_SENDERS, 0, other,
                                                          MACH_MSG_TYPE_MOVE_SEND, &previous));
    EXPECT(MACH_PORT_TYPE_RECEIVE, type_of(other));
    EXPECT(MACH_SEND_INVALID_RIGHT,
           mach_port_request_notification(SELF, port, MACH_NOTIFY_NO_SENDERS, 0, other,
                                          MACH_MSG_TYPE_MOVE_SEND, &previous));
    EXPECT(MIG_TYPE_ERROR, mach_port_request_notification(SELF, port, MACH_NOTIFY_NO_SENDERS, 0, other,
                                                          MACH_MSG_TYPE_MOVE_RECEIVE, &previous));
    EXPECT(0, type_of(other));
}

/* mach_port.defs: notify is a send-once right of any disposition */
CHECK(notify_by_a_right_of_ones_own) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0), previous;
    notify = receive_right(0, 0);
    mach_port_t once = send_once_right(notify);
    EXPECT(KERN_SUCCESS, mach_port_request_notification(SELF, port, MACH_NOTIFY_NO_SENDERS, 0, once,
                                                        MACH_MSG_TYPE_MOVE_SEND_ONCE, &previous));
    EXPECT(0, type_of(once));
    MUST(mach_port_deallocate(SELF, port));
    EXPECT(1, came(MACH_NOTIFY_NO_SENDERS));
}
