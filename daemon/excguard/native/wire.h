/*
 * The mach_exc subsystem on the wire: what MIG makes of osfmk/mach/mach_exc.defs (xnu-11417.121.6), which the
 * SDK does not ship as a header. Little endian, 4-byte packing, so an 8-byte field may be aligned to 4 only:
 * read them with excguard_load64, never through these structs. The structs are here for their offsets.
 *
 * The last three fields of a state request have their offsets for codeCnt == 2; with fewer codes they move
 * up.
 */
#ifndef EXCGUARD_WIRE_H
#define EXCGUARD_WIRE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <mach/message.h>
#include <mach/ndr.h>

#include "newer_constants.h"

/* For what is a path of its own only on paper. */
#define EXCGUARD_INLINE static inline __attribute__((always_inline))

#define EXCGUARD_CODE_MAX 2u     /* EXCEPTION_CODE_MAX */
#define EXCGUARD_STATE_MAX 1296u /* THREAD_STATE_MAX of both architectures since xnu-8019 (macOS 12) */

enum excguard_msgh_id {
    EXCGUARD_ID_RAISE = 2405,
    EXCGUARD_ID_RAISE_STATE = 2406,
    EXCGUARD_ID_RAISE_STATE_IDENTITY = 2407,
    EXCGUARD_ID_RAISE_IDENTITY_PROTECTED = 2408,       /* macOS 12 */
    EXCGUARD_ID_RAISE_BACKTRACE = 2409,                /* macOS 13 */
    EXCGUARD_ID_RAISE_STATE_IDENTITY_PROTECTED = 2410, /* macOS 15 */
};

/* A reply's msgh_id is its request's plus this (mig: reply base = subsystem base + 100). */
#define EXCGUARD_REPLY_ID_OFFSET 100

#pragma pack(push, 4)

struct excguard_raise_request {
    mach_msg_header_t Head;
    mach_msg_body_t msgh_body;
    mach_msg_port_descriptor_t thread;
    mach_msg_port_descriptor_t task;
    NDR_record_t NDR;
    int32_t exception;
    uint32_t codeCnt;
    int64_t code[EXCGUARD_CODE_MAX];
};

struct excguard_raise_state_request {
    mach_msg_header_t Head;
    NDR_record_t NDR;
    int32_t exception;
    uint32_t codeCnt;
    int64_t code[EXCGUARD_CODE_MAX];
    int32_t flavor;
    uint32_t old_stateCnt;
    uint32_t old_state[EXCGUARD_STATE_MAX];
};

struct excguard_raise_state_identity_request {
    mach_msg_header_t Head;
    mach_msg_body_t msgh_body;
    mach_msg_port_descriptor_t thread;
    mach_msg_port_descriptor_t task;
    NDR_record_t NDR;
    int32_t exception;
    uint32_t codeCnt;
    int64_t code[EXCGUARD_CODE_MAX];
    int32_t flavor;
    uint32_t old_stateCnt;
    uint32_t old_state[EXCGUARD_STATE_MAX];
};

struct excguard_raise_identity_protected_request {
    mach_msg_header_t Head;
    mach_msg_body_t msgh_body;
    mach_msg_port_descriptor_t task_id_token_t;
    NDR_record_t NDR;
    uint64_t thread_id;
    int32_t exception;
    uint32_t codeCnt;
    int64_t code[EXCGUARD_CODE_MAX];
};

struct excguard_raise_backtrace_request {
    mach_msg_header_t Head;
    mach_msg_body_t msgh_body;
    mach_msg_port_descriptor_t kcdata_object_t;
    NDR_record_t NDR;
    int32_t exception;
    uint32_t codeCnt;
    int64_t code[EXCGUARD_CODE_MAX];
};

struct excguard_raise_state_identity_protected_request {
    mach_msg_header_t Head;
    mach_msg_body_t msgh_body;
    mach_msg_port_descriptor_t task_id_token_t;
    NDR_record_t NDR;
    uint64_t thread_id;
    int32_t exception;
    uint32_t codeCnt;
    int64_t code[EXCGUARD_CODE_MAX];
    int32_t flavor;
    uint32_t old_stateCnt;
    uint32_t old_state[EXCGUARD_STATE_MAX];
};

/* mig_reply_error_t (mach/mig_errors.h): every reply without state, and every failure. */
struct excguard_reply {
    mach_msg_header_t Head;
    NDR_record_t NDR;
    int32_t RetCode;
};

/* A successful reply of a state routine. Never sent: it would make the kernel set thread state. */
struct excguard_state_reply {
    mach_msg_header_t Head;
    NDR_record_t NDR;
    int32_t RetCode;
    int32_t flavor;
    uint32_t new_stateCnt;
    uint32_t new_state[EXCGUARD_STATE_MAX];
};

#pragma pack(pop)

