/*
 * From what a user sends to a message (ipc_kmsg_copyin_from_user, osfmk/ipc/ipc_kmsg.c): the header's rights
 * and the body's leave the sender's space, or the send fails and nothing has changed but what was raised.
 */
#include <stdlib.h>
#include <string.h>

#include "kernel.h"

enum { QUEUED_BYTES_MAX = 32 << 20 }; /* of one task, in all queues: XNU bounds this by its memory */

/* ---- options ---- */

enum { POLICY_SHIFT = 40 };
static const uint64_t KOBJECT_CALL = 0x200000000, QUEUE_CALL = 0x400000000, ANY_CALL = 0x800000000;

uint64_t message_options(const struct task *task, uint64_t options) {
    /* What osfmk/mach/message.h of 15.4 and 15.5 called the kernel's own bits. */
    const uint64_t DEFAULT = 1ull << 52, SIMULATED = 1ull << 53, HARDENED = 1ull << 55, RIGID = 1ull << 56,
                   PLATFORM = 1ull << 57;
    if (rule(RULE_PORT_TYPES)) {
        return options | (uint64_t)task_space_policy(task) << POLICY_SHIFT;
    }
    uint64_t added = 0;
    if (task->policy & EXCSIM_PLATFORM) {
        added |= PLATFORM | RIGID | HARDENED;
    }
    if (task->hardened || task->policy & EXCSIM_HARDENED_RUNTIME) {
        added |= RIGID | HARDENED;
    }
    if (task->policy & EXCSIM_OF_SIMULATOR) {
        added |= SIMULATED;
    }
    return options | (added ? added : DEFAULT);
}

static mach_msg_return_t invalid_options(const struct task *task, uint64_t options) {
    guard_raise(GUARD_INVALID_OPTIONS, 0, rule(RULE_OPTIONS_IN_PAYLOAD) ? message_options(task, options) : 0);
    return MACH_SEND_INVALID_OPTIONS;
}

/* ---- the header ---- */

struct header {
    mach_port_name_t destination_name, reply_name, voucher_name;
    mach_msg_type_name_t destination_type, reply_type, voucher_type;
    struct entry *destination, *reply;
    uint32_t reply_bits; /* of the reply port's entry, for the payload */
};

static mach_msg_return_t invalid_voucher(const struct header *header, mach_port_name_t name) {
    guard_raise(GUARD_SEND_INVALID_VOUCHER, name, rule(RULE_REASONS) ? header->voucher_type : 0);
    return MACH_SEND_INVALID_VOUCHER;
}

static mach_msg_return_t invalid_reply(const struct header *header) {
    guard_raise(GUARD_SEND_INVALID_REPLY, header->reply_name,
                guard_reason(0, header->reply_bits, header->reply_type));
    return MACH_SEND_INVALID_REPLY;
}

static bool reply_type_fits(const struct header *header) {
    return header->reply_type ? MACH_MSG_TYPE_PORT_ANY_SEND(header->reply_type)
                              : header->reply_name == MACH_PORT_NULL;
}

static bool is_voucher_type(mach_msg_type_name_t type) {
    return type == MACH_MSG_TYPE_MOVE_SEND || type == MACH_MSG_TYPE_COPY_SEND;
}

/* A destination that is its own reply port: no disposition can be a move-send-once. */
static bool moves_once_twice(const struct header *header) {
    return header->destination_name == header->reply_name &&
           (header->destination_type == MACH_MSG_TYPE_MOVE_SEND_ONCE ||
            header->reply_type == MACH_MSG_TYPE_MOVE_SEND_ONCE);
}

