/*
 * Sending (osfmk/ipc/ipc_kmsg.c, ipc_mqueue.c): a message takes its rights out of the sender's space, waits
 * in the queue of its destination, and is released with all its rights if it never arrives. Bodies carry
 * inline port descriptors; memory out of line is not simulated and refused as an invalid descriptor type.
 */
#include <stdlib.h>
#include <string.h>

#include "kernel.h"

enum { QUEUED_BYTES_MAX = 32 << 20 }; /* of one task, in all queues: XNU bounds this by its memory */

static struct message *message_allocate(uint32_t size, uint32_t descriptor_count) {
    struct message *message =
        kernel_alloc(sizeof *message + descriptor_count * sizeof(struct descriptor) + size);
    list_init(&message->link);
    message->size = size;
    message->descriptor_count = descriptor_count;
    message->descriptors = (struct descriptor *)(message + 1);
    message->bytes = (uint8_t *)(message->descriptors + descriptor_count);
    return message;
}

struct message *message_new(uint32_t size, uint32_t descriptor_count, int32_t id) {
    struct message *message = message_allocate(size, descriptor_count);
    message->security = (security_token_t)KERNEL_SECURITY_TOKEN_VALUE;
    mach_msg_header_t header = {.msgh_size = size, .msgh_id = id};
    if (descriptor_count) {
        header.msgh_bits = MACH_MSGH_BITS_COMPLEX;
        memcpy(message->bytes + sizeof header, &descriptor_count, sizeof descriptor_count);
    }
    memcpy(message->bytes, &header, sizeof header);
    return message;
}

void message_set_destination(struct message *message, struct port *port, mach_msg_type_name_t kind) {
    message->destination = port;
    message->destination_kind = kind;
}

void message_set_reply(struct message *message, struct port *port, mach_msg_type_name_t kind) {
    message->reply = port;
    message->reply_kind = kind;
}

void message_set_descriptor(struct message *message, uint32_t index, uint32_t offset, struct port *port,
                            mach_msg_type_name_t kind) {
    message->descriptors[index] = (struct descriptor){port, kind, offset};
    mach_msg_port_descriptor_t descriptor = {.disposition = kind, .type = MACH_MSG_PORT_DESCRIPTOR};
    memcpy(message->bytes + offset, &descriptor, sizeof descriptor);
}

/* ---- the end of a message ---- */

/*
 * Messages hold receive rights, whose queues hold messages: released one after the other, never one inside
 * the other.
 */
void message_destroy(struct message *message) {
    static struct list dead = {&dead, &dead};
    static bool releasing;
    list_insert(&dead, &message->link);
    if (releasing) {
        return;
    }
    releasing = true;
    while (!list_empty(&dead)) {
        message = LIST_MEMBER(dead.next, struct message, link);
        list_remove(&message->link);
        port_release_right(message->destination, message->destination_kind);
        port_release_right(message->reply, message->reply_kind);
        for (uint32_t at = 0; at < message->descriptor_count; at++) {
            port_release_right(message->descriptors[at].port, message->descriptors[at].kind);
        }
        if (message->charged) {
            message->charged->queued_bytes -= message->size;
            task_release(message->charged);
        }
        free(message);
    }
    releasing = false;
}

/* ---- from user to message ---- */

