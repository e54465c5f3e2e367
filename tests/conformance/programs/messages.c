/*
 * mach_msg(): mach/message.h.
 * Sources: osfmk/ipc of xnu-11417.101.15, if no other place is named.
 */
#include <signal.h>
#include <sys/time.h>
#include <time.h>

#include "check.h"

static mach_port_t new_port(void) {
    return receive_right(0, 0);
}

/* ---- plain messages ---- */

/* ipc_kmsg_copyin_header and ipc_kmsg_copyout_header, ipc_kmsg.c */
CHECK(to_oneself) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    struct letter sent = {.header = {MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0), 40, port, 0, 0, 77},
                          .body = {1234}},
                  got;
    EXPECT(MACH_MSG_SUCCESS, mach_msg(&sent.header, MACH_SEND_MSG, 40, 0, 0, 0, 0));
    EXPECT(port, sent.header.msgh_remote_port); /* the sender's buffer is left alone */
    EXPECT(1, status_of(port).mps_msgcount);
    EXPECT(MACH_MSG_SUCCESS, receive_letter(port, &got, 0));
    EXPECT(0, status_of(port).mps_msgcount);
    EXPECT(MACH_MSGH_BITS(0, MACH_MSG_TYPE_PORT_SEND), got.header.msgh_bits);
    EXPECT(40, got.header.msgh_size);
    EXPECT(MACH_PORT_NULL, got.header.msgh_remote_port);
    EXPECT(port, got.header.msgh_local_port);
    EXPECT(77, got.header.msgh_id);
    EXPECT(1234, got.body.msgh_descriptor_count);
    EXPECT(1, refs_of(port, MACH_PORT_RIGHT_SEND));
}

/* ipc_mqueue_post and ipc_mqueue_select_on_thread_locked, ipc_mqueue.c */
CHECK(order_and_sequence) {
    mach_port_t port = new_port();
    struct letter got;
    for (int id = 0; id < 5; id++) {
        EXPECT(MACH_MSG_SUCCESS, send_letter(port, MACH_MSG_TYPE_MAKE_SEND, id, 0));
    }
    for (int id = 0; id < 5; id++) {
        EXPECT(MACH_MSG_SUCCESS,
               receive_letter(port, &got, MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_SEQNO)));
        EXPECT(id, got.header.msgh_id);
        EXPECT(id, ((mach_msg_seqno_trailer_t *)((uint8_t *)&got + got.header.msgh_size))->msgh_seqno);
    }
    EXPECT(5, status_of(port).mps_seqno);
}

/* ipc_kmsg_copyin_dest_disposition, ipc_kmsg.c; ipc_object_copyin_type, ipc_object.c */
CHECK(destinations) {
    static const struct {
        mach_msg_type_name_t disposition, received;
    } rows[] = {
        {MACH_MSG_TYPE_MAKE_SEND, MACH_MSG_TYPE_PORT_SEND},
        {MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_PORT_SEND},
        {MACH_MSG_TYPE_MOVE_SEND, MACH_MSG_TYPE_PORT_SEND},
        {MACH_MSG_TYPE_MAKE_SEND_ONCE, MACH_MSG_TYPE_PORT_SEND_ONCE},
    };
    for (size_t at = 0; at < sizeof rows / sizeof *rows; at++) {
        mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
        struct letter got;
        EXPECT(MACH_MSG_SUCCESS, send_letter(port, rows[at].disposition, 1, 0));
        EXPECT(rows[at].disposition == MACH_MSG_TYPE_MOVE_SEND ? 0 : 1, refs_of(port, MACH_PORT_RIGHT_SEND));
        EXPECT(MACH_MSG_SUCCESS, receive_letter(port, &got, 0));
        EXPECT(rows[at].received, MACH_MSGH_BITS_LOCAL(got.header.msgh_bits));
        EXPECT(port, got.header.msgh_local_port);
    }
    mach_port_t port = new_port(), once = send_once_right(port);
    EXPECT(MACH_MSG_SUCCESS, send_letter(once, MACH_MSG_TYPE_MOVE_SEND_ONCE, 1, 0));
    EXPECT(0, type_of(once));
    EXPECT(MACH_SEND_INVALID_DEST, send_letter(once, MACH_MSG_TYPE_MOVE_SEND_ONCE, 1, 0));
}

/*
 * ipc_kmsg_copyin_header, ipc_kmsg.c; an unused send-once right: ipc_notify_send_once_and_unlock,
 * ipc_notify.c
 */
CHECK(reply_ports) {
    mach_port_t port = new_port(), reply = receive_right(MPO_INSERT_SEND_RIGHT, 0),
                once = send_once_right(reply);
    static const mach_msg_type_name_t dispositions[] = {MACH_MSG_TYPE_MAKE_SEND, MACH_MSG_TYPE_COPY_SEND,
                                                        MACH_MSG_TYPE_MOVE_SEND};
    struct letter got;
    for (size_t at = 0; at < 3; at++) {
        EXPECT(MACH_MSG_SUCCESS, send_for_reply(port, MACH_MSG_TYPE_MAKE_SEND, reply, dispositions[at]));
        EXPECT(MACH_MSG_SUCCESS, receive_letter(port, &got, 0));
        EXPECT(MACH_MSG_TYPE_PORT_SEND, MACH_MSGH_BITS_REMOTE(got.header.msgh_bits));
        EXPECT(reply, got.header.msgh_remote_port);
    }
    EXPECT(3, refs_of(reply, MACH_PORT_RIGHT_SEND)); /* 1 + made + copied, and moved back */
    EXPECT(MACH_MSG_SUCCESS,
           send_for_reply(port, MACH_MSG_TYPE_MAKE_SEND, once, MACH_MSG_TYPE_MOVE_SEND_ONCE));
    EXPECT(0, type_of(once));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(port, &got, 0));
    EXPECT(MACH_MSG_TYPE_PORT_SEND_ONCE, MACH_MSGH_BITS_REMOTE(got.header.msgh_bits));
    EXPECT(MACH_PORT_TYPE_SEND_ONCE, type_of(got.header.msgh_remote_port));
    mach_msg_destroy(&got.header);
    EXPECT(0, type_of(got.header.msgh_remote_port));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(reply, &got, 0)); /* the unused right sends a notification */
    EXPECT(MACH_NOTIFY_SEND_ONCE, got.header.msgh_id);
}

static mach_msg_return_t send_to_and_from(mach_port_t port, mach_msg_type_name_t remote,
                                          mach_msg_type_name_t local) {
    return send_for_reply(port, remote, port, local);
}

/* ipc_kmsg_copyin_header_rights, ipc_kmsg.c */
CHECK(one_name_as_both_ports) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    struct letter got;
    EXPECT(MACH_MSG_SUCCESS, send_to_and_from(port, MACH_MSG_TYPE_MOVE_SEND, MACH_MSG_TYPE_COPY_SEND));
    EXPECT(0, refs_of(port, MACH_PORT_RIGHT_SEND));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(port, &got, 0));
    EXPECT(1, refs_of(port, MACH_PORT_RIGHT_SEND)); /* the reply port */
    EXPECT(MACH_SEND_INVALID_DEST, send_to_and_from(port, MACH_MSG_TYPE_MOVE_SEND, MACH_MSG_TYPE_MOVE_SEND));
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, 1));
    EXPECT(MACH_MSG_SUCCESS, send_to_and_from(port, MACH_MSG_TYPE_MOVE_SEND, MACH_MSG_TYPE_MOVE_SEND));
    EXPECT(0, refs_of(port, MACH_PORT_RIGHT_SEND));
    EXPECT(MACH_MSG_SUCCESS, send_to_and_from(port, MACH_MSG_TYPE_MAKE_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE));
    EXPECT(2, status_of(port).mps_msgcount);
}

