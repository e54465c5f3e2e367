/*
 * Tasks: exception ports, guard behavior, identities, special ports, launchd's names, and what libSystem says
 * of them. Sources: osfmk/kern of xnu-11417.101.15, if no other place is named.
 */
#include <errno.h>
#include <mach/mach_error.h>
#include <mach/mach_time.h>
#include <signal.h>
#include <spawn.h>
#include <sys/sysctl.h>
#include <sys/wait.h>

#include "check.h"

#ifndef __APPLE__
#include <excsim.h>
#endif

extern char **environ;

enum {
    PROTECTED = (int)(EXCEPTION_IDENTITY_PROTECTED | MACH_EXCEPTION_CODES),
    STATE = (int)(EXCEPTION_STATE | MACH_EXCEPTION_CODES),
    NONE = 0, /* THREAD_STATE_NONE differs between processors; 0 is taken on all */
};

struct handlers {
    exception_mask_t masks[EXC_TYPES_COUNT];
    mach_msg_type_number_t count;
    exception_handler_t ports[EXC_TYPES_COUNT];
    exception_behavior_t behaviors[EXC_TYPES_COUNT];
    thread_state_flavor_t flavors[EXC_TYPES_COUNT];
};

static struct handlers handlers_of(exception_mask_t mask) {
    struct handlers handlers = {.count = EXC_TYPES_COUNT};
    MUST(task_get_exception_ports(SELF, mask, handlers.masks, &handlers.count, handlers.ports,
                                  handlers.behaviors, handlers.flavors));
    return handlers;
}

/* kern.osrelease, bsd/kern/kern_sysctl.c: Darwin's number, which is macOS's since 27 (uname of its releases)
 */
CHECK(darwin_number) {
    char text[32] = "";
    size_t size = sizeof text;
    int macos = release() / 100;
    MUST(sysctlbyname("kern.osrelease", text, &size, NULL, 0));
    if (macos > 10) {
        EXPECT(macos >= 27 ? macos : macos == 26 ? 25 : macos + 9, atoi(text));
    }
}

/* task_set_exception_ports and task_get_exception_ports_internal, ipc_tt.c */
CHECK(exception_ports) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    exception_mask_t guard_and_access = EXC_MASK_GUARD | EXC_MASK_BAD_ACCESS;
    EXPECT(KERN_SUCCESS, task_set_exception_ports(SELF, guard_and_access, port, PROTECTED, NONE));
    struct handlers handlers = handlers_of(guard_and_access);
    EXPECT(1, handlers.count);
    EXPECT(guard_and_access, handlers.masks[0]);
    EXPECT(port, handlers.ports[0]);
    EXPECT(PROTECTED, handlers.behaviors[0]);
    EXPECT(NONE, handlers.flavors[0]);
    EXPECT(2, refs_of(port, MACH_PORT_RIGHT_SEND)); /* the answer brought one */
    EXPECT(KERN_SUCCESS,
           task_set_exception_ports(SELF, EXC_MASK_BAD_ACCESS, port, STATE, MACHINE_THREAD_STATE));
    handlers = handlers_of(guard_and_access);
    EXPECT(2, handlers.count);
    EXPECT(guard_and_access, handlers.masks[0] | handlers.masks[1]);
    EXPECT(KERN_SUCCESS,
           task_set_exception_ports(SELF, guard_and_access, MACH_PORT_NULL, EXCEPTION_DEFAULT, NONE));
    handlers = handlers_of(EXC_MASK_GUARD);
    EXPECT(MACH_PORT_NULL, handlers.ports[0]);
}

/* task_swap_exception_ports, ipc_tt.c */
CHECK(exception_ports_are_swapped) {
    mach_port_t first = receive_right(MPO_INSERT_SEND_RIGHT, 0),
                second = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    struct handlers old = {.count = EXC_TYPES_COUNT};
    MUST(task_set_exception_ports(SELF, EXC_MASK_GUARD, first, PROTECTED, NONE));
    EXPECT(KERN_SUCCESS,
           task_swap_exception_ports(SELF, EXC_MASK_GUARD, second, STATE, MACHINE_THREAD_STATE, old.masks,
                                     &old.count, old.ports, old.behaviors, old.flavors));
    EXPECT(1, old.count);
    EXPECT(EXC_MASK_GUARD, old.masks[0]);
    EXPECT(first, old.ports[0]);
    EXPECT(PROTECTED, old.behaviors[0]);
    EXPECT(second, handlers_of(EXC_MASK_GUARD).ports[0]);
}

