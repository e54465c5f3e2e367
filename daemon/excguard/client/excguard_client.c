/* SPDX-License-Identifier: Apache-2.0 OR MIT-0 */
#include "excguard_client.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <mach/notify.h>
#include <servers/bootstrap.h>
#include <sys/sysctl.h>

#ifndef EXCEPTION_STATE_IDENTITY_PROTECTED /* SDKs before macOS 15 (mach/exception_types.h) */
#define EXCEPTION_STATE_IDENTITY_PROTECTED 5
#endif

enum { DEFAULT_TIMEOUT_MS = 10000 };

const char *excguard_client_outcome_name(int outcome) {
    static const char *const names[EXCGUARD_CLIENT_OUTCOME_COUNT] = {
        [EXCGUARD_CLIENT_GRANTED] = "granted",
        [EXCGUARD_CLIENT_UNKNOWN] = "the server has no ports for this process",
        [EXCGUARD_CLIENT_CLAIMED_BEFORE] = "this process has already received its ports",
        [EXCGUARD_CLIENT_REFUSED] = "the server refused this program's code signature",
        [EXCGUARD_CLIENT_OTHER_VERSION] = "the server supports another version of the protocol",
        [EXCGUARD_CLIENT_NOT_CONFIGURED] = "the environment names no server",
        [EXCGUARD_CLIENT_NO_SERVER] = "no process offers the service",
        [EXCGUARD_CLIENT_TIMED_OUT] = "the server did not reply in time",
        [EXCGUARD_CLIENT_NO_ANSWER] = "the server died or dropped the request",
        [EXCGUARD_CLIENT_BAD_REPLY] = "the server's reply is malformed",
        [EXCGUARD_CLIENT_WRONG_SERVER] = "a process other than the server replied",
        [EXCGUARD_CLIENT_UNTRUSTED_SERVER] = "the server's code signature does not meet the requirement",
        [EXCGUARD_CLIENT_SYSTEM_ERROR] = "a Mach call failed",
        [EXCGUARD_CLIENT_NO_EXCEPTION_PORT] = "the ports do not include an exception port",
        [EXCGUARD_CLIENT_NOT_REGISTERED] = "the kernel refused to register the exception port",
    };
    return outcome >= 0 && outcome < EXCGUARD_CLIENT_OUTCOME_COUNT ? names[outcome] : "unknown outcome";
}

/* ---- the environment ---- */

/* A whole number in decimal and nothing else, or -1. */
static long number(const char *text) {
    char *end;
    if (!text || *text < '0' || *text > '9') {
        return -1;
    }
    long value = strtol(text, &end, 10);
    return *end || value > INT_MAX ? -1 : value;
}

int excguard_client_options_from_environment(struct excguard_client_options *options) {
    static const char *const names[] = {"EXCGUARD_RENDEZVOUS_SERVICE", "EXCGUARD_RENDEZVOUS_SERVER_PID",
                                        "EXCGUARD_RENDEZVOUS_VALIDATION", "EXCGUARD_RENDEZVOUS_TIMEOUT"};
    const char *service = getenv(names[0]), *validation = getenv(names[2]);
    long pid = number(getenv(names[1])), timeout = number(getenv(names[3]));
    memset(options, 0, sizeof *options);
    options->timeout_ms = DEFAULT_TIMEOUT_MS;
    if (timeout >= 0 && timeout <= INT_MAX / 1000) {
        options->timeout_ms = (uint32_t)timeout * 1000;
    }
    if (validation && !strcmp(validation, "enforce")) {
        options->validation = EXCGUARD_CLIENT_VALIDATION_ENFORCE;
    } else if (validation && !strcmp(validation, "report")) {
        options->validation = EXCGUARD_CLIENT_VALIDATION_REPORT;
    }
    int configured = service && *service && strlen(service) < sizeof options->service && pid > 0;
    if (configured) {
        memcpy(options->service, service, strlen(service) + 1);
        options->server_pid = (int32_t)pid;
    }
    for (size_t at = 0; at < sizeof names / sizeof *names; at++) {
        unsetenv(names[at]); /* children of this process have no ports waiting for them */
    }
    return configured ? EXCGUARD_CLIENT_GRANTED : EXCGUARD_CLIENT_NOT_CONFIGURED;
}

