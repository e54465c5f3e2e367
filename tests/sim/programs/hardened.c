/* hardened SCENARIO: misuses that need a hardened task or a pinned port; see misuse.c. */
#include <excsim.h>

#include "scenario.h"

static void pin(mach_port_t port) {
    MUST(excsim_pin(port));
}

static kern_return_t send_to_service(mach_port_t service) {
    mach_port_t reply = receive_right(0, 0);
    mach_msg_header_t message = {MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE), sizeof message, service, reply, 0, 1};
    MUST(excsim_harden(1));
    return mach_msg(&message, MACH_SEND_MSG, sizeof message, 0, 0, 0, 0);
}

static kern_return_t construct_entitled_port(void) {
    mach_port_options_t options = {.flags = MPO_CONNECTION_PORT_WITH_PORT_ARRAY};
    mach_port_t port;
    MUST(excsim_harden(1));
    return mach_port_construct(SELF, &options, 0, &port);
}

SCENARIO(move_task_port, SELF, (excsim_harden(1), send_with_descriptor(port, MACH_MSG_TYPE_COPY_SEND)))
SCENARIO(reply_port_in_body, receive_right((excsim_harden(1), MPO_REPLY_PORT), 0), send_with_descriptor(port, MACH_MSG_TYPE_MAKE_SEND))
SCENARIO(move_weak_reply_port, receive_right(MPO_REPLY_PORT, 0), (excsim_harden(2), send_with_descriptor(port, MACH_MSG_TYPE_MOVE_RECEIVE)))
SCENARIO(deallocate_pinned, send_right(), (pin(port), mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, -1)))
SCENARIO(deallocate_task_port, SELF, (excsim_harden(1), mach_port_deallocate(SELF, port)))
SCENARIO(destroy_task_port, SELF, (excsim_harden(1), mach_port_destroy(SELF, port)))
SCENARIO(move_send_pinned, SELF, (excsim_harden(1), send_with_descriptor(port, MACH_MSG_TYPE_MOVE_SEND)))
SCENARIO(insecure_behavior, receive_right(MPO_INSERT_SEND_RIGHT, 0),
         (excsim_harden(1), task_set_exception_ports(SELF, EXC_MASK_BAD_ACCESS, port, (int)(EXCEPTION_DEFAULT | MACH_EXCEPTION_CODES), 0)))
SCENARIO(service_without_reply_port, receive_right(MPO_ENFORCE_REPLY_PORT_SEMANTICS | MPO_INSERT_SEND_RIGHT, 0), send_to_service(port))
SCENARIO(construct_entitled, 0, construct_entitled_port())

static const struct scenario_row rows[] = {
    {"move_task_port", move_task_port},
    {"reply_port_in_body", reply_port_in_body},
    {"move_weak_reply_port", move_weak_reply_port},
    {"deallocate_pinned", deallocate_pinned},
    {"deallocate_task_port", deallocate_task_port},
    {"destroy_task_port", destroy_task_port},
    {"move_send_pinned", move_send_pinned},
    {"insecure_behavior", insecure_behavior},
    {"service_without_reply_port", service_without_reply_port},
    {"construct_entitled", construct_entitled},
};

int main(int argc, char **argv) {
    return run_scenario(argc, argv, rows, sizeof rows / sizeof *rows);
}