/* task_set_exception_ports, ipc_tt.c */
CHECK(exception_port_holds_a_right) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0), notify = receive_right(0, 0);
    struct letter got;
    MUST(task_set_exception_ports(SELF, EXC_MASK_GUARD, port, PROTECTED, NONE));
    MUST(mach_port_deallocate(SELF, port));
    MUST(request(port, MACH_NOTIFY_NO_SENDERS, notify));
    EXPECT(MACH_RCV_TIMED_OUT, receive_letter(notify, &got, 0));
    MUST(task_set_exception_ports(SELF, EXC_MASK_GUARD, MACH_PORT_NULL, PROTECTED, NONE));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(notify, &got, 0));
    EXPECT(MACH_NOTIFY_NO_SENDERS, got.header.msgh_id);
}

/* task_get_exception_ports_internal, ipc_tt.c: a send right to a dead port */
CHECK(exception_port_that_died) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    MUST(task_set_exception_ports(SELF, EXC_MASK_GUARD, port, PROTECTED, NONE));
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -1));
    EXPECT(MACH_PORT_DEAD, handlers_of(EXC_MASK_GUARD).ports[0]);
    EXPECT(KERN_SUCCESS, task_set_exception_ports(SELF, EXC_MASK_GUARD, MACH_PORT_NULL, PROTECTED, NONE));
}

/* set_exception_ports_validation, ipc_tt.c */
CHECK(exception_ports_refused) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    struct handlers handlers = {.count = EXC_TYPES_COUNT};
    EXPECT(KERN_INVALID_ARGUMENT, task_set_exception_ports(SELF, 1u << 31, port, PROTECTED, NONE));
    EXPECT(KERN_INVALID_ARGUMENT,
           task_set_exception_ports(SELF, EXC_MASK_GUARD, port, EXCEPTION_IDENTITY_PROTECTED, NONE));
    EXPECT(KERN_INVALID_ARGUMENT, task_set_exception_ports(SELF, EXC_MASK_GUARD, port, 0, NONE));
    EXPECT(KERN_INVALID_ARGUMENT, task_set_exception_ports(SELF, EXC_MASK_GUARD, port, 9, NONE));
    EXPECT(KERN_INVALID_ARGUMENT, task_set_exception_ports(SELF, EXC_MASK_GUARD, port, STATE, 12345));
    EXPECT(MACH_SEND_INVALID_RIGHT,
           task_set_exception_ports(SELF, EXC_MASK_GUARD, no_name(), PROTECTED, NONE));
    EXPECT(MACH_SEND_INVALID_RIGHT,
           task_set_exception_ports(SELF, EXC_MASK_GUARD, receive_right(0, 0), PROTECTED, NONE));
    EXPECT(KERN_INVALID_ARGUMENT,
           task_get_exception_ports(SELF, 1u << 31, handlers.masks, &handlers.count, handlers.ports,
                                    handlers.behaviors, handlers.flavors));
    EXPECT(MACH_SEND_INVALID_DEST,
           task_set_exception_ports(no_name(), EXC_MASK_GUARD, port, PROTECTED, NONE));
    EXPECT(1, refs_of(port, MACH_PORT_RIGHT_SEND));
}

/*
 * set_exception_ports_validation, ipc_tt.c, and task_set_exception_ports of xnu-7195.141.2 (11.5) and
 * xnu-7195.121.3 (11.4)
 */
CHECK(exception_port_that_cannot_move) {
    mach_port_t port =
        receive_right(MPO_IMMOVABLE_RECEIVE | MPO_CONTEXT_AS_GUARD | MPO_INSERT_SEND_RIGHT, GUARD);
    kern_return_t expected = release() < 1105 ? KERN_SUCCESS : KERN_INVALID_RIGHT;
    EXPECT(expected, task_set_exception_ports(SELF, EXC_MASK_GUARD, port,
                                              (int)(EXCEPTION_DEFAULT | MACH_EXCEPTION_CODES), NONE));
    if (release() >= 1500) { /* one that is made for it cannot either, and may be one */
        port = receive_right(MPO_EXCEPTION_PORT | MPO_INSERT_SEND_RIGHT, 0);
        EXPECT(KERN_SUCCESS, task_set_exception_ports(SELF, EXC_MASK_GUARD, port, PROTECTED, NONE));
    }
}

