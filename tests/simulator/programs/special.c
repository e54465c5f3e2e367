/*
 * special SCENARIO: misuses that need what the simulator alone gives: a pinned port, a task that is hardened
 * late, a service of launchd's, and numbers that are the caller's own. See misuse.c.
 */
#include <excsim.h>

#include "scenario.h"

static void pin(mach_port_t port) {
    MUST(excsim_pin(port));
}

static kern_return_t send_to_kernel(mach_port_t port) {
    mach_msg_header_t message = {
        MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0), sizeof message, port, 0, 0, 3402};
    return mach_msg(&message, MACH_SEND_MSG, sizeof message, 0, 0, 0, 0);
}

static mach_port_t check_in(void) {
    mach_port_t port;
    MUST(bootstrap_check_in(bootstrap_port, "test.service", &port));
    return port;
}

static kern_return_t handle_by(mach_port_t service) {
    MUST(mach_port_insert_right(SELF, service, service, MACH_MSG_TYPE_MAKE_SEND));
    return task_set_exception_ports(SELF, EXC_MASK_BAD_ACCESS, service,
                                    (int)(EXCEPTION_IDENTITY_PROTECTED | MACH_EXCEPTION_CODES), 0);
}

SCENARIO(deallocate_pinned, send_right(),
         (pin(port), mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, -1)))
SCENARIO(deallocate_task_port_late, SELF, (excsim_harden(1), mach_port_deallocate(SELF, port)))
SCENARIO(move_weak_reply_port, receive_right(MPO_REPLY_PORT, 0),
         (excsim_harden(2), send_with_descriptor(port, MACH_MSG_TYPE_MOVE_RECEIVE)))
SCENARIO(kernel_call_without_receive, SELF, send_to_kernel(port))
SCENARIO(move_service_port, check_in(), send_with_descriptor(port, MACH_MSG_TYPE_MOVE_RECEIVE))
SCENARIO(service_as_exception_port, check_in(), handle_by(port))

static const struct scenario_row rows[] = {
    {"deallocate_pinned", deallocate_pinned},
    {"deallocate_task_port_late", deallocate_task_port_late},
    {"move_weak_reply_port", move_weak_reply_port},
    {"kernel_call_without_receive", kernel_call_without_receive},
    {"move_service_port", move_service_port},
    {"service_as_exception_port", service_as_exception_port},
};

int main(int argc, char **argv) {
    return run_scenario(argc, argv, rows, sizeof rows / sizeof *rows, TASK_EXC_GUARD_NONE);
}