/*
 * ipc_kmsg_copyin_header_rights, ipc_kmsg.c, which is of 15.4; before it, ipc_right_copyin_check_reply,
 * ipc_right.c
 */
CHECK(dead_reply_ports) {
    mach_port_t port = new_port(), dead = dead_name();
    struct letter got;
    mach_msg_header_t header = {
        MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, MACH_MSG_TYPE_COPY_SEND), sizeof header, port, dead, 0, 1};
    if (release() >= 1504) {
        EXPECT(MACH_SEND_INVALID_REPLY, mach_msg(&header, MACH_SEND_MSG, sizeof header, 0, 0, 0, 0));
    } else {
        EXPECT(MACH_MSG_SUCCESS, mach_msg(&header, MACH_SEND_MSG, sizeof header, 0, 0, 0, 0));
        EXPECT(MACH_MSG_SUCCESS, receive_letter(port, &got, 0));
        EXPECT(MACH_PORT_DEAD, got.header.msgh_remote_port);
    }
    header.msgh_local_port = MACH_PORT_DEAD;
    EXPECT(MACH_MSG_SUCCESS, mach_msg(&header, MACH_SEND_MSG, sizeof header, 0, 0, 0, 0));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(port, &got, 0));
    EXPECT(MACH_PORT_DEAD, got.header.msgh_remote_port);
}

/* ipc_kmsg_copyin_header_validate, ipc_kmsg.c */
CHECK(vouchers) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    struct letter got;
    mach_msg_header_t header = {MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0), sizeof header, port, 0, 4711, 1};
    EXPECT(MACH_MSG_SUCCESS,
           mach_msg(&header, MACH_SEND_MSG, sizeof header, 0, 0, 0, 0)); /* not one without a disposition */
    header.msgh_bits = MACH_MSGH_BITS_SET(MACH_MSG_TYPE_COPY_SEND, 0, MACH_MSG_TYPE_COPY_SEND, 0);
    header.msgh_voucher_port = MACH_PORT_NULL;
    EXPECT(MACH_MSG_SUCCESS, mach_msg(&header, MACH_SEND_MSG, sizeof header, 0, 0, 0, 0));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(port, &got, 0));
    EXPECT(4711, got.header.msgh_voucher_port);
    header.msgh_voucher_port = MACH_PORT_DEAD;
    EXPECT(MACH_SEND_INVALID_VOUCHER, mach_msg(&header, MACH_SEND_MSG, sizeof header, 0, 0, 0, 0));
    header.msgh_voucher_port = send_right();
    EXPECT(MACH_SEND_INVALID_VOUCHER, mach_msg(&header, MACH_SEND_MSG, sizeof header, 0, 0, 0, 0));
    header.msgh_bits = MACH_MSGH_BITS_SET(MACH_MSG_TYPE_COPY_SEND, 0, MACH_MSG_TYPE_MAKE_SEND, 0);
    EXPECT(MACH_SEND_INVALID_VOUCHER, mach_msg(&header, MACH_SEND_MSG, sizeof header, 0, 0, 0, 0));
    EXPECT(1, refs_of(port, MACH_PORT_RIGHT_SEND));
}

/* ipc_kmsg_copyin_header_validate and ipc_kmsg_measure_descriptors_from_user, ipc_kmsg.c */
CHECK(refused) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    struct letter letter = {
        .header = {MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0), sizeof letter.header, port, 0, 0, 1}};
    EXPECT(MACH_SEND_INVALID_DEST, send_letter(no_name(), MACH_MSG_TYPE_COPY_SEND, 1, 0));
    EXPECT(MACH_SEND_INVALID_DEST, send_letter(MACH_PORT_NULL, MACH_MSG_TYPE_COPY_SEND, 1, 0));
    EXPECT(MACH_SEND_INVALID_DEST, send_letter(dead_name(), MACH_MSG_TYPE_COPY_SEND, 1, 0));
    EXPECT(MACH_SEND_INVALID_DEST, send_letter(port_set(), MACH_MSG_TYPE_COPY_SEND, 1, 0));
    EXPECT(MACH_SEND_INVALID_DEST, send_letter(send_right(), MACH_MSG_TYPE_MAKE_SEND, 1, 0));
    EXPECT(MACH_SEND_INVALID_DEST, send_letter(port, MACH_MSG_TYPE_MOVE_SEND_ONCE, 1, 0));
    EXPECT(MACH_SEND_INVALID_HEADER, send_letter(port, MACH_MSG_TYPE_MOVE_RECEIVE, 1, 0));
    EXPECT(MACH_SEND_INVALID_HEADER, send_letter(port, 0, 1, 0));
    letter.header.msgh_local_port = port; /* without a disposition */
    EXPECT(MACH_SEND_INVALID_HEADER, mach_msg(&letter.header, MACH_SEND_MSG, 24, 0, 0, 0, 0));
    letter.header.msgh_local_port = MACH_PORT_NULL;
    EXPECT(MACH_SEND_MSG_TOO_SMALL, mach_msg(&letter.header, MACH_SEND_MSG, 20, 0, 0, 0, 0));
    EXPECT(MACH_SEND_MSG_TOO_SMALL, mach_msg(&letter.header, MACH_SEND_MSG, 26, 0, 0, 0, 0));
    letter.header.msgh_bits |= MACH_MSGH_BITS_COMPLEX;
    letter.body.msgh_descriptor_count = 2;
    EXPECT(MACH_SEND_MSG_TOO_SMALL,
           mach_msg(&letter.header, MACH_SEND_MSG, offsetof(struct letter, text), 0, 0, 0, 0));
    EXPECT(MACH_SEND_MSG_TOO_SMALL, mach_msg(&letter.header, MACH_SEND_MSG, 24, 0, 0, 0, 0));
    letter.body.msgh_descriptor_count = 1;
    letter.port.type = 99;
    EXPECT(MACH_SEND_INVALID_TYPE,
           mach_msg(&letter.header, MACH_SEND_MSG, offsetof(struct letter, text), 0, 0, 0, 0));
    EXPECT(1, refs_of(port, MACH_PORT_RIGHT_SEND));
    EXPECT(0, status_of(port).mps_msgcount);
    EXPECT(MACH_MSG_SUCCESS, mach_msg(&letter.header, 0, 0, 0, 0, 0, 0)); /* nothing asked for */
}

/* ---- rights in bodies ---- */