/* task_set_exc_guard_behavior, task.c */
CHECK(guard_behavior) {
    task_exc_guard_behavior_t behavior;
    EXPECT(KERN_SUCCESS,
           task_set_exc_guard_behavior(SELF, TASK_EXC_GUARD_MP_DELIVER | TASK_EXC_GUARD_VM_DELIVER));
    EXPECT(KERN_SUCCESS, task_get_exc_guard_behavior(SELF, &behavior));
    EXPECT(TASK_EXC_GUARD_MP_DELIVER | TASK_EXC_GUARD_VM_DELIVER, behavior);
    EXPECT(KERN_INVALID_VALUE, task_set_exc_guard_behavior(SELF, 0x10000));
}

/*
 * task_set_exc_guard_behavior, task.c: since 12.0 (xnu-8019.41.5) a kernel that is none for development lets
 * flags grow only
 */
CHECK(guard_behavior_only_grows) {
    static const struct {
        task_exc_guard_behavior_t flags;
        kern_return_t result;
    } rows[] = {
        {TASK_EXC_GUARD_MP_DELIVER, KERN_SUCCESS},
        {TASK_EXC_GUARD_NONE, KERN_DENIED},
        {TASK_EXC_GUARD_MP_DELIVER | TASK_EXC_GUARD_MP_ONCE, KERN_DENIED},
        {TASK_EXC_GUARD_MP_DELIVER | TASK_EXC_GUARD_VM_ONCE, KERN_DENIED},
        {TASK_EXC_GUARD_MP_DELIVER | TASK_EXC_GUARD_MP_CORPSE, KERN_SUCCESS},
        {TASK_EXC_GUARD_MP_DELIVER, KERN_SUCCESS},
        {TASK_EXC_GUARD_MP_DELIVER | TASK_EXC_GUARD_VM_DELIVER | TASK_EXC_GUARD_VM_FATAL, KERN_SUCCESS},
        {TASK_EXC_GUARD_MP_DELIVER | TASK_EXC_GUARD_VM_DELIVER, KERN_DENIED},
    };
    task_exc_guard_behavior_t now, set = TASK_EXC_GUARD_NONE;
    for (size_t at = 0; at < sizeof rows / sizeof *rows; at++) {
        kern_return_t expected = release() < 1200 ? KERN_SUCCESS : rows[at].result;
        EXPECT(expected, task_set_exc_guard_behavior(SELF, rows[at].flags));
        set = expected == KERN_SUCCESS ? rows[at].flags : set;
        EXPECT(KERN_SUCCESS, task_get_exc_guard_behavior(SELF, &now));
        EXPECT(set, now);
    }
}

/* ---- identities ---- */

/* task_identity_token_get_task_port, task_ident.c */
CHECK(identity_token) {
    mach_port_t token, port;
    int pid;
    EXPECT(KERN_SUCCESS, task_create_identity_token(SELF, &token));
    for (mach_task_flavor_t flavor = TASK_FLAVOR_CONTROL; flavor <= TASK_FLAVOR_NAME; flavor++) {
        EXPECT(KERN_SUCCESS, task_identity_token_get_task_port(token, flavor, &port));
        EXPECT(KERN_SUCCESS, pid_for_task(port, &pid));
        EXPECT(getpid(), pid);
        MUST(mach_port_deallocate(SELF, port));
    }
    EXPECT(KERN_INVALID_ARGUMENT, task_identity_token_get_task_port(token, TASK_FLAVOR_MAX + 1, &port));
    EXPECT(KERN_SUCCESS, mach_port_deallocate(SELF, token));
    EXPECT(MACH_SEND_INVALID_DEST, task_identity_token_get_task_port(token, TASK_FLAVOR_NAME, &port));
}

/* pid_for_task, bsd/kern/kern_proc.c */
CHECK(pid_of_what_is_no_task) {
    int pid = 7;
    EXPECT(KERN_FAILURE, pid_for_task(receive_right(MPO_INSERT_SEND_RIGHT, 0), &pid));
    EXPECT(-1, pid);
    EXPECT(KERN_FAILURE, pid_for_task(no_name(), &pid));
    EXPECT(KERN_FAILURE, pid_for_task(MACH_PORT_NULL, &pid));
}

/* task_for_pid and task_name_for_pid, bsd/kern/kern_proc.c */
CHECK(task_of_a_pid) {
    mach_port_t task, name;
    int pid;
    EXPECT(KERN_SUCCESS, task_name_for_pid(SELF, getpid(), &name));
    EXPECT(KERN_SUCCESS, pid_for_task(name, &pid));
    EXPECT(getpid(), pid);
    EXPECT(KERN_SUCCESS, task_for_pid(SELF, getpid(), &task));
    EXPECT(SELF, task);
    EXPECT(KERN_FAILURE, task_for_pid(SELF, 0, &task));
    EXPECT(KERN_FAILURE, task_for_pid(SELF, 0x7ffffffe, &task));
    EXPECT(KERN_FAILURE, task_for_pid(no_name(), getpid(), &task));
}

