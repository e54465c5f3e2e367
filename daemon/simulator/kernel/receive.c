/*
 * Receiving (osfmk/ipc/mach_msg.c, ipc_mqueue.c): rights get names in the receiver's space, a trailer follows
 * the message.
 */
#include <string.h>

#include "kernel.h"

/* The size and layout that MACH_RCV_TRAILER_ELEMENTS ask for (ipc_kmsg_add_trailer). */
static uint32_t trailer_size(uint32_t option) {
    return REQUESTED_TRAILER_SIZE(option);
}

void receive_write_trailer(uint8_t *at, uint32_t option, const struct message *message, uint32_t seqno,
                           uint64_t context) {
    mach_msg_mac_trailer_t trailer = {
        .msgh_trailer_type = MACH_MSG_TRAILER_FORMAT_0,
        .msgh_trailer_size = trailer_size(option),
        .msgh_seqno = seqno,
        .msgh_sender = message->security,
        .msgh_audit = message->audit,
        .msgh_context = context,
    };
    memcpy(at, &trailer, trailer.msgh_trailer_size);
}

/*
 * What the receiver calls the port that the message came to; the right is used up (ipc_object_copyout_dest).
 */
static mach_port_name_t name_of_destination(struct space *space, struct message *message) {
    struct port *port = message->destination;
    message->destination = NULL;
    mach_port_name_t name = port->active ? MACH_PORT_NULL : MACH_PORT_DEAD;
    bool here = port->active && port->receiver == space;
    if (here) {
        name = port->name;
    }
    if (message->destination_kind == MACH_MSG_TYPE_PORT_SEND) {
        port_release_send(port);
    } else if (here) {
        port_drop_once(port);
    } else {
        port_release_once(port);
    }
    return name;
}

static mach_port_name_t copyout_right(struct space *space, struct carried *right, bool *whole) {
    bool had_port = port_valid(right->port);
    mach_port_name_t name = space_copyout(space, right->port, right->kind);
    right->port = NULL;
    *whole = *whole && !(had_port && name == MACH_PORT_NULL);
    return name;
}

/* Who gets guarded port descriptors, and the context that their ports are guarded with. */
struct guarded_receive {
    bool asked;  /* for them (MACH_RCV_GUARDED_DESC) */
    bool pseudo; /* it is a sender that gets its message back */
    uint64_t context;
};

/* A guarded descriptor without its port as a port descriptor: what is behind it moves up. */
static void become_port_descriptor(struct message *message, struct descriptor *descriptor) {
    const mach_msg_port_descriptor_t port = {.disposition = descriptor->right.kind,
                                             .type = MACH_MSG_PORT_DESCRIPTOR};
    uint8_t *at = message->bytes + descriptor->offset;
    const uint32_t shorter = sizeof(mach_msg_guarded_port_descriptor_t) - sizeof port;
    memcpy(at, &port, sizeof port);
    memmove(at + sizeof port, at + sizeof(mach_msg_guarded_port_descriptor_t),
            message->size - descriptor->offset - sizeof(mach_msg_guarded_port_descriptor_t));
    message->size -= shorter;
    if (message->charged) {
        message->charged->queued_bytes -= shorter;
    }
    for (uint32_t later = 0; later < message->descriptor_count; later++) {
        if (message->descriptors[later].offset > descriptor->offset) {
            message->descriptors[later].offset -= shorter;
        }
    }
    mach_msg_header_t header;
    memcpy(&header, message->bytes, sizeof header);
    header.msgh_size = message->size;
    memcpy(message->bytes, &header, sizeof header);
}

/*
 * ipc_kmsg_copyout_guarded_port_descriptor: who does not ask for guarded descriptors loses the right. The
 * port may come guarded, with the address of the message as its context, and immovable, which it is not when
 * it comes back to its sender (ipc_right_copyout).
 */