/* ---- the reply ---- */

/* A copy of a field: messages are 4-aligned, and bytes from the wire are not a C object. */
static uint32_t word_at(const uint8_t *bytes, size_t offset) {
    uint32_t word;
    memcpy(&word, bytes + offset, sizeof word);
    return word;
}

/* Descriptors and keys; the caller has made sure that both lie within the message. */
static int take_ports(const uint8_t *bytes, uint32_t count, size_t keys, struct excguard_client *client) {
    for (uint32_t at = 0; at < count; at++) {
        struct excguard_client_port *port = &client->ports[at];
        mach_msg_port_descriptor_t descriptor;
        memcpy(&descriptor, bytes + sizeof(mach_msg_base_t) + at * sizeof descriptor, sizeof descriptor);
        /* On arrival the kernel has turned what the sender did into what the receiver has. */
        if (descriptor.type != MACH_MSG_PORT_DESCRIPTOR ||
            (descriptor.disposition != MACH_MSG_TYPE_PORT_RECEIVE &&
             descriptor.disposition != MACH_MSG_TYPE_PORT_SEND &&
             descriptor.disposition != MACH_MSG_TYPE_PORT_SEND_ONCE)) {
            return EXCGUARD_CLIENT_BAD_REPLY;
        }
        *port = (struct excguard_client_port){word_at(bytes, keys + at * 4), descriptor.name,
                                              descriptor.disposition};
        for (uint32_t before = 0; before < at; before++) {
            if (client->ports[before].key == port->key) {
                return EXCGUARD_CLIENT_BAD_REPLY;
            }
        }
    }
    client->count = count;
    return EXCGUARD_CLIENT_GRANTED;
}

static int parse_own(const uint8_t *bytes, uint32_t size, uint32_t count, struct excguard_client *client) {
    size_t tail_at = sizeof(mach_msg_base_t) + (size_t)count * sizeof(mach_msg_port_descriptor_t);
    struct excguard_rendezvous_tail tail;
    if (count > EXCGUARD_RENDEZVOUS_MAX_PORTS || size != tail_at + sizeof tail + (size_t)count * 4) {
        return EXCGUARD_CLIENT_BAD_REPLY;
    }
    memcpy(&tail, bytes + tail_at, sizeof tail);
    if (tail.total_length != size || tail.status > EXCGUARD_CLIENT_OTHER_VERSION || (tail.status && count)) {
        return EXCGUARD_CLIENT_BAD_REPLY;
    }
    /* A server of another version says so in the layout of this one. */
    if (tail.version != EXCGUARD_RENDEZVOUS_VERSION && tail.status != EXCGUARD_CLIENT_OTHER_VERSION) {
        return EXCGUARD_CLIENT_BAD_REPLY;
    }
    int outcome = take_ports(bytes, count, tail_at + sizeof tail, client);
    return outcome == EXCGUARD_CLIENT_GRANTED ? (int)tail.status : outcome;
}

static int parse_chromium(const uint8_t *bytes, uint32_t size, uint32_t count,
                          struct excguard_client *client) {
    size_t keys = sizeof(mach_msg_base_t) + (size_t)count * sizeof(mach_msg_port_descriptor_t),
           length_at = keys + (size_t)count * 4;
    uint64_t length;
    if (count > EXCGUARD_CHROMIUM_MAX_PORTS || size < length_at + sizeof length) {
        return EXCGUARD_CLIENT_BAD_REPLY;
    }
    memcpy(&length, bytes + length_at, sizeof length);
    if (length > EXCGUARD_CHROMIUM_MAX_DATA ||
        size != ((length_at + sizeof length + length + 3) & ~(size_t)3)) {
        return EXCGUARD_CLIENT_BAD_REPLY;
    }
    client->data_offset = (uint32_t)(length_at + sizeof length);
    client->data_size = (uint32_t)length;
    return take_ports(bytes, count, keys, client);
}