/* task_get_special_port and task_set_special_port, ipc_tt.c */
CHECK(special_ports) {
    static const int which[] = {TASK_KERNEL_PORT, TASK_NAME_PORT, TASK_BOOTSTRAP_PORT, TASK_INSPECT_PORT,
                                TASK_READ_PORT};
    mach_port_t port, own = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    for (size_t at = 0; at < sizeof which / sizeof *which; at++) {
        EXPECT(KERN_SUCCESS, task_get_special_port(SELF, which[at], &port));
        EXPECT(MACH_PORT_TYPE_SEND, type_of(port));
        if (which[at] == TASK_KERNEL_PORT) {
            EXPECT(SELF, port);
        }
        if (which[at] == TASK_BOOTSTRAP_PORT) {
            EXPECT(bootstrap_port, port);
        }
    }
    EXPECT(KERN_INVALID_ARGUMENT, task_get_special_port(SELF, 99, &port));
    EXPECT(KERN_SUCCESS, task_set_special_port(SELF, TASK_BOOTSTRAP_PORT, own));
    EXPECT(KERN_SUCCESS, task_get_special_port(SELF, TASK_BOOTSTRAP_PORT, &port));
    EXPECT(own, port);
}

/* convert_port_to_task_with_flavor_locked, ipc_tt.c */
CHECK(what_a_weaker_port_may) {
    mach_port_t name, token, out;
    task_exc_guard_behavior_t behavior;
    MUST(task_get_special_port(SELF, TASK_NAME_PORT, &name));
    EXPECT(1, mach_port_allocate(name, MACH_PORT_RIGHT_RECEIVE, &out) != KERN_SUCCESS);
    EXPECT(1, task_create_identity_token(name, &token) != KERN_SUCCESS);
    EXPECT(1, task_get_exc_guard_behavior(name, &behavior) != KERN_SUCCESS);
    EXPECT(1, mach_task_is_self(SELF));
    EXPECT(1, mach_task_is_self(name));
    EXPECT(0, mach_task_is_self(receive_right(MPO_INSERT_SEND_RIGHT, 0)));
}

/* ---- exception ports of threads ---- */

/* thread_set_exception_ports, thread_get_exception_ports, thread_swap_exception_ports, ipc_tt.c */
CHECK(exception_ports_of_a_thread) {
    mach_port_t one = receive_right(MPO_INSERT_SEND_RIGHT, 0), thread = mach_thread_self();
    exception_mask_t masks[EXC_TYPES_COUNT];
    mach_port_t ports[EXC_TYPES_COUNT];
    exception_behavior_t behaviors[EXC_TYPES_COUNT];
    thread_state_flavor_t flavors[EXC_TYPES_COUNT];
    mach_msg_type_number_t count = EXC_TYPES_COUNT;
    EXPECT(KERN_SUCCESS, thread_set_exception_ports(thread, EXC_MASK_GUARD, one, PROTECTED, 0));
    EXPECT(KERN_SUCCESS,
           thread_get_exception_ports(thread, EXC_MASK_GUARD, masks, &count, ports, behaviors, flavors));
    EXPECT(1, count);
    EXPECT(EXC_MASK_GUARD, masks[0]);
    EXPECT(one, ports[0]);
    EXPECT(PROTECTED, behaviors[0]);
    count = EXC_TYPES_COUNT;
    EXPECT(KERN_SUCCESS, thread_swap_exception_ports(thread, EXC_MASK_GUARD, MACH_PORT_NULL, PROTECTED, 0,
                                                     masks, &count, ports, behaviors, flavors));
    EXPECT(one, ports[0]);
    count = EXC_TYPES_COUNT;
    EXPECT(KERN_SUCCESS, /* the task has none of it */
           task_get_exception_ports(SELF, EXC_MASK_GUARD, masks, &count, ports, behaviors, flavors));
    EXPECT(1, ports[0] != one);
    EXPECT(KERN_INVALID_ARGUMENT, thread_set_exception_ports(SELF, EXC_MASK_GUARD, one, PROTECTED, 0));
}

