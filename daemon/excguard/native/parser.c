/*
 * Each msgh_id has a shape, a compile-time constant, and one function checks a message by its shape: the
 * compiler expands it to what MIG generates for each routine.
 */
#include "parser.h"

#include <stdbool.h>

#include <mach/exception_types.h>
#include <mach/kern_return.h>
#include <mach/message.h>
#include <mach/notify.h>

#include "thread_state.h"
#include "wire.h"

struct shape {
    uint32_t verdict; /* of a well formed message */
    uint32_t behavior;
    uint32_t descriptors;
    uint32_t thread_id_at; /* 0: has none, nor a task identity token */
    uint32_t exception_at; /* codeCnt follows it, then the codes */
    uint32_t min_size;     /* no codes, no state */
    uint32_t max_size;
    bool state; /* flavor, count and words of thread state behind the codes */
};

/* offsetof from the structs that wire.h proves. */
#define SHAPE(type, verdict_, behavior_, descriptors_, thread_id_at_, state_)            \
    ((struct shape){                                                                     \
        .verdict = (verdict_),                                                           \
        .behavior = (behavior_),                                                         \
        .descriptors = (descriptors_),                                                   \
        .thread_id_at = (thread_id_at_),                                                 \
        .exception_at = offsetof(struct type, exception),                                \
        .min_size = offsetof(struct type, code) + ((state_) ? 2 * sizeof(uint32_t) : 0), \
        .max_size = sizeof(struct type),                                                 \
        .state = (state_),                                                               \
    })

static uint32_t check_port_descriptor(const uint8_t *descriptor, uint32_t disposition) {
    if (descriptor[EXCGUARD_DESCRIPTOR_TYPE_AT] != MACH_MSG_PORT_DESCRIPTOR) {
        return EXCGUARD_DESCRIPTOR_TYPE;
    }
    if (descriptor[EXCGUARD_DISPOSITION_AT] != disposition) {
        return EXCGUARD_DESCRIPTOR_DISPOSITION;
    }
    return EXCGUARD_ACCEPTED;
}

/*
 * The checks of a MIG server routine, in its order. `size` bytes are readable and at least a header. Inline,
 * so that `shape` is a constant in each of its uses.
 */
EXCGUARD_INLINE uint32_t check_request(const uint8_t *bytes, uint32_t bits, uint32_t size,
                                       const struct shape shape, struct excguard_message *out) {
    if (((bits & MACH_MSGH_BITS_COMPLEX) != 0) != (shape.descriptors != 0)) {
        return EXCGUARD_COMPLEX_BIT;
    }
    if (size < shape.min_size || size > shape.max_size) {
        return EXCGUARD_SIZE_OUT_OF_RANGE;
    }
    const uint8_t *body = bytes + sizeof(mach_msg_header_t);
    if (shape.descriptors != 0) {
        if (excguard_load32(body) != shape.descriptors) {
            return EXCGUARD_DESCRIPTOR_COUNT;
        }
        const uint8_t *descriptor = body + sizeof(mach_msg_body_t);
        for (uint32_t i = 0; i < shape.descriptors; i++) {
            uint32_t bad = check_port_descriptor(descriptor, MACH_MSG_TYPE_PORT_SEND);
            if (bad != EXCGUARD_ACCEPTED) {
                return bad;
            }
            descriptor += sizeof(mach_msg_port_descriptor_t);
        }
    }
    uint32_t codes = excguard_load32(bytes + shape.exception_at + 4);
    if (codes > EXCGUARD_CODE_MAX) {
        return EXCGUARD_CODE_COUNT;
    }
    uint32_t expected = shape.min_size + 8 * codes;
    const uint8_t *code = bytes + shape.exception_at + 8;
    const uint8_t *state = code + 8 * codes;
    uint32_t state_count = 0;
    if (shape.state) {
        if (size < expected) {
            return EXCGUARD_SIZE_MISMATCH;
        }
        state_count = excguard_load32(state + 4);
        if (state_count > EXCGUARD_STATE_MAX) {
            return EXCGUARD_STATE_COUNT;
        }
        expected += 4 * state_count;
    }
    if (size != expected) {
        return EXCGUARD_SIZE_MISMATCH;
    }

    uint32_t present = 0;
    out->behavior = shape.behavior;
    out->exception = (int32_t)excguard_load32(bytes + shape.exception_at);
    if (__builtin_expect(codes == EXCGUARD_CODE_MAX, 1)) {
        out->code = excguard_load64(code);
        out->subcode = excguard_load64(code + 8);
        present |= EXCGUARD_HAS_CODE | EXCGUARD_HAS_SUBCODE;
    } else if (codes == 1) {
        out->code = excguard_load64(code);
        present |= EXCGUARD_HAS_CODE;
    }
    if (shape.thread_id_at != 0) {
        out->thread_id = excguard_load64(bytes + shape.thread_id_at);
        out->task_token = excguard_load32(body + sizeof(mach_msg_body_t));
        present |= EXCGUARD_HAS_THREAD_ID;
    }
    if (shape.state) {
        struct excguard_registers registers;
        out->state_flavor = excguard_load32(state);
        out->state_count = state_count;
        out->state_offset = (uint32_t)(state + 8 - bytes);
        present |= EXCGUARD_HAS_STATE;
        if (excguard_read_registers(out->state_flavor, state_count, state + 8, &registers)) {
            out->pc = registers.pc;
            out->lr = registers.lr;
            out->sp = registers.sp;
            present |= EXCGUARD_HAS_REGISTERS;
        }
    }
    out->present |= present;
    return shape.verdict;
}