/* ipc_kmsg_copyin_header_validate and the look-ups of ipc_kmsg_copyin_header_rights, since 15.4. */
static mach_msg_return_t find_header(struct space *space, struct header *header) {
    if (!reply_type_fits(header)) {
        return MACH_SEND_INVALID_HEADER;
    }
    if (header->voucher_type && !is_voucher_type(header->voucher_type)) {
        return invalid_voucher(header, MACH_PORT_NULL);
    }
    mach_port_name_t voucher = header->voucher_type ? header->voucher_name : MACH_PORT_NULL;
    if (voucher == MACH_PORT_DEAD) {
        return invalid_voucher(header, voucher);
    }
    if (!MACH_MSG_TYPE_PORT_ANY_SEND(header->destination_type)) {
        return MACH_SEND_INVALID_HEADER;
    }
    if (!MACH_PORT_VALID(header->destination_name) || moves_once_twice(header) ||
        (header->destination_name == voucher && !is_voucher_type(header->destination_type))) {
        return MACH_SEND_INVALID_DEST;
    }
    if (MACH_PORT_VALID(header->reply_name) && header->reply_name == voucher) {
        header->reply_bits = UINT32_MAX;
        return invalid_reply(header);
    }
    if (voucher) { /* vouchers are not simulated: no port is one */
        return invalid_voucher(header, voucher);
    }
    header->destination = space_lookup(space, header->destination_name);
    if (!header->destination || !(header->destination->bits & MACH_PORT_TYPE_PORT_RIGHTS)) {
        return MACH_SEND_INVALID_DEST;
    }
    if (MACH_PORT_VALID(header->reply_name)) {
        header->reply = space_lookup(space, header->reply_name);
        header->reply_bits = header->reply ? header->reply->bits : 0;
        if (!header->reply || !(header->reply->bits & MACH_PORT_TYPE_PORT_RIGHTS) ||
            !right_check_reply(header->reply, header->reply_type, header->destination)) {
            return invalid_reply(header);
        }
    }
    return MACH_MSG_SUCCESS;
}

/* ipc_kmsg_copyin_header, up to 15.3. */
static mach_msg_return_t find_old_header(struct space *space, struct header *header) {
    if (!MACH_MSG_TYPE_PORT_ANY_SEND(header->destination_type) || !reply_type_fits(header)) {
        return MACH_SEND_INVALID_HEADER;
    }
    if (!MACH_PORT_VALID(header->destination_name)) {
        return MACH_SEND_INVALID_DEST;
    }
    if (header->voucher_type && (header->voucher_name || !is_voucher_type(header->voucher_type))) {
        return invalid_voucher(header, header->voucher_name);
    }
    header->destination = space_lookup(space, header->destination_name);
    if (!header->destination) {
        return MACH_SEND_INVALID_DEST;
    }
    if (MACH_PORT_VALID(header->reply_name)) {
        header->reply = space_lookup(space, header->reply_name);
        if (!header->reply || !right_check_reply(header->reply, header->reply_type, header->destination)) {
            return invalid_reply(header);
        }
    }
    return moves_once_twice(header) ? MACH_SEND_INVALID_DEST : MACH_MSG_SUCCESS;
}

static bool needs_receive_right(mach_msg_type_name_t type) {
    return type == MACH_MSG_TYPE_MAKE_SEND || type == MACH_MSG_TYPE_MAKE_SEND_ONCE;
}

/* Where a copyin of the destination that fails is blamed: up to 15.3 also the reply port, when both are one.
 */
static mach_msg_return_t destination_failed(const struct header *header, kern_return_t result, bool joint) {
    bool blames_reply = joint && result == KERN_INVALID_CAPABILITY && !rule(RULE_HEADER_VALIDATED_FIRST);
    return blames_reply ? invalid_reply(header) : MACH_SEND_INVALID_DEST;
}

/* One entry gives both ports, by move or copy (ipc_right_copyin_two, ipc_kmsg_copyin_dest_disposition). */
static mach_msg_return_t copyin_both(const struct header *header, struct message *message) {
    bool moves = header->destination_type == MACH_MSG_TYPE_MOVE_SEND;
    bool moves_reply = header->reply_type == MACH_MSG_TYPE_MOVE_SEND;
    mach_msg_type_name_t type = moves || moves_reply ? MACH_MSG_TYPE_MOVE_SEND : MACH_MSG_TYPE_COPY_SEND;
    struct port *port;
    if (moves && moves_reply && !rule(RULE_HEADER_VALIDATED_FIRST) && entry_urefs(header->destination) < 2) {
        /* Counted before the port is looked at (ipc_right_copyin_two_move_sends, xnu-10063.101.15). */
        return MACH_SEND_INVALID_DEST;
    }
    kern_return_t result =
        right_copyin(header->destination, type, COPYIN_DESTINATION,
                     COPYIN_IMMOVABLE_OK | (moves && moves_reply ? COPYIN_MOVES_TWO : 0), NULL, &port);
    if (result != KERN_SUCCESS) {
        return destination_failed(header, result, true);
    }
    message_set_destination(message, port, MACH_MSG_TYPE_PORT_SEND);
    message_set_reply(message, moves && moves_reply ? port : port_copy_send(port), MACH_MSG_TYPE_PORT_SEND);
    return MACH_MSG_SUCCESS;
}