int excguard_client_parse_reply(const void *message, size_t capacity, int32_t server_pid, uint32_t protocol,
                                struct excguard_client *client) {
    const uint8_t *bytes = message;
    mach_msg_header_t header;
    mach_msg_audit_trailer_t trailer;
    uint32_t chromium = protocol == EXCGUARD_CLIENT_PROTOCOL_CHROMIUM;
    memset(client, 0, sizeof *client);
    client->outcome = EXCGUARD_CLIENT_BAD_REPLY;
    if (capacity < sizeof header) {
        return client->outcome;
    }
    memcpy(&header, bytes, sizeof header);
    size_t trailer_at = ((size_t)header.msgh_size + 3) & ~(size_t)3;
    if (header.msgh_size < sizeof header || header.msgh_size > capacity ||
        capacity - header.msgh_size < 3 + sizeof trailer) {
        return client->outcome;
    }
    memcpy(&trailer, bytes + trailer_at, sizeof trailer);
    if (trailer.msgh_trailer_type != MACH_MSG_TRAILER_FORMAT_0 ||
        trailer.msgh_trailer_size < sizeof trailer) {
        return client->outcome;
    }
    /* audit_token_to_pid of bsm/libbsm.h, which would be a library more: field 5, 0 for the kernel. */
    int32_t sender = (int32_t)trailer.msgh_audit.val[5];
    if (header.msgh_id == MACH_NOTIFY_SEND_ONCE && sender == 0) {
        return client->outcome = EXCGUARD_CLIENT_NO_ANSWER; /* our reply right was destroyed unused */
    }
    if (server_pid && sender != server_pid) {
        return client->outcome = EXCGUARD_CLIENT_WRONG_SERVER;
    }
    memcpy(client->server, trailer.msgh_audit.val, sizeof client->server);
    if (header.msgh_id != (chromium ? EXCGUARD_CHROMIUM_REPLY : EXCGUARD_RENDEZVOUS_REPLY) ||
        !MACH_MSGH_BITS_IS_COMPLEX(header.msgh_bits) || MACH_MSGH_BITS_REMOTE(header.msgh_bits) ||
        header.msgh_remote_port || header.msgh_size < sizeof(mach_msg_base_t)) {
        return client->outcome;
    }
    uint32_t count = word_at(bytes, sizeof header);
    /* Bounded here, so that no size that is computed from it can wrap. */
    if (count > EXCGUARD_RENDEZVOUS_MAX_PORTS) {
        return client->outcome;
    }
    client->outcome = (chromium ? parse_chromium : parse_own)(bytes, header.msgh_size, count, client);
    if (client->outcome >= EXCGUARD_CLIENT_NOT_CONFIGURED) {
        client->count = 0;
    }
    return client->outcome;
}

/* ---- the exchange ---- */

/*
 * MPO_REPLY_PORT: services that insist on reply port semantics accept no other (osfmk/ipc/ipc_kmsg.c,
 * xnu-11417.121.6).
 */
static kern_return_t construct_reply_port(mach_port_t *port) {
    mach_port_options_t options = {.flags = MPO_REPLY_PORT};
    return mach_port_construct(mach_task_self(), &options, 0, port);
}

union exchange {
    struct excguard_rendezvous_request request;
    mach_msg_header_t header;
    uint8_t bytes[sizeof(mach_msg_base_t) + EXCGUARD_RENDEZVOUS_MAX_PORTS * 16 + 16 +
                  EXCGUARD_CHROMIUM_MAX_DATA + sizeof(mach_msg_audit_trailer_t) + 8];
};

