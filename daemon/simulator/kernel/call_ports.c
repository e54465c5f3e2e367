/* What a receive right's holder sees and sets of its port: attributes, contexts, guards
 * (osfmk/ipc/mach_port.c). */
#include <string.h>

#include "call.h"

static void get_status(const struct port *port, mach_port_status_t *status) {
    *status = (mach_port_status_t){
        .mps_pset = !list_empty(&port->members),
        .mps_seqno = port->seqno,
        .mps_mscount = port->mscount,
        .mps_qlimit = port->qlimit,
        .mps_msgcount = port->msgcount,
        .mps_sorights = port->sorights,
        .mps_srights = port->srights > 0,
        .mps_pdrequest = port->pdrequest != NULL,
        .mps_nsrequest = port->nsrequest != NULL,
    };
    if (port->importance) {
        status->mps_flags |= MACH_PORT_STATUS_FLAG_IMP_DONATION;
        status->mps_flags |= port->tempowner ? MACH_PORT_STATUS_FLAG_TEMPOWNER : 0;
    }
    if (port->guarded) {
        status->mps_flags |= MACH_PORT_STATUS_FLAG_GUARDED;
        if (port->strict_guard) {
            status->mps_flags |= MACH_PORT_STATUS_FLAG_STRICT_GUARD;
        }
        if (port_stays(port)) {
            status->mps_flags |= MACH_PORT_STATUS_FLAG_GUARD_IMMOVABLE_RECEIVE;
        }
    }
}

union attributes {
    mach_port_limits_t limits;
    mach_port_status_t status;
    mach_port_info_ext_t extended;
    uint32_t word;
};

/* How many words an attribute has; 0: no port has it. */
static uint32_t attribute_words(uint32_t flavor) {
    switch (flavor) {
    case MACH_PORT_LIMITS_INFO:
        return MACH_PORT_LIMITS_INFO_COUNT;
    case MACH_PORT_RECEIVE_STATUS:
        return MACH_PORT_RECEIVE_STATUS_COUNT;
    case MACH_PORT_DNREQUESTS_SIZE:
        return MACH_PORT_DNREQUESTS_SIZE_COUNT;
    case MACH_PORT_INFO_EXT:
        return MACH_PORT_INFO_EXT_COUNT;
    default:
        return 0;
    }
}

static bool is_throttle(uint32_t flavor) {
    return flavor == MACH_PORT_SERVICE_THROTTLED && rule(RULE_THROTTLED);
}

kern_return_t call_port_get_attributes(struct thread *thread, const struct wire_request *request,
                                       const uint8_t *payload) {
    (void)payload;
    uint32_t flavor = word(request, 2), needed = attribute_words(flavor);
    union attributes info;
    struct port *port;
    memset(&info, 0, sizeof info);
    if (!needed && !is_throttle(flavor)) {
        return KERN_INVALID_ARGUMENT;
    }
    if (word(request, 3) < needed) {
        return KERN_FAILURE;
    }
    if (!MACH_PORT_VALID(word(request, 1)) && flavor == MACH_PORT_LIMITS_INFO) {
        return KERN_SUCCESS; /* and gives nothing */
    }
    if (!MACH_PORT_VALID(word(request, 1)) && flavor == MACH_PORT_DNREQUESTS_SIZE) {
        /* As many zeros as asked for, up to what MIG has room for: mach_port_info_t is array[*:17]. */
        uint32_t count = word(request, 3), room = sizeof info / sizeof(natural_t);
        thread_payload(thread, &info, (count < room ? count : room) * sizeof(natural_t));
        return KERN_SUCCESS;
    }
    kern_return_t result = find_receive(request, &port);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (is_throttle(flavor)) {
        if (!port_is_any_service_type(port->type)) {
            return KERN_INVALID_CAPABILITY;
        }
        info.word = port->throttled;
        needed = 1;
    } else if (flavor == MACH_PORT_LIMITS_INFO) {
        info.limits.mpl_qlimit = port->qlimit;
    } else if (flavor == MACH_PORT_DNREQUESTS_SIZE) {
        info.word = port->requests_size;
    } else {
        get_status(port, &info.status); /* mpie_status is at the start of the extended one */
    }
    thread_payload(thread, &info, needed * sizeof(natural_t));
    return KERN_SUCCESS;
}