/* ipc_kmsg_copyin_port_descriptor and ipc_kmsg_copyout_port_descriptor, ipc_kmsg.c */
CHECK(bodies_carry_rights) {
    mach_port_t to = new_port(), port = receive_right(MPO_INSERT_SEND_RIGHT, 0), other = send_right(),
                once = send_once_right(port);
    struct letter got;
    EXPECT(MACH_MSG_SUCCESS, send_right_to(to, port, MACH_MSG_TYPE_COPY_SEND));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(to, &got, 0));
    EXPECT(MACH_MSGH_BITS_COMPLEX, got.header.msgh_bits & MACH_MSGH_BITS_COMPLEX);
    EXPECT(1, got.body.msgh_descriptor_count);
    EXPECT(MACH_MSG_PORT_DESCRIPTOR, got.port.type);
    EXPECT(MACH_MSG_TYPE_PORT_SEND, got.port.disposition);
    EXPECT(port, got.port.name);
    EXPECT(2, refs_of(port, MACH_PORT_RIGHT_SEND));

    EXPECT(MACH_MSG_SUCCESS, send_right_to(to, port, MACH_MSG_TYPE_MAKE_SEND));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(to, &got, 0));
    EXPECT(3, refs_of(port, MACH_PORT_RIGHT_SEND));
    mach_msg_destroy(&got.header);
    EXPECT(2, refs_of(port, MACH_PORT_RIGHT_SEND));

    EXPECT(MACH_MSG_SUCCESS, send_right_to(to, other, MACH_MSG_TYPE_MOVE_SEND));
    EXPECT(0, type_of(other));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(to, &got, 0));
    EXPECT(MACH_PORT_TYPE_SEND, type_of(got.port.name));

    EXPECT(MACH_MSG_SUCCESS, send_right_to(to, once, MACH_MSG_TYPE_MOVE_SEND_ONCE));
    EXPECT(0, type_of(once));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(to, &got, 0));
    EXPECT(MACH_PORT_TYPE_SEND_ONCE, type_of(got.port.name));
    EXPECT(MACH_MSG_TYPE_PORT_SEND_ONCE, got.port.disposition);

    EXPECT(MACH_MSG_SUCCESS, send_right_to(to, port, MACH_MSG_TYPE_MAKE_SEND_ONCE));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(to, &got, 0));
    EXPECT(MACH_PORT_TYPE_SEND_ONCE, type_of(got.port.name));

    EXPECT(MACH_MSG_SUCCESS, send_right_to(to, port, MACH_MSG_TYPE_MOVE_RECEIVE));
    EXPECT(MACH_PORT_TYPE_SEND, type_of(port));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(to, &got, 0));
    EXPECT(MACH_MSG_TYPE_PORT_RECEIVE, got.port.disposition);
    EXPECT(port, got.port.name);
    EXPECT(MACH_PORT_TYPE_SEND_RECEIVE, type_of(port));
}

/* ipc_kmsg_copyin_port_descriptor, ipc_kmsg.c; ipc_right_copyin, ipc_right.c */
CHECK(bodies_carry_no_rights) {
    mach_port_t to = new_port();
    struct letter got;
    EXPECT(MACH_MSG_SUCCESS, send_right_to(to, MACH_PORT_NULL, MACH_MSG_TYPE_COPY_SEND));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(to, &got, 0));
    EXPECT(MACH_PORT_NULL, got.port.name);
    EXPECT(MACH_MSG_SUCCESS, send_right_to(to, MACH_PORT_DEAD, MACH_MSG_TYPE_COPY_SEND));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(to, &got, 0));
    EXPECT(MACH_PORT_DEAD, got.port.name);
    EXPECT(MACH_MSG_SUCCESS, send_right_to(to, dead_name(), MACH_MSG_TYPE_MOVE_SEND));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(to, &got, 0));
    EXPECT(MACH_PORT_DEAD, got.port.name);
    EXPECT(MACH_SEND_INVALID_RIGHT, send_right_to(to, no_name(), MACH_MSG_TYPE_COPY_SEND));
    EXPECT(MACH_SEND_INVALID_RIGHT, send_right_to(to, to, MACH_MSG_TYPE_COPY_SEND));
    EXPECT(MACH_SEND_INVALID_RIGHT, send_right_to(to, send_right(), MACH_MSG_TYPE_MAKE_SEND));
    EXPECT(0, status_of(to).mps_msgcount);
}

/* ipc_right_copyin (MOVE_RECEIVE), ipc_right.c; ipc_port_clear_receiver, ipc_port.c */
CHECK(messages_move_with_their_port) {
    mach_port_t to = new_port(), port = new_port();
    struct letter got;
    EXPECT(MACH_MSG_SUCCESS, send_letter(port, MACH_MSG_TYPE_MAKE_SEND, 5, 0));
    EXPECT(MACH_MSG_SUCCESS, send_right_to(to, port, MACH_MSG_TYPE_MOVE_RECEIVE));
    EXPECT(0, type_of(port));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(to, &got, 0));
    EXPECT(MACH_PORT_TYPE_RECEIVE, type_of(got.port.name));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(got.port.name, &got, 0));
    EXPECT(5, got.header.msgh_id);
}

/* ipc_port_check_circularity, ipc_port.c; MACH_MSGH_BITS_CIRCULAR in ipc_kmsg_send, ipc_kmsg.c */
CHECK(port_in_its_own_queue) {
    mach_port_t one = receive_right(MPO_INSERT_SEND_RIGHT, 0),
                other = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    EXPECT(MACH_MSG_SUCCESS, send_right_to(one, one, MACH_MSG_TYPE_MOVE_RECEIVE));
    EXPECT(MACH_PORT_TYPE_DEAD_NAME, type_of(one));
    one = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    EXPECT(MACH_MSG_SUCCESS, send_right_to(one, other, MACH_MSG_TYPE_MOVE_RECEIVE));
    EXPECT(MACH_PORT_TYPE_SEND, type_of(other));
    struct letter letter = {
        .header = {MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0) | MACH_MSGH_BITS_COMPLEX,
                   offsetof(struct letter, text), other, 0, 0, 2},
        .body = {1},
        .port = {.name = one, .disposition = MACH_MSG_TYPE_MOVE_RECEIVE, .type = MACH_MSG_PORT_DESCRIPTOR},
    };
    EXPECT(MACH_MSG_SUCCESS, mach_msg(&letter.header, MACH_SEND_MSG, letter.header.msgh_size, 0, 0, 0, 0));
    EXPECT(MACH_PORT_TYPE_DEAD_NAME, type_of(one));
    EXPECT(MACH_PORT_TYPE_DEAD_NAME, type_of(other));
}

/* ipc_kmsg_destroy and ipc_kmsg_clean_descriptors, ipc_kmsg.c */
CHECK(unread_messages_release_their_rights) {
    mach_port_t to = new_port(), port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    EXPECT(MACH_MSG_SUCCESS, send_right_to(to, port, MACH_MSG_TYPE_MOVE_RECEIVE));
    EXPECT(MACH_PORT_TYPE_SEND, type_of(port));
    EXPECT(KERN_SUCCESS, mach_port_mod_refs(SELF, to, MACH_PORT_RIGHT_RECEIVE, -1));
    EXPECT(MACH_PORT_TYPE_DEAD_NAME, type_of(port));
}

/* ---- receiving ---- */