static int exchange(union exchange *message, const struct excguard_client_options *options,
                    mach_port_t server, mach_port_t reply, struct excguard_client *client) {
    uint32_t chromium = options->protocol == EXCGUARD_CLIENT_PROTOCOL_CHROMIUM;
    mach_msg_size_t size = chromium ? sizeof message->header : sizeof message->request;
    message->request = (struct excguard_rendezvous_request){
        .header =
            {
                .msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE),
                .msgh_size = size,
                .msgh_remote_port = server,
                .msgh_local_port = reply,
                .msgh_id = chromium ? EXCGUARD_CHROMIUM_REQUEST : EXCGUARD_RENDEZVOUS_REQUEST,
            },
        .version = EXCGUARD_RENDEZVOUS_VERSION,
        .total_length = size,
    };
    mach_msg_option_t option = MACH_SEND_MSG | MACH_RCV_MSG |
                               MACH_RCV_TRAILER_TYPE(MACH_MSG_TRAILER_FORMAT_0) |
                               MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT);
    if (options->timeout_ms) {
        option |= MACH_SEND_TIMEOUT | MACH_RCV_TIMEOUT;
    }
    client->result =
        mach_msg(&message->header, option, size, sizeof *message, reply, options->timeout_ms, MACH_PORT_NULL);
    switch (client->result) {
    case MACH_MSG_SUCCESS:
        excguard_client_parse_reply(message, sizeof *message, options->server_pid, options->protocol, client);
        if (client->outcome >= EXCGUARD_CLIENT_NOT_CONFIGURED) {
            mach_msg_destroy(&message->header);
        }
        return client->outcome;
    case MACH_SEND_INVALID_DEST:
        return EXCGUARD_CLIENT_NO_SERVER;
    case MACH_SEND_TIMED_OUT: /* both rights came back to us in the message */
        if (MACH_PORT_VALID(message->header.msgh_local_port)) {
            mach_port_deallocate(mach_task_self(), message->header.msgh_local_port);
        }
        mach_msg_destroy(&message->header);
        return EXCGUARD_CLIENT_TIMED_OUT;
    case MACH_RCV_TIMED_OUT:
        return EXCGUARD_CLIENT_TIMED_OUT;
    case MACH_RCV_TOO_LARGE: /* the kernel has released it */
        return EXCGUARD_CLIENT_BAD_REPLY;
    default:
        if ((client->result & ~MACH_MSG_MASK) == MACH_RCV_BODY_ERROR ||
            (client->result & ~MACH_MSG_MASK) == MACH_RCV_HEADER_ERROR) {
            mach_msg_destroy(&message->header); /* it came, short of some rights */
        }
        return EXCGUARD_CLIENT_SYSTEM_ERROR;
    }
}

static int validate(const struct excguard_client_options *options, struct excguard_client *client) {
    if (options->validation == EXCGUARD_CLIENT_VALIDATION_OFF || !options->server_requirement ||
        !*options->server_requirement) {
        return client->outcome;
    }
    client->validation = excguard_client_check_signature(client->server, options->server_requirement);
    if (client->validation == 0 || options->validation != EXCGUARD_CLIENT_VALIDATION_ENFORCE) {
        return client->outcome;
    }
    excguard_client_release(client);
    return EXCGUARD_CLIENT_UNTRUSTED_SERVER;
}