kern_return_t call_port_set_attributes(struct thread *thread, const struct wire_request *request,
                                       const uint8_t *payload) {
    (void)thread;
    struct port *port;
    uint32_t flavor = word(request, 2), value = 0;
    bool valued = flavor == MACH_PORT_LIMITS_INFO || flavor == MACH_PORT_DNREQUESTS_SIZE;
    bool importance = flavor == MACH_PORT_TEMPOWNER || flavor == MACH_PORT_IMPORTANCE_RECEIVER ||
                      flavor == MACH_PORT_DENAP_RECEIVER;
    if (!valued && !importance && !is_throttle(flavor)) {
        return KERN_INVALID_ARGUMENT;
    }
    if (valued && request->size < sizeof value) {
        return KERN_FAILURE;
    }
    memcpy(&value, payload, request->size < sizeof value ? request->size : sizeof value);
    if (flavor == MACH_PORT_LIMITS_INFO && value > MACH_PORT_QLIMIT_MAX) {
        return KERN_INVALID_VALUE;
    }
    kern_return_t result = find_receive(request, &port);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (importance) {
        if (port->special_reply) {
            return KERN_INVALID_ARGUMENT;
        }
        port->importance = true;
        port->tempowner |= flavor == MACH_PORT_TEMPOWNER;
    } else if (is_throttle(flavor)) {
        if (!port_is_any_service_type(port->type)) {
            return KERN_INVALID_CAPABILITY;
        }
        port->throttled = value;
    } else if (flavor == MACH_PORT_LIMITS_INFO) {
        port->qlimit = value;
        message_queue_moved(port);
    } else if (!rule(RULE_REQUESTS_BY_SIZE_CLASS)) { /* since then it does nothing */
        return port_grow_requests(port, value) ? KERN_SUCCESS : KERN_NO_SPACE;
    }
    return KERN_SUCCESS;
}

kern_return_t call_port_get_srights(struct thread *thread, const struct wire_request *request,
                                    const uint8_t *payload) {
    (void)payload;
    struct space *space;
    struct port *port;
    kern_return_t result = find_space(request, &space);
    if (result == KERN_SUCCESS) {
        result = right_translate_receive(space, word(request, 1), &port); /* NULL and DEAD are no names */
    }
    if (result == KERN_SUCCESS) {
        thread->reply.value[0] = port->srights;
    }
    return result;
}

kern_return_t call_port_set_mscount(struct thread *thread, const struct wire_request *request,
                                    const uint8_t *payload) {
    (void)thread, (void)payload;
    struct port *port;
    kern_return_t result = find_receive(request, &port);
    if (result == KERN_SUCCESS) {
        port->mscount = word(request, 2);
    }
    return result;
}

kern_return_t call_port_get_context(struct thread *thread, const struct wire_request *request,
                                    const uint8_t *payload) {
    (void)payload;
    struct port *port;
    kern_return_t result = find_receive(request, &port);
    if (result == KERN_SUCCESS) {
        thread->reply.value[0] = port->strict_guard ? 0 : port->context;
    }
    return result;
}

kern_return_t call_port_set_context(struct thread *thread, const struct wire_request *request,
                                    const uint8_t *payload) {
    (void)thread, (void)payload;
    struct port *port;
    kern_return_t result = find_receive(request, &port);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (port->strict_guard) {
        guard_raise(GUARD_SET_CONTEXT, word(request, 1), port->context);
        return KERN_INVALID_ARGUMENT;
    }
    port->context = request->arg[2];
    return KERN_SUCCESS;
}

/*
 * As find_receive, for the calls about guards: these blame the caller for a name or right that is not there.
 */