#define EXCGUARD_AT(type, field, offset, size)                                          \
    static_assert(offsetof(struct type, field) == (offset), #type "." #field " moved"); \
    static_assert(sizeof(((struct type *)0)->field) == (size), #type "." #field " has another size")

static_assert(sizeof(mach_msg_header_t) == 24, "mach_msg_header_t");
static_assert(offsetof(mach_msg_header_t, msgh_bits) == 0, "msgh_bits");
static_assert(offsetof(mach_msg_header_t, msgh_size) == 4, "msgh_size");
static_assert(offsetof(mach_msg_header_t, msgh_remote_port) == 8, "msgh_remote_port");
static_assert(offsetof(mach_msg_header_t, msgh_local_port) == 12, "msgh_local_port");
static_assert(offsetof(mach_msg_header_t, msgh_voucher_port) == 16, "msgh_voucher_port");
static_assert(offsetof(mach_msg_header_t, msgh_id) == 20, "msgh_id");
static_assert(sizeof(mach_msg_body_t) == 4, "mach_msg_body_t");
/*
 * disposition and type are bit fields: bytes 10 and 11, checked by running code (tests/native/test_wire.py).
 */
static_assert(sizeof(mach_msg_port_descriptor_t) == 12, "mach_msg_port_descriptor_t");
static_assert(sizeof(mach_msg_ool_descriptor_t) == 16, "mach_msg_ool_descriptor_t");
static_assert(sizeof(mach_msg_ool_ports_descriptor_t) == 16, "mach_msg_ool_ports_descriptor_t");
static_assert(sizeof(mach_msg_guarded_port_descriptor_t) == 16, "mach_msg_guarded_port_descriptor_t");
static_assert(sizeof(NDR_record_t) == 8, "NDR_record_t");

EXCGUARD_AT(excguard_raise_request, Head, 0, 24);
EXCGUARD_AT(excguard_raise_request, msgh_body, 24, 4);
EXCGUARD_AT(excguard_raise_request, thread, 28, 12);
EXCGUARD_AT(excguard_raise_request, task, 40, 12);
EXCGUARD_AT(excguard_raise_request, NDR, 52, 8);
EXCGUARD_AT(excguard_raise_request, exception, 60, 4);
EXCGUARD_AT(excguard_raise_request, codeCnt, 64, 4);
EXCGUARD_AT(excguard_raise_request, code, 68, 16);
static_assert(sizeof(struct excguard_raise_request) == 84, "2405");

EXCGUARD_AT(excguard_raise_state_request, Head, 0, 24);
EXCGUARD_AT(excguard_raise_state_request, NDR, 24, 8);
EXCGUARD_AT(excguard_raise_state_request, exception, 32, 4);
EXCGUARD_AT(excguard_raise_state_request, codeCnt, 36, 4);
EXCGUARD_AT(excguard_raise_state_request, code, 40, 16);
EXCGUARD_AT(excguard_raise_state_request, flavor, 56, 4);
EXCGUARD_AT(excguard_raise_state_request, old_stateCnt, 60, 4);
EXCGUARD_AT(excguard_raise_state_request, old_state, 64, 5184);
static_assert(sizeof(struct excguard_raise_state_request) == 5248, "2406");

EXCGUARD_AT(excguard_raise_state_identity_request, Head, 0, 24);
EXCGUARD_AT(excguard_raise_state_identity_request, msgh_body, 24, 4);
EXCGUARD_AT(excguard_raise_state_identity_request, thread, 28, 12);
EXCGUARD_AT(excguard_raise_state_identity_request, task, 40, 12);
EXCGUARD_AT(excguard_raise_state_identity_request, NDR, 52, 8);
EXCGUARD_AT(excguard_raise_state_identity_request, exception, 60, 4);
EXCGUARD_AT(excguard_raise_state_identity_request, codeCnt, 64, 4);
EXCGUARD_AT(excguard_raise_state_identity_request, code, 68, 16);
EXCGUARD_AT(excguard_raise_state_identity_request, flavor, 84, 4);
EXCGUARD_AT(excguard_raise_state_identity_request, old_stateCnt, 88, 4);
EXCGUARD_AT(excguard_raise_state_identity_request, old_state, 92, 5184);
static_assert(sizeof(struct excguard_raise_state_identity_request) == 5276, "2407");

EXCGUARD_AT(excguard_raise_identity_protected_request, Head, 0, 24);
EXCGUARD_AT(excguard_raise_identity_protected_request, msgh_body, 24, 4);
EXCGUARD_AT(excguard_raise_identity_protected_request, task_id_token_t, 28, 12);
EXCGUARD_AT(excguard_raise_identity_protected_request, NDR, 40, 8);
EXCGUARD_AT(excguard_raise_identity_protected_request, thread_id, 48, 8);
EXCGUARD_AT(excguard_raise_identity_protected_request, exception, 56, 4);
EXCGUARD_AT(excguard_raise_identity_protected_request, codeCnt, 60, 4);
EXCGUARD_AT(excguard_raise_identity_protected_request, code, 64, 16);
static_assert(sizeof(struct excguard_raise_identity_protected_request) == 80, "2408");

EXCGUARD_AT(excguard_raise_backtrace_request, Head, 0, 24);
EXCGUARD_AT(excguard_raise_backtrace_request, msgh_body, 24, 4);
EXCGUARD_AT(excguard_raise_backtrace_request, kcdata_object_t, 28, 12);
EXCGUARD_AT(excguard_raise_backtrace_request, NDR, 40, 8);
EXCGUARD_AT(excguard_raise_backtrace_request, exception, 48, 4);
EXCGUARD_AT(excguard_raise_backtrace_request, codeCnt, 52, 4);
EXCGUARD_AT(excguard_raise_backtrace_request, code, 56, 16);
static_assert(sizeof(struct excguard_raise_backtrace_request) == 72, "2409");

EXCGUARD_AT(excguard_raise_state_identity_protected_request, Head, 0, 24);
EXCGUARD_AT(excguard_raise_state_identity_protected_request, msgh_body, 24, 4);
EXCGUARD_AT(excguard_raise_state_identity_protected_request, task_id_token_t, 28, 12);
EXCGUARD_AT(excguard_raise_state_identity_protected_request, NDR, 40, 8);
EXCGUARD_AT(excguard_raise_state_identity_protected_request, thread_id, 48, 8);
EXCGUARD_AT(excguard_raise_state_identity_protected_request, exception, 56, 4);
EXCGUARD_AT(excguard_raise_state_identity_protected_request, codeCnt, 60, 4);
EXCGUARD_AT(excguard_raise_state_identity_protected_request, code, 64, 16);
EXCGUARD_AT(excguard_raise_state_identity_protected_request, flavor, 80, 4);
EXCGUARD_AT(excguard_raise_state_identity_protected_request, old_stateCnt, 84, 4);
EXCGUARD_AT(excguard_raise_state_identity_protected_request, old_state, 88, 5184);
static_assert(sizeof(struct excguard_raise_state_identity_protected_request) == 5272, "2410");

EXCGUARD_AT(excguard_reply, Head, 0, 24);
EXCGUARD_AT(excguard_reply, NDR, 24, 8);
EXCGUARD_AT(excguard_reply, RetCode, 32, 4);
static_assert(sizeof(struct excguard_reply) == 36, "reply without state");

EXCGUARD_AT(excguard_state_reply, Head, 0, 24);
EXCGUARD_AT(excguard_state_reply, NDR, 24, 8);
EXCGUARD_AT(excguard_state_reply, RetCode, 32, 4);
EXCGUARD_AT(excguard_state_reply, flavor, 36, 4);
EXCGUARD_AT(excguard_state_reply, new_stateCnt, 40, 4);
EXCGUARD_AT(excguard_state_reply, new_state, 44, 5184);
static_assert(sizeof(struct excguard_state_reply) == 5228, "state reply");

#undef EXCGUARD_AT

static_assert(sizeof(mach_msg_trailer_t) == 8, "mach_msg_trailer_t");
static_assert(sizeof(mach_msg_seqno_trailer_t) == 12, "mach_msg_seqno_trailer_t");
static_assert(sizeof(mach_msg_security_trailer_t) == 20, "mach_msg_security_trailer_t");
static_assert(sizeof(mach_msg_audit_trailer_t) == 52, "mach_msg_audit_trailer_t");
static_assert(sizeof(mach_msg_context_trailer_t) == 60, "mach_msg_context_trailer_t");
static_assert(sizeof(mach_msg_mac_trailer_t) == 68, "mach_msg_mac_trailer_t");
static_assert(offsetof(mach_msg_audit_trailer_t, msgh_trailer_type) == 0, "msgh_trailer_type");
static_assert(offsetof(mach_msg_audit_trailer_t, msgh_trailer_size) == 4, "msgh_trailer_size");
static_assert(offsetof(mach_msg_audit_trailer_t, msgh_seqno) == 8, "msgh_seqno");
static_assert(offsetof(mach_msg_audit_trailer_t, msgh_sender) == 12, "msgh_sender");
static_assert(offsetof(mach_msg_audit_trailer_t, msgh_audit) == 20, "msgh_audit");
static_assert(offsetof(mach_msg_context_trailer_t, msgh_context) == 52, "msgh_context");
static_assert(offsetof(mach_msg_mac_trailer_t, msgh_ad) == 60, "msgh_ad");
static_assert(offsetof(mach_msg_mac_trailer_t, msgh_labels) == 64, "msgh_labels");

/* Bytes of a port descriptor whose bit fields C cannot point to. */
#define EXCGUARD_DISPOSITION_AT 10
#define EXCGUARD_DESCRIPTOR_TYPE_AT 11

/* The largest exception message that can arrive, with the largest trailer. */
#define EXCGUARD_RECEIVE_SIZE \
    (sizeof(struct excguard_raise_state_identity_request) + sizeof(mach_msg_mac_trailer_t))

/* Little endian hosts only, like every Mac: the wire's numbers are the host's. */
EXCGUARD_INLINE uint16_t excguard_load16(const uint8_t *at) {
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

EXCGUARD_INLINE uint32_t excguard_load32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

EXCGUARD_INLINE uint64_t excguard_load64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

EXCGUARD_INLINE void excguard_store32(uint8_t *at, uint32_t value) {
    memcpy(at, &value, sizeof value);
}

#endif