/* Two handlers of the same process; each notes that it was asked. */
static mach_port_t of_thread, of_task;
static kern_return_t answer_of_thread;
static volatile int asked_thread, asked_task;

static void *handle_both(void *unused) {
    mach_port_t set = port_set();
    uint8_t buffer[1024];
    mach_msg_header_t *header = (mach_msg_header_t *)buffer;
    MUST(mach_port_insert_member(SELF, of_thread, set));
    MUST(mach_port_insert_member(SELF, of_task, set));
    while (!mach_msg(header, MACH_RCV_MSG, 0, sizeof buffer, set, 0, 0)) {
        int is_thread = header->msgh_local_port == of_thread;
        *(is_thread ? &asked_thread : &asked_task) += 1;
        mig_reply_error_t reply = {.Head = {MACH_MSGH_BITS(MACH_MSG_TYPE_MOVE_SEND_ONCE, 0), sizeof reply,
                                            header->msgh_remote_port, 0, 0, header->msgh_id + 100},
                                   .NDR = NDR_record,
                                   .RetCode = is_thread ? answer_of_thread : KERN_SUCCESS};
        MUST(mach_msg(&reply.Head, MACH_SEND_MSG, sizeof reply, 0, 0, 0, 0));
    }
    return unused;
}

/* exception_triage_thread, osfmk/kern/exception.c */
CHECK(thread_handles_before_the_task) {
    pthread_t handler;
    of_thread = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    of_task = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    answer_of_thread = KERN_FAILURE;
    pthread_create(&handler, NULL, handle_both, NULL);
    MUST(task_set_exception_ports(SELF, EXC_MASK_GUARD, of_task, PROTECTED, 0));
    MUST(thread_set_exception_ports(mach_thread_self(), EXC_MASK_GUARD, of_thread, PROTECTED, 0));
    MUST(task_set_exc_guard_behavior(SELF, TASK_EXC_GUARD_MP_DELIVER));
    EXPECT(KERN_INVALID_NAME, mach_port_deallocate(SELF, no_name()));
    EXPECT(1, asked_thread); /* it refuses, so the task's is asked next */
    EXPECT(1, asked_task);
    answer_of_thread = KERN_SUCCESS;
    EXPECT(KERN_INVALID_NAME, mach_port_deallocate(SELF, no_name()));
    EXPECT(2, asked_thread);
    EXPECT(1, asked_task);
}

/* mach_host_self and mach_thread_self, mach/mach_init.h */
CHECK(hosts_and_threads) {
    mach_port_t host = mach_host_self(), thread = mach_thread_self();
    uint64_t id = 0;
    EXPECT(MACH_PORT_TYPE_SEND, type_of(host));
    EXPECT(MACH_PORT_TYPE_SEND, type_of(thread));
    EXPECT(thread, mach_thread_self());
    EXPECT(0, pthread_threadid_np(NULL, &id));
    EXPECT(1, id != 0);
}

/* ---- launchd's names ---- */

/* servers/bootstrap.h */
CHECK(bootstrap) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0), found = 0, service;
    char name[64], *taken = name;
    snprintf(name, sizeof name, "test.excguard.%d", (int)getpid());
    EXPECT(BOOTSTRAP_UNKNOWN_SERVICE, bootstrap_look_up(bootstrap_port, name, &found));
    EXPECT(KERN_SUCCESS, bootstrap_register(bootstrap_port, taken, port));
    EXPECT(KERN_SUCCESS, bootstrap_look_up(bootstrap_port, name, &found));
    EXPECT(port, found);
    EXPECT(2, refs_of(port, MACH_PORT_RIGHT_SEND));
    EXPECT(1, bootstrap_check_in(bootstrap_port, name, &service) != KERN_SUCCESS);
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -1));
    EXPECT(BOOTSTRAP_UNKNOWN_SERVICE, bootstrap_look_up(bootstrap_port, name, &found));
    EXPECT(0, strcmp("Unknown service name", bootstrap_strerror(BOOTSTRAP_UNKNOWN_SERVICE)));
}

/* mach_port_get_service_port_info, osfmk/ipc/mach_port.c */
CHECK(service_port_info_of_other_ports) {
    mach_service_port_info_data_t info;
    EXPECT(KERN_INVALID_CAPABILITY, mach_port_get_service_port_info(SELF, receive_right(0, 0), &info));
    EXPECT(KERN_INVALID_RIGHT, mach_port_get_service_port_info(SELF, send_right(), &info));
    EXPECT(KERN_INVALID_RIGHT, mach_port_get_service_port_info(SELF, MACH_PORT_NULL, &info));
    EXPECT(KERN_INVALID_NAME, mach_port_get_service_port_info(SELF, no_name(), &info));
}