static kern_return_t find_guardable(const struct wire_request *request, struct port **port) {
    if (!MACH_PORT_VALID(word(request, 1))) {
        return KERN_INVALID_NAME;
    }
    kern_return_t result = find_receive(request, port);
    if (result == KERN_INVALID_NAME) {
        guard_raise(GUARD_INVALID_NAME, word(request, 1), 0);
    } else if (result == KERN_INVALID_RIGHT) {
        guard_raise(GUARD_INVALID_RIGHT, word(request, 1),
                    rule(RULE_REASONS) ? MPG_FLAGS_INVALID_RIGHT_RECV : 0);
    }
    return result;
}

/* ---- messages that wait ---- */

/* The size of a message as the kernel has it: its header and its descriptors hold pointers. */
static uint32_t kernel_size(const struct message *message) {
    enum { KERNEL_HEADER = 32 };
    uint32_t size = message->size + KERNEL_HEADER - (uint32_t)sizeof(mach_msg_header_t);
    for (uint32_t at = 0; at < message->descriptor_count; at++) {
        if (message->descriptors[at].type == MACH_MSG_PORT_DESCRIPTOR) {
            size += sizeof(mach_msg_guarded_port_descriptor_t) - sizeof(mach_msg_port_descriptor_t);
        }
    }
    return size;
}

kern_return_t call_port_peek(struct thread *thread, const struct wire_request *request,
                             const uint8_t *payload) {
    (void)payload;
    uint32_t trailer_type = word(request, 2), seqno = word(request, 3), room = word(request, 4);
    uint32_t elements = GET_RCV_ELEMENTS(trailer_type), needed = REQUESTED_TRAILER_SIZE(trailer_type);
    struct port *port;
    if (!MACH_PORT_VALID(word(request, 1))) {
        return KERN_INVALID_RIGHT;
    }
    /* Nothing greater than the audit trailer: the context is a secret. */
    if (elements > MACH_RCV_TRAILER_AUDIT || needed > room) {
        /* Of the trailer's type the low 24 bits fit: its elements are above. */
        guard_raise(GUARD_INVALID_VALUE, word(request, 1),
                    guard_reason(MPG_FLAGS_INVALID_VALUE_PEEK, trailer_type, room));
        return KERN_INVALID_VALUE;
    }
    kern_return_t result = find_guardable(request, &port);
    if (result != KERN_SUCCESS) {
        return result;
    }
    const struct message *message = message_at(port, seqno);
    if (!message) {
        return KERN_FAILURE;
    }
    mach_msg_header_t header;
    memcpy(&header, message->bytes, sizeof header);
    uint32_t head[2] = {seqno ? seqno : port->seqno, kernel_size(message)};
    uint8_t trailer[sizeof(mach_msg_max_trailer_t)];
    receive_write_trailer(trailer, trailer_type, message, head[0], 0);
    thread_payload(thread, head, sizeof head);
    thread_payload(thread, trailer, needed);
    thread->reply.value[0] = (uint32_t)header.msgh_id;
    return KERN_SUCCESS;
}

/* ---- guards ---- */

/* mach_port_assert_attributes(): the guard is strict and this one, or the process ends. */
kern_return_t call_port_assert(struct thread *thread, const struct wire_request *request,
                               const uint8_t *payload) {
    (void)thread;
    mach_port_guard_info_t expected;
    struct port *port;
    if (word(request, 2) != MACH_PORT_GUARD_INFO || !rule(RULE_GUARDS_ARE_ASSERTED)) {
        return KERN_INVALID_ARGUMENT;
    }
    if (request->size < sizeof expected) {
        return KERN_FAILURE;
    }
    memcpy(&expected, payload, sizeof expected);
    kern_return_t result = find_receive(request, &port);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (!port->guarded) {
        guard_raise(GUARD_UNGUARDED, word(request, 1), 0);
        return KERN_INVALID_ARGUMENT;
    }
    if (!port->strict_guard || port->context != expected.mpgi_guard) {
        guard_raise(GUARD_INCORRECT_GUARD, word(request, 1), port->context);
        return KERN_INVALID_ARGUMENT;
    }
    return KERN_SUCCESS;
}