static void copyout_guarded(struct space *space, struct message *message, struct descriptor *descriptor,
                            struct guarded_receive guard, bool *whole) {
    mach_msg_guarded_port_descriptor_t guarded = {
        .context = (mach_port_context_t)descriptor->guard.context,
        .flags = descriptor->guard.flags,
        .disposition = descriptor->right.kind,
        .type = MACH_MSG_GUARDED_PORT_DESCRIPTOR,
    };
    struct port *port = descriptor->right.port;
    if (port_valid(port)) { /* ipc_right_copyin found the guard right, and says so */
        guarded.flags |= MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND;
    }
    if (!guard.asked) {
        port_release_right(port, descriptor->right.kind);
        descriptor->right.port = NULL;
        guarded.context = 0;
        if (!rule(RULE_LOST_GUARDED_DESCRIPTORS_STAY)) {
            become_port_descriptor(message, descriptor);
            return;
        }
    } else {
        guarded.name = copyout_right(space, &descriptor->right, whole);
        if (port_valid(port) && MACH_PORT_VALID(guarded.name) &&
            guarded.flags & MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE) {
            port->guarded = true;
            port->immovable |= !guard.pseudo;
            port->strict_guard = false;
            port->context = guard.context;
            guarded.context = (mach_port_context_t)guard.context;
            guarded.flags &= ~(unsigned)MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND;
        }
    }
    memcpy(message->bytes + descriptor->offset, &guarded, sizeof guarded);
}

/* The client finds arrays and memory behind the message, in the order of their descriptors. */
static void copyout_array(struct space *space, struct message *message, struct descriptor *descriptor,
                          bool *whole) {
    mach_msg_ool_ports_descriptor_t ports = {
        .deallocate = true,
        .copy = MACH_MSG_PHYSICAL_COPY,
        .disposition = descriptor->right.kind,
        .type = MACH_MSG_OOL_PORTS_DESCRIPTOR,
        .count = descriptor->count,
    };
    descriptor->memory = kernel_alloc(descriptor->count * sizeof(mach_port_name_t) + 1);
    for (uint32_t at = 0; at < descriptor->count; at++) {
        mach_port_name_t name = copyout_right(space, &descriptor->array[at], whole);
        memcpy(descriptor->memory + at * sizeof name, &name, sizeof name);
    }
    memcpy(message->bytes + descriptor->offset, &ports, sizeof ports);
}

/* False: a right found no place in the space. */
static bool copyout_descriptor(struct space *space, struct message *message, struct descriptor *descriptor,
                               struct guarded_receive guard) {
    uint8_t *at = message->bytes + descriptor->offset;
    bool whole = true;
    if (descriptor->type == MACH_MSG_PORT_DESCRIPTOR) {
        mach_msg_port_descriptor_t port = {.disposition = descriptor->right.kind,
                                           .type = MACH_MSG_PORT_DESCRIPTOR};
        port.name = copyout_right(space, &descriptor->right, &whole);
        memcpy(at, &port, sizeof port);
    } else if (descriptor->type == MACH_MSG_GUARDED_PORT_DESCRIPTOR) {
        copyout_guarded(space, message, descriptor, guard, &whole);
    } else if (descriptor->type == MACH_MSG_OOL_PORTS_DESCRIPTOR) {
        copyout_array(space, message, descriptor, &whole);
    } else {
        mach_msg_ool_descriptor_t memory = {.deallocate = true,
                                            .copy = MACH_MSG_VIRTUAL_COPY,
                                            .type = MACH_MSG_OOL_DESCRIPTOR,
                                            .size = descriptor->count};
        memcpy(at, &memory, sizeof memory);
    }
    return whole;
}

/* What goes to the client behind the message and its trailer. */
static void append_out_of_line(struct thread *thread, const struct message *message) {
    thread->reply.value[1] = thread->reply.size;
    for (uint32_t at = 0; at < message->descriptor_count; at++) {
        const struct descriptor *descriptor = &message->descriptors[at];
        if (descriptor->memory) {
            uint32_t width = descriptor->array ? sizeof(mach_port_name_t) : 1;
            thread_payload(thread, descriptor->memory, (size_t)descriptor->count * width);
        }
    }
}