/* ipc_mqueue_copyin, ipc_mqueue.c; mach_msg_overwrite_trap, mach_msg.c */
CHECK(receive_errors) {
    mach_port_t port = new_port();
    struct letter got;
    EXPECT(MACH_RCV_TIMED_OUT, receive_letter(port, &got, 0));
    EXPECT(MACH_RCV_TIMED_OUT, receive_letter(port_set(), &got, 0));
    EXPECT(MACH_RCV_INVALID_NAME, receive_letter(no_name(), &got, 0));
    EXPECT(MACH_RCV_INVALID_NAME, receive_letter(send_right(), &got, 0));
    EXPECT(MACH_RCV_INVALID_NAME, receive_letter(dead_name(), &got, 0));
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    EXPECT(MACH_RCV_TIMED_OUT,
           mach_msg(&got.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof got, port, 30, 0));
    clock_gettime(CLOCK_MONOTONIC, &end);
    EXPECT(1, (end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000 >= 29);
}

/* mach_msg_receive_too_large, mach_msg.c; MACH_RCV_LARGE, mach/message.h */
CHECK(too_large) {
    mach_port_t port = new_port(), inside = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    struct letter got;
    EXPECT(MACH_MSG_SUCCESS, send_right_to(port, inside, MACH_MSG_TYPE_COPY_SEND));
    memset(&got, 0, sizeof got);
    EXPECT(MACH_RCV_TOO_LARGE,
           mach_msg(&got.header, MACH_RCV_MSG | MACH_RCV_LARGE | MACH_RCV_TIMEOUT, 0, 40, port, 0, 0));
    EXPECT(offsetof(struct letter, text), got.header.msgh_size);
    EXPECT(MACH_RCV_TOO_LARGE,
           mach_msg(&got.header, MACH_RCV_MSG | MACH_RCV_LARGE | MACH_RCV_LARGE_IDENTITY | MACH_RCV_TIMEOUT,
                    0, 40, port, 0, 0));
    EXPECT(port, got.header.msgh_local_port);
    EXPECT(1, status_of(port).mps_msgcount);
    EXPECT(MACH_RCV_TOO_LARGE,
           mach_msg(&got.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, 40, port, 0, 0)); /* and it is gone */
    EXPECT(0, status_of(port).mps_msgcount);
    EXPECT(1, refs_of(inside, MACH_PORT_RIGHT_SEND));
}

/*
 * mach_msg_receive_error, mach_msg.c; ipc_kmsg_copyout_dest_to_user, ipc_kmsg.c; ipc_object_copyout_dest,
 * ipc_object.c: a bare header and a trailer of the kernel's, and the send-once right was used.
 */
CHECK(too_large_leaves_a_bare_header) {
    mach_port_t port = new_port(), reply = new_port();
    struct {
        mach_msg_base_t base;
        mach_msg_port_descriptor_t rest[3];
    } sent = {.base = {{MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND_ONCE, MACH_MSG_TYPE_MAKE_SEND) |
                            MACH_MSGH_BITS_COMPLEX,
                        sizeof sent, port, reply, 0, 5},
                       {0}}};
    struct {
        mach_msg_header_t header;
        mach_msg_security_trailer_t trailer;
    } got;
    EXPECT(MACH_MSG_SUCCESS, mach_msg(&sent.base.header, MACH_SEND_MSG, sizeof sent, 0, 0, 0, 0));
    memset(&got, 0xa5, sizeof got);
    EXPECT(MACH_RCV_TOO_LARGE,
           mach_msg(&got.header,
                    MACH_RCV_MSG | MACH_RCV_TIMEOUT | MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_SENDER), 0,
                    sizeof got, port, 0, 0));
    EXPECT(MACH_MSGH_BITS(MACH_MSG_TYPE_PORT_SEND, MACH_MSG_TYPE_PORT_SEND_ONCE) | MACH_MSGH_BITS_COMPLEX,
           got.header.msgh_bits);
    EXPECT(sizeof got.header, got.header.msgh_size);
    EXPECT(5, got.header.msgh_id);
    EXPECT(port, got.header.msgh_local_port);
    EXPECT(MACH_PORT_NULL, got.header.msgh_remote_port);
    EXPECT(sizeof got.trailer, got.trailer.msgh_trailer_size);
    EXPECT(0, got.trailer.msgh_sender.val[0]);
    EXPECT(1, got.trailer.msgh_sender.val[1]);
    EXPECT(0, status_of(port).mps_msgcount);
    EXPECT(0, status_of(port).mps_sorights);
    EXPECT(0, status_of(reply).mps_srights);
}

/* mach_msg_receive_too_large, mach_msg.c */
CHECK(room_for_the_trailer_counts) {
    mach_port_t port = new_port();
    struct letter got;
    mach_msg_option_t option = MACH_RCV_MSG | MACH_RCV_LARGE | MACH_RCV_TIMEOUT;
    EXPECT(MACH_MSG_SUCCESS, send_letter(port, MACH_MSG_TYPE_MAKE_SEND, 1, 0));
    EXPECT(MACH_RCV_TOO_LARGE, mach_msg(&got.header, option, 0, 24 + 4, port, 0, 0));
    EXPECT(MACH_RCV_TOO_LARGE,
           mach_msg(&got.header, option | MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT), 0, 24 + 8, port,
                    0, 0));
    EXPECT(MACH_MSG_SUCCESS, mach_msg(&got.header, option, 0, 24 + 8, port, 0, 0));
}

/* ipc_kmsg_trailer_size and ipc_kmsg_deflate_trailer, ipc_kmsg.c; mach/message.h */
CHECK(trailers) {
    static const struct {
        int element;
        mach_msg_size_t size;
    } rows[] = {
        {MACH_RCV_TRAILER_NULL, sizeof(mach_msg_trailer_t)},
        {MACH_RCV_TRAILER_SEQNO, sizeof(mach_msg_seqno_trailer_t)},
        {MACH_RCV_TRAILER_SENDER, sizeof(mach_msg_security_trailer_t)},
        {MACH_RCV_TRAILER_AUDIT, sizeof(mach_msg_audit_trailer_t)},
        {MACH_RCV_TRAILER_CTX, sizeof(mach_msg_context_trailer_t)},
        {MACH_RCV_TRAILER_AV, sizeof(mach_msg_mac_trailer_t)},
    };
    mach_port_t port = receive_right(0, 99);
    for (size_t at = 0; at < sizeof rows / sizeof *rows; at++) {
        struct letter got;
        EXPECT(MACH_MSG_SUCCESS, send_letter(port, MACH_MSG_TYPE_MAKE_SEND, 1, 0));
        EXPECT(MACH_MSG_SUCCESS, receive_letter(port, &got, MACH_RCV_TRAILER_ELEMENTS(rows[at].element)));
        const mach_msg_mac_trailer_t *trailer = (const mach_msg_mac_trailer_t *)(&got.header + 1);
        EXPECT(MACH_MSG_TRAILER_FORMAT_0, trailer->msgh_trailer_type);
        EXPECT(rows[at].size, trailer->msgh_trailer_size);
        if (rows[at].element >= MACH_RCV_TRAILER_SEQNO) {
            EXPECT(at, trailer->msgh_seqno);
        }
        if (rows[at].element >= MACH_RCV_TRAILER_SENDER) {
            EXPECT(geteuid(), trailer->msgh_sender.val[0]);
        }
        if (rows[at].element >= MACH_RCV_TRAILER_AUDIT) {
            EXPECT(getpid(), trailer->msgh_audit.val[5]);
            EXPECT(geteuid(), trailer->msgh_audit.val[1]);
            EXPECT(1, trailer->msgh_audit.val[7] != 0);
        }
        if (rows[at].element == MACH_RCV_TRAILER_CTX) {
            EXPECT(99, trailer->msgh_context);
        }
    }
}

/* waitq_set_first_prepost, osfmk/kern/waitq.c */
CHECK(sets_name_the_port_and_are_fair) {
    mach_port_t first = new_port(), second = new_port(), set = port_set();
    struct letter got;
    MUST(mach_port_insert_member(SELF, first, set));
    for (int at = 0; at < 3; at++) {
        EXPECT(MACH_MSG_SUCCESS, send_letter(first, MACH_MSG_TYPE_MAKE_SEND, 1, 0));
    }
    EXPECT(MACH_MSG_SUCCESS, send_letter(second, MACH_MSG_TYPE_MAKE_SEND, 2, 0));
    MUST(mach_port_insert_member(SELF, second, set));
    int seen[2] = {0, 0};
    for (int at = 0; at < 4; at++) {
        EXPECT(MACH_MSG_SUCCESS, receive_letter(set, &got, 0));
        EXPECT(got.header.msgh_id == 1 ? first : second, got.header.msgh_local_port);
        seen[got.header.msgh_id - 1]++;
        if (at == 1) {
            EXPECT(1, seen[1]); /* the long queue did not go first as a whole */
        }
    }
    EXPECT(MACH_RCV_TIMED_OUT, receive_letter(set, &got, 0));
    EXPECT(MACH_MSG_SUCCESS, send_letter(first, MACH_MSG_TYPE_MAKE_SEND, 1, 0));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(first, &got, 0)); /* a member may be read by itself */
}

