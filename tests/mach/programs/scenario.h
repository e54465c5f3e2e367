/* What the programs of scenarios share: ports to misuse, and a main that runs one scenario by its name. */
#ifndef SCENARIO_H
#define SCENARIO_H

#include <mach/mach.h>
#include <servers/bootstrap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef MPO_EXCEPTION_PORT /* SDKs before macOS 15 */
#define MPO_EXCEPTION_PORT 0x8000
#endif
#ifndef MPO_NOTIFICATION_PORT /* SDKs before macOS 26 */
#define MPO_NOTIFICATION_PORT 0x4400
#endif

#define SELF mach_task_self()
#define MUST(call)                                                                                          \
    do {                                                                                                    \
        kern_return_t result_ = (call);                                                                     \
        if (result_ != KERN_SUCCESS) {                                                                      \
            fprintf(stderr, "misuse: %s: %s (%#x)\n", #call, mach_error_string(result_), (unsigned)result_); \
            exit(99);                                                                                       \
        }                                                                                                   \
    } while (0)

enum { GUARD = 0x1234, WRONG = 0xbad };

static inline mach_port_t receive_right(uint32_t flags, uint64_t context) {
    mach_port_options_t options = {.flags = flags};
    mach_port_t port;
    MUST(mach_port_construct(SELF, &options, context, &port));
    return port;
}

static inline mach_port_t send_right(void) { /* the only right that this task has to that port */
    mach_port_t port;
    MUST(task_get_special_port(SELF, TASK_NAME_PORT, &port));
    return port;
}

static inline mach_port_t dead_name(void) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -1));
    return port;
}

static inline mach_port_t no_name(void) {
    mach_port_t port = receive_right(0, 0);
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -1));
    return port;
}

static inline mach_port_t port_set(void) {
    mach_port_t set;
    MUST(mach_port_allocate(SELF, MACH_PORT_RIGHT_PORT_SET, &set));
    return set;
}

static inline void announce(mach_port_t port) {
    printf("{\"port\": %u}\n", port);
    fflush(stdout);
}

static inline kern_return_t send_with_descriptor(mach_port_t right, mach_msg_type_name_t disposition) {
    mach_port_t to = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    struct {
        mach_msg_base_t base;
        mach_msg_port_descriptor_t port;
    } message = {
        .base = {{MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0) | MACH_MSGH_BITS_COMPLEX, sizeof message, to, 0, 0, 1}, {1}},
        .port = {.name = right, .disposition = disposition, .type = MACH_MSG_PORT_DESCRIPTOR},
    };
    return mach_msg(&message.base.header, MACH_SEND_MSG, sizeof message, 0, 0, 0, 0);
}

static inline kern_return_t send_with_reply_port(mach_port_t reply, mach_msg_type_name_t disposition) {
    mach_port_t to = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    mach_msg_header_t message = {MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, disposition), sizeof message, to, reply, 0, 1};
    return mach_msg(&message, MACH_SEND_MSG, sizeof message, 0, 0, 0, 0);
}

static inline kern_return_t receive_on(mach_port_t port) {
    uint8_t buffer[256];
    return mach_msg((mach_msg_header_t *)buffer, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof buffer, port, 0, 0);
}

static inline kern_return_t request(mach_port_t port, mach_msg_id_t id, mach_port_t notify) {
    mach_port_t previous;
    return mach_port_request_notification(SELF, port, id, 0, notify, MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous);
}

typedef kern_return_t scenario(mach_port_t *port);

struct scenario_row {
    const char *name;
    scenario *run;
};

/* A scenario: makes a port, prints its name, commits the deed. */
#define SCENARIO(name, prepare, deed)                       \
    static kern_return_t name(mach_port_t *out) {           \
        mach_port_t port = prepare;                         \
        *out = port;                                        \
        announce(port);                                     \
        return deed;                                        \
    }

/* Runs the scenario that the only argument names; prints the port and the result, if this process still lives. */
static inline int run_scenario(int argc, char **argv, const struct scenario_row *rows, size_t count) {
    for (size_t at = 0; argc == 2 && at < count; at++) {
        if (!strcmp(argv[1], rows[at].name)) {
            mach_port_t port;
            kern_return_t result = rows[at].run(&port);
            printf("{\"port\": %u, \"result\": %d}\n", port, result);
            return 0;
        }
    }
    fprintf(stderr, "no such scenario\n");
    return 2;
}

#endif
