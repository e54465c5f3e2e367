#include "mig_server.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <mach/mach.h>

enum { FIRST_ID = 2401, LAST_ID = 2410, IDENTITY_ID = 2408, STATE_IDENTITY_ID = 2410, MAX_CODES = 2 };
enum { MAX_STATE = 1296, BAD_ID = -303, BAD_ARGUMENTS = -304, TYPE_ERROR = -300 };

#pragma pack(push, 4)
struct request {
    mach_msg_header_t head;
    mach_msg_body_t body;
    mach_msg_port_descriptor_t token;
    NDR_record_t ndr;
    uint64_t thread_id;
    int32_t exception;
    uint32_t code_count;
    int64_t codes[MAX_CODES];
    int32_t flavor;
    uint32_t state_count;
    uint32_t state[MAX_STATE];
};

struct answer {
    mach_msg_header_t head;
    NDR_record_t ndr;
    kern_return_t result;
    int32_t flavor;
    uint32_t state_count;
    uint32_t state[MAX_STATE];
};
#pragma pack(pop)

/* What Apple's compiler makes of the generated code takes this many more instructions; they do nothing. */
#define NOPS(count) __asm__ volatile(".rept " #count "\n\tnop\n\t.endr")

/* Sizes without the variable parts, which are the codes and the state. */
#define IDENTITY_SIZE (offsetof(struct request, codes))
#define STATE_SIZE (IDENTITY_SIZE + 8)
#define REPLY_SIZE (offsetof(struct answer, flavor))

/* What the program that uses the server has written: here, the reply that excguard gives by default. */
__attribute__((noinline)) static kern_return_t catch_identity(mach_port_t port, uint64_t thread_id,
                                                              mach_port_t token, int32_t exception,
                                                              const int64_t *codes, uint32_t code_count) {
    __asm__ volatile(""
                     :
                     : "r"(codes), "r"(thread_id), "r"(port), "r"(token), "r"(exception), "r"(code_count));
    return KERN_FAILURE;
}

__attribute__((noinline)) static kern_return_t
catch_state_identity(mach_port_t port, uint64_t thread_id, mach_port_t token, int32_t exception,
                     const int64_t *codes, uint32_t code_count, int32_t *flavor, const uint32_t *state,
                     uint32_t state_count, uint32_t *new_state, uint32_t *new_count) {
    __asm__ volatile("" : : "r"(codes), "r"(thread_id), "r"(flavor), "r"(state), "r"(new_state));
    *new_count = state_count + (port == token) + (exception == (int32_t)code_count);
    return KERN_FAILURE;
}

static kern_return_t check(const struct request *request, uint32_t min_size, uint32_t max_size) {
    if ((request->head.msgh_bits & MACH_MSGH_BITS_COMPLEX) == 0 || request->body.msgh_descriptor_count != 1 ||
        request->head.msgh_size < min_size || request->head.msgh_size > max_size) {
        return BAD_ARGUMENTS;
    }
    if (request->token.type != MACH_MSG_PORT_DESCRIPTOR ||
        request->token.disposition != MACH_MSG_TYPE_PORT_SEND) {
        return TYPE_ERROR;
    }
    if (request->code_count > MAX_CODES) {
        return BAD_ARGUMENTS;
    }
    return KERN_SUCCESS;
}

__attribute__((noinline)) static void serve_identity(mach_msg_header_t *in, mach_msg_header_t *out) {
    const struct request *request = (const void *)in;
    struct answer *answer = (void *)out;
    NOPS(10);
    kern_return_t result = check(request, IDENTITY_SIZE, IDENTITY_SIZE + 8 * MAX_CODES);
    if (result == KERN_SUCCESS && in->msgh_size != IDENTITY_SIZE + 8 * request->code_count) {
        result = BAD_ARGUMENTS;
    }
    answer->ndr = (NDR_record_t){.int_rep = 1};
    if (result != KERN_SUCCESS) {
        answer->result = result;
        return;
    }
    answer->result = catch_identity(in->msgh_local_port, request->thread_id, request->token.name,
                                    request->exception, request->codes, request->code_count);
}

__attribute__((noinline)) static void serve_state_identity(mach_msg_header_t *in, mach_msg_header_t *out) {
    struct request *request = (void *)in;
    struct answer *answer = (void *)out;
    NOPS(6);
    kern_return_t result = check(request, STATE_SIZE, sizeof *request);
    /* With fewer codes what follows them lies further in front. */
    size_t missing = 8 * (MAX_CODES - (size_t)request->code_count);
    struct request *rest = (void *)((uint8_t *)request - missing);
    if (result == KERN_SUCCESS &&
        (in->msgh_size < STATE_SIZE + 8 * request->code_count || rest->state_count > MAX_STATE ||
         in->msgh_size != STATE_SIZE + 8 * request->code_count + 4 * rest->state_count)) {
        result = BAD_ARGUMENTS;
    }
    answer->ndr = (NDR_record_t){.int_rep = 1};
    if (result != KERN_SUCCESS) {
        answer->result = result;
        return;
    }
    answer->state_count = MAX_STATE;
    answer->result =
        catch_state_identity(in->msgh_local_port, request->thread_id, request->token.name, request->exception,
                             request->codes, request->code_count, &rest->flavor, rest->state,
                             rest->state_count, answer->state, &answer->state_count);
    if (answer->result == KERN_SUCCESS) {
        answer->flavor = rest->flavor;
        answer->head.msgh_size =
            (mach_msg_size_t)(sizeof *answer - sizeof answer->state + 4 * answer->state_count);
    }
}

typedef void routine(mach_msg_header_t *in, mach_msg_header_t *out);

static routine *const routines[LAST_ID - FIRST_ID + 1] = {
    [IDENTITY_ID - FIRST_ID] = serve_identity,
    [STATE_IDENTITY_ID - FIRST_ID] = serve_state_identity,
};

bool mig_server(mach_msg_header_t *request, mach_msg_header_t *reply) {
    *reply = (mach_msg_header_t){
        .msgh_bits = MACH_MSGH_BITS(MACH_MSGH_BITS_REMOTE(request->msgh_bits), 0),
        .msgh_size = REPLY_SIZE,
        .msgh_remote_port = request->msgh_remote_port,
        .msgh_id = request->msgh_id + 100,
    };
    uint32_t index = (uint32_t)request->msgh_id - FIRST_ID;
    routine *found = index < sizeof routines / sizeof routines[0] ? routines[index] : NULL;
    if (found == NULL) {
        ((struct answer *)(void *)reply)->result = BAD_ID;
        return false;
    }
    found(request, reply);
    return true;
}