/* Gives the message's rights to a space and writes their names into its bytes. */
static mach_msg_return_t copyout(struct space *space, struct message *message, struct guarded_receive guard) {
    mach_msg_return_t result = MACH_MSG_SUCCESS;
    mach_msg_header_t header;
    memcpy(&header, message->bytes, sizeof header);

    bool had_reply = port_valid(message->reply);
    header.msgh_remote_port = space_copyout(space, message->reply, message->reply_kind);
    message->reply = NULL;
    if (had_reply && header.msgh_remote_port == MACH_PORT_NULL) {
        result = MACH_RCV_HEADER_ERROR | MACH_MSG_IPC_SPACE;
    }
    header.msgh_local_port = name_of_destination(space, message);
    header.msgh_bits =
        MACH_MSGH_BITS_SET(message->reply_kind, message->destination_kind, 0, header.msgh_bits);
    memcpy(message->bytes, &header, sizeof header);

    for (uint32_t done = 0; done < message->descriptor_count; done++) {
        uint32_t at = rule(RULE_BODY_COPIED_OUT_IN_ORDER) ? done : message->descriptor_count - 1 - done;
        if (!copyout_descriptor(space, message, &message->descriptors[at], guard) && !result) {
            result = MACH_RCV_BODY_ERROR | MACH_MSG_IPC_SPACE;
        }
    }
    return result;
}

/*
 * The thread's buffer cannot hold the message, which is gone: a bare header says what it was, and a trailer
 * of the kernel's, as much as there is room for, follows (mach_msg_receive_error,
 * ipc_kmsg_copyout_dest_to_user).
 */
static void discard(struct thread *thread, uint32_t seqno, struct message *message) {
    uint32_t option = (uint32_t)thread->request.arg[0], room = (uint32_t)thread->request.arg[2];
    const struct message bare = {.security = KERNEL_SECURITY_TOKEN_VALUE};
    uint8_t trailer[sizeof(mach_msg_mac_trailer_t)];
    mach_msg_header_t header;
    memcpy(&header, message->bytes, sizeof header);
    header.msgh_bits =
        MACH_MSGH_BITS_SET(message->reply_kind, message->destination_kind, 0, header.msgh_bits);
    header.msgh_size = sizeof header;
    header.msgh_local_port = name_of_destination(thread->task->space, message);
    header.msgh_remote_port = message->reply == PORT_DEAD ? MACH_PORT_DEAD : MACH_PORT_NULL;
    if (room >= sizeof header) {
        uint32_t after = room - (uint32_t)sizeof header, wanted = trailer_size(option);
        receive_write_trailer(trailer, option, &bare, seqno, 0);
        thread_payload(thread, &header, sizeof header);
        thread_payload(thread, trailer, wanted < after ? wanted : after);
    }
    message_destroy(message);
}

bool receive_take(struct thread *thread, struct port *port, struct message *message) {
    uint32_t option = (uint32_t)thread->request.arg[0], room = (uint32_t)thread->request.arg[2];
    uint32_t size = message->size, padded = round_msg(size), needed = padded + trailer_size(option);
    bool waited = thread->waiting == WAIT_RECEIVE;
    if (waited) {
        thread_cancel_wait(thread);
    }
    bool fits = needed <= room && needed + message->out_of_line <= WIRE_MESSAGE_MAX;
    bool taken = fits || !(option & MACH_RCV_LARGE);
    if (!taken) {
        /* It stays; the receiver learns how large it is, and on which port of a set. */
        mach_msg_header_t header = {.msgh_size = size};
        if (option & MACH_RCV_LARGE_IDENTITY) {
            header.msgh_local_port = port->name;
        }
        if (room >= sizeof header) {
            thread_payload(thread, &header, sizeof header);
        }
        thread->reply.result = MACH_RCV_TOO_LARGE;
    } else {
        uint32_t seqno = port->seqno++;
        uint64_t context = port->context;
        port_reference(port);
        message_dequeue(port, message);
        if (fits) {
            const struct guarded_receive guard = {.asked = option & MACH_RCV_GUARDED_DESC,
                                                  .context = thread->received_to};
            port_notify_send_possible(port); /* before the rights get names (ipc_kmsg_copyout_header) */
            thread->reply.result = copyout(thread->task->space, message, guard);
            size = message->size;
            padded = round_msg(size);
            uint8_t trailer[sizeof(mach_msg_mac_trailer_t)];
            receive_write_trailer(trailer, option, message, seqno, context);
            thread_payload(thread, message->bytes, size);
            thread_payload(thread, NULL, padded - size);
            thread_payload(thread, trailer, trailer_size(option));
            append_out_of_line(thread, message);
            message_destroy(message);
        } else {
            bool no_header = room < sizeof(mach_msg_header_t) && rule(RULE_SMALL_BUFFER_IS_INVALID);
            thread->reply.result = no_header ? MACH_RCV_INVALID_DATA : MACH_RCV_TOO_LARGE;
            discard(thread, seqno, message);
        }
        message_queue_moved(port);
        port_release(port);
    }
    if (waited) {
        thread_return(thread);
    }
    return taken;
}

