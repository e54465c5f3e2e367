/*
 * Checks one received Mach message: is it an exception message that MIG's server stub would take, of a
 * behavior that we register, whole, with the trailer that the kernel appends?
 *
 * Pure functions over bytes: no Mach call, no allocation, no state. Bytes may lie at any alignment, be any
 * number and hold anything; nothing outside them is ever read.
 *
 * The rules are those of the stub that Apple's MIG makes of osfmk/mach/mach_exc.defs (xnu-11417.121.6):
 * complex bit, descriptor count, size, descriptor type and disposition, codeCnt, exact size, old_stateCnt.
 * Two rules are ours, because the stub trusts msgh_size: the message must not be longer than what was
 * received, and a trailer of the kernel's must follow it.
 *
 * Who sent the message is a separate question (`sender`): it is read from the trailer of every message
 * that is whole enough to have one, whatever the verdict.
 */
#ifndef EXCGUARD_PARSER_H
#define EXCGUARD_PARSER_H

#include <stddef.h>
#include <stdint.h>

/*
 * What became of a received message: the verdicts of the parser, then the reasons for which the receiver
 * alone refuses. One numbering, because the journal counts all of them in one array and the names are the
 * `reason` label of excguard_messages_rejected_total. Append only: the journal stores the numbers.
 */
enum excguard_verdict {
    EXCGUARD_ACCEPTED = 0,
    EXCGUARD_NOTIFICATION = 1,          /* a well formed Mach notification (mach/notify.h) */
    EXCGUARD_INSECURE_BEHAVIOR = 2,     /* well formed, but 2405, 2406 or 2407 */
    EXCGUARD_UNREGISTERED_BEHAVIOR = 3, /* well formed 2409 (backtrace): harmless, and not registered */
    EXCGUARD_TOO_SHORT = 4,             /* fewer bytes than a message header, or msgh_size says so */
    EXCGUARD_TRUNCATED = 5,             /* msgh_size is more than was received */
    EXCGUARD_UNKNOWN_ID = 6,
    EXCGUARD_COMPLEX_BIT = 7, /* set where it must be clear, or the reverse */
    EXCGUARD_DESCRIPTOR_COUNT = 8,
    EXCGUARD_SIZE_OUT_OF_RANGE = 9, /* below the least or above the greatest size of this msgh_id */
    EXCGUARD_DESCRIPTOR_TYPE = 10,
    EXCGUARD_DESCRIPTOR_DISPOSITION = 11,
    EXCGUARD_CODE_COUNT = 12,      /* more than EXCEPTION_CODE_MAX (2) codes */
    EXCGUARD_SIZE_MISMATCH = 13,   /* the size is not what the counts make it */
    EXCGUARD_STATE_COUNT = 14,     /* more than THREAD_STATE_MAX (1296) words of state */
    EXCGUARD_MISSING_TRAILER = 15, /* too few bytes behind the message for any trailer */
    EXCGUARD_FOREIGN_TRAILER = 16, /* of a type or size that no kernel appends */
    EXCGUARD_TRAILING_BYTES = 17,  /* offline only: bytes behind the trailer */
    /* Below: never returned by the parser. */
    EXCGUARD_SENDER_NOT_KERNEL = 18,
    EXCGUARD_UNKNOWN_PORT = 19, /* on a port of the set that is not an exception port of a target */
    EXCGUARD_NOT_GUARD = 20,    /* an exception other than EXC_GUARD */
    EXCGUARD_TOO_LARGE = 21,    /* discarded by the kernel: larger than any exception message */
    EXCGUARD_UNEXPECTED_NOTIFICATION = 22, /* from the kernel, but not requested */
    EXCGUARD_VERDICT_COUNT = 23,
};

enum excguard_sender {
    EXCGUARD_SENDER_UNKNOWN = 0, /* no audit trailer */
    EXCGUARD_SENDER_KERNEL = 1,  /* all-zero audit token (KERNEL_AUDIT_TOKEN_VALUE, mach/message.h) */
    EXCGUARD_SENDER_USER = 2,
};