/*
 * MACH_SEND_NOTIFY: a send that finds the queue full arms the send-possible request of the name, if it has
 * one, whatever becomes of the message (ipc_kmsg_copyin_header, ipc_port_request_sparm).
 */
static void arm_send_possible(struct entry *entry, const struct message *message) {
    if (entry->request_state == REQUEST_SEND_POSSIBLE && message_is_blocked(message)) {
        entry->request_state = REQUEST_ARMED;
    }
}

static mach_msg_return_t copyin_header(struct space *space, const mach_msg_header_t *user, uint64_t options,
                                       struct message *message) {
    struct header header = {
        .destination_name = user->msgh_remote_port,
        .reply_name = user->msgh_local_port,
        .voucher_name = user->msgh_voucher_port,
        .destination_type = MACH_MSGH_BITS_REMOTE(user->msgh_bits),
        .reply_type = MACH_MSGH_BITS_LOCAL(user->msgh_bits),
        .voucher_type = MACH_MSGH_BITS_VOUCHER(user->msgh_bits),
    };
    mach_msg_return_t failure =
        rule(RULE_HEADER_VALIDATED_FIRST) ? find_header(space, &header) : find_old_header(space, &header);
    if (failure) {
        return failure;
    }
    bool joint = header.reply == header.destination;
    if (joint && !needs_receive_right(header.destination_type) && !needs_receive_right(header.reply_type)) {
        failure = copyin_both(&header, message);
        if (!failure && options & MACH_SEND_NOTIFY) {
            arm_send_possible(header.destination, message);
        }
        return failure;
    }
    struct port *port;
    kern_return_t result = right_copyin(header.destination, header.destination_type, COPYIN_DESTINATION,
                                        COPYIN_IMMOVABLE_OK, NULL, &port);
    if (result != KERN_SUCCESS) {
        return destination_failed(&header, result, joint);
    }
    message_set_destination(message, port, right_received_kind(header.destination_type));
    message->reply_kind = right_received_kind(header.reply_type);
    if (header.reply) {
        right_copyin(header.reply, header.reply_type, COPYIN_REPLY_PORT, COPYIN_DEAD_OK, NULL,
                     &message->reply);
    } else if (header.reply_name == MACH_PORT_DEAD) {
        message->reply = PORT_DEAD;
    }
    if (options & MACH_SEND_NOTIFY) {
        arm_send_possible(header.destination, message);
    }
    return MACH_MSG_SUCCESS;
}

/* ---- what the destination asks of a message ---- */

/* Calls to kernel objects and messages to queues are distinguished (ipc_validate_kmsg_dest_from_user). */
static bool call_matches(const struct port *destination, uint64_t options) {
    if (!rule(RULE_CALLS_MATCH_PORTS) || options & ANY_CALL || !destination->active) {
        return true;
    }
    if (port_is_kobject(destination) && destination->type != PORT_EXCEPTION_REPLY) {
        return options & KOBJECT_CALL && options & MACH_RCV_MSG;
    }
    return options & QUEUE_CALL || !(options >> 63);
}

/* MPG_FLAGS_INVALID_OPTIONS_ of mach/port.h, xnu-12377. */
enum { REASON_DISPOSITION = 1, REASON_ARRAYS = 2, REASON_TYPE = 3 };