int excguard_client_acquire(const struct excguard_client_options *options, struct excguard_client *client) {
    union exchange message;
    mach_port_t server, reply;
    memset(client, 0, sizeof *client);
    if (!*options->service) {
        return client->outcome = EXCGUARD_CLIENT_NOT_CONFIGURED;
    }
    client->result = bootstrap_look_up(bootstrap_port, options->service, &server);
    if (client->result != KERN_SUCCESS) {
        return client->outcome = EXCGUARD_CLIENT_NO_SERVER;
    }
    client->result = construct_reply_port(&reply);
    if (client->result != KERN_SUCCESS) {
        client->outcome = EXCGUARD_CLIENT_SYSTEM_ERROR;
    } else {
        client->outcome = exchange(&message, options, server, reply, client);
        mach_port_mod_refs(mach_task_self(), reply, MACH_PORT_RIGHT_RECEIVE,
                           -1); /* and what may still arrive on it */
    }
    mach_port_deallocate(mach_task_self(), server);
    if (client->outcome <=
        EXCGUARD_CLIENT_OTHER_VERSION) { /* also a server that has nothing for us must be the right one */
        client->outcome = validate(options, client);
    }
    return client->outcome;
}

/* ---- ports ---- */

mach_port_t excguard_client_take(struct excguard_client *client, uint32_t key, mach_msg_type_name_t kind) {
    for (uint32_t at = 0; at < client->count; at++) {
        struct excguard_client_port port = client->ports[at];
        if (port.key != key) {
            continue;
        }
        if (port.kind != kind) {
            return MACH_PORT_NULL;
        }
        client->ports[at] = client->ports[--client->count];
        return port.name;
    }
    return MACH_PORT_NULL;
}

void excguard_client_release(struct excguard_client *client) {
    while (client->count) {
        const struct excguard_client_port *port = &client->ports[--client->count];
        if (!MACH_PORT_VALID(port->name)) {
            continue; /* it died on its way */
        }
        if (port->kind == MACH_MSG_TYPE_PORT_RECEIVE) {
            mach_port_mod_refs(mach_task_self(), port->name, MACH_PORT_RIGHT_RECEIVE, -1);
        } else {
            mach_port_deallocate(mach_task_self(), port->name);
        }
    }
}

/* ---- watching oneself ---- */

/*
 * On an arm64 kernel also for what Rosetta translates: the numbers are ARM_THREAD_STATE64 of
 * mach/arm/thread_status.h and x86_THREAD_STATE64 of mach/i386/thread_status.h, of which a compiler sees one.
 */
static thread_state_flavor_t state_flavor(void) {
    int arm64 = 0;
    size_t size = sizeof arm64;
#if defined(__arm64__) || defined(__aarch64__)
    const int built_for_arm64 = 1;
#else
    const int built_for_arm64 = 0;
#endif
    if (sysctlbyname("hw.optional.arm64", &arm64, &size, NULL, 0)) {
        arm64 = built_for_arm64;
    }
    return arm64 ? 6 : 4;
}

static kern_return_t register_port(struct excguard_client *client, mach_port_t port,
                                   exception_behavior_t behavior, thread_state_flavor_t flavor) {
    client->result = task_set_exception_ports(
        mach_task_self(), EXC_MASK_GUARD, port,
        (exception_behavior_t)((uint32_t)behavior | (uint32_t)MACH_EXCEPTION_CODES), flavor);
    mach_port_deallocate(mach_task_self(), port); /* the kernel has a right of its own */
    return client->result;
}

static int register_self(struct excguard_client *client, const char *guard_behavior) {
    mach_port_t plain = excguard_client_take(client, EXCGUARD_KEY_IDENTITY, MACH_MSG_TYPE_PORT_SEND);
    mach_port_t with_state =
        excguard_client_take(client, EXCGUARD_KEY_STATE_IDENTITY, MACH_MSG_TYPE_PORT_SEND);
    int outcome = MACH_PORT_VALID(plain) || MACH_PORT_VALID(with_state) ? EXCGUARD_CLIENT_GRANTED
                                                                        : EXCGUARD_CLIENT_NO_EXCEPTION_PORT;
    if (MACH_PORT_VALID(plain) &&
        register_port(client, plain, EXCEPTION_IDENTITY_PROTECTED, 0) != KERN_SUCCESS) {
        outcome = EXCGUARD_CLIENT_NOT_REGISTERED;
    }
    if (MACH_PORT_VALID(with_state) && register_port(client, with_state, EXCEPTION_STATE_IDENTITY_PROTECTED,
                                                     state_flavor()) != KERN_SUCCESS) {
        outcome = EXCGUARD_CLIENT_NOT_REGISTERED;
    }
    long flags = number(guard_behavior);
    if (outcome == EXCGUARD_CLIENT_GRANTED && flags >= 0) {
        client->result = task_set_exc_guard_behavior(mach_task_self(), (task_exc_guard_behavior_t)flags);
        if (client->result != KERN_SUCCESS) {
            outcome = EXCGUARD_CLIENT_NOT_REGISTERED;
        }
    }
    return outcome;
}

