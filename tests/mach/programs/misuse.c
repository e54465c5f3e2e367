/*
 * misuse SCENARIO: breaks one rule of Mach and prints, as JSON, the name that it did so with ("port", before the deed), and
 * what came of it ("result") if it lives. Apple's functions only: the same on a Mac.
 */
#include "scenario.h"

static kern_return_t send_to_kernel(mach_port_t port) {
    mach_msg_header_t message = {MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0), sizeof message, port, 0, 0, 3402};
    return mach_msg(&message, MACH_SEND_MSG, sizeof message, 0, 0, 0, 0);
}

static kern_return_t send_with_voucher(mach_port_t voucher) {
    mach_msg_header_t message = {MACH_MSGH_BITS_SET(MACH_MSG_TYPE_COPY_SEND, 0, MACH_MSG_TYPE_COPY_SEND, 0), sizeof message,
                                 receive_right(MPO_INSERT_SEND_RIGHT, 0), 0, voucher, 1};
    return mach_msg(&message, MACH_SEND_MSG, sizeof message, 0, 0, 0, 0);
}

static mach_port_t check_in(void) {
    mach_port_t port;
    MUST(bootstrap_check_in(bootstrap_port, "test.service", &port));
    return port;
}

/* INVALID_NAME */
SCENARIO(deallocate_no_name, no_name(), mach_port_deallocate(SELF, port))
SCENARIO(mod_refs_no_name, no_name(), mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, 1))
SCENARIO(destroy_no_name, no_name(), mach_port_destroy(SELF, port))
SCENARIO(destruct_no_name, no_name(), mach_port_destruct(SELF, port, 0, 0))
SCENARIO(guard_no_name, no_name(), mach_port_guard(SELF, port, GUARD, 0))
SCENARIO(move_no_name, no_name(), mach_port_move_member(SELF, port, port_set()))
SCENARIO(move_to_no_name, receive_right(0, 0), mach_port_move_member(SELF, port, no_name()))
/* INVALID_RIGHT */
SCENARIO(deallocate_receive, receive_right(0, 0), mach_port_deallocate(SELF, port))
SCENARIO(mod_refs_wrong_right, send_right(), mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -1))
SCENARIO(mod_refs_send_of_receive, receive_right(0, 0), mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, -1))
SCENARIO(mod_refs_no_set, receive_right(0, 0), mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_PORT_SET, -1))
SCENARIO(destruct_send, send_right(), mach_port_destruct(SELF, port, 0, 0))
SCENARIO(destruct_without_send, receive_right(0, 0), mach_port_destruct(SELF, port, -1, 0))
SCENARIO(guard_send, send_right(), mach_port_guard(SELF, port, GUARD, 0))
SCENARIO(move_send, send_right(), mach_port_move_member(SELF, port, port_set()))
SCENARIO(move_to_no_set, receive_right(0, 0), mach_port_move_member(SELF, receive_right(0, 0), port))
/* INVALID_VALUE */
SCENARIO(mod_refs_underflow, send_right(), mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, -9))
SCENARIO(mod_refs_receive_twice, receive_right(0, 0), mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -2))
SCENARIO(destruct_underflow, receive_right(MPO_INSERT_SEND_RIGHT, 0), mach_port_destruct(SELF, port, -3, 0))
/* guards */
SCENARIO(destroy_guarded, receive_right(MPO_CONTEXT_AS_GUARD, GUARD), mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -1))
SCENARIO(destruct_wrong_guard, receive_right(MPO_CONTEXT_AS_GUARD, GUARD), mach_port_destruct(SELF, port, 0, WRONG))
SCENARIO(destroy_name_guarded, receive_right(MPO_CONTEXT_AS_GUARD, GUARD), mach_port_destroy(SELF, port))
SCENARIO(set_context_strict, receive_right(MPO_CONTEXT_AS_GUARD | MPO_STRICT, GUARD), mach_port_set_context(SELF, port, 1))
SCENARIO(swap_guard_strict, receive_right(MPO_CONTEXT_AS_GUARD | MPO_STRICT, GUARD), mach_port_swap_guard(SELF, port, GUARD, 1))
SCENARIO(unguard_unguarded, receive_right(0, 0), mach_port_unguard(SELF, port, GUARD))
SCENARIO(unguard_wrong, receive_right(MPO_CONTEXT_AS_GUARD, GUARD), mach_port_unguard(SELF, port, WRONG))
SCENARIO(swap_guard_wrong, receive_right(MPO_CONTEXT_AS_GUARD, GUARD), mach_port_swap_guard(SELF, port, WRONG, 1))
SCENARIO(guard_twice, receive_right(MPO_CONTEXT_AS_GUARD, GUARD), mach_port_guard(SELF, port, 1, 0))
/* moving */
SCENARIO(move_immovable_receive, receive_right(MPO_CONTEXT_AS_GUARD | MPO_IMMOVABLE_RECEIVE, GUARD),
         send_with_descriptor(port, MACH_MSG_TYPE_MOVE_RECEIVE))