/* Notifications: mach/notify.h, the structs without their trailer. */
static uint32_t check_notification(const uint8_t *bytes, uint32_t bits, uint32_t size, int32_t id,
                                   struct excguard_message *out) {
    bool complex = (bits & MACH_MSGH_BITS_COMPLEX) != 0;
    uint32_t expected = id == MACH_NOTIFY_SEND_ONCE ? offsetof(mach_send_once_notification_t, trailer)
                        : id == MACH_NOTIFY_PORT_DESTROYED
                            ? offsetof(mach_port_destroyed_notification_t, trailer)
                            : offsetof(mach_no_senders_notification_t, trailer);
    if (complex != (id == MACH_NOTIFY_PORT_DESTROYED)) {
        return EXCGUARD_COMPLEX_BIT;
    }
    if (size != expected) {
        return EXCGUARD_SIZE_OUT_OF_RANGE;
    }
    if (id == MACH_NOTIFY_PORT_DESTROYED) {
        if (excguard_load32(bytes + offsetof(mach_port_destroyed_notification_t, not_body)) != 1) {
            return EXCGUARD_DESCRIPTOR_COUNT;
        }
        const uint8_t *descriptor = bytes + offsetof(mach_port_destroyed_notification_t, not_port);
        uint32_t bad = check_port_descriptor(descriptor, MACH_MSG_TYPE_PORT_RECEIVE);
        if (bad != EXCGUARD_ACCEPTED) {
            return bad;
        }
        out->notification_value = excguard_load32(descriptor);
    } else if (id != MACH_NOTIFY_SEND_ONCE) {
        out->notification_value =
            excguard_load32(bytes + offsetof(mach_no_senders_notification_t, not_count));
    }
    return EXCGUARD_NOTIFICATION;
}

static uint32_t check_body(const uint8_t *bytes, uint32_t bits, uint32_t size, int32_t id,
                           struct excguard_message *out) {
    /* The two behaviors that we register come first. */
    if (__builtin_expect(id == EXCGUARD_ID_RAISE_IDENTITY_PROTECTED, 1)) {
        return check_request(
            bytes, bits, size,
            SHAPE(excguard_raise_identity_protected_request, EXCGUARD_ACCEPTED, EXCEPTION_IDENTITY_PROTECTED,
                  1, offsetof(struct excguard_raise_identity_protected_request, thread_id), false),
            out);
    }
    switch (id) {
    case EXCGUARD_ID_RAISE_STATE_IDENTITY_PROTECTED:
        return check_request(
            bytes, bits, size,
            SHAPE(excguard_raise_state_identity_protected_request, EXCGUARD_ACCEPTED,
                  EXCEPTION_STATE_IDENTITY_PROTECTED, 1,
                  offsetof(struct excguard_raise_state_identity_protected_request, thread_id), true),
            out);
    case EXCGUARD_ID_RAISE:
        return check_request(
            bytes, bits, size,
            SHAPE(excguard_raise_request, EXCGUARD_INSECURE_BEHAVIOR, EXCEPTION_DEFAULT, 2, 0, false), out);
    case EXCGUARD_ID_RAISE_STATE:
        return check_request(
            bytes, bits, size,
            SHAPE(excguard_raise_state_request, EXCGUARD_INSECURE_BEHAVIOR, EXCEPTION_STATE, 0, 0, true),
            out);
    case EXCGUARD_ID_RAISE_STATE_IDENTITY:
        return check_request(bytes, bits, size,
                             SHAPE(excguard_raise_state_identity_request, EXCGUARD_INSECURE_BEHAVIOR,
                                   EXCEPTION_STATE_IDENTITY, 2, 0, true),
                             out);
    case EXCGUARD_ID_RAISE_BACKTRACE:
        return check_request(
            bytes, bits, size,
            SHAPE(excguard_raise_backtrace_request, EXCGUARD_UNREGISTERED_BEHAVIOR, 0, 1, 0, false), out);
    case MACH_NOTIFY_PORT_DELETED:
    case MACH_NOTIFY_SEND_POSSIBLE:
    case MACH_NOTIFY_PORT_DESTROYED:
    case MACH_NOTIFY_NO_SENDERS:
    case MACH_NOTIFY_SEND_ONCE:
    case MACH_NOTIFY_DEAD_NAME:
        return check_notification(bytes, bits, size, id, out);
    default:
        return EXCGUARD_UNKNOWN_ID;
    }
}