static mach_msg_return_t copyin_header(struct space *space, const mach_msg_header_t *header,
                                       struct message *message) {
    mach_msg_type_name_t destination_type = MACH_MSGH_BITS_REMOTE(header->msgh_bits);
    mach_msg_type_name_t reply_type = MACH_MSGH_BITS_LOCAL(header->msgh_bits);
    mach_port_name_t destination_name = header->msgh_remote_port, reply_name = header->msgh_local_port;

    if (header->msgh_bits & ~MACH_MSGH_BITS_USER) {
        return MACH_SEND_INVALID_HEADER;
    }
    if (reply_type == 0 ? reply_name != MACH_PORT_NULL : !MACH_MSG_TYPE_PORT_ANY_SEND(reply_type)) {
        return MACH_SEND_INVALID_HEADER;
    }
    mach_msg_type_name_t voucher_type = MACH_MSGH_BITS_VOUCHER(header->msgh_bits);
    bool voucher_sends = voucher_type == MACH_MSG_TYPE_MOVE_SEND || voucher_type == MACH_MSG_TYPE_COPY_SEND;
    if (voucher_type &&
        !(voucher_sends && header->msgh_voucher_port == MACH_PORT_NULL)) { /* vouchers are not simulated */
        guard_raise(GUARD_SEND_INVALID_VOUCHER, voucher_sends ? header->msgh_voucher_port : MACH_PORT_NULL,
                    guard_reason(0, 0, voucher_type));
        return MACH_SEND_INVALID_VOUCHER;
    }
    if (!MACH_MSG_TYPE_PORT_ANY_SEND(destination_type)) {
        return MACH_SEND_INVALID_HEADER;
    }
    if (!MACH_PORT_VALID(destination_name)) {
        return MACH_SEND_INVALID_DEST;
    }
    bool same = destination_name == reply_name;
    if (same &&
        (destination_type == MACH_MSG_TYPE_MOVE_SEND_ONCE || reply_type == MACH_MSG_TYPE_MOVE_SEND_ONCE)) {
        return MACH_SEND_INVALID_DEST;
    }

    struct entry *destination = space_lookup(space, destination_name);
    if (destination) {
        entry_check(destination, true);
    }
    if (!destination || !(destination->bits & MACH_PORT_TYPE_PORT_RIGHTS)) {
        return MACH_SEND_INVALID_DEST;
    }

    struct entry *reply = NULL;
    if (MACH_PORT_VALID(reply_name)) {
        uint32_t reply_bits = 0;
        reply = space_lookup(space, reply_name);
        if (reply) {
            reply_bits = reply->bits;
            /* Dead names may answer no more since 15.4 (ipc_kmsg_copyin_header_rights, xnu-11417.101.15). */
            bool dead = reply->bits & MACH_PORT_TYPE_DEAD_NAME && release_is_before(150400);
            if (!dead && !(reply->bits & MACH_PORT_TYPE_PORT_RIGHTS)) {
                reply = NULL;
            }
        }
        if (!reply || !right_check_reply(reply, reply_type)) {
            /* Its payload: MPG_PAYLOAD(NONE, ie_bits, disposition), whose middle field is 24 bits wide. */
            guard_raise(GUARD_SEND_INVALID_REPLY, reply_name, guard_reason(0, reply_bits, reply_type));
            return MACH_SEND_INVALID_REPLY;
        }
    }

    bool both_move =
        same && destination_type == MACH_MSG_TYPE_MOVE_SEND && reply_type == MACH_MSG_TYPE_MOVE_SEND;
    if (both_move && entry_urefs(destination) < 2) {
        return MACH_SEND_INVALID_DEST;
    }
    /* Of two dispositions of one name the one that leaves the right comes first. */
    if (same && destination_type == MACH_MSG_TYPE_MOVE_SEND && reply_type == MACH_MSG_TYPE_COPY_SEND) {
        right_copyin(reply, reply_type, COPYIN_DEAD_OK | COPYIN_IS_REPLY_PORT, &message->reply);
        message->reply_kind = right_received_kind(reply_type);
        reply = NULL;
    }
    struct port *port;
    if (right_copyin(destination, destination_type, COPYIN_IMMOVABLE_OK | COPYIN_IS_DESTINATION, &port) !=
        KERN_SUCCESS) {
        return MACH_SEND_INVALID_DEST;
    }
    message_set_destination(message, port, right_received_kind(destination_type));
    if (reply) {
        right_copyin(reply, reply_type, COPYIN_DEAD_OK | COPYIN_IS_REPLY_PORT, &port);
        message_set_reply(message, port, right_received_kind(reply_type));
    } else if (reply_name == MACH_PORT_DEAD) {
        message_set_reply(message, PORT_DEAD, right_received_kind(reply_type));
    } else if (reply_name == MACH_PORT_NULL) {
        message->reply_kind = right_received_kind(reply_type);
    }
    return MACH_MSG_SUCCESS;
}

/* Whether the receive right may travel to that port: not into its own queue, not even by way of others. */
static bool is_circular(const struct port *port, const struct port *destination) {
    for (const struct port *at = destination; at; at = at->destination) {
        if (at == port) {
            return true;
        }
    }
    return false;
}