/* Best effort: who does not take it at once does without. */
static void report(mach_port_t control, int outcome, kern_return_t result) {
    struct excguard_rendezvous_registered message = {
        .header =
            {
                .msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MOVE_SEND, 0),
                .msgh_size = sizeof message,
                .msgh_remote_port = control,
                .msgh_id = EXCGUARD_RENDEZVOUS_REGISTERED,
            },
        .version = EXCGUARD_RENDEZVOUS_VERSION,
        .total_length = sizeof message,
        .outcome = (uint32_t)outcome,
        .result = result,
    };
    kern_return_t sent = mach_msg(&message.header, MACH_SEND_MSG | MACH_SEND_TIMEOUT, sizeof message, 0,
                                  MACH_PORT_NULL, 0, MACH_PORT_NULL);
    if (sent == MACH_SEND_TIMED_OUT) {
        mach_msg_destroy(&message.header); /* the right came back */
    } else if (sent != MACH_MSG_SUCCESS) {
        mach_port_deallocate(mach_task_self(), control);
    }
}

static int watch_outcome;

static void watch_once(void) {
    struct excguard_client_options options;
    struct excguard_client client;
    char guard_behavior[16] = "";
    const char *variable = getenv("EXCGUARD_RENDEZVOUS_GUARD_BEHAVIOR");
    if (variable && strlen(variable) < sizeof guard_behavior) {
        memcpy(guard_behavior, variable, strlen(variable) + 1);
    }
    unsetenv("EXCGUARD_RENDEZVOUS_GUARD_BEHAVIOR");
    watch_outcome = excguard_client_options_from_environment(&options);
    if (watch_outcome != EXCGUARD_CLIENT_GRANTED) {
        return;
    }
    watch_outcome = excguard_client_acquire(&options, &client);
    if (watch_outcome == EXCGUARD_CLIENT_GRANTED) {
        watch_outcome = register_self(&client, guard_behavior);
        mach_port_t control = excguard_client_take(&client, EXCGUARD_KEY_CONTROL, MACH_MSG_TYPE_PORT_SEND);
        if (MACH_PORT_VALID(control)) {
            report(control, watch_outcome, client.result);
        }
    }
    excguard_client_release(&client);
}

int excguard_client_watch_self(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_once);
    return watch_outcome;
}

/* ---- code signatures ---- */

/*
 * CoreFoundation and Security by hand: linking them would put two frameworks into every program that embeds
 * this file. Types as in CoreFoundation/CFBase.h, Security/SecCode.h and Security/SecRequirement.h of the
 * macOS 26.4 SDK; all refs are pointers, CFIndex is long, OSStatus int32_t, SecCSFlags uint32_t.
 */
static struct {
    void (*release)(const void *object);
    const void *(*data_create)(const void *allocator, const uint8_t *bytes, long length);
    const void *(*string_create)(const void *allocator, const char *text, uint32_t encoding);
    const void *(*dictionary_create)(const void *allocator, const void **keys, const void **values,
                                     long count, const void *key_callbacks, const void *value_callbacks);
    int32_t (*requirement_create)(const void *text, uint32_t flags, const void **requirement);
    int32_t (*copy_guest)(const void *host, const void *attributes, uint32_t flags, const void **code);
    int32_t (*check_validity)(const void *code, uint32_t flags, const void *requirement);
    const void *key_callbacks, *value_callbacks; /* kCFTypeDictionary... */
    const void *const *attribute_audit;          /* CFStringRef kSecGuestAttributeAudit */
    int complete;
} security;

