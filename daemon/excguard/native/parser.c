#include "parser.h"

#include <mach/kern_return.h>

#include "parser_inline.h"

static_assert(EXCGUARD_REPLY_SIZE == sizeof(struct excguard_reply), "a reply without state");

uint32_t excguard_parse(const void *buffer, size_t capacity, uint32_t flags, struct excguard_message *out)
{
    return excguard_parse_inline(buffer, capacity, flags, out);
}

int32_t excguard_build_reply(const struct excguard_message *message, int32_t ret_code,
                             uint8_t reply[EXCGUARD_REPLY_SIZE])
{
    if (ret_code == KERN_SUCCESS && message->behavior != EXCEPTION_IDENTITY_PROTECTED) {
        ret_code = KERN_FAILURE;
    }
    uint8_t header[16];
    excguard_store32(header + offsetof(mach_msg_header_t, msgh_bits), message->msgh_bits);
    excguard_store32(header + offsetof(mach_msg_header_t, msgh_size), message->msgh_size);
    excguard_store32(header + offsetof(mach_msg_header_t, msgh_remote_port), message->reply_port);
    excguard_store32(header + offsetof(mach_msg_header_t, msgh_local_port), message->local_port);
    excguard_write_reply(header, message->msgh_id, ret_code, reply);
    return ret_code;
}

const char *excguard_verdict_name(uint32_t verdict)
{
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

const char *excguard_sender_name(uint32_t sender)
{
    switch (sender) {
    case EXCGUARD_SENDER_KERNEL:
        return "kernel";
    case EXCGUARD_SENDER_USER:
        return "user";
    default:
        return "unknown";
    }
}