/* do_waitq_select_n_locked and waitq_set_first_prepost, osfmk/kern/waitq.c of xnu-8020.101.4 */
CHECK(sets_go_by_what_came_first) {
    mach_port_t ports[3], set = port_set();
    struct letter got;
    for (int at = 0; at < 3; at++) {
        ports[at] = new_port();
        MUST(mach_port_insert_member(SELF, ports[at], set));
    }
    for (int at = 2; at >= 0; at--) {
        EXPECT(MACH_MSG_SUCCESS, send_letter(ports[at], MACH_MSG_TYPE_MAKE_SEND, at, 0));
    }
    EXPECT(MACH_MSG_SUCCESS, send_letter(ports[1], MACH_MSG_TYPE_MAKE_SEND, 3, 0));
    if (release() >= 1203) {
        const int order[] = {2, 1, 0, 3};
        for (int at = 0; at < 4; at++) {
            EXPECT(MACH_MSG_SUCCESS, receive_letter(set, &got, 0));
            EXPECT(order[at], got.header.msgh_id);
        }
    }
}

/* ---- full queues ---- */

/* ipc_mqueue_send_locked, ipc_mqueue.c; ipc_kmsg_copyout_pseudo, ipc_kmsg.c */
CHECK(full_queue) {
    mach_port_t port = full_port(), reply = new_port(), inside = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    struct letter letter = {
        .header = {MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE) |
                       MACH_MSGH_BITS_COMPLEX,
                   offsetof(struct letter, text), port, reply, 0, 2},
        .body = {1},
        .port = {.name = inside, .disposition = MACH_MSG_TYPE_MOVE_SEND, .type = MACH_MSG_PORT_DESCRIPTOR},
    };
    EXPECT(MACH_SEND_TIMED_OUT,
           mach_msg(&letter.header, MACH_SEND_MSG | MACH_SEND_TIMEOUT, letter.header.msgh_size, 0, 0, 0, 0));
    /* The message came back, with rights as a receiver would have them (pseudo-receive). */
    EXPECT(MACH_MSG_TYPE_PORT_SEND, MACH_MSGH_BITS_REMOTE(letter.header.msgh_bits));
    EXPECT(MACH_MSG_TYPE_PORT_SEND_ONCE, MACH_MSGH_BITS_LOCAL(letter.header.msgh_bits));
    EXPECT(port, letter.header.msgh_remote_port);
    EXPECT(2, refs_of(port, MACH_PORT_RIGHT_SEND));
    EXPECT(MACH_PORT_TYPE_SEND_ONCE, type_of(letter.header.msgh_local_port));
    EXPECT(inside, letter.port.name);
    EXPECT(1, refs_of(inside, MACH_PORT_RIGHT_SEND));
    EXPECT(1, status_of(port).mps_msgcount);
    EXPECT(MACH_MSG_SUCCESS, send_letter(port, MACH_MSG_TYPE_MAKE_SEND_ONCE, 3, 0)); /* these always go */
    EXPECT(2, status_of(port).mps_msgcount);
}

extern mach_port_t thread_get_special_reply_port(void);

/* ipc_kmsg_copyout_reply_port, ipc_kmsg.c of xnu-11417.101.15 */
CHECK(reply_port_of_a_message_that_comes_back) {
    mach_port_t port = full_port(), reply = thread_get_special_reply_port();
    mach_msg_header_t header = {MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE),
                                sizeof header,
                                port,
                                reply,
                                0,
                                2};
    EXPECT(MACH_SEND_TIMED_OUT,
           mach_msg(&header, MACH_SEND_MSG | MACH_SEND_TIMEOUT, sizeof header, 0, 0, 0, 0));
    if (release() >= 2600) { /* before, it is a real reply port in hardened processes alone */
        EXPECT(MACH_MSGH_BITS(MACH_MSG_TYPE_PORT_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE), header.msgh_bits);
        EXPECT(reply, header.msgh_local_port);
        EXPECT(0, status_of(reply).mps_sorights);
    }
}

static mach_port_t shared_port;
static mach_msg_return_t results[2];

static void *send_in_thread(void *arg) {
    results[0] = send_letter(shared_port, MACH_MSG_TYPE_COPY_SEND, 2, 0);
    return arg;
}

static void *receive_in_thread(void *arg) {
    struct letter got;
    results[0] = mach_msg(&got.header, MACH_RCV_MSG, 0, sizeof got, shared_port, 0, 0);
    results[1] = got.header.msgh_id;
    return arg;
}

static pthread_t start(void *(*run)(void *), mach_port_t port) {
    pthread_t thread;
    shared_port = port;
    results[0] = results[1] = -1;
    pthread_create(&thread, NULL, run, NULL);
    usleep(30000); /* most likely it waits now; either way the outcome is the same */
    return thread;
}

/* ipc_mqueue_release_msgcount, ipc_mqueue.c */
CHECK(blocked_sender_goes_on) {
    mach_port_t port = full_port();
    struct letter got;
    pthread_t sender = start(send_in_thread, port);
    EXPECT(-1, results[0]);
    EXPECT(MACH_MSG_SUCCESS, receive_letter(port, &got, 0));
    pthread_join(sender, NULL);
    EXPECT(MACH_MSG_SUCCESS, results[0]);
    EXPECT(MACH_MSG_SUCCESS, receive_letter(port, &got, 0));
    EXPECT(2, got.header.msgh_id);
}

/* ipc_mqueue_set_qlimit_locked, ipc_mqueue.c */
CHECK(blocked_sender_and_a_higher_limit) {
    mach_port_t port = full_port();
    mach_port_limits_t limits = {2};
    pthread_t sender = start(send_in_thread, port);
    MUST(mach_port_set_attributes(SELF, port, MACH_PORT_LIMITS_INFO, (mach_port_info_t)&limits,
                                  MACH_PORT_LIMITS_INFO_COUNT));
    pthread_join(sender, NULL);
    EXPECT(MACH_MSG_SUCCESS, results[0]);
    EXPECT(2, status_of(port).mps_msgcount);
}

/* ipc_kmsg_send, ipc_kmsg.c: "treat the message as a successful delivery" */
CHECK(blocked_sender_and_death_of_the_port) {
    mach_port_t port = full_port();
    pthread_t sender = start(send_in_thread, port);
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -1));
    pthread_join(sender, NULL);
    /* As any message to a port that dies unread; the other, if it came too late to wait. */
    EXPECT(1, results[0] == MACH_MSG_SUCCESS || results[0] == MACH_SEND_INVALID_DEST);
}

/* ipc_mqueue_send_locked, ipc_mqueue.c */
CHECK(send_timeout) {
    mach_port_t port = full_port();
    mach_msg_header_t header = {MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0), sizeof header, port, 0, 0, 1};
    EXPECT(MACH_SEND_TIMED_OUT,
           mach_msg(&header, MACH_SEND_MSG | MACH_SEND_TIMEOUT, sizeof header, 0, 0, 20, 0));
}

/* ---- blocked receivers ---- */

/* ipc_mqueue_post, ipc_mqueue.c */
CHECK(blocked_receiver) {
    mach_port_t port = new_port();
    pthread_t receiver = start(receive_in_thread, port);
    EXPECT(MACH_MSG_SUCCESS, send_letter(port, MACH_MSG_TYPE_MAKE_SEND, 6, 0));
    pthread_join(receiver, NULL);
    EXPECT(MACH_MSG_SUCCESS, results[0]);
    EXPECT(6, results[1]);
}

/* ipc_mqueue_post, ipc_mqueue.c; waitq_link_prepost_locked, osfmk/kern/waitq.c */
CHECK(blocked_receiver_of_a_set) {
    mach_port_t port = new_port(), later = new_port(), set = port_set();
    MUST(mach_port_insert_member(SELF, port, set));
    pthread_t receiver = start(receive_in_thread, set);
    EXPECT(MACH_MSG_SUCCESS, send_letter(port, MACH_MSG_TYPE_MAKE_SEND, 6, 0));
    pthread_join(receiver, NULL);
    EXPECT(6, results[1]);
    EXPECT(MACH_MSG_SUCCESS, send_letter(later, MACH_MSG_TYPE_MAKE_SEND, 7, 0));
    receiver = start(receive_in_thread, set);
    MUST(mach_port_insert_member(SELF, later, set));
    pthread_join(receiver, NULL);
    EXPECT(7, results[1]);
}

