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

static kern_return_t send_with_local(mach_port_t to, mach_port_t local) {
    mach_msg_header_t message = {MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE),
                                 sizeof message,
                                 to,
                                 local,
                                 0,
                                 1};
    return mach_msg(&message, MACH_SEND_MSG, sizeof message, 0, 0, 0, 0);
}

static kern_return_t send_to_own(mach_port_t service) {
    return send_with_local(service, receive_right(0, 0));
}

/* Exported and in no header: what MIG's stubs call. */
extern mach_msg_return_t mach_msg2_internal(void *data, uint64_t option64, uint64_t msgh_bits_and_send_size,
                                            uint64_t msgh_remote_and_local_port, uint64_t msgh_voucher_and_id,
                                            uint64_t desc_count_and_rcv_name, uint64_t rcv_size_and_priority,
                                            uint64_t timeout);

static kern_return_t call_kernel(mach_port_t reply) {
    const uint64_t kobject_call = 0x200000000;
    uint8_t buffer[256];
    return mach_msg2_internal(
        buffer, MACH_SEND_MSG | MACH_RCV_MSG | kobject_call,
        24ull << 32 | MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE),
        (uint64_t)reply << 32 | SELF, 3402ull << 32, (uint64_t)reply << 32, sizeof buffer, 0);
}

static kern_return_t send_array(mach_port_t port) {
    struct {
        mach_msg_base_t base;
        mach_msg_ool_ports_descriptor_t ports;
    } message = {
        .base = {{MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0) | MACH_MSGH_BITS_COMPLEX, sizeof message, port,
                  0, 0, 1},
                 {1}},
        .ports = {.address = &port,
                  .count = 1,
                  .disposition = MACH_MSG_TYPE_COPY_SEND,
                  .type = MACH_MSG_OOL_PORTS_DESCRIPTOR},
    };
    return mach_msg(&message.base.header, MACH_SEND_MSG, sizeof message, 0, 0, 0, 0);
}

static kern_return_t construct_weak(void) {
    mach_port_options_t options = {.flags = MPO_WEAK_REPLY_PORT};
    mach_port_t port;
    return mach_port_construct(SELF, &options, 0, &port);
}

SCENARIO(deallocate_pinned, send_right(),
         (pin(port), mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, -1)))
SCENARIO(deallocate_task_port_late, SELF,
         (excsim_harden(1), mach_port_deallocate(SELF, port), mach_port_deallocate(SELF, port)))
SCENARIO(move_weak_reply_port, receive_right(MPO_REPLY_PORT, 0),
         (excsim_harden(2), send_with_descriptor(port, MACH_MSG_TYPE_MOVE_RECEIVE)))
SCENARIO(kernel_call_without_receive, SELF, send_to_kernel(port))
SCENARIO(move_service_port, check_in(), send_with_descriptor(port, MACH_MSG_TYPE_MOVE_RECEIVE))
SCENARIO(service_without_reply_port, check_in(), send_to_own(port))
SCENARIO(enforced_reply_port, receive_right(0, 0),
         send_with_local(receive_right(MPO_ENFORCE_REPLY_PORT_SEMANTICS, 0), port))
SCENARIO(kernel_object_without_reply_port, receive_right(0, 0),
         (excsim_set_policy(EXCSIM_ENHANCED_1), call_kernel(port)))
SCENARIO(ports_out_of_line, receive_right(MPO_INSERT_SEND_RIGHT, 0),
         (excsim_set_policy(EXCSIM_ENHANCED_2), send_array(port)))
SCENARIO(construct_weak_reply_port, 0, (excsim_set_policy(EXCSIM_ENHANCED_1), construct_weak()))
SCENARIO(service_as_exception_port, check_in(), handle_by(port))

static const struct scenario_row rows[] = {
    {"deallocate_pinned", deallocate_pinned},
    {"deallocate_task_port_late", deallocate_task_port_late},
    {"move_weak_reply_port", move_weak_reply_port},
    {"kernel_call_without_receive", kernel_call_without_receive},
    {"move_service_port", move_service_port},
    {"service_as_exception_port", service_as_exception_port},
    {"service_without_reply_port", service_without_reply_port},
    {"enforced_reply_port", enforced_reply_port},
    {"kernel_object_without_reply_port", kernel_object_without_reply_port},
    {"ports_out_of_line", ports_out_of_line},
    {"construct_weak_reply_port", construct_weak_reply_port},
};

int main(int argc, char **argv) {
    return run_scenario(argc, argv, rows, sizeof rows / sizeof *rows, TASK_EXC_GUARD_NONE);
}
