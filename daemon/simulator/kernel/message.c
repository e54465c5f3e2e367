/*
 * Messages on their way (osfmk/ipc/ipc_kmsg.c, ipc_mqueue.c, mach_msg.c): a message waits in the queue of its
 * destination, and is released with all its rights if it never arrives. copyin.c makes it from what a user
 * sends, receive.c gives it to who receives.
 */
#include <stdlib.h>
#include <string.h>

#include "kernel.h"

struct message *message_allocate(uint32_t size, uint32_t descriptor_count) {
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
    message->descriptors[index] =
        (struct descriptor){.type = MACH_MSG_PORT_DESCRIPTOR, .offset = offset, .right = {port, kind}};
    mach_msg_port_descriptor_t descriptor = {.disposition = kind, .type = MACH_MSG_PORT_DESCRIPTOR};
    memcpy(message->bytes + offset, &descriptor, sizeof descriptor);
}

/* ---- the end of a message ---- */

void message_release_array(struct descriptor *descriptor) {
    for (uint32_t at = 0; descriptor->array && at < descriptor->count; at++) {
        port_release_right(descriptor->array[at].port, descriptor->array[at].kind);
    }
    free(descriptor->array);
    descriptor->array = NULL;
}

static void descriptor_release(struct descriptor *descriptor) {
    port_release_right(descriptor->right.port, descriptor->right.kind);
    message_release_array(descriptor);
    free(descriptor->memory);
}

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
            descriptor_release(&message->descriptors[at]);
        }
        if (message->charged) {
            message->charged->queued_bytes -= message->size + message->out_of_line;
            task_release(message->charged);
        }
        free(message);
    }
    releasing = false;
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

const struct message *message_at(const struct port *port, uint32_t seqno) {
    uint32_t at = port->seqno;
    LIST_EACH(&port->messages, node) {
        if (!seqno || at == seqno) {
            return LIST_MEMBER(node, struct message, link);
        }
        at++;
    }
    return NULL;
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
    pset_prepost(port);
}

/* ---- mach_msg(2) ---- */

static uint64_t deadline(const struct wire_request *request) {
    return loop_now() + request->arg[4] % (1ull << 32) * 1000000;
}

static const uint64_t MACH_MSG2 =
    0x8000000000000000; /* MACH64_MACH_MSG2: by the trap of macOS 13 and later */

bool message_is_blocked(const struct message *message) {
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

/*
 * The trap of macOS 12 and earlier ends a process since 13.0, unless it was built for one of those
 * (ipc_policy_allow_legacy_send_trap, osfmk/ipc/ipc_policy.c).
 */
static bool is_refused_trap(const struct thread *thread, uint64_t options, const mach_msg_header_t *header) {
    if (options & MACH_MSG2 || !rule(RULE_CALLS_MATCH_PORTS)) {
        return false;
    }
    guard_raise(GUARD_INVALID_OPTIONS, (uint32_t)header->msgh_id,
                rule(RULE_OPTIONS_IN_PAYLOAD) ? message_options(thread->task, options) : 0);
    return true;
}

bool message_trap(struct thread *thread, const struct wire_request *request, const uint8_t *payload) {
    uint64_t option = request->arg[0];
    uint32_t size = (uint32_t)request->arg[1];
    if (!(option & MACH_SEND_MSG)) {
        return option & MACH_RCV_MSG ? receive_start(thread) : false;
    }
    if (size < sizeof(mach_msg_header_t) || size & 3 || size > request->size) {
        thread->reply.result = MACH_SEND_MSG_TOO_SMALL;
        return false;
    }
    mach_msg_header_t header;
    memcpy(&header, payload, sizeof header);
    if (MACH_MSGH_BITS_IS_COMPLEX(header.msgh_bits) && size < sizeof(mach_msg_base_t)) {
        thread->reply.result = MACH_SEND_MSG_TOO_SMALL;
        return false;
    }
    if (is_refused_trap(thread, option, &header)) {
        thread->reply.result = KERN_NOT_SUPPORTED;
        return false;
    }
    struct message *message;
    thread->reply.result =
        message_copyin(thread, option, payload, size, payload + size, request->size - size, &message);
    if (thread->reply.result) {
        return false;
    }
    if (!message) {
        return after_send(thread);
    }
    struct port *port = message->destination;
    if (message_is_blocked(message)) {
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

void message_queue_moved(struct port *port) {
    while (!list_empty(&port->senders) && (!port->active || port->msgcount < port->qlimit)) {
        message_sender_resume(LIST_MEMBER(port->senders.next, struct thread, wait));
    }
}
