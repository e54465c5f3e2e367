/*
 * The forms in which a kernel sends EXC_GUARD to a handler of ours, recognized by comparing whole words.
 *
 * The parser takes a message field by field, and could say this of it as well: accepted, from the kernel,
 * EXC_GUARD. But nearly every message that ever arrives has one of these five forms, and one branch for all
 * of a form's words together takes a quarter of the time. Only what is equal in every bit that MIG, the
 * parser and the receiver look at is recognized; all else goes to the parser.
 * tests/native/message_properties.h compares the two.
 */
#ifndef EXCGUARD_KERNEL_FORMS_H
#define EXCGUARD_KERNEL_FORMS_H

#include <mach/exception_types.h>
#include <mach/message.h>

#include "thread_state.h"
#include "wire.h"

#define EXCGUARD_PROTECTED(field) offsetof(struct excguard_raise_state_identity_protected_request, field)
static_assert(EXCGUARD_PROTECTED(code) == offsetof(struct excguard_raise_identity_protected_request, code),
              "up to the codes both protected requests are alike");

/* Two 32-bit fields, one behind the other, as one number. */
#define EXCGUARD_PAIR(first, second) ((uint64_t)(first) | (uint64_t)(second) << 32)

/* Complex, to a send-once right, on a receive right, without a voucher. */
#define EXCGUARD_KERNEL_BITS \
    (MACH_MSGH_BITS(MACH_MSG_TYPE_PORT_SEND_ONCE, MACH_MSG_TYPE_PORT_SEND) | MACH_MSGH_BITS_COMPLEX)

/* A request of `id`, `size` bytes long, two codes, with the kernel's audit trailer behind it. */
EXCGUARD_INLINE bool excguard_is_kernel_guard(const uint8_t *bytes, uint32_t size, int32_t id) {
    const uint8_t *descriptor = bytes + EXCGUARD_PROTECTED(task_id_token_t);
    const uint8_t *token = bytes + size + offsetof(mach_msg_audit_trailer_t, msgh_audit);
    return excguard_load64(bytes + offsetof(mach_msg_header_t, msgh_bits)) ==
               EXCGUARD_PAIR(EXCGUARD_KERNEL_BITS, size) &&
           excguard_load64(bytes + offsetof(mach_msg_header_t, msgh_id)) ==
               EXCGUARD_PAIR(id, 1) && /* descriptors */
           excguard_load16(descriptor + EXCGUARD_DISPOSITION_AT) ==
               (MACH_MSG_TYPE_PORT_SEND | MACH_MSG_PORT_DESCRIPTOR << 8) &&
           excguard_load64(bytes + EXCGUARD_PROTECTED(exception)) ==
               EXCGUARD_PAIR(EXC_GUARD, EXCGUARD_CODE_MAX) &&
           excguard_load64(bytes + size) ==
               EXCGUARD_PAIR(MACH_MSG_TRAILER_FORMAT_0, sizeof(mach_msg_audit_trailer_t)) &&
           (excguard_load64(token) | excguard_load64(token + 8) | excguard_load64(token + 16) |
            excguard_load64(token + 24)) == 0;
}

#define EXCGUARD_STATELESS_SIZE sizeof(struct excguard_raise_identity_protected_request)

EXCGUARD_INLINE bool excguard_is_stateless_form(const uint8_t *bytes) {
    return excguard_is_kernel_guard(bytes, EXCGUARD_STATELESS_SIZE, EXCGUARD_ID_RAISE_IDENTITY_PROTECTED);
}

#define EXCGUARD_STATE_FORM_SIZE(key) (EXCGUARD_PROTECTED(old_state) + 4 * (uint32_t)(key))

/* With state `key` (thread_state.h), which is that of `size`. */
EXCGUARD_INLINE bool excguard_is_state_form(const uint8_t *bytes, uint64_t key) {
    uint64_t flavor_count = key >> 32 | key << 32;
    return excguard_load64(bytes + EXCGUARD_PROTECTED(flavor)) == flavor_count &&
           excguard_is_kernel_guard(bytes, EXCGUARD_STATE_FORM_SIZE(key),
                                    EXCGUARD_ID_RAISE_STATE_IDENTITY_PROTECTED);
}

#endif