kern_return_t call_port_guard(struct thread *thread, const struct wire_request *request,
                              const uint8_t *payload) {
    (void)thread, (void)payload;
    uint64_t flags = request->arg[3];
    struct port *port;
    kern_return_t result = find_guardable(request, &port);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (port->context) {
        guard_raise(GUARD_INVALID_ARGUMENT, word(request, 1),
                    rule(RULE_CONTEXT_IN_PAYLOAD) ? port->context : 0);
        return KERN_INVALID_ARGUMENT;
    }
    port->context = request->arg[2];
    port->guarded = true;
    port->strict_guard = flags & MPG_STRICT;
    if (flags & MPG_IMMOVABLE_RECEIVE) {
        port->immovable = true;
    }
    return KERN_SUCCESS;
}

kern_return_t call_port_unguard(struct thread *thread, const struct wire_request *request,
                                const uint8_t *payload) {
    (void)thread, (void)payload;
    struct port *port;
    kern_return_t result = find_guardable(request, &port);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (!port->guarded) {
        guard_raise(GUARD_UNGUARDED, word(request, 1), 0);
        return KERN_INVALID_ARGUMENT;
    }
    if (port->context != request->arg[2]) {
        guard_raise(GUARD_INCORRECT_GUARD, word(request, 1), port->context);
        return KERN_INVALID_ARGUMENT;
    }
    port->context = 0;
    port->guarded = port->strict_guard = false;
    return KERN_SUCCESS;
}

kern_return_t call_port_swap_guard(struct thread *thread, const struct wire_request *request,
                                   const uint8_t *payload) {
    (void)thread, (void)payload;
    struct port *port;
    kern_return_t result = find_guardable(request, &port);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (!port->guarded) {
        guard_raise(GUARD_UNGUARDED, word(request, 1), 0);
    } else if (port->strict_guard) {
        guard_raise(GUARD_SET_CONTEXT, word(request, 1), port->context);
    } else if (port->context != request->arg[2]) {
        guard_raise(GUARD_INCORRECT_GUARD, word(request, 1), port->context);
    } else {
        port->context = request->arg[3];
        return KERN_SUCCESS;
    }
    return KERN_INVALID_ARGUMENT;
}

/* mach_port_get_service_port_info() */
kern_return_t call_port_get_service_info(struct thread *thread, const struct wire_request *request,
                                         const uint8_t *payload) {
    (void)payload;
    struct space *space;
    struct port *port;
    if (!rule(RULE_SERVICE_PORTS)) {
        return MIG_BAD_ID;
    }
    kern_return_t result = find_readable_space(request, &space);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (!MACH_PORT_VALID(word(request, 1))) {
        return KERN_INVALID_RIGHT;
    }
    result = right_translate_receive(space, word(request, 1), &port);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (!port->service) {
        return KERN_INVALID_CAPABILITY;
    }
    thread_payload(thread, port->service, sizeof *port->service);
    return KERN_SUCCESS;
}

/*
 * mach_port_is_connection_for_service(): a service without a label of a sandbox, as all are here, has no
 * filter, whatever the connection is.
 */
kern_return_t call_port_is_connection(struct thread *thread, const struct wire_request *request,
                                      const uint8_t *payload) {
    (void)thread, (void)payload;
    struct space *space;
    struct port *service;
    if (!rule(RULE_SERVICE_PORTS)) {
        return MIG_BAD_ID;
    }
    kern_return_t result = find_space(request, &space);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (!MACH_PORT_VALID(word(request, 1)) || !MACH_PORT_VALID(word(request, 2))) {
        return KERN_INVALID_NAME;
    }
    result = right_translate_receive(space, word(request, 2), &service);
    if (result != KERN_SUCCESS) {
        return result;
    }
    return service->service ? KERN_SUCCESS : KERN_INVALID_CAPABILITY;
}