/* mach_port_is_connection_for_service, osfmk/ipc/mach_port.c */
CHECK(connections_of_other_ports) {
    mach_port_t port = receive_right(0, 0);
    uint64_t filter = 99;
    EXPECT(KERN_INVALID_NAME, mach_port_is_connection_for_service(SELF, MACH_PORT_NULL, port, &filter));
    EXPECT(KERN_INVALID_NAME, mach_port_is_connection_for_service(SELF, port, MACH_PORT_DEAD, &filter));
    EXPECT(KERN_INVALID_CAPABILITY, mach_port_is_connection_for_service(SELF, port, port, &filter));
    EXPECT(KERN_INVALID_RIGHT, mach_port_is_connection_for_service(SELF, port, send_right(), &filter));
}

/* mach_port_construct, osfmk/ipc/mach_port.c: of launchd's coalition alone, whose processes a Mac has none of
 * for a test */
CHECK(service_ports) {
    mach_service_port_info_data_t info = {.mspi_string_name = "test.excguard.service", .mspi_domain_type = 2},
                                  found;
    mach_port_options_t options = {.flags = MPO_STRICT_SERVICE_PORT, .service_port_info = &info};
    mach_port_t port, reader;
    uint64_t filter = 99;
    if (release() < 2600) { /* of which at most one may be set since 14.4 */
        options.flags = MPO_SERVICE_PORT;
    }
    EXPECT(KERN_DENIED, mach_port_construct(SELF, &options, 0, &port));
#ifndef __APPLE__
    MUST(excsim_set_policy(EXCSIM_LAUNCHD_COALITION));
    EXPECT(KERN_SUCCESS, mach_port_construct(SELF, &options, 0, &port));
    MUST(task_get_special_port(SELF, TASK_READ_PORT, &reader));
    EXPECT(KERN_SUCCESS, mach_port_get_service_port_info(reader, port, &found));
    EXPECT(0, strcmp(info.mspi_string_name, found.mspi_string_name));
    EXPECT(2, found.mspi_domain_type);

    memset(info.mspi_string_name, 'x', sizeof info.mspi_string_name);
    EXPECT(KERN_INVALID_ARGUMENT, mach_port_construct(SELF, &options, 0, &port));
    options.service_port_info = (mach_service_port_info_t)8;
    EXPECT(KERN_MEMORY_ERROR, mach_port_construct(SELF, &options, 0, &port));
    options.service_port_info = NULL;
    EXPECT(KERN_INVALID_ARGUMENT, mach_port_construct(SELF, &options, 0, &port));

    EXPECT(KERN_SUCCESS, bootstrap_check_in(bootstrap_port, "test.excguard.checked", &port));
    EXPECT(KERN_SUCCESS, mach_port_get_service_port_info(SELF, port, &found));
    EXPECT(0, strcmp("test.excguard.checked", found.mspi_string_name));
    EXPECT(KERN_SUCCESS, mach_port_is_connection_for_service(SELF, receive_right(0, 0), port, &filter));
    EXPECT(0, filter);
#else
    (void)found, (void)reader, (void)filter;
#endif
}

/* ---- words and clocks ---- */

/* libsyscall/mach/err_kern.sub, err_ipc.sub and err_mach_ipc.sub */
CHECK(error_strings) {
    EXPECT(0, strcmp("(os/kern) successful", mach_error_string(KERN_SUCCESS)));
    EXPECT(0, strcmp("(os/kern) invalid name", mach_error_string(KERN_INVALID_NAME)));
    EXPECT(0, strcmp("(ipc/send) invalid destination port", mach_error_string(MACH_SEND_INVALID_DEST)));
    EXPECT(0, strcmp("(ipc/rcv) timed out", mach_error_string(MACH_RCV_TIMED_OUT)));
    EXPECT(0, strcmp("(ipc/mig) bad request message ID", mach_error_string(MIG_BAD_ID)));
    EXPECT(1, mach_error_string(0x12345678) != NULL);
}

/* mach/mach_time.h */
CHECK(time_goes_on) {
    mach_timebase_info_data_t base;
    EXPECT(KERN_SUCCESS, mach_timebase_info(&base));
    EXPECT(1, base.numer != 0 && base.denom != 0);
    uint64_t before = mach_absolute_time(), continuous = mach_continuous_time();
    usleep(1000);
    uint64_t nanoseconds = (mach_absolute_time() - before) * base.numer / base.denom;
    EXPECT(1, nanoseconds >= 1000000 && nanoseconds < 10000000000);
    EXPECT(1, mach_continuous_time() > continuous);
}

