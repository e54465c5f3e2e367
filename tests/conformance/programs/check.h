/*
 * Programs of checks: `program NAME` runs the check of that name and exits with 0 if all that it expects
 * holds.
 */
#ifndef CHECK_H
#define CHECK_H

#include <mach/mach.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/sysctl.h>

#include "scenario.h"

struct check {
    const char *name;
    void (*run)(void);
    struct check *next;
};
static struct check *checks;

/*
 * CHECK(name) { ... }: test_conformance.py finds them by this form. The comment above each says where the
 * rule stands.
 */
#define CHECK(id)                                                \
    static void id(void);                                        \
    static struct check id##_check = {#id, id, 0};               \
    __attribute__((constructor)) static void id##_enlist(void) { \
        id##_check.next = checks, checks = &id##_check;          \
    }                                                            \
    static void id(void)

static inline void expect_at(int line, const char *what, long long expected, long long found) {
    if (expected != found) {
        fprintf(stderr, "line %d: %s: expected %lld (%#llx), found %lld (%#llx)\n", line, what, expected,
                (unsigned long long)expected, found, (unsigned long long)found);
        exit(1);
    }
}
#define EXPECT(expected, expression) \
    expect_at(__LINE__, #expression, (long long)(expected), (long long)(expression))

/* ---- what the checks of several programs need ---- */

/* Of macOS: major * 100 + minor. */
static inline int release(void) {
    char text[32] = "";
    size_t size = sizeof text;
    int major = 0, minor = 0;
    MUST(sysctlbyname("kern.osproductversion", text, &size, NULL, 0));
    sscanf(text, "%d.%d", &major, &minor);
    return major * 100 + minor;
}

static inline mach_port_type_t type_of(mach_port_t name) { /* 0: nothing */
    mach_port_type_t type;
    return mach_port_type(SELF, name, &type) == KERN_SUCCESS ? type : 0;
}

static inline mach_port_urefs_t refs_of(mach_port_t name, mach_port_right_t right) {
    mach_port_urefs_t refs;
    MUST(mach_port_get_refs(SELF, name, right, &refs));
    return refs;
}

static inline mach_port_status_t status_of(mach_port_t port) {
    mach_port_status_t status;
    mach_msg_type_number_t count = MACH_PORT_RECEIVE_STATUS_COUNT;
    MUST(mach_port_get_attributes(SELF, port, MACH_PORT_RECEIVE_STATUS, (mach_port_info_t)&status, &count));
    return status;
}

static inline mach_port_t send_once_right(mach_port_t port) {
    mach_port_t once;
    mach_msg_type_name_t kind;
    MUST(mach_port_extract_right(SELF, port, MACH_MSG_TYPE_MAKE_SEND_ONCE, &once, &kind));
    return once;
}

/* A message with room for one port, some bytes and any trailer. */
struct letter {
    mach_msg_header_t header;
    mach_msg_body_t body;
    mach_msg_port_descriptor_t port;
    uint32_t text[4];
    mach_msg_mac_trailer_t trailer;
};

static inline mach_msg_return_t send_letter(mach_port_t to, mach_msg_type_name_t disposition,
                                            mach_msg_id_t id, mach_msg_option_t option) {
    mach_msg_header_t header = {MACH_MSGH_BITS(disposition, 0), sizeof header, to, 0, 0, id};
    return mach_msg(&header, MACH_SEND_MSG | option, sizeof header, 0, 0, 0, 0);
}

static inline mach_msg_return_t send_for_reply(mach_port_t to, mach_msg_type_name_t remote, mach_port_t reply,
                                               mach_msg_type_name_t local) {
    mach_msg_header_t header = {MACH_MSGH_BITS(remote, local), sizeof header, to, reply, 0, 1};
    return mach_msg(&header, MACH_SEND_MSG, sizeof header, 0, 0, 0, 0);
}

static inline mach_msg_return_t send_right_to(mach_port_t to, mach_port_t right,
                                              mach_msg_type_name_t disposition) {
    struct letter letter = {
        .header = {MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, 0) | MACH_MSGH_BITS_COMPLEX,
                   offsetof(struct letter, text), to, 0, 0, 2},
        .body = {1},
        .port = {.name = right, .disposition = disposition, .type = MACH_MSG_PORT_DESCRIPTOR},
    };
    return mach_msg(&letter.header, MACH_SEND_MSG, offsetof(struct letter, text), 0, 0, 0, 0);
}

static inline mach_msg_return_t receive_letter(mach_port_t from, struct letter *letter,
                                               mach_msg_option_t option) {
    memset(letter, 0, sizeof *letter);
    return mach_msg(&letter->header, MACH_RCV_MSG | MACH_RCV_TIMEOUT | option, 0, sizeof *letter, from, 0, 0);
}

/* A port whose queue has room for one message, and holds it. */
static inline mach_port_t full_port(void) {
    mach_port_options_t options = {.flags = MPO_QLIMIT | MPO_INSERT_SEND_RIGHT, .mpl.mpl_qlimit = 1};
    mach_port_t port;
    MUST(mach_port_construct(SELF, &options, 0, &port));
    EXPECT(MACH_MSG_SUCCESS, send_letter(port, MACH_MSG_TYPE_COPY_SEND, 1, 0));
    return port;
}

int main(int argc, char **argv) {
    task_set_exc_guard_behavior(SELF, 0); /* the misuses here are on purpose */
    for (struct check *check = checks; argc == 2 && check; check = check->next) {
        if (!strcmp(check->name, argv[1])) {
            check->run();
            return 0;
        }
    }
    fprintf(stderr, "no such check\n");
    return 2;
}

#endif