static mach_msg_return_t violates_policy(const struct task *task, uint64_t options, uint8_t reason,
                                         uint32_t detail) {
    guard_raise(GUARD_DESCRIPTOR_VIOLATION, (uint32_t)(message_options(task, options) >> POLICY_SHIFT),
                guard_reason(reason, 0, detail));
    return MACH_SEND_INVALID_OPTIONS;
}

/* An array of ports goes to ports that take it, one a message (ipc_validate_kmsg_header_from_user, 12377). */
static mach_msg_return_t check_arrays(const struct task *task, const struct message *message,
                                      uint64_t options) {
    uint32_t arrays = 0;
    for (uint32_t at = 0; at < message->descriptor_count; at++) {
        arrays += message->descriptors[at].type == MACH_MSG_OOL_PORTS_DESCRIPTOR;
    }
    if (!arrays || !rule(RULE_PORT_TYPES) || !task_restricted(task, 2)) {
        return MACH_MSG_SUCCESS;
    }
    const struct port *destination = message->destination;
    if (destination->type != PORT_CONNECTION_WITH_ARRAY && !port_is_kobject(destination)) {
        return violates_policy(task, options, REASON_TYPE, port_type_number(destination->type));
    }
    return arrays > 1 ? violates_policy(task, options, REASON_ARRAYS, arrays) : MACH_MSG_SUCCESS;
}

/* Services insist on reply ports (ipc_validate_local_port, ipc_policy.c of xnu-12377). */
static mach_msg_return_t check_reply_port(const struct task *task, const struct message *message) {
    const struct port *destination = message->destination, *reply = message->reply;
    if (!rule(RULE_PORT_TYPES) || !port_valid(reply) || !reply->active || !destination->active ||
        port_is_reply(reply) || task->policy & (EXCSIM_OF_SIMULATOR | EXCSIM_OPTED_OUT)) {
        return MACH_MSG_SUCCESS;
    }
    /* The name under which the receiver has the port: 1 for the kernel's, but for the task's own. */
    bool own = destination->type == PORT_TASK_CONTROL && destination->kobject == task;
    uint32_t name = own ? WIRE_TASK_SELF_NAME : destination->in_kernel ? 1 : destination->name;
    if (port_is_kobject(destination) && destination->type != PORT_EXCEPTION_REPLY &&
        task_restricted(task, 1)) {
        guard_raise(GUARD_KOBJECT_REPLY_PORT_SEMANTICS, name, 0);
        return MACH_SEND_INVALID_REPLY;
    }
    if (!port_policy(destination)->reply_ports || reply->type == PORT_WEAK_REPLY) {
        return MACH_MSG_SUCCESS;
    }
    bool bootstrap = destination->type == PORT_BOOTSTRAP;
    if (bootstrap && !task_restricted(task, 2)) {
        return MACH_MSG_SUCCESS;
    }
    guard_raise(GUARD_REQUIRE_REPLY_PORT_SEMANTICS, name, bootstrap);
    return MACH_SEND_INVALID_REPLY;
}

static mach_msg_return_t check_destination(const struct task *task, const struct message *message,
                                           uint64_t options) {
    if (!call_matches(message->destination, options)) {
        return invalid_options(task, options);
    }
    mach_msg_return_t failure = check_arrays(task, message, options);
    return failure ? failure : check_reply_port(task, message);
}

/* ---- the body ---- */

static uint32_t descriptor_size(uint32_t type) {
    return type == MACH_MSG_PORT_DESCRIPTOR ? sizeof(mach_msg_port_descriptor_t)
                                            : sizeof(mach_msg_guarded_port_descriptor_t);
}

static uint32_t descriptor_type(const uint8_t *at) {
    return at[offsetof(mach_msg_type_descriptor_t, pad2) + 7]; /* the top byte of the third word */
}

/* How many descriptors there are, and whether they are all there; no name is looked up yet. */
static mach_msg_return_t measure(const uint8_t *bytes, uint32_t size, struct message *message) {
    uint32_t at = sizeof(mach_msg_base_t);
    for (uint32_t index = 0; index < message->descriptor_count; index++) {
        if (size - at < sizeof(mach_msg_port_descriptor_t) || at > size) {
            return MACH_SEND_MSG_TOO_SMALL;
        }
        uint32_t type = descriptor_type(bytes + at);
        if (type > MACH_MSG_DESCRIPTOR_MAX) {
            return MACH_SEND_INVALID_TYPE;
        }
        if (size - at < descriptor_size(type)) {
            return MACH_SEND_MSG_TOO_SMALL;
        }
        message->descriptors[index].type = type;
        message->descriptors[index].offset = at;
        at += descriptor_size(type);
    }
    return MACH_MSG_SUCCESS;
}

