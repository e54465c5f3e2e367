/* mach/message.h: one round trip a call, send and receive together. */
#include <string.h>

#include "connection.h"
#include "mach/mach.h"

const security_token_t KERNEL_SECURITY_TOKEN = KERNEL_SECURITY_TOKEN_VALUE;
const audit_token_t KERNEL_AUDIT_TOKEN = KERNEL_AUDIT_TOKEN_VALUE;
NDR_record_t NDR_record = {.int_rep = NDR_INT_LITTLE_ENDIAN};

static mach_msg_return_t message_call(struct call_site site, mach_msg_header_t *msg, mach_msg_option_t option,
                                      mach_msg_size_t send_size, mach_msg_size_t rcv_size,
                                      mach_port_name_t rcv_name, mach_msg_timeout_t timeout,
                                      mach_port_name_t notify, mach_msg_header_t *rcv_msg) {
    uint32_t size = option & MACH_SEND_MSG ? send_size : 0;
    if (size > WIRE_MESSAGE_MAX - MAX_TRAILER_SIZE) {
        return MACH_SEND_TOO_LARGE;
    }
    int interruptible = (option & (MACH_SEND_INTERRUPT | MACH_RCV_INTERRUPT)) != 0;
    struct answer answer = connection_call(
        site, WIRE_MSG, ARGS((uint32_t)option, send_size, rcv_size, rcv_name, timeout, notify), msg, size,
        interruptible);
    uint32_t room = answer.flags & WIRE_TO_SEND_BUFFER ? send_size : rcv_size;
    mach_msg_header_t *to = answer.flags & WIRE_TO_SEND_BUFFER || !rcv_msg ? msg : rcv_msg;
    if (!answer.size) {
        return answer.result;
    }
    if (answer.result == MACH_RCV_TOO_LARGE && option & MACH_RCV_LARGE) { /* only these two fields are set */
        mach_msg_header_t header;
        memcpy(&header, answer.payload, sizeof header);
        to->msgh_size = header.msgh_size;
        if (option & MACH_RCV_LARGE_IDENTITY) {
            to->msgh_local_port = header.msgh_local_port;
        }
    } else {
        memcpy(to, answer.payload, answer.size < room ? answer.size : room);
    }
    return answer.result;
}

mach_msg_return_t mach_msg(mach_msg_header_t *msg, mach_msg_option_t option, mach_msg_size_t send_size,
                           mach_msg_size_t rcv_size, mach_port_name_t rcv_name, mach_msg_timeout_t timeout,
                           mach_port_name_t notify) {
    return message_call(CALL_SITE, msg, option, send_size, rcv_size, rcv_name, timeout, notify, NULL);
}

mach_msg_return_t mach_msg_overwrite(mach_msg_header_t *msg, mach_msg_option_t option,
                                     mach_msg_size_t send_size, mach_msg_size_t rcv_size,
                                     mach_port_name_t rcv_name, mach_msg_timeout_t timeout,
                                     mach_port_name_t notify, mach_msg_header_t *rcv_msg,
                                     mach_msg_size_t rcv_limit) {
    (void)rcv_limit; /* obsolete */
    return message_call(CALL_SITE, msg, option, send_size, rcv_size, rcv_name, timeout, notify, rcv_msg);
}

mach_msg_return_t mach_msg_send(mach_msg_header_t *msg) {
    return message_call(CALL_SITE, msg, MACH_SEND_MSG, msg->msgh_size, 0, MACH_PORT_NULL,
                        MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL, NULL);
}

mach_msg_return_t mach_msg_receive(mach_msg_header_t *msg) {
    return message_call(CALL_SITE, msg, MACH_RCV_MSG, 0, msg->msgh_size, msg->msgh_local_port,
                        MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL, NULL);
}

/* One right of a message that was received, or that could not be sent. */
static void destroy_right(mach_port_t port, mach_msg_type_name_t disposition) {
    mach_port_t once;
    mach_msg_type_name_t kind;
    if (!MACH_PORT_VALID(port)) {
        return;
    }
    switch (disposition) {
    case MACH_MSG_TYPE_MOVE_SEND:
    case MACH_MSG_TYPE_MOVE_SEND_ONCE:
        mach_port_deallocate(mach_task_self_, port);
        break;
    case MACH_MSG_TYPE_MOVE_RECEIVE:
        mach_port_mod_refs(mach_task_self_, port, MACH_PORT_RIGHT_RECEIVE, -1);
        break;
    case MACH_MSG_TYPE_MAKE_SEND: /* made and released: the port may get a no-senders notification */
        if (mach_port_insert_right(mach_task_self_, port, port, MACH_MSG_TYPE_MAKE_SEND) == KERN_SUCCESS) {
            mach_port_deallocate(mach_task_self_, port);
        }
        break;
    case MACH_MSG_TYPE_MAKE_SEND_ONCE:
        if (mach_port_extract_right(mach_task_self_, port, MACH_MSG_TYPE_MAKE_SEND_ONCE, &once, &kind) ==
            KERN_SUCCESS) {
            mach_port_deallocate(mach_task_self_, once);
        }
        break;
    default:
        break;
    }
}

void mach_msg_destroy(mach_msg_header_t *msg) {
    mach_msg_bits_t bits = msg->msgh_bits;
    destroy_right(msg->msgh_remote_port,
                  MACH_MSGH_BITS_REMOTE(bits)); /* the local port is the receiver's own */
    if (!MACH_MSGH_BITS_IS_COMPLEX(bits)) {
        return;
    }
    const mach_msg_base_t *base = (const mach_msg_base_t *)msg;
    const uint8_t *at = (const uint8_t *)(base + 1), *end = (const uint8_t *)msg + msg->msgh_size;
    for (mach_msg_size_t index = 0; index < base->body.msgh_descriptor_count; index++) {
        mach_msg_port_descriptor_t descriptor;
        if ((size_t)(end - at) < sizeof descriptor || at > end) {
            return;
        }
        memcpy(&descriptor, at, sizeof descriptor);
        if (descriptor.type != MACH_MSG_PORT_DESCRIPTOR) {
            return; /* this kernel sends no others */
        }
        destroy_right(descriptor.name, descriptor.disposition);
        at += sizeof descriptor;
    }
}