/* The sizes that REQUESTED_TRAILER_SIZE (mach/message.h) can give. */
static bool is_trailer_size(uint32_t size) {
    return size == sizeof(mach_msg_trailer_t) || size == sizeof(mach_msg_seqno_trailer_t) ||
           size == sizeof(mach_msg_security_trailer_t) || size == sizeof(mach_msg_audit_trailer_t) ||
           size == sizeof(mach_msg_context_trailer_t) || size == sizeof(mach_msg_mac_trailer_t);
}

/* audit_token_t: auid, euid, egid, ruid, rgid, pid, asid, pidversion (bsm/libbsm.h, audit_token_to_pid). */
#define AUDIT_PID_AT (5 * sizeof(uint32_t))

/*
 * Looks behind the message; ACCEPTED when what is there is right. Fills trailer_offset, trailer_size and the
 * sender.
 */
static uint32_t check_trailer(const uint8_t *bytes, size_t capacity, uint32_t flags, uint32_t size,
                              struct excguard_message *out) {
    size_t at = ((size_t)size + 3) & ~(size_t)3; /* round_msg (mach/message.h) */
    size_t room = capacity > at ? capacity - at : 0;
    if (room < sizeof(mach_msg_trailer_t)) {
        bool none = (flags & EXCGUARD_PARSE_OFFLINE) != 0 && room == 0;
        return none ? EXCGUARD_ACCEPTED : EXCGUARD_MISSING_TRAILER;
    }
    const uint8_t *trailer = bytes + at;
    uint32_t trailer_size = excguard_load32(trailer + offsetof(mach_msg_trailer_t, msgh_trailer_size));
    if (excguard_load32(trailer) != MACH_MSG_TRAILER_FORMAT_0 ||
        (__builtin_expect(trailer_size != sizeof(mach_msg_audit_trailer_t), 0) &&
         !is_trailer_size(trailer_size))) {
        return EXCGUARD_FOREIGN_TRAILER;
    }
    if (trailer_size > room) {
        return EXCGUARD_MISSING_TRAILER;
    }
    out->trailer_offset = (uint32_t)at;
    out->trailer_size = trailer_size;
    if (trailer_size >= sizeof(mach_msg_audit_trailer_t)) {
        const uint8_t *token = trailer + offsetof(mach_msg_audit_trailer_t, msgh_audit);
        uint64_t any = excguard_load64(token) | excguard_load64(token + 8) | excguard_load64(token + 16) |
                       excguard_load64(token + 24);
        out->sender = any == 0 ? EXCGUARD_SENDER_KERNEL : EXCGUARD_SENDER_USER;
        out->sender_pid = excguard_load32(token + AUDIT_PID_AT);
        out->present |= EXCGUARD_HAS_AUDIT;
    }
    if ((flags & EXCGUARD_PARSE_OFFLINE) != 0 && room != trailer_size) {
        return EXCGUARD_TRAILING_BYTES;
    }
    return EXCGUARD_ACCEPTED;
}

