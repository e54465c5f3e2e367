/* From a request to the function that serves it, and what arguments denote. */
#include "call.h"

/* ---- the task that a call is about ---- */

kern_return_t find_task(mach_port_name_t name, mach_task_flavor_t weakest, struct task **task) {
    struct entry *entry = space_lookup(current->task->space, name);
    if (!entry || !(entry->bits & MACH_PORT_TYPE_SEND) || entry_check(entry, false)) {
        return MACH_SEND_INVALID_DEST;
    }
    *task = task_from_port(entry->port, weakest);
    return *task ? KERN_SUCCESS : KERN_INVALID_TASK;
}

kern_return_t find_space(const struct wire_request *request, struct space **space) {
    struct task *task;
    kern_return_t result = find_task(word(request, 0), TASK_FLAVOR_CONTROL, &task);
    if (result == KERN_SUCCESS) {
        *space = task->space;
    }
    return result;
}

kern_return_t find_readable_space(const struct wire_request *request, struct space **space) {
    struct task *task;
    mach_task_flavor_t weakest = rule(RULE_SPACES_ARE_READ) ? TASK_FLAVOR_READ : TASK_FLAVOR_CONTROL;
    kern_return_t result = find_task(word(request, 0), weakest, &task);
    if (result == KERN_SUCCESS) {
        *space = task->space;
    }
    return result;
}

kern_return_t find_entry(const struct wire_request *request, bool blame, struct entry **entry) {
    struct space *space;
    kern_return_t result = find_space(request, &space);
    if (result != KERN_SUCCESS) {
        return result;
    }
    *entry = space_lookup(space, word(request, 1));
    if (*entry) {
        return KERN_SUCCESS;
    }
    if (blame) {
        guard_raise(GUARD_INVALID_NAME, word(request, 1), 0);
    }
    return KERN_INVALID_NAME;
}

kern_return_t find_receive(const struct wire_request *request, struct port **port) {
    struct space *space;
    kern_return_t result = find_space(request, &space);
    if (result != KERN_SUCCESS) {
        return result;
    }
    return MACH_PORT_VALID(word(request, 1)) ? right_translate_receive(space, word(request, 1), port)
                                             : KERN_INVALID_RIGHT;
}

static mach_port_name_t copyout_to_caller(struct port *port) {
    return space_copyout(current->task->space, port, MACH_MSG_TYPE_PORT_SEND);
}

kern_return_t return_port(struct thread *thread, struct port *port) {
    thread->reply.value[0] = copyout_to_caller(port);
    return thread->reply.value[0] ? KERN_SUCCESS : KERN_RESOURCE_SHORTAGE;
}