/* ipc_mqueue_changed and ipc_mqueue_receive_results, ipc_mqueue.c */
CHECK(blocked_receiver_and_death_of_the_port) {
    mach_port_t port = new_port();
    pthread_t receiver = start(receive_in_thread, port);
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -1));
    pthread_join(receiver, NULL);
    EXPECT(1, results[0] == MACH_RCV_PORT_CHANGED || results[0] == MACH_RCV_INVALID_NAME);
}

/* ipc_pset_destroy, ipc_pset.c; ipc_mqueue_receive_results, ipc_mqueue.c */
CHECK(blocked_receiver_and_death_of_the_set) {
    mach_port_t set = port_set();
    pthread_t receiver = start(receive_in_thread, set);
    MUST(mach_port_mod_refs(SELF, set, MACH_PORT_RIGHT_PORT_SET, -1));
    pthread_join(receiver, NULL);
    EXPECT(1, results[0] == MACH_RCV_PORT_CHANGED || results[0] == MACH_RCV_INVALID_NAME);
}

static void ignore(int signal) {
    (void)signal;
}

/* ipc_mqueue_send_locked and ipc_mqueue_receive_results, ipc_mqueue.c; MACH_RCV_INTERRUPT, mach/message.h */
CHECK(interrupted) {
    struct sigaction action = {.sa_handler = ignore};
    struct letter got;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 20000}, {0, 20000}}, NULL);
    mach_msg_header_t header = {
        MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0), sizeof header, full_port(), 0, 0, 1};
    EXPECT(MACH_SEND_INTERRUPTED,
           mach_msg(&header, MACH_SEND_MSG | MACH_SEND_INTERRUPT, sizeof header, 0, 0, 0, 0));
    EXPECT(MACH_RCV_INTERRUPTED,
           mach_msg(&got.header, MACH_RCV_MSG | MACH_RCV_INTERRUPT, 0, sizeof got, new_port(), 0, 0));
}

/* ---- both at once ---- */

static void *echo(void *arg) {
    mach_port_t port = *(mach_port_t *)arg;
    for (int at = 0; at < 100; at++) {
        struct letter got;
        if (mach_msg(&got.header, MACH_RCV_MSG, 0, sizeof got, port, 0, 0)) {
            return NULL;
        }
        mach_msg_header_t reply = {MACH_MSGH_BITS(MACH_MSGH_BITS_REMOTE(got.header.msgh_bits), 0),
                                   sizeof reply,
                                   got.header.msgh_remote_port,
                                   0,
                                   0,
                                   got.header.msgh_id + 100};
        if (mach_msg(&reply, MACH_SEND_MSG, sizeof reply, 0, 0, 0, 0)) {
            return NULL;
        }
    }
    return arg;
}

/* mach_msg_overwrite_trap, mach_msg.c */
CHECK(call_and_answer) {
    mach_port_t server = new_port();
    pthread_t thread;
    void *finished;
    pthread_create(&thread, NULL, echo, &server);
    for (int at = 0; at < 100; at++) {
        struct letter letter = {
            .header = {MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE),
                       sizeof letter.header, server, mig_get_reply_port(), 0, at}};
        EXPECT(MACH_MSG_SUCCESS, mach_msg(&letter.header, MACH_SEND_MSG | MACH_RCV_MSG, 24, sizeof letter,
                                          letter.header.msgh_local_port, 0, 0));
        EXPECT(at + 100, letter.header.msgh_id);
    }
    pthread_join(thread, &finished);
    EXPECT(&server, finished);
}

/* mach_msg_overwrite, mach/message.h; libsyscall/mach/mach_msg.c */
CHECK(overwrite) {
    mach_port_t port = new_port();
    struct letter got;
    mach_msg_header_t header = {MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, 0), sizeof header, port, 0, 0, 3};
    EXPECT(MACH_MSG_SUCCESS, mach_msg_overwrite(&header, MACH_SEND_MSG | MACH_RCV_MSG, 24, sizeof got, port,
                                                0, 0, &got.header, 0));
    EXPECT(3, got.header.msgh_id);
    EXPECT(port, header.msgh_remote_port);
    EXPECT(MACH_MSG_SUCCESS, mach_msg_send(&header));
    got.header.msgh_size = sizeof got;
    got.header.msgh_local_port = port;
    EXPECT(MACH_MSG_SUCCESS, mach_msg_receive(&got.header));
    EXPECT(3, got.header.msgh_id);
}

/* mach_msg_overwrite_trap, mach_msg.c */
CHECK(failed_send_does_not_receive) {
    mach_port_t port = new_port();
    mach_msg_header_t header = {
        MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0), sizeof header, no_name(), 0, 0, 3};
    EXPECT(MACH_MSG_SUCCESS, send_letter(port, MACH_MSG_TYPE_MAKE_SEND, 1, 0));
    EXPECT(MACH_SEND_INVALID_DEST,
           mach_msg(&header, MACH_SEND_MSG | MACH_RCV_MSG, 24, sizeof header, port, 0, 0));
    EXPECT(1, status_of(port).mps_msgcount);
}

extern mach_port_t mach_reply_port(void); /* libSystem has it, no public header does */

/* libsyscall/mach/mig_reply_port.c */
CHECK(reply_ports_of_threads) {
    mach_port_t mine = mig_get_reply_port();
    EXPECT(mine, mig_get_reply_port());
    mig_put_reply_port(mine);
    EXPECT(mine, mig_get_reply_port());
    mig_dealloc_reply_port(mine);
    EXPECT(0, type_of(mine) & MACH_PORT_TYPE_RECEIVE);
    EXPECT(1, mig_get_reply_port() != MACH_PORT_NULL);
    mach_port_t other = mach_reply_port();
    EXPECT(MACH_PORT_TYPE_RECEIVE, type_of(other));
    EXPECT(1, other != mach_reply_port());
}

/* Exported by libsystem_kernel since macOS 13 and in no header: what MIG's stubs call. */
extern mach_msg_return_t mach_msg2_internal(void *data, uint64_t option64, uint64_t msgh_bits_and_send_size,
                                            uint64_t msgh_remote_and_local_port, uint64_t msgh_voucher_and_id,
                                            uint64_t desc_count_and_rcv_name, uint64_t rcv_size_and_priority,
                                            uint64_t timeout);

/* ipc_kobject_server, osfmk/kern/ipc_kobject.c; MACH64_SEND_KOBJECT_CALL, osfmk/mach/message.h */
CHECK(kernel_objects_answer_what_they_do_not_know) {
    const uint64_t kobject_call = 0x200000000, id = 9999999;
    mach_port_t reply = receive_right(MPO_REPLY_PORT, 0);
    struct {
        mig_reply_error_t error;
        mach_msg_trailer_t trailer;
    } letter;
    EXPECT(MACH_MSG_SUCCESS,
           mach_msg2_internal(
               &letter, MACH_SEND_MSG | MACH_RCV_MSG | kobject_call,
               24ull << 32 | MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE),
               (uint64_t)reply << 32 | SELF, id << 32, (uint64_t)reply << 32, sizeof letter, 0));
    EXPECT(id + 100, letter.error.Head.msgh_id);
    EXPECT(MIG_BAD_ID, letter.error.RetCode);
}

/* ---- guarded ports and out-of-line descriptors ---- */