/* sysctlbyname(3) */
CHECK(sysctl_by_name) {
    char text[256];
    int number;
    size_t number_size = sizeof number;
    size_t size = sizeof text, small = 2;
    EXPECT(0, sysctlbyname("kern.osproductversion", text, &size, NULL, 0));
    EXPECT(strlen(text) + 1, size);
    EXPECT(1, atoi(text) >= 10);
    EXPECT(0, sysctlbyname("kern.osproductversion", NULL, &size, NULL, 0));
    EXPECT(strlen(text) + 1, size);
    EXPECT(-1, sysctlbyname("kern.osproductversion", text, &small, NULL, 0));
    EXPECT(ENOMEM, errno);
    EXPECT(0, sysctlbyname("kern.task_exc_guard_default", &number, &number_size, NULL, 0));
    EXPECT(sizeof number, number_size);
    EXPECT(-1, sysctlbyname("kern.no_such_thing", text, &size, NULL, 0));
    EXPECT(ENOENT, errno);
    EXPECT(-1, sysctlbyname("kern.version", NULL, NULL, text, 1));
    EXPECT(EPERM, errno);
}

/* ---- processes ---- */

static int status_of_child(pid_t pid) {
    int status = -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* ipc_task_disable and ipc_space_terminate, ipc_space.c */
CHECK(death_of_a_process) {
    mach_port_t mine = receive_right(MPO_INSERT_SEND_RIGHT, 0), notify = receive_right(0, 0), theirs, task;
    struct letter got;
    char name[64];
    snprintf(name, sizeof name, "test.excguard.%d", (int)getpid());
    MUST(bootstrap_register(bootstrap_port, name, mine));
    pid_t pid = fork();
    if (!pid) { /* gives its parent a right, and waits */
        mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0), parent;
        MUST(bootstrap_look_up(bootstrap_port, name, &parent));
        struct letter letter = {
            .header = {MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0) | MACH_MSGH_BITS_COMPLEX,
                       offsetof(struct letter, text), parent, 0, 0, 2},
            .body = {1},
            .port = {.name = port, .disposition = MACH_MSG_TYPE_MAKE_SEND, .type = MACH_MSG_PORT_DESCRIPTOR},
        };
        MUST(mach_msg(&letter.header, MACH_SEND_MSG, letter.header.msgh_size, 0, 0, 0, 0));
        pause();
        _exit(0);
    }
    EXPECT(MACH_MSG_SUCCESS, mach_msg(&got.header, MACH_RCV_MSG, 0, sizeof got, mine, 0, 0));
    theirs = got.port.name;
    EXPECT(MACH_PORT_TYPE_SEND, type_of(theirs));
    MUST(task_name_for_pid(SELF, pid, &task));
    MUST(request(theirs, MACH_NOTIFY_DEAD_NAME, notify));
    MUST(request(task, MACH_NOTIFY_DEAD_NAME, notify));
    kill(pid, SIGKILL);
    for (int at = 0; at < 2; at++) {
        EXPECT(MACH_MSG_SUCCESS, mach_msg(&got.header, MACH_RCV_MSG, 0, sizeof got, notify, 0, 0));
        EXPECT(MACH_NOTIFY_DEAD_NAME, got.header.msgh_id);
    }
    EXPECT(MACH_PORT_TYPE_DEAD_NAME, type_of(theirs));
    EXPECT(MACH_PORT_TYPE_DEAD_NAME, type_of(task));
    EXPECT(-SIGKILL, status_of_child(pid));
}

/* ipc_task_init, ipc_tt.c: exception ports are inherited, names are not */
CHECK(fork_starts_with_few_names) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    MUST(task_set_exception_ports(SELF, EXC_MASK_GUARD, port, PROTECTED, NONE));
    pid_t pid = fork();
    if (!pid) {
        EXPECT(KERN_INVALID_NAME, mach_port_deallocate(SELF, port));
        struct handlers handlers = handlers_of(EXC_MASK_GUARD); /* but inherits these */
        EXPECT(1, MACH_PORT_VALID(handlers.ports[0]));
        EXPECT(PROTECTED, handlers.behaviors[0]);
        EXPECT(MACH_PORT_TYPE_SEND, type_of(handlers.ports[0]));
        int self;
        EXPECT(KERN_SUCCESS, pid_for_task(mach_task_self(), &self));
        EXPECT(getpid(), self);
        EXPECT(MACH_PORT_TYPE_SEND, type_of(bootstrap_port));
        EXPECT(1, mig_get_reply_port() != MACH_PORT_NULL);
        _exit(0);
    }
    EXPECT(0, status_of_child(pid));
}