uint32_t excguard_parse(const void *buffer, size_t capacity, uint32_t flags, struct excguard_message *out) {
    const uint8_t *bytes = buffer;
    *out = (struct excguard_message){0};
    if (capacity < sizeof(mach_msg_header_t)) {
        return out->verdict = EXCGUARD_TOO_SHORT;
    }
    uint32_t bits = out->msgh_bits = excguard_load32(bytes + offsetof(mach_msg_header_t, msgh_bits));
    uint32_t size = out->msgh_size = excguard_load32(bytes + offsetof(mach_msg_header_t, msgh_size));
    int32_t id = out->msgh_id = (int32_t)excguard_load32(bytes + offsetof(mach_msg_header_t, msgh_id));
    out->reply_port = excguard_load32(bytes + offsetof(mach_msg_header_t, msgh_remote_port));
    out->local_port = excguard_load32(bytes + offsetof(mach_msg_header_t, msgh_local_port));
    if (size < sizeof(mach_msg_header_t)) {
        return out->verdict = EXCGUARD_TOO_SHORT;
    }
    if (size > capacity) {
        return out->verdict = EXCGUARD_TRUNCATED;
    }
    uint32_t behind = check_trailer(bytes, capacity, flags, size, out);
    uint32_t body = check_body(bytes, bits, size, id, out);
    /*
     * A message malformed in itself is that first of all; a well formed one without its trailer is malformed,
     * too.
     */
    bool well_formed = body <= EXCGUARD_UNREGISTERED_BEHAVIOR;
    return out->verdict = well_formed && behind != EXCGUARD_ACCEPTED ? behind : body;
}

int32_t excguard_build_reply(const struct excguard_message *message, int32_t ret_code,
                             uint8_t reply[EXCGUARD_REPLY_SIZE]) {
    if (ret_code == KERN_SUCCESS && message->behavior != EXCEPTION_IDENTITY_PROTECTED) {
        ret_code = KERN_FAILURE;
    }
    /* The right that came as the reply port goes back as the destination (a send-once right is moved). */
    const struct excguard_reply made = {
        .Head = {.msgh_bits = message->msgh_bits & MACH_MSGH_BITS_REMOTE_MASK,
                 .msgh_size = EXCGUARD_REPLY_SIZE,
                 .msgh_remote_port = message->reply_port,
                 .msgh_id = (int32_t)((uint32_t)message->msgh_id + EXCGUARD_REPLY_ID_OFFSET)},
        .NDR = {.int_rep = NDR_INT_LITTLE_ENDIAN},
        .RetCode = ret_code,
    };
    static_assert(sizeof made == EXCGUARD_REPLY_SIZE, "a reply without state");
    memcpy(reply, &made, sizeof made);
    return ret_code;
}

const char *excguard_verdict_name(uint32_t verdict) {
    static const char *const names[EXCGUARD_VERDICT_COUNT] = {
        [EXCGUARD_ACCEPTED] = "accepted",
        [EXCGUARD_NOTIFICATION] = "notification",
        [EXCGUARD_INSECURE_BEHAVIOR] = "insecure_behavior",
        [EXCGUARD_UNREGISTERED_BEHAVIOR] = "unregistered_behavior",
        [EXCGUARD_TOO_SHORT] = "too_short",
        [EXCGUARD_TRUNCATED] = "truncated",
        [EXCGUARD_UNKNOWN_ID] = "unknown_id",
        [EXCGUARD_COMPLEX_BIT] = "complex_bit",
        [EXCGUARD_DESCRIPTOR_COUNT] = "descriptor_count",
        [EXCGUARD_SIZE_OUT_OF_RANGE] = "size_out_of_range",
        [EXCGUARD_DESCRIPTOR_TYPE] = "descriptor_type",
        [EXCGUARD_DESCRIPTOR_DISPOSITION] = "descriptor_disposition",
        [EXCGUARD_CODE_COUNT] = "code_count",
        [EXCGUARD_SIZE_MISMATCH] = "size_mismatch",
        [EXCGUARD_STATE_COUNT] = "state_count",
        [EXCGUARD_MISSING_TRAILER] = "missing_trailer",
        [EXCGUARD_FOREIGN_TRAILER] = "foreign_trailer",
        [EXCGUARD_TRAILING_BYTES] = "trailing_bytes",
        [EXCGUARD_SENDER_NOT_KERNEL] = "sender_not_kernel",
        [EXCGUARD_UNKNOWN_PORT] = "unknown_port",
        [EXCGUARD_NOT_GUARD] = "not_guard",
        [EXCGUARD_TOO_LARGE] = "too_large",
        [EXCGUARD_UNEXPECTED_NOTIFICATION] = "unexpected_notification",
    };
    return verdict < EXCGUARD_VERDICT_COUNT ? names[verdict] : "invalid";
}

const char *excguard_sender_name(uint32_t sender) {
    switch (sender) {
    case EXCGUARD_SENDER_KERNEL:
        return "kernel";
    case EXCGUARD_SENDER_USER:
        return "user";
    default:
        return "unknown";
    }
}