struct parcel {
    mach_msg_base_t base;
    union {
        mach_msg_guarded_port_descriptor_t guarded;
        mach_msg_ool_descriptor_t memory;
        mach_msg_ool_ports_descriptor_t ports;
    };
    mach_msg_mac_trailer_t trailer;
};

static mach_msg_return_t send_parcel(mach_port_t to, struct parcel *parcel) {
    mach_msg_size_t size = offsetof(struct parcel, trailer);
    parcel->base.header = (mach_msg_header_t){
        MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, 0) | MACH_MSGH_BITS_COMPLEX, size, to, 0, 0, 3};
    parcel->base.body.msgh_descriptor_count = 1;
    return mach_msg(&parcel->base.header, MACH_SEND_MSG, size, 0, 0, 0, 0);
}

static mach_msg_return_t send_guarded(mach_port_t to, mach_port_t port, mach_port_context_t context,
                                      unsigned flags) {
    struct parcel parcel = {.guarded = {.name = port,
                                        .context = context,
                                        .flags = flags,
                                        .disposition = MACH_MSG_TYPE_MOVE_RECEIVE,
                                        .type = MACH_MSG_GUARDED_PORT_DESCRIPTOR}};
    return send_parcel(to, &parcel);
}

static mach_msg_return_t receive_parcel(mach_port_t from, struct parcel *parcel, mach_msg_option_t option) {
    memset(parcel, 0xa5, sizeof *parcel);
    return mach_msg(&parcel->base.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT | option, 0, sizeof *parcel, from,
                    0, 0);
}

/*
 * ipc_right_copyin_check_guard_locked, osfmk/ipc/ipc_right.c; ipc_kmsg_inflate_guarded_port_descriptor,
 * osfmk/ipc/ipc_kmsg.c
 */
CHECK(guarded_port_leaves_with_its_context) {
    mach_port_t to = receive_right(0, 0), port = receive_right(MPO_CONTEXT_AS_GUARD, GUARD);
    const unsigned stays = MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE,
                   unguarded = MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND;
    EXPECT(MACH_SEND_INVALID_TYPE, send_guarded(to, port, GUARD, 0));
    EXPECT(MACH_SEND_INVALID_TYPE, send_guarded(to, port, GUARD, unguarded)); /* that has no context */
    EXPECT(MACH_SEND_INVALID_TYPE, send_guarded(to, port, GUARD, 4));
    EXPECT(MACH_MSG_SUCCESS, send_guarded(to, port, GUARD, stays));
    EXPECT(0, type_of(port));
    EXPECT(MACH_MSG_SUCCESS, send_guarded(to, receive_right(0, 0), 0, unguarded));
    EXPECT(MACH_MSG_SUCCESS, send_guarded(to, MACH_PORT_NULL, GUARD, stays));
}

/*
 * ipc_kmsg_copyout_guarded_port_descriptor, osfmk/ipc/ipc_kmsg.c; ipc_right_copyout_recv,
 * osfmk/ipc/ipc_right.c: the context is the address of the message.
 */
CHECK(guarded_port_comes_guarded) {
    mach_port_t to = receive_right(0, 0), port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    struct parcel got;
    EXPECT(MACH_MSG_SUCCESS,
           send_guarded(to, port, 0,
                        MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND | MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE));
    EXPECT(MACH_PORT_TYPE_SEND, type_of(port));
    EXPECT(MACH_MSG_SUCCESS, receive_parcel(to, &got, MACH_RCV_GUARDED_DESC));
    EXPECT(MACH_MSG_GUARDED_PORT_DESCRIPTOR, got.guarded.type);
    EXPECT(MACH_MSG_TYPE_PORT_RECEIVE, got.guarded.disposition);
    EXPECT(port, got.guarded.name);
    EXPECT((uintptr_t)&got, got.guarded.context);
    EXPECT(MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE, got.guarded.flags);
    EXPECT(MACH_PORT_STATUS_FLAG_GUARDED | MACH_PORT_STATUS_FLAG_GUARD_IMMOVABLE_RECEIVE,
           status_of(port).mps_flags);
    EXPECT(KERN_SUCCESS, mach_port_destruct(SELF, port, -1, got.guarded.context));
}

/* ipc_kmsg_copyout_guarded_port_descriptor, osfmk/ipc/ipc_kmsg.c */
CHECK(guarded_port_is_lost_on_who_does_not_ask) {
    mach_port_t to = receive_right(0, 0), port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    struct parcel got;
    EXPECT(MACH_MSG_SUCCESS, send_guarded(to, port, 0, MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND));
    EXPECT(MACH_MSG_SUCCESS, receive_parcel(to, &got, 0));
    EXPECT(MACH_PORT_NULL, got.guarded.name);
    EXPECT(0, got.guarded.context);
    EXPECT(MACH_PORT_TYPE_DEAD_NAME, type_of(port));
}

/*
 * mach_msg_receive_pseudo, osfmk/ipc/mach_msg.c; ipc_right_copyout, osfmk/ipc/ipc_right.c: it is guarded as
 * for a receiver, but may move.
 */
CHECK(guarded_port_that_comes_back) {
    mach_port_t to = full_port(), port = receive_right(0, 0);
    struct parcel parcel = {
        .guarded = {.name = port,
                    .flags = MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND | MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE,
                    .disposition = MACH_MSG_TYPE_MOVE_RECEIVE,
                    .type = MACH_MSG_GUARDED_PORT_DESCRIPTOR}};
    mach_msg_size_t size = offsetof(struct parcel, trailer);
    parcel.base = (mach_msg_base_t){
        {MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0) | MACH_MSGH_BITS_COMPLEX, size, to, 0, 0, 3}, {1}};
    EXPECT(MACH_SEND_TIMED_OUT,
           mach_msg(&parcel.base.header, MACH_SEND_MSG | MACH_SEND_TIMEOUT, size, 0, 0, 0, 0));
    if (release() >= 1500) { /* before, the buffer that the thread received in last */
        EXPECT((uintptr_t)&parcel, parcel.guarded.context);
    }
    EXPECT(MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE, parcel.guarded.flags);
    EXPECT(MACH_PORT_STATUS_FLAG_GUARDED, status_of(parcel.guarded.name).mps_flags);
    EXPECT(KERN_SUCCESS, mach_port_unguard(SELF, parcel.guarded.name, parcel.guarded.context));
}

/* mach_msg_destroy, libsyscall/mach/mach_msg.c */
CHECK(destroy_releases_guarded_ports_and_memory) {
    mach_port_t to = receive_right(0, 0), port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    struct parcel got;
    EXPECT(MACH_MSG_SUCCESS,
           send_guarded(to, port, 0,
                        MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND | MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE));
    EXPECT(MACH_MSG_SUCCESS, receive_parcel(to, &got, MACH_RCV_GUARDED_DESC));
    mach_msg_destroy(&got.base.header);
    EXPECT(MACH_PORT_TYPE_DEAD_NAME, type_of(port));
}

/* ipc_kmsg_copyin_ool_descriptor, ipc_kmsg_copyout_ool_descriptor, osfmk/ipc/ipc_kmsg.c */
CHECK(memory_out_of_line) {
    enum { BYTES = 5000 };
    mach_port_t to = receive_right(0, 0);
    vm_address_t memory;
    MUST(vm_allocate(SELF, &memory, BYTES, VM_FLAGS_ANYWHERE));
    memset((void *)memory, 0x5a, BYTES);
    struct parcel parcel = {.memory = {.address = (void *)memory,
                                       .size = BYTES,
                                       .copy = MACH_MSG_VIRTUAL_COPY,
                                       .type = MACH_MSG_OOL_DESCRIPTOR}},
                  got;
    EXPECT(MACH_MSG_SUCCESS, send_parcel(to, &parcel));
    *(char *)memory = 1; /* what was sent stays as it was */
    EXPECT(MACH_MSG_SUCCESS, receive_parcel(to, &got, 0));
    EXPECT(MACH_MSG_OOL_DESCRIPTOR, got.memory.type);
    EXPECT(BYTES, got.memory.size);
    EXPECT(1, got.memory.deallocate);
    EXPECT(0x5a, *(char *)got.memory.address);
    EXPECT(0x5a, ((char *)got.memory.address)[BYTES - 1]);
    MUST(vm_deallocate(SELF, (vm_address_t)got.memory.address, BYTES));
    MUST(vm_deallocate(SELF, memory, BYTES));
}

