/* What the programs of scenarios share: ports to misuse, and a main that runs one scenario by its name. */
#ifndef SCENARIO_H
#define SCENARIO_H

#include <mach/mach.h>
#include <pthread.h>
#include <servers/bootstrap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef MPO_EXCEPTION_PORT /* SDKs before macOS 15 */
#define MPO_EXCEPTION_PORT 0x8000
#endif
#ifndef MPO_CONNECTION_PORT_WITH_PORT_ARRAY /* SDKs before macOS 26 */
#define MPO_CONNECTION_PORT_WITH_PORT_ARRAY 0x10000
#endif
#ifndef MPO_STRICT_SERVICE_PORT /* SDKs before macOS 26 */
#define MPO_STRICT_SERVICE_PORT (MPO_SERVICE_PORT | MPO_ENFORCE_REPLY_PORT_SEMANTICS)
#endif
#ifndef MPO_NOTIFICATION_PORT /* SDKs before macOS 26 */
#define MPO_NOTIFICATION_PORT 0x4400
#endif

#define SELF mach_task_self()
#define MUST(call)                                                                                           \
    do {                                                                                                     \
        kern_return_t result_ = (call);                                                                      \
        if (result_ != KERN_SUCCESS) {                                                                       \
            fprintf(stderr, "misuse: %s: %s (%#x)\n", #call, mach_error_string(result_), (unsigned)result_); \
            exit(99);                                                                                        \
        }                                                                                                    \
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
    uint64_t thread;
    pthread_threadid_np(NULL, &thread);
    printf("{\"port\": %u, \"thread\": %llu}\n", port, (unsigned long long)thread);
    fflush(stdout);
}

static inline kern_return_t send_with_descriptor(mach_port_t right, mach_msg_type_name_t disposition) {
    mach_port_t to = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    struct {
        mach_msg_base_t base;
        mach_msg_port_descriptor_t port;
    } message = {
        .base = {{MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0) | MACH_MSGH_BITS_COMPLEX, sizeof message, to, 0,
                  0, 1},
                 {1}},
        .port = {.name = right, .disposition = disposition, .type = MACH_MSG_PORT_DESCRIPTOR},
    };
    return mach_msg(&message.base.header, MACH_SEND_MSG, sizeof message, 0, 0, 0, 0);
}

static inline kern_return_t send_with_reply_port(mach_port_t reply, mach_msg_type_name_t disposition) {
    mach_port_t to = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    mach_msg_header_t message = {
        MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, disposition), sizeof message, to, reply, 0, 1};
    return mach_msg(&message, MACH_SEND_MSG, sizeof message, 0, 0, 0, 0);
}

static inline kern_return_t receive_on(mach_port_t port) {
    uint8_t buffer[256];
    return mach_msg((mach_msg_header_t *)buffer, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof buffer, port, 0,
                    0);
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

/* A scenario: makes a port, prints its name, misuses it. */
#define SCENARIO(name, prepare, misuse)           \
    static kern_return_t name(mach_port_t *out) { \
        mach_port_t port = prepare;               \
        *out = port;                              \
        announce(port);                           \
        return misuse;                            \
    }

static scenario *chosen;
static int times = 1;

static inline void *run_chosen(void *unused) {
    for (int at = 0; at < times; at++) {
        mach_port_t port;
        kern_return_t result = chosen(&port);
        printf("{\"port\": %u, \"result\": %d}\n", port, result);
        fflush(stdout);
    }
    return unused;
}

/*
 * [-g FLAGS] [-n TIMES] [-2] SCENARIO: sets the task's guard flags if any are given here or by `flags`, runs
 * the scenario that often, with -2 in a second thread, and prints the port, the thread and the result of
 * each, if this process still lives.
 */
static inline int run_scenario(int argc, char **argv, const struct scenario_row *rows, size_t count,
                               task_exc_guard_behavior_t flags) {
    int second = 0;
    for (int option; (option = getopt(argc, argv, "g:n:2")) != -1;) {
        if (option == 'g') {
            flags = (task_exc_guard_behavior_t)strtoul(optarg, NULL, 0);
        } else if (option == 'n') {
            times = atoi(optarg);
        } else if (option == '2') {
            second = 1;
        } else {
            return 2;
        }
    }
    for (size_t at = 0; optind == argc - 1 && at < count; at++) {
        if (!strcmp(argv[optind], rows[at].name)) {
            chosen = rows[at].run;
        }
    }
    if (!chosen) {
        fprintf(stderr, "no such scenario\n");
        return 2;
    }
    if (flags) {
        MUST(task_set_exc_guard_behavior(SELF, flags));
    }
    if (second) {
        pthread_t thread;
        pthread_create(&thread, NULL, run_chosen, NULL);
        pthread_join(thread, NULL);
    } else {
        run_chosen(NULL);
    }
    return 0;
}

#endif
