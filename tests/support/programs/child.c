/*
 * The watched program of the end-to-end tests: breaks rules on demand.
 *
 *     child double_deallocate        once; prints pid and port, then waits for the end of its standard input
 *     child deadly                   the same after it has made itself one whose optional guards are fatal
 *     child raise CODE COUNT         raises a guard COUNT times, with no client round trip between
 *     child sites COUNT              raises COUNT guards, each of another flavor
 *     child count FILE [PAUSE]       raises guards forever, subcode 1, 2, 3 ...; FILE has the number of the
 *                                    last one answered as handled; PAUSE microseconds between two
 *     child forge                    sends its own exception port a message only the kernel may send
 *     child insecure                 registers its exception port with an insecure behavior, raises a guard
 *     child state CODE               raises one guard
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <excsim.h>
#include <mach/mach.h>

#define INVALID_NAME 0x2000020000000000u

static void must(kern_return_t result, const char *what) {
    if (result != KERN_SUCCESS) {
        fprintf(stderr, "%s: %d\n", what, result);
        exit(99);
    }
}

static int double_deallocate(void) {
    mach_port_t port;
    must(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &port), "allocate");
    must(mach_port_insert_right(mach_task_self(), port, port, MACH_MSG_TYPE_MAKE_SEND), "insert");
    must(mach_port_mod_refs(mach_task_self(), port, MACH_PORT_RIGHT_RECEIVE, -1), "destroy");
    must(mach_port_deallocate(mach_task_self(), port), "deallocate");
    printf("%d %u\n", (int)getpid(), port);
    fflush(stdout);
    kern_return_t result = mach_port_deallocate(mach_task_self(), port);
    printf("%d\n", result);
    fflush(stdout);
    char buffer[64];
    while (read(0, buffer, sizeof buffer) > 0)
        ;
    return result == KERN_INVALID_NAME ? 0 : 98;
}

static int count(const char *path, useconds_t pause) {
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, 4096) != 0) {
        return 97;
    }
    _Atomic uint64_t *answered = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (answered == MAP_FAILED) {
        return 96;
    }
    /* Until the daemon has heard our pid it does not answer "handled"; number 0 is for that. */
    while (excsim_raise(INVALID_NAME | 0x2703, 0) != KERN_SUCCESS) {
        usleep(1000);
    }
    for (uint64_t number = atomic_load(answered) + 1;; number++) {
        if (excsim_raise(INVALID_NAME | 0x2703, number) != KERN_SUCCESS) {
            return 0; /* it is not handled any more */
        }
        atomic_store(answered, number);
        if (pause != 0) {
            usleep(pause);
        }
    }
}

/* The exception port of this task, a send right. */
static mach_port_t exception_port(void) {
    exception_mask_t masks[EXC_TYPES_COUNT];
    mach_msg_type_number_t entries = EXC_TYPES_COUNT;
    mach_port_t ports[EXC_TYPES_COUNT];
    exception_behavior_t behaviors[EXC_TYPES_COUNT];
    thread_state_flavor_t flavors[EXC_TYPES_COUNT];
    must(task_get_exception_ports(mach_task_self(), EXC_MASK_GUARD, masks, &entries, ports, behaviors,
                                  flavors),
         "task_get_exception_ports");
    return ports[0];
}

/* mach_exception_raise_state_identity_protected's layout without state: mach_exc.defs, routine 2408. */
struct forged {
    mach_msg_header_t header;
    mach_msg_body_t body;
    mach_msg_port_descriptor_t token;
    NDR_record_t ndr;
    uint64_t thread_id;
    int32_t exception;
    uint32_t code_count;
    int64_t code[2];
} __attribute__((packed, aligned(4)));

static int forge(void) {
    mach_port_t token;
    must(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &token), "allocate");
    struct forged message = {
        .header =
            {
                .msgh_bits = MACH_MSGH_BITS_COMPLEX | MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0),
                .msgh_size = sizeof message,
                .msgh_remote_port = exception_port(),
                .msgh_id = 2408,
            },
        .body.msgh_descriptor_count = 1,
        .token = {.name = token, .disposition = MACH_MSG_TYPE_MAKE_SEND, .type = MACH_MSG_PORT_DESCRIPTOR},
        .ndr = NDR_record,
        .thread_id = 1,
        .exception = EXC_GUARD,
        .code_count = 2,
        .code = {(int64_t)(INVALID_NAME | 0x666), 0},
    };
    must(mach_msg(&message.header, MACH_SEND_MSG, sizeof message, 0, MACH_PORT_NULL, 0, MACH_PORT_NULL),
         "send");
    /* The token's send right goes back when the message has been dealt with. */
    mach_port_status_t status;
    do {
        mach_msg_type_number_t size = MACH_PORT_RECEIVE_STATUS_COUNT;
        must(mach_port_get_attributes(mach_task_self(), token, MACH_PORT_RECEIVE_STATUS,
                                      (mach_port_info_t)&status, &size),
             "attributes");
        usleep(1000);
    } while (status.mps_srights);
    puts("released");
    return 0;
}

static int insecure(void) {
    must(task_set_exception_ports(mach_task_self(), EXC_MASK_GUARD, exception_port(),
                                  EXCEPTION_DEFAULT | (exception_behavior_t)MACH_EXCEPTION_CODES,
                                  THREAD_STATE_NONE),
         "task_set_exception_ports");
    printf("%d\n", excsim_raise(INVALID_NAME | 0x666, 0));
    return 0;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "double_deallocate")) {
        return double_deallocate();
    }
    if (!strcmp(what, "deadly")) {
        must(task_set_exc_guard_behavior(mach_task_self(),
                                         TASK_EXC_GUARD_MP_DELIVER | TASK_EXC_GUARD_MP_FATAL),
             "task_set_exc_guard_behavior");
        return double_deallocate();
    }
    if (!strcmp(what, "raise") && argc == 4) {
        excsim_raise_many(strtoull(argv[2], NULL, 0), 0, strtoull(argv[3], NULL, 0));
        return 0;
    }
    if (!strcmp(what, "sites") && argc == 3) {
        uint64_t last = strtoull(argv[2], NULL, 0);
        for (uint64_t flavor = 1; flavor <= last; flavor++) {
            excsim_raise((UINT64_C(1) << 61) | ((0x100000 + flavor) << 32), flavor);
        }
        return 0;
    }
    if (!strcmp(what, "count") && (argc == 3 || argc == 4)) {
        return count(argv[2], argc == 4 ? (useconds_t)strtoul(argv[3], NULL, 10) : 0);
    }
    if (!strcmp(what, "forge")) {
        return forge();
    }
    if (!strcmp(what, "insecure")) {
        return insecure();
    }
    fprintf(stderr, "child: unknown: %s\n", what);
    return 64;
}