SCENARIO(move_exception_port, receive_right(MPO_EXCEPTION_PORT, 0), send_with_descriptor(port, MACH_MSG_TYPE_MOVE_RECEIVE))
/* messages */
SCENARIO(send_wrong_right, send_right(), send_with_descriptor(port, MACH_MSG_TYPE_MAKE_SEND))
SCENARIO(send_move_once_of_send, send_right(), send_with_descriptor(port, MACH_MSG_TYPE_MOVE_SEND_ONCE))
SCENARIO(send_bad_reply, no_name(), send_with_reply_port(port, MACH_MSG_TYPE_MAKE_SEND_ONCE))
SCENARIO(send_bad_reply_right, send_right(), send_with_reply_port(port, MACH_MSG_TYPE_MAKE_SEND_ONCE))
SCENARIO(send_bad_voucher, send_right(), send_with_voucher(port))
SCENARIO(receive_on_send, send_right(), receive_on(port))
SCENARIO(receive_on_no_name, no_name(), receive_on(port))
SCENARIO(receive_on_former, receive_right(MPO_INSERT_SEND_RIGHT, 0),
         (send_with_descriptor(port, MACH_MSG_TYPE_MOVE_RECEIVE), receive_on(port)))
/* notifications */
SCENARIO(port_destroyed_twice, receive_right(0, 0),
         (request(port, MACH_NOTIFY_PORT_DESTROYED, receive_right(0, 0)), request(port, MACH_NOTIFY_PORT_DESTROYED, receive_right(0, 0))))
SCENARIO(port_destroyed_immovable, receive_right(MPO_CONTEXT_AS_GUARD | MPO_IMMOVABLE_RECEIVE, GUARD),
         request(port, MACH_NOTIFY_PORT_DESTROYED, receive_right(0, 0)))
SCENARIO(no_senders_of_notification_port, receive_right(MPO_NOTIFICATION_PORT, 0), request(port, MACH_NOTIFY_NO_SENDERS, receive_right(0, 0)))
SCENARIO(notify_exception_port, receive_right(MPO_EXCEPTION_PORT, 0), request(receive_right(0, 0), MACH_NOTIFY_NO_SENDERS, port))
/* policies */
SCENARIO(kernel_call_without_receive, SELF, send_to_kernel(port))
SCENARIO(move_service_port, check_in(), send_with_descriptor(port, MACH_MSG_TYPE_MOVE_RECEIVE))

/* double deallocation, as people do it */
static kern_return_t double_deallocate(mach_port_t *out) {
    mach_port_t port = dead_name();
    MUST(mach_port_deallocate(SELF, port));
    *out = port;
    announce(port);
    return mach_port_deallocate(SELF, port);
}

static const struct scenario_row rows[] = {
    {"double_deallocate", double_deallocate},
    {"deallocate_no_name", deallocate_no_name},
    {"mod_refs_no_name", mod_refs_no_name},
    {"destroy_no_name", destroy_no_name},
    {"destruct_no_name", destruct_no_name},
    {"guard_no_name", guard_no_name},
    {"move_no_name", move_no_name},
    {"move_to_no_name", move_to_no_name},
    {"deallocate_receive", deallocate_receive},
    {"mod_refs_wrong_right", mod_refs_wrong_right},
    {"mod_refs_send_of_receive", mod_refs_send_of_receive},
    {"mod_refs_no_set", mod_refs_no_set},
    {"destruct_send", destruct_send},
    {"destruct_without_send", destruct_without_send},
    {"guard_send", guard_send},
    {"move_send", move_send},
    {"move_to_no_set", move_to_no_set},
    {"mod_refs_underflow", mod_refs_underflow},
    {"mod_refs_receive_twice", mod_refs_receive_twice},
    {"destruct_underflow", destruct_underflow},
    {"destroy_guarded", destroy_guarded},
    {"destruct_wrong_guard", destruct_wrong_guard},
    {"destroy_name_guarded", destroy_name_guarded},
    {"set_context_strict", set_context_strict},
    {"swap_guard_strict", swap_guard_strict},
    {"unguard_unguarded", unguard_unguarded},
    {"unguard_wrong", unguard_wrong},
    {"swap_guard_wrong", swap_guard_wrong},
    {"guard_twice", guard_twice},
    {"move_immovable_receive", move_immovable_receive},
    {"move_exception_port", move_exception_port},
    {"send_wrong_right", send_wrong_right},
    {"send_move_once_of_send", send_move_once_of_send},
    {"send_bad_reply", send_bad_reply},
    {"send_bad_reply_right", send_bad_reply_right},
    {"send_bad_voucher", send_bad_voucher},
    {"receive_on_send", receive_on_send},
    {"receive_on_no_name", receive_on_no_name},
    {"receive_on_former", receive_on_former},
    {"port_destroyed_twice", port_destroyed_twice},
    {"port_destroyed_immovable", port_destroyed_immovable},
    {"no_senders_of_notification_port", no_senders_of_notification_port},
    {"notify_exception_port", notify_exception_port},
    {"kernel_call_without_receive", kernel_call_without_receive},
    {"move_service_port", move_service_port},
};

int main(int argc, char **argv) {
    /* Delivered and not fatal, whatever the system starts processes with. */
    MUST(task_set_exc_guard_behavior(SELF, TASK_EXC_GUARD_MP_DELIVER | TASK_EXC_GUARD_VM_DELIVER));
    return run_scenario(argc, argv, rows, sizeof rows / sizeof *rows);
}
