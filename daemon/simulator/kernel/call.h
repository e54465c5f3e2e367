/*
 * The calls of libSystem, one function each: arguments from the wire, results to it. Each file takes those
 * about one subject; call.c sends a request to its function.
 */
#ifndef EXCSIM_CALL_H
#define EXCSIM_CALL_H

#include "kernel.h"

typedef kern_return_t call(struct thread *thread, const struct wire_request *request, const uint8_t *payload);

static inline uint32_t word(const struct wire_request *request, int at) {
    return (uint32_t)request->arg[at];
}

/* ---- what arguments denote (call.c) ---- */

/* The result of a call on a name that is not a task's: MIG cannot send to it, or gets an invalid reply. */
kern_return_t find_task(mach_port_name_t name, mach_task_flavor_t weakest, struct task **task);
/* The name space of the task in arg[0]. */
kern_return_t find_space(const struct wire_request *request, struct space **space);
/*
 * The name that arg[1] denotes in the space of arg[0]; raises INVALID_NAME if it denotes nothing and `blame`
 * is set.
 */
kern_return_t find_entry(const struct wire_request *request, bool blame, struct entry **entry);
/*
 * The space of a task that the port in arg[0] has at least read access to, as calls take it that debuggers
 * make; before 11.0 only control ports will do.
 */
kern_return_t find_readable_space(const struct wire_request *request, struct space **space);
/* The port whose receive right arg[1] names in the space of arg[0]. */
kern_return_t find_receive(const struct wire_request *request, struct port **port);
/* A new send right (consumed) is the result of the call: its name in the caller's space. */
kern_return_t return_port(struct thread *thread, struct port *port);

/* ---- call_names.c ---- */

call call_port_allocate, call_port_construct, call_port_destruct, call_port_destroy_name,
    call_port_deallocate, call_port_get_refs, call_port_mod_refs, call_port_type, call_port_names,
    call_port_insert_right, call_port_extract_right, call_reply_port, call_special_reply_port,
    call_port_deallocate_kernel;
/* ---- call_sets.c ---- */

call call_port_move_member, call_port_insert_member, call_port_extract_member, call_port_get_set_status;
/* ---- call_ports.c ---- */

call call_port_get_attributes, call_port_set_attributes, call_port_get_srights, call_port_set_mscount,
    call_port_get_context, call_port_set_context, call_port_guard, call_port_unguard, call_port_swap_guard,
    call_port_peek, call_port_assert, call_port_get_service_info, call_port_is_connection;
/* ---- call_debug.c ---- */

call call_port_kobject, call_port_space_info;
/* ---- call_notifications.c ---- */

call call_port_request_notification;
/* ---- call_tasks.c ---- */

call call_task_set_ports, call_task_get_ports, call_task_get_guard, call_task_is_self, call_task_set_guard,
    call_task_create_token, call_token_get_port, call_task_get_special, call_task_set_special, call_for_pid,
    call_pid_for_task_port, call_host_self, call_thread_self, call_vm_gap, call_bootstrap, call_sysctl,
    call_spawn;
/* ---- call_simulator.c ---- */

call call_raise_exception, call_harden, call_set_policy, call_census, call_crash_report, call_log_line,
    call_pin, call_sign, call_signature;

#endif