/* task_identity_token_get_task_port, task_ident.c: KERN_NOT_FOUND */
CHECK(token_of_a_dead_task) {
    mach_port_t task, token, port;
    pid_t pid = fork();
    if (!pid) {
        pause();
        _exit(0);
    }
    if (task_for_pid(SELF, pid, &task) != KERN_SUCCESS) { /* a Mac asks for more than the same user */
        kill(pid, SIGKILL);
        EXPECT(-SIGKILL, status_of_child(pid));
        return;
    }
    EXPECT(KERN_SUCCESS, task_create_identity_token(task, &token));
    EXPECT(KERN_SUCCESS, task_identity_token_get_task_port(token, TASK_FLAVOR_NAME, &port));
    kill(pid, SIGKILL);
    EXPECT(-SIGKILL, status_of_child(pid));
    EXPECT(KERN_NOT_FOUND, task_identity_token_get_task_port(token, TASK_FLAVOR_NAME, &port));
    EXPECT(1, task_create_identity_token(task, &token) != KERN_SUCCESS);
}

/* posix_spawn(2), posix_spawnattr_setflags(3), posix_spawn_file_actions_addinherit_np(3) */
CHECK(spawn_attributes) {
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    char *const command[] = {
        "sh", "-c",
        "test $(cat <&9) = word && test \"$(ps -o pgid= -p $$ | tr -d ' ')\" = $$ && ! (: <&8) 2>/dev/null",
        NULL};
    int pipes[2], kept[2];
    pid_t pid;
    short flags;
    MUST(pipe(pipes));
    MUST(pipe(kept));
    EXPECT(5, write(pipes[1], "word\n", 5));
    close(pipes[1]);
    EXPECT(8, dup2(kept[0], 8));
    EXPECT(0, posix_spawnattr_init(&attributes));
    EXPECT(0, posix_spawnattr_setflags(&attributes, POSIX_SPAWN_CLOEXEC_DEFAULT | POSIX_SPAWN_SETPGROUP));
    EXPECT(0, posix_spawnattr_getflags(&attributes, &flags));
    EXPECT(POSIX_SPAWN_CLOEXEC_DEFAULT | POSIX_SPAWN_SETPGROUP, flags);
    EXPECT(0, posix_spawn_file_actions_init(&actions));
    EXPECT(0, posix_spawn_file_actions_addinherit_np(&actions, 0));
    EXPECT(0, posix_spawn_file_actions_addinherit_np(&actions, 1));
    EXPECT(0, posix_spawn_file_actions_addinherit_np(&actions, 2));
    EXPECT(0, posix_spawn_file_actions_adddup2(&actions, pipes[0], 9));
    EXPECT(0, posix_spawnp(&pid, "sh", &actions, &attributes, command, environ));
    EXPECT(0, status_of_child(pid));
    EXPECT(ENOENT, posix_spawnp(&pid, "no-such-program", &actions, &attributes, command, environ));
    EXPECT(0, posix_spawn_file_actions_destroy(&actions));
    EXPECT(0, posix_spawnattr_destroy(&attributes));
}

/* exec_handle_port_actions, bsd/kern/kern_exec.c */
CHECK(spawn_with_bad_exception_ports) {
    char *const command[] = {"true", NULL};
    posix_spawnattr_t attributes;
    pid_t pid;
    EXPECT(0, posix_spawnattr_init(&attributes));
    EXPECT(0, posix_spawnattr_setexceptionports_np(&attributes, EXC_MASK_GUARD,
                                                   receive_right(MPO_INSERT_SEND_RIGHT, 0), 99, NONE));
    EXPECT(EINVAL, posix_spawnp(&pid, "true", NULL, &attributes, command, environ));
    EXPECT(0, posix_spawnattr_destroy(&attributes));
    EXPECT(0, posix_spawnattr_init(&attributes));
    EXPECT(0, posix_spawnattr_setexceptionports_np(&attributes, EXC_MASK_GUARD, no_name(), PROTECTED, NONE));
    EXPECT(EINVAL, posix_spawnp(&pid, "true", NULL, &attributes, command, environ));
    EXPECT(0, posix_spawnattr_destroy(&attributes));
}