/*
 * The bytes come from a file or a terminal, not from mach_msg: `capacity` is their exact number, so nothing
 * may follow the trailer, and the trailer may be absent. Without this flag `capacity` is the size of the
 * receive buffer.
 */
#define EXCGUARD_PARSE_OFFLINE 1u

/* Bits of excguard_message.present. */
#define EXCGUARD_HAS_THREAD_ID 1u
#define EXCGUARD_HAS_CODE 2u       /* codeCnt >= 1 */
#define EXCGUARD_HAS_SUBCODE 4u    /* codeCnt == 2 */
#define EXCGUARD_HAS_STATE 8u      /* state_flavor, state_count, state_offset */
#define EXCGUARD_HAS_REGISTERS 16u /* pc and sp (and lr on arm) of a thread state we know */
#define EXCGUARD_HAS_AUDIT 32u     /* sender_pid */

/* The fields that the verdict leaves without meaning are zero. */
struct excguard_message {
    uint32_t verdict; /* enum excguard_verdict */
    uint32_t sender;  /* enum excguard_sender */
    uint32_t present; /* EXCGUARD_HAS_... */
    int32_t msgh_id;
    uint32_t msgh_bits;
    uint32_t msgh_size;
    uint32_t reply_port; /* msgh_remote_port: send-once right to the waiting thread's reply port */
    uint32_t local_port; /* msgh_local_port: the port it arrived on */
    uint32_t
        behavior; /* EXCEPTION_DEFAULT (1) to EXCEPTION_STATE_IDENTITY_PROTECTED (5); 0 for 2409 and others */
    int32_t exception; /* exception_type_t: EXC_GUARD is 12 */
    uint64_t code;     /* code[0] */
    uint64_t subcode;  /* code[1] */
    uint64_t thread_id;
    uint32_t task_token; /* task identity token (2408, 2410): a send right that the receiver must release */
    uint32_t state_flavor;
    uint32_t state_count;  /* 32-bit words */
    uint32_t state_offset; /* from the first byte of the message */
    /* As the message has them: on arm64e pc and lr may carry pointer authentication bits. */
    uint64_t pc;
    uint64_t lr;
    uint64_t sp;
    uint32_t notification_value; /* port name, or msgh_count of no-senders */
    uint32_t trailer_offset;     /* 0: no trailer */
    uint32_t trailer_size;
    uint32_t sender_pid; /* from the audit token */
};

/*
 * Checks the message at `buffer`. `capacity` bytes may be read. `flags`: 0 or EXCGUARD_PARSE_OFFLINE.
 * Fills all of *out; returns out->verdict.
 */
uint32_t excguard_parse(const void *buffer, size_t capacity, uint32_t flags, struct excguard_message *out);

/*
 * "accepted", "insecure_behavior", "sender_not_kernel" ...; static. "invalid" for a number that is not a
 * verdict.
 */
const char *excguard_verdict_name(uint32_t verdict);

/* "unknown", "kernel" or "user". */
const char *excguard_sender_name(uint32_t sender);

/* The 36 bytes of a reply without thread state (mig_reply_error_t). */
#define EXCGUARD_REPLY_SIZE 36u

/*
 * Writes the reply to `message` that MIG's server stub would send when its handler returns `ret_code`.
 * KERN_SUCCESS goes out to EXCEPTION_IDENTITY_PROTECTED alone, and becomes KERN_FAILURE for everything else:
 * to a state behavior it would have to bring the state, which the kernel would write back to the thread.
 * Returns the RetCode that the reply bears. The message must have had a whole header (verdict other than
 * TOO_SHORT).
 */
int32_t excguard_build_reply(const struct excguard_message *message, int32_t ret_code,
                             uint8_t reply[EXCGUARD_REPLY_SIZE]);

#endif