/*
 * The name of the reply port of a message that comes back, and what it takes to send it again: a real reply
 * port is named as it was (ipc_kmsg_copyout_reply_port).
 */
static mach_port_name_t name_of_returned_reply(struct space *space, struct message *message) {
    struct port *reply = message->reply;
    message->reply = NULL;
    if (!rule(RULE_REPLY_PORTS_RETURN) || !port_valid(reply) || !port_is_reply(reply)) {
        return space_copyout(space, reply, message->reply_kind);
    }
    mach_port_name_t name = reply->active ? MACH_PORT_NULL : MACH_PORT_DEAD;
    if (reply->active && reply->receiver == space) {
        name = reply->name;
        message->reply_kind = MACH_MSG_TYPE_MAKE_SEND_ONCE;
    }
    port_drop_once(reply);
    return name;
}

void receive_back(struct thread *thread, struct message *message) {
    struct space *space = thread->task->space;
    const struct guarded_receive guard = {
        .asked = true,
        .pseudo = true,
        .context = rule(RULE_RETURNS_TO_SEND_BUFFER) ? thread->request.arg[7] : thread->received_to,
    };
    mach_msg_header_t header;
    memcpy(&header, message->bytes, sizeof header);
    header.msgh_remote_port = space_copyout(space, message->destination, message->destination_kind);
    header.msgh_local_port = name_of_returned_reply(space, message);
    header.msgh_bits =
        MACH_MSGH_BITS_SET(message->destination_kind, message->reply_kind, 0, header.msgh_bits);
    message->destination = NULL;
    memcpy(message->bytes, &header, sizeof header);
    for (uint32_t at = 0; at < message->descriptor_count; at++) {
        copyout_descriptor(space, message, &message->descriptors[at], guard);
    }
    thread->reply.flags = WIRE_TO_SEND_BUFFER;
    thread_payload(thread, message->bytes, message->size);
    append_out_of_line(thread, message);
    message_destroy(message);
}

bool receive_start(struct thread *thread) {
    const struct wire_request *request = &thread->request;
    mach_port_name_t name = (mach_port_name_t)request->arg[3];
    struct entry *entry = space_lookup(thread->task->space, name);
    thread->received_to = request->arg[6];
    if (!entry || !(entry->bits & (MACH_PORT_TYPE_RECEIVE | MACH_PORT_TYPE_PORT_SET))) {
        /*
         * Blamed is who holds another right under the name; not who has lost the receive right
         * (ipc_mqueue_copyin).
         */
        if (entry && !(entry->bits & BITS_EX_RECEIVE) &&
            !(rule(RULE_DEAD_IS_NO_NAME) && right_is_dead(entry))) {
            guard_raise(GUARD_RCV_INVALID_NAME, name, 0);
        }
        thread->reply.result = MACH_RCV_INVALID_NAME;
        return false;
    }
    struct pset *set = entry->bits & MACH_PORT_TYPE_PORT_SET ? entry->set : NULL;
    struct port *port = set ? pset_first_prepost(set) : entry->port;
    if (port && !list_empty(&port->messages)) {
        receive_take(thread, port, LIST_MEMBER(port->messages.next, struct message, link));
        return false;
    }
    if (request->arg[0] & MACH_RCV_TIMEOUT) {
        if (!(uint32_t)request->arg[4]) {
            thread->reply.result = MACH_RCV_TIMED_OUT;
            return false;
        }
        thread->deadline = loop_now() + (uint64_t)(uint32_t)request->arg[4] * 1000000;
        loop_start_timer(thread);
    }
    thread->waiting = WAIT_RECEIVE;
    list_insert(set ? &set->receivers : &port->receivers, &thread->wait);
    return true;
}

void receive_fail(struct thread *thread, mach_msg_return_t result) {
    thread_cancel_wait(thread);
    thread->reply.result = result;
    thread_return(thread);
}