static mach_msg_return_t copyin_body(struct space *space, struct message *message, bool *circular) {
    struct port *destination = message->destination;
    int flags = !destination->active || destination->in_kernel ? COPYIN_IMMOVABLE_OK : 0;
    for (uint32_t at = 0; at < message->descriptor_count; at++) {
        uint32_t offset = sizeof(mach_msg_base_t) + at * sizeof(mach_msg_port_descriptor_t);
        mach_msg_port_descriptor_t descriptor;
        memcpy(&descriptor, message->bytes + offset, sizeof descriptor);
        mach_msg_type_name_t kind = right_received_kind(descriptor.disposition);
        struct port *port = descriptor.name == MACH_PORT_DEAD ? PORT_DEAD : NULL;
        if (MACH_PORT_VALID(descriptor.name)) {
            struct entry *entry = space_lookup(space, descriptor.name);
            kern_return_t result =
                entry ? right_copyin(entry, descriptor.disposition, COPYIN_DEAD_OK | flags, &port)
                      : KERN_INVALID_NAME;
            if (result == KERN_INVALID_RIGHT) {
                guard_raise(GUARD_SEND_INVALID_RIGHT, descriptor.name,
                            guard_reason(MPG_FLAGS_SEND_INVALID_RIGHT_PORT, 0, descriptor.disposition));
            }
            if (result != KERN_SUCCESS) {
                return MACH_SEND_INVALID_RIGHT;
            }
            if (kind == MACH_MSG_TYPE_PORT_RECEIVE && is_circular(port, destination)) {
                *circular = true;
            } else if (kind == MACH_MSG_TYPE_PORT_RECEIVE) {
                port_reference(destination);
                port->destination = destination;
            }
        }
        message_set_descriptor(message, at, offset, port, kind);
    }
    return MACH_MSG_SUCCESS;
}

/* The descriptors' count, types and dispositions; nothing is looked up yet. */
static mach_msg_return_t measure_body(const uint8_t *bytes, uint32_t size, uint32_t *count) {
    mach_msg_header_t header;
    memcpy(&header, bytes, sizeof header);
    *count = 0;
    if (!MACH_MSGH_BITS_IS_COMPLEX(header.msgh_bits)) {
        return MACH_MSG_SUCCESS;
    }
    if (size < sizeof(mach_msg_base_t)) {
        return MACH_SEND_MSG_TOO_SMALL;
    }
    memcpy(count, bytes + sizeof header, sizeof *count);
    if (*count > (size - sizeof(mach_msg_base_t)) / sizeof(mach_msg_port_descriptor_t)) {
        return MACH_SEND_MSG_TOO_SMALL;
    }
    for (uint32_t at = 0; at < *count; at++) {
        mach_msg_port_descriptor_t descriptor;
        memcpy(&descriptor, bytes + sizeof(mach_msg_base_t) + at * sizeof descriptor, sizeof descriptor);
        if (descriptor.type != MACH_MSG_PORT_DESCRIPTOR || !right_received_kind(descriptor.disposition)) {
            return MACH_SEND_INVALID_TYPE;
        }
    }
    return MACH_MSG_SUCCESS;
}

/*
 * ipc_validate_local_port (26), ipc_kmsg_copyin_header (13 to 15): services that insist on reply ports get
 * them.
 */
static bool reply_port_semantics_hold(const struct message *message, const mach_msg_header_t *header) {
    const struct port *destination = message->destination, *reply = message->reply;
    if (!port_valid(reply) || !reply->active || !destination->active ||
        !destination->enforce_reply_semantics) {
        return true;
    }
    if (port_is_reply(reply) || reply->type == PORT_WEAK_REPLY) {
        return true;
    }
    struct task *task = current->task;
    if (!release_is_before(260000)) {
        guard_raise(GUARD_REQUIRE_REPLY_PORT_SEMANTICS, destination->name, 0);
        return false;
    }
    if (task->hardened && !task->reply_port_telemetry) {
        task->reply_port_telemetry = true;
        guard_raise(GUARD_REQUIRE_REPLY_PORT_SEMANTICS, header->msgh_local_port, 0);
    }
    return true;
}