static bool guarded_is_valid(const mach_msg_guarded_port_descriptor_t *guarded) {
    return guarded->disposition == MACH_MSG_TYPE_MOVE_RECEIVE && guarded->flags &&
           !(guarded->flags & ~MACH_MSG_GUARD_FLAGS_MASK) &&
           !(guarded->flags & MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND && guarded->context);
}

static bool is_memory(uint32_t type) {
    return type == MACH_MSG_OOL_DESCRIPTOR || type == MACH_MSG_OOL_VOLATILE_DESCRIPTOR;
}

static uint32_t count_ports(uint32_t type, const uint8_t *at) {
    mach_msg_ool_ports_descriptor_t ports;
    if (type != MACH_MSG_OOL_PORTS_DESCRIPTOR) {
        return !is_memory(type);
    }
    memcpy(&ports, at, sizeof ports);
    return ports.count;
}

/* What can be wrong with a descriptor by itself (ipc_kmsg_inflate_descriptors; ipc_kmsg_copyin_body before).
 */
static mach_msg_return_t check_descriptors(const struct message *message) {
    uint64_t ports = 0;
    for (uint32_t index = 0; index < message->descriptor_count; index++) {
        const struct descriptor *descriptor = &message->descriptors[index];
        const uint8_t *at = message->bytes + descriptor->offset;
        if (descriptor->type == MACH_MSG_GUARDED_PORT_DESCRIPTOR) {
            mach_msg_guarded_port_descriptor_t guarded;
            memcpy(&guarded, at, sizeof guarded);
            if (!guarded_is_valid(&guarded)) {
                return MACH_SEND_INVALID_TYPE;
            }
        } else if (is_memory(descriptor->type)) {
            mach_msg_ool_descriptor_t memory;
            memcpy(&memory, at, sizeof memory);
            if (memory.copy != MACH_MSG_PHYSICAL_COPY && memory.copy != MACH_MSG_VIRTUAL_COPY) {
                return MACH_SEND_INVALID_TYPE;
            }
        }
        ports += count_ports(descriptor->type, at);
    }
    /* As many as IPC_KMSG_MAX_OOL_PORT_COUNT, one less before it had that name. */
    uint32_t most = rule(RULE_BODY_FIRST) ? UREFS_MAX / 4 : UREFS_MAX / 4 - 1;
    return ports <= most ? MACH_MSG_SUCCESS : MACH_SEND_TOO_LARGE;
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

/* What the body's descriptors are taken in with. */
struct body {
    struct space *space;
    struct message *message;
    uint64_t options;
    int flags;                  /* of right_copyin */
    bool circular;              /* a receive right would go into its own queue */
    const uint8_t *out_of_line; /* what is left of the sender's arrays and memory */
    uint32_t out_of_line_size;
};

static mach_msg_return_t copyin_name(struct body *body, mach_port_name_t name,
                                     mach_msg_type_name_t disposition, enum copyin_place place,
                                     const struct guarded_send *guarded, struct carried *right) {
    static const uint8_t reasons[] = {
        [COPYIN_PORT_DESCRIPTOR] = MPG_FLAGS_SEND_INVALID_RIGHT_PORT,
        [COPYIN_GUARDED] = MPG_FLAGS_SEND_INVALID_RIGHT_GUARDED,
        [COPYIN_ARRAY] = MPG_FLAGS_SEND_INVALID_RIGHT_OOL_PORT,
    };
    right->kind = right_received_kind(disposition);
    right->port = name == MACH_PORT_DEAD ? PORT_DEAD : NULL;
    if (!MACH_PORT_VALID(name)) {
        return MACH_MSG_SUCCESS;
    }
    struct entry *entry = space_lookup(body->space, name);
    kern_return_t result =
        entry ? right_copyin(entry, disposition, place, COPYIN_DEAD_OK | body->flags, guarded, &right->port)
              : KERN_INVALID_NAME;
    if (result == KERN_INVALID_RIGHT) {
        guard_raise(GUARD_SEND_INVALID_RIGHT, name, guard_reason(reasons[place], 0, disposition));
    }
    if (result != KERN_SUCCESS) {
        right->port = NULL;
        return MACH_SEND_INVALID_RIGHT;
    }
    struct port *destination = body->message->destination;
    if (right->kind == MACH_MSG_TYPE_PORT_RECEIVE && is_circular(right->port, destination)) {
        body->circular = true;
    } else if (right->kind == MACH_MSG_TYPE_PORT_RECEIVE) {
        port_reference(destination);
        right->port->destination = destination;
    }
    return MACH_MSG_SUCCESS;
}

/* The next bytes that the sender has out of line; NULL: there are not as many. */
static const uint8_t *take(struct body *body, uint32_t size) {
    const uint8_t *taken = body->out_of_line;
    if (size > body->out_of_line_size) {
        return NULL;
    }
    body->out_of_line += size;
    body->out_of_line_size -= size;
    body->message->out_of_line += size;
    return taken;
}

static mach_msg_return_t copyin_array(struct body *body, struct descriptor *descriptor) {
    mach_msg_ool_ports_descriptor_t ports;
    memcpy(&ports, body->message->bytes + descriptor->offset, sizeof ports);
    descriptor->right.kind = right_received_kind(ports.disposition);
    /* Of a restricted process arrays carry copies of send rights alone (ipc_kmsg.c of xnu-12377). */
    const struct task *task = body->space->task;
    if (rule(RULE_PORT_TYPES) && task_restricted(task, 2) && ports.disposition != MACH_MSG_TYPE_COPY_SEND) {
        return violates_policy(task, body->options, REASON_DISPOSITION, ports.disposition);
    }
    if (!ports.count) {
        return MACH_MSG_SUCCESS;
    }
    const uint8_t *names = ports.count <= body->out_of_line_size / sizeof(mach_port_name_t)
                               ? take(body, ports.count * (uint32_t)sizeof(mach_port_name_t))
                               : NULL;
    if (!names) {
        return MACH_SEND_INVALID_MEMORY;
    }
    descriptor->array = kernel_alloc(ports.count * sizeof *descriptor->array);
    descriptor->count = ports.count;
    for (uint32_t at = 0; at < ports.count; at++) {
        mach_port_name_t name;
        memcpy(&name, names + at * sizeof name, sizeof name);
        mach_msg_return_t failure =
            copyin_name(body, name, ports.disposition, COPYIN_ARRAY, NULL, &descriptor->array[at]);
        if (failure) {
            message_release_array(descriptor); /* before the header's rights */
            return failure;
        }
    }
    return MACH_MSG_SUCCESS;
}

static mach_msg_return_t copyin_memory(struct body *body, struct descriptor *descriptor) {
    mach_msg_ool_descriptor_t memory;
    memcpy(&memory, body->message->bytes + descriptor->offset, sizeof memory);
    if (!memory.size) {
        return MACH_MSG_SUCCESS;
    }
    const uint8_t *bytes = take(body, memory.size);
    if (!bytes) {
        return MACH_SEND_INVALID_MEMORY;
    }
    descriptor->memory = kernel_alloc(memory.size);
    descriptor->count = memory.size;
    memcpy(descriptor->memory, bytes, memory.size);
    return MACH_MSG_SUCCESS;
}

static mach_msg_return_t copyin_guarded(struct body *body, struct descriptor *descriptor) {
    mach_msg_guarded_port_descriptor_t guarded;
    memcpy(&guarded, body->message->bytes + descriptor->offset, sizeof guarded);
    descriptor->guard = (struct guarded_send){guarded.context, guarded.flags};
    return copyin_name(body, guarded.name, guarded.disposition, COPYIN_GUARDED, &descriptor->guard,
                       &descriptor->right);
}

static mach_msg_return_t copyin_port(struct body *body, struct descriptor *descriptor) {
    mach_msg_port_descriptor_t port;
    memcpy(&port, body->message->bytes + descriptor->offset, sizeof port);
    return copyin_name(body, port.name, port.disposition, COPYIN_PORT_DESCRIPTOR, NULL, &descriptor->right);
}

static mach_msg_return_t copyin_body(struct body *body) {
    struct message *message = body->message;
    mach_msg_return_t failure = MACH_MSG_SUCCESS;
    for (uint32_t at = 0; at < message->descriptor_count && !failure; at++) {
        struct descriptor *descriptor = &message->descriptors[at];
        switch (descriptor->type) {
        case MACH_MSG_PORT_DESCRIPTOR:
            failure = copyin_port(body, descriptor);
            break;
        case MACH_MSG_GUARDED_PORT_DESCRIPTOR:
            failure = copyin_guarded(body, descriptor);
            break;
        case MACH_MSG_OOL_PORTS_DESCRIPTOR:
            failure = copyin_array(body, descriptor);
            break;
        default:
            failure = copyin_memory(body, descriptor);
            break;
        }
    }
    return failure;
}

/* ---- all of it ---- */

static mach_msg_return_t copyin(struct thread *thread, uint64_t options, const mach_msg_header_t *header,
                                struct body *body) {
    struct message *message = body->message;
    mach_msg_return_t measured = measure(message->bytes, message->size, message);
    if (!measured) {
        measured = check_descriptors(message);
    }
    if (measured && rule(RULE_BODY_FIRST)) {
        return measured;
    }
    mach_msg_return_t failure = copyin_header(body->space, header, options, message);
    if (failure) {
        return failure;
    }
    failure = check_destination(thread->task, message, options);
    if (failure || measured) {
        return failure ? failure : measured;
    }
    /* Rights that only go to the kernel, or with a message that is lost, may be immovable. */
    const struct port *destination = message->destination;
    body->flags = !destination->active || destination->in_kernel ? COPYIN_IMMOVABLE_OK : 0;
    return copyin_body(body);
}

mach_msg_return_t message_copyin(struct thread *thread, uint64_t options, const uint8_t *bytes, uint32_t size,
                                 const uint8_t *out_of_line, uint32_t out_of_line_size,
                                 struct message **result) {
    struct task *task = thread->task;
    mach_msg_header_t header;
    uint32_t count = 0;
    *result = NULL;
    memcpy(&header, bytes, sizeof header);
    if (MACH_MSGH_BITS_IS_COMPLEX(header.msgh_bits)) {
        memcpy(&count, bytes + sizeof header, sizeof count);
        if (count > (size - sizeof(mach_msg_base_t)) / sizeof(mach_msg_port_descriptor_t)) {
            return MACH_SEND_MSG_TOO_SMALL;
        }
    }
    if (task->queued_bytes + size + out_of_line_size > QUEUED_BYTES_MAX) {
        return MACH_SEND_NO_BUFFER;
    }
    struct message *message = message_allocate(size, count);
    header.msgh_size = size;
    header.msgh_bits &= MACH_MSGH_BITS_USER;
    memcpy(message->bytes, bytes, size);
    memcpy(message->bytes, &header, sizeof header);
    struct body body = {.space = task->space,
                        .message = message,
                        .options = options,
                        .out_of_line = out_of_line,
                        .out_of_line_size = out_of_line_size};
    mach_msg_return_t failure = copyin(thread, options, &header, &body);
    if (failure) {
        message_destroy(message);
        return failure;
    }
    message->security = (security_token_t){{task->uid, task->gid}};
    message->audit = (audit_token_t){
        {task->uid, task->uid, task->gid, task->uid, task->gid, (unsigned)task->pid, 0, task->pid_version}};
    message->charged = task;
    task_reference(task);
    task->queued_bytes += size + message->out_of_line;
    if (body.circular) { /* it could never be received: swallowed (MACH_MSGH_BITS_CIRCULAR) */
        message_destroy(message);
        return MACH_MSG_SUCCESS;
    }
    *result = message;
    return MACH_MSG_SUCCESS;
}