static call *const calls[WIRE_OP_COUNT] = {
    [WIRE_PORT_ALLOCATE] = call_port_allocate,
    [WIRE_PORT_CONSTRUCT] = call_port_construct,
    [WIRE_PORT_DESTRUCT] = call_port_destruct,
    [WIRE_PORT_DESTROY] = call_port_destroy_name,
    [WIRE_PORT_DEALLOCATE] = call_port_deallocate,
    [WIRE_PORT_GET_REFS] = call_port_get_refs,
    [WIRE_PORT_MOD_REFS] = call_port_mod_refs,
    [WIRE_PORT_TYPE] = call_port_type,
    [WIRE_PORT_NAMES] = call_port_names,
    [WIRE_PORT_SET_MSCOUNT] = call_port_set_mscount,
    [WIRE_PORT_GET_SET_STATUS] = call_port_get_set_status,
    [WIRE_PORT_MOVE_MEMBER] = call_port_move_member,
    [WIRE_PORT_INSERT_MEMBER] = call_port_insert_member,
    [WIRE_PORT_EXTRACT_MEMBER] = call_port_extract_member,
    [WIRE_PORT_REQUEST_NOTIFICATION] = call_port_request_notification,
    [WIRE_PORT_INSERT_RIGHT] = call_port_insert_right,
    [WIRE_PORT_EXTRACT_RIGHT] = call_port_extract_right,
    [WIRE_PORT_GET_ATTRIBUTES] = call_port_get_attributes,
    [WIRE_PORT_SET_ATTRIBUTES] = call_port_set_attributes,
    [WIRE_PORT_GET_SRIGHTS] = call_port_get_srights,
    [WIRE_PORT_GET_CONTEXT] = call_port_get_context,
    [WIRE_PORT_SET_CONTEXT] = call_port_set_context,
    [WIRE_PORT_GUARD] = call_port_guard,
    [WIRE_PORT_UNGUARD] = call_port_unguard,
    [WIRE_PORT_SWAP_GUARD] = call_port_swap_guard,
    [WIRE_PORT_PEEK] = call_port_peek,
    [WIRE_PORT_ASSERT] = call_port_assert,
    [WIRE_PORT_DEALLOCATE_KERNEL] = call_port_deallocate_kernel,
    [WIRE_PORT_GET_SERVICE_INFO] = call_port_get_service_info,
    [WIRE_PORT_KOBJECT] = call_port_kobject,
    [WIRE_PORT_IS_CONNECTION] = call_port_is_connection,
    [WIRE_PORT_SPACE_INFO] = call_port_space_info,
    [WIRE_REPLY_PORT] = call_reply_port,
    [WIRE_SPECIAL_REPLY_PORT] = call_special_reply_port,
    [WIRE_TASK_SET_EXCEPTION_PORTS] = call_task_set_ports,
    [WIRE_TASK_SWAP_EXCEPTION_PORTS] = call_task_set_ports,
    [WIRE_TASK_GET_EXCEPTION_PORTS] = call_task_get_ports,
    [WIRE_THREAD_SET_EXCEPTION_PORTS] = call_task_set_ports,
    [WIRE_THREAD_GET_EXCEPTION_PORTS] = call_task_get_ports,
    [WIRE_THREAD_SWAP_EXCEPTION_PORTS] = call_task_set_ports,
    [WIRE_TASK_IS_SELF] = call_task_is_self,
    [WIRE_TASK_GET_GUARD_BEHAVIOR] = call_task_get_guard,
    [WIRE_TASK_SET_GUARD_BEHAVIOR] = call_task_set_guard,
    [WIRE_TASK_CREATE_TOKEN] = call_task_create_token,
    [WIRE_TOKEN_GET_TASK_PORT] = call_token_get_port,
    [WIRE_TASK_GET_SPECIAL_PORT] = call_task_get_special,
    [WIRE_TASK_SET_SPECIAL_PORT] = call_task_set_special,
    [WIRE_TASK_FOR_PID] = call_for_pid,
    [WIRE_PID_FOR_TASK] = call_pid_for_task_port,
    [WIRE_HOST_SELF] = call_host_self,
    [WIRE_THREAD_SELF] = call_thread_self,
    [WIRE_VM_GAP] = call_vm_gap,
    [WIRE_BOOTSTRAP_REGISTER] = call_bootstrap,
    [WIRE_BOOTSTRAP_LOOK_UP] = call_bootstrap,
    [WIRE_BOOTSTRAP_CHECK_IN] = call_bootstrap,
    [WIRE_SYSCTL] = call_sysctl,
    [WIRE_SPAWN_PREPARE] = call_spawn,
    [WIRE_SPAWN_COMMIT] = call_spawn,
    [WIRE_SPAWN_CANCEL] = call_spawn,
    [WIRE_RAISE] = call_raise_exception,
    [WIRE_HARDEN] = call_harden,
    [WIRE_POLICY] = call_set_policy,
    [WIRE_SPACE_CENSUS] = call_census,
    [WIRE_KERNEL_CENSUS] = call_census,
    [WIRE_CRASH_REPORT] = call_crash_report,
    [WIRE_LOG_LINE] = call_log_line,
    [WIRE_PIN] = call_pin,
    [WIRE_SIGN] = call_sign,
    [WIRE_SIGNATURE] = call_signature,
};

bool call_dispatch(struct thread *thread, const struct wire_request *request, const uint8_t *payload,
                   bool *sane) {
    if (request->op == WIRE_MSG) {
        return message_trap(thread, request, payload);
    }
    if (request->op >= WIRE_OP_COUNT || !calls[request->op]) {
        *sane = false;
        return true;
    }
    thread->reply.result = calls[request->op](thread, request, payload);
    return false;
}