/* ipc_kmsg_copyin_ool_descriptor, osfmk/ipc/ipc_kmsg.c */
CHECK(memory_out_of_line_that_is_not_there) {
    mach_port_t to = receive_right(0, 0);
    struct parcel parcel = {.memory = {.address = (void *)8, .size = 64, .type = MACH_MSG_OOL_DESCRIPTOR}},
                  got;
    EXPECT(MACH_SEND_INVALID_MEMORY, send_parcel(to, &parcel));
    parcel.memory.size = 0;
    EXPECT(MACH_MSG_SUCCESS, send_parcel(to, &parcel));
    EXPECT(MACH_MSG_SUCCESS, receive_parcel(to, &got, 0));
    EXPECT(0, got.memory.size);
    EXPECT(0, (uintptr_t)got.memory.address);
    parcel.memory.size = 64;
    parcel.memory.copy = 7;
    EXPECT(MACH_SEND_INVALID_TYPE, send_parcel(to, &parcel));
}

/* ipc_kmsg_inflate_ool_descriptor, osfmk/ipc/ipc_kmsg.c; ipc_kmsg_copyin_body before xnu-11215.1.10 */
CHECK(form_of_a_body_comes_before_its_rights) {
    mach_port_t to = receive_right(0, 0), moved = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    struct {
        mach_msg_base_t base;
        mach_msg_port_descriptor_t port;
        mach_msg_ool_descriptor_t memory;
    } sent = {
        .base = {{MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, 0) | MACH_MSGH_BITS_COMPLEX, sizeof sent, to, 0, 0,
                  3},
                 {2}},
        .port = {.name = moved, .disposition = MACH_MSG_TYPE_MOVE_SEND, .type = MACH_MSG_PORT_DESCRIPTOR},
        .memory = {.copy = 7, .type = MACH_MSG_OOL_DESCRIPTOR},
    };
    EXPECT(MACH_SEND_INVALID_TYPE, mach_msg(&sent.base.header, MACH_SEND_MSG, sizeof sent, 0, 0, 0, 0));
    EXPECT(MACH_PORT_TYPE_SEND_RECEIVE, type_of(moved));
}

/* IPC_KMSG_MAX_OOL_PORT_COUNT, osfmk/ipc/ipc_policy.h; ipc_kmsg_copyin_body before xnu-11215.1.10 */
CHECK(too_many_ports_out_of_line) {
    mach_port_t name = MACH_PORT_NULL;
    struct parcel parcel = {.ports = {.address = &name,
                                      .count = 16384,
                                      .disposition = MACH_MSG_TYPE_COPY_SEND,
                                      .type = MACH_MSG_OOL_PORTS_DESCRIPTOR}};
    EXPECT(MACH_SEND_TOO_LARGE, send_parcel(receive_right(0, 0), &parcel));
}

/* ipc_kmsg_copyin_ool_ports_descriptor, osfmk/ipc/ipc_kmsg.c */
CHECK(ports_out_of_line) {
    mach_port_t to = receive_right(0, 0), one = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    mach_port_t names[] = {one, MACH_PORT_NULL, one, MACH_PORT_DEAD}, other = receive_right(0, 0);
    struct parcel parcel = {.ports = {.address = names,
                                      .count = 4,
                                      .disposition = MACH_MSG_TYPE_COPY_SEND,
                                      .type = MACH_MSG_OOL_PORTS_DESCRIPTOR}},
                  got;
    EXPECT(MACH_MSG_SUCCESS, send_parcel(to, &parcel));
    EXPECT(MACH_MSG_SUCCESS, receive_parcel(to, &got, 0));
    const mach_port_t *found = got.ports.address;
    EXPECT(4, got.ports.count);
    EXPECT(MACH_MSG_TYPE_PORT_SEND, got.ports.disposition);
    EXPECT(one, found[0]);
    EXPECT(MACH_PORT_NULL, found[1]);
    EXPECT(MACH_PORT_DEAD, found[3]);
    EXPECT(3, refs_of(one, MACH_PORT_RIGHT_SEND));
    mach_msg_destroy(&got.base.header);
    EXPECT(1, refs_of(one, MACH_PORT_RIGHT_SEND));

    names[1] = other; /* no send right: what came before it is given back */
    EXPECT(MACH_SEND_INVALID_RIGHT, send_parcel(to, &parcel));
    EXPECT(MACH_RCV_TIMED_OUT, receive_parcel(to, &got, 0));
    EXPECT(1, refs_of(one, MACH_PORT_RIGHT_SEND));
}

/*
 * mach_port_peek, osfmk/ipc/mach_port.c; ipc_mqueue_peek_locked, osfmk/ipc/ipc_mqueue.c: the size is that of
 * the kernel's own form (USER_HEADER_SIZE_DELTA and KERNEL_DESC_SIZE, osfmk/ipc/ipc_kmsg.c).
 */
CHECK(peek_leaves_the_message) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    mach_msg_audit_trailer_t trailer;
    mach_port_seqno_t seqno = 0;
    mach_msg_size_t size = 0;
    mach_msg_id_t id = 0;
    mach_msg_type_number_t room = sizeof trailer;
    const mach_msg_trailer_type_t audit = MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT);
    EXPECT(KERN_FAILURE, mach_port_peek(SELF, port, audit, &seqno, &size, &id, (char *)&trailer, &room));
    EXPECT(MACH_MSG_SUCCESS, send_letter(port, MACH_MSG_TYPE_COPY_SEND, 77, 0));
    EXPECT(KERN_SUCCESS, mach_port_peek(SELF, port, audit, &seqno, &size, &id, (char *)&trailer, &room));
    EXPECT(77, id);
    EXPECT(sizeof(mach_msg_header_t) + 8, size);
    EXPECT(sizeof trailer, room);
    EXPECT(getpid(), trailer.msgh_audit.val[5]);
    EXPECT(1, status_of(port).mps_msgcount);
    mach_port_t other = receive_right(0, 0);
    EXPECT(MACH_MSG_SUCCESS, send_right_to(other, port, MACH_MSG_TYPE_COPY_SEND));
    seqno = 0;
    EXPECT(KERN_SUCCESS, mach_port_peek(SELF, other, audit, &seqno, &size, &id, (char *)&trailer, &room));
    EXPECT(offsetof(struct letter, text) + 8 + 4, size);
}

/* mach_port_assert_attributes, osfmk/ipc/mach_port.c */
CHECK(assert_of_a_strict_guard) {
    mach_port_guard_info_t guard = {.mpgi_guard = GUARD};
    mach_port_t port = receive_right(MPO_CONTEXT_AS_GUARD | MPO_STRICT, GUARD);
    EXPECT(KERN_SUCCESS, mach_port_assert_attributes(SELF, port, MACH_PORT_GUARD_INFO,
                                                     (mach_port_info_t)&guard, MACH_PORT_GUARD_INFO_COUNT));
    EXPECT(KERN_INVALID_ARGUMENT,
           mach_port_assert_attributes(SELF, port, 99, (mach_port_info_t)&guard, MACH_PORT_GUARD_INFO_COUNT));
}