static mach_msg_return_t copyin(struct thread *thread, const uint8_t *bytes, uint32_t size,
                                struct message **result) {
    uint32_t count;
    mach_msg_return_t failure = measure_body(bytes, size, &count);
    if (failure) {
        return failure;
    }
    struct task *task = thread->task;
    if (task->queued_bytes + size > QUEUED_BYTES_MAX) {
        return MACH_SEND_NO_BUFFER;
    }
    struct message *message = message_allocate(size, count);
    memcpy(message->bytes, bytes, size);
    mach_msg_header_t header;
    memcpy(&header, bytes, sizeof header);
    bool circular = false;
    failure = copyin_header(task->space, &header, message);
    if (!failure && !reply_port_semantics_hold(message, &header)) {
        failure = MACH_SEND_INVALID_REPLY;
    }
    if (!failure) {
        failure = copyin_body(task->space, message, &circular);
    }
    if (failure) {
        message_destroy(message);
        return failure;
    }
    message->security = (security_token_t){{task->uid, task->gid}};
    message->audit = (audit_token_t){
        {task->uid, task->uid, task->gid, task->uid, task->gid, (unsigned)task->pid, 0, task->pid_version}};
    message->charged = task;
    task_reference(task);
    task->queued_bytes += size;
    if (circular) { /* it could never be received: swallowed (MACH_MSGH_BITS_CIRCULAR) */
        message_destroy(message);
        message = NULL;
    }
    *result = message;
    return MACH_MSG_SUCCESS;
}

/* ---- to the destination ---- */

/* Kernel objects answer only what libSystem's functions ask, and those do not come as messages here. */
static void answer_bad_id(struct message *message) {
    if (!port_valid(message->reply)) {
        message_destroy(message);
        return;
    }
    mach_msg_header_t request;
    memcpy(&request, message->bytes, sizeof request);
    struct message *answer = message_new(sizeof(mig_reply_error_t), 0, request.msgh_id + 100);
    mig_reply_error_t error;
    memcpy(&error, answer->bytes, sizeof error);
    error.NDR.int_rep = NDR_INT_LITTLE_ENDIAN;
    error.RetCode = MIG_BAD_ID;
    memcpy(answer->bytes, &error, sizeof error);
    message_set_destination(answer, message->reply, message->reply_kind);
    message->reply = NULL;
    message_destroy(message);
    message_deliver(answer);
}

static void deliver_to_kernel(struct message *message) {
    struct port *port = message->destination;
    if (port->type == PORT_EXCEPTION_REPLY) {
        struct thread *thread = port->kobject;
        message->destination = NULL;
        port_drop_once(port);
        exception_reply(thread, message);
    } else {
        answer_bad_id(message);
    }
}

void message_dequeue(struct port *port, struct message *message) {
    list_remove(&message->link);
    port->msgcount--;
    counts.messages--;
    counts.message_bytes -= message->size;
}

void message_deliver(struct message *message) {
    struct port *port = message->destination;
    if (!port->active) {
        message_destroy(message);
        return;
    }
    if (port->in_kernel) {
        deliver_to_kernel(message);
        return;
    }
    list_insert(&port->messages, &message->link);
    port->msgcount++;
    counts.messages++;
    counts.message_bytes += message->size;
    /* Those who wait on the port itself come before those who wait on its sets. */
    while (!list_empty(&port->receivers)) {
        if (receive_take(LIST_MEMBER(port->receivers.next, struct thread, wait), port, message)) {
            return;
        }
    }
    LIST_EACH(&port->members, node) {
        struct pset *set = LIST_MEMBER(node, struct member, in_port)->set;
        while (!list_empty(&set->receivers)) {
            if (receive_take(LIST_MEMBER(set->receivers.next, struct thread, wait), port, message)) {
                return;
            }
        }
    }
}

/* ---- mach_msg(2) ---- */

static uint64_t deadline(const struct wire_request *request) {
    return loop_now() + request->arg[4] % (1ull << 32) * 1000000;
}

static bool is_full(const struct message *message) {
    const struct port *port = message->destination;
    return message->destination_kind == MACH_MSG_TYPE_PORT_SEND && port->active && !port->in_kernel &&
           port->msgcount >= port->qlimit;
}

/* What follows the send of a mach_msg(2). */
static bool after_send(struct thread *thread) {
    if (thread->request.arg[0] & MACH_RCV_MSG) {
        return receive_start(thread);
    }
    thread->reply.result = MACH_MSG_SUCCESS;
    return false;
}

static void arm_send_possible(struct thread *thread, const mach_msg_header_t *header) {
    /*
     * MACH_SEND_NOTIFY: an unarmed send-possible request of the name is armed by a send that finds the queue
     * full.
     */
    struct entry *entry = space_lookup(thread->task->space, header->msgh_remote_port);
    if (entry && entry->request) {
        entry->send_possible = true;
    }
}