static void find(void *framework, const char *name, void *where, size_t size) {
    void *found = framework ? dlsym(framework, name) : NULL;
    memcpy(where, &found, size); /* ISO C does not convert object pointers to function pointers; POSIX does */
    if (!found) {
        security.complete = 0;
    }
}

static void load_security(void) {
    void *foundation =
        dlopen("/System/Library/Frameworks/CoreFoundation.framework/CoreFoundation", RTLD_LAZY | RTLD_LOCAL);
    void *framework =
        dlopen("/System/Library/Frameworks/Security.framework/Security", RTLD_LAZY | RTLD_LOCAL);
    security.complete = 1;
#define FIND(from, name, field) find(from, name, &security.field, sizeof security.field)
    FIND(foundation, "CFRelease", release);
    FIND(foundation, "CFDataCreate", data_create);
    FIND(foundation, "CFStringCreateWithCString", string_create);
    FIND(foundation, "CFDictionaryCreate", dictionary_create);
    FIND(foundation, "kCFTypeDictionaryKeyCallBacks", key_callbacks);
    FIND(foundation, "kCFTypeDictionaryValueCallBacks", value_callbacks);
    FIND(framework, "SecRequirementCreateWithString", requirement_create);
    FIND(framework, "SecCodeCopyGuestWithAttributes", copy_guest);
    FIND(framework, "SecCodeCheckValidity", check_validity);
    FIND(framework, "kSecGuestAttributeAudit", attribute_audit);
#undef FIND
}

static int security_is_there(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load_security);
    return security.complete;
}

static int32_t create_requirement(const char *text, const void **requirement) {
    enum {
        UTF8 = 0x08000100,
        REQ_INVALID = -67052,
        ALLOCATE_FAILED = -108
    }; /* CFString.h, CSCommon.h, MacErrors.h */
    const void *string = security.string_create(NULL, text, UTF8);
    if (!string) {
        return REQ_INVALID; /* not UTF-8 */
    }
    int32_t status = security.requirement_create(string, 0, requirement);
    security.release(string);
    return status == 0 && !*requirement ? ALLOCATE_FAILED : status;
}

int32_t excguard_client_check_requirement(const char *text) {
    const void *requirement = NULL;
    if (!security_is_there()) {
        return EXCGUARD_CLIENT_NO_SECURITY;
    }
    int32_t status = create_requirement(text, &requirement);
    if (requirement) {
        security.release(requirement);
    }
    return status;
}

int32_t excguard_client_check_signature(const uint32_t audit_token[8], const char *text) {
    const void *requirement = NULL, *token, *attributes = NULL, *code = NULL;
    if (!security_is_there()) {
        return EXCGUARD_CLIENT_NO_SECURITY;
    }
    int32_t status = create_requirement(text, &requirement);
    if (status) {
        return status;
    }
    token = security.data_create(NULL, (const uint8_t *)audit_token, 8 * sizeof *audit_token);
    if (token) {
        const void *keys[] = {*security.attribute_audit}, *values[] = {token};
        attributes = security.dictionary_create(NULL, keys, values, 1, security.key_callbacks,
                                                security.value_callbacks);
    }
    /* By audit token: a pid can belong to another process by the time it is looked up. */
    status = attributes ? security.copy_guest(NULL, attributes, 0, &code) : -108;
    if (!status) {
        status = code ? security.check_validity(code, 0, requirement) : -108;
    }
    const void *objects[] = {code, attributes, token, requirement};
    for (size_t at = 0; at < sizeof objects / sizeof *objects; at++) {
        if (objects[at]) {
            security.release(objects[at]);
        }
    }
    return status;
}