bool message_trap(struct thread *thread, const struct wire_request *request, const uint8_t *payload) {
    uint32_t option = (uint32_t)request->arg[0], size = (uint32_t)request->arg[1];
    if (!(option & MACH_SEND_MSG)) {
        return option & MACH_RCV_MSG ? receive_start(thread) : false;
    }
    if (size < sizeof(mach_msg_header_t) || size & 3 || size != request->size) {
        thread->reply.result = MACH_SEND_MSG_TOO_SMALL;
        return false;
    }
    mach_msg_header_t header;
    memcpy(&header, payload, sizeof header);
    struct message *message;
    mach_msg_return_t failure = copyin(thread, payload, size, &message);
    if (failure) {
        thread->reply.result = failure;
        return false;
    }
    if (!message) {
        return after_send(thread);
    }
    header.msgh_size = size;
    memcpy(message->bytes, &header, sizeof header);

    struct port *port = message->destination;
    if (port_is_kobject(port) && port->type != PORT_EXCEPTION_REPLY && port->active &&
        !(option & MACH_RCV_MSG) && !release_is_before(130000)) {
        /*
         * Calls to the kernel are combined with the receipt of its answer (ipc_validate_kmsg_dest_from_user).
         */
        message_destroy(message);
        guard_raise(GUARD_INVALID_OPTIONS, 0, release_is_before(150400) ? 0 : option);
        thread->reply.result = MACH_SEND_INVALID_OPTIONS;
        return false;
    }
    if (is_full(message)) {
        if (option & MACH_SEND_NOTIFY) {
            arm_send_possible(thread, &header);
        }
        thread->sending = message;
        thread->waiting = WAIT_SEND;
        thread->waiting_port = port;
        port_reference(port);
        list_insert(&port->senders, &thread->wait);
        if (option & MACH_SEND_TIMEOUT) {
            thread->deadline = deadline(request);
            if (!(uint32_t)request->arg[4]) {
                message_timed_out(thread);
                return true; /* and has returned already */
            }
            loop_start_timer(thread);
        }
        return true;
    }
    message_deliver(message);
    return after_send(thread);
}

/* The message did not go: the sender gets it back, with what rights it carried (pseudo-receive). */
static void send_failed(struct thread *thread, mach_msg_return_t result) {
    struct message *message = thread->sending;
    thread->sending = NULL;
    thread_cancel_wait(thread);
    thread->reply.result = result;
    receive_back(thread, message);
    thread_return(thread);
}

void message_timed_out(struct thread *thread) {
    if (thread->waiting == WAIT_SEND) {
        send_failed(thread, MACH_SEND_TIMED_OUT);
    } else if (thread->waiting == WAIT_RECEIVE) {
        receive_fail(thread, MACH_RCV_TIMED_OUT);
    }
}

void message_interrupt(struct thread *thread) {
    if (thread->waiting == WAIT_SEND) {
        send_failed(thread, MACH_SEND_INTERRUPTED);
    } else if (thread->waiting == WAIT_RECEIVE) {
        receive_fail(thread, MACH_RCV_INTERRUPTED);
    }
}

void message_sender_resume(struct thread *thread) {
    struct message *message = thread->sending;
    struct thread *caller = current;
    thread->sending = NULL;
    thread_cancel_wait(thread);
    current = thread; /* guards of its receipt are its own */
    message_deliver(message);
    bool waits = after_send(thread);
    current = caller;
    if (!waits) {
        thread_return(thread);
    }
}

static void send_possible_notifications(struct port *port) {
    LIST_EACH(&port->entries, node) {
        struct entry *entry = LIST_MEMBER(node, struct entry, in_port);
        if (entry->request && entry->send_possible) {
            struct port *once = entry_cancel_request(entry);
            notify_send_possible(once, entry_name(entry));
        }
    }
}

void message_queue_moved(struct port *port) {
    while (!list_empty(&port->senders) && (!port->active || port->msgcount < port->qlimit)) {
        message_sender_resume(LIST_MEMBER(port->senders.next, struct thread, wait));
    }
    if (port->active && port->msgcount < port->qlimit && list_empty(&port->senders)) {
        send_possible_notifications(port);
    }
}
