/* Requests for notifications (mach_port_request_notification, osfmk/ipc/mach_port.c). */
#include <string.h>

#include "call.h"

/*
 * Launchd alone asks for the return of a service's receive right, and to a port that stays with it
 * (ipc_allow_service_port_register_pd, ipc_policy.c of xnu-12377). 0: nothing is wrong.
 */
static uint64_t service_request_fault(const struct task *task, const struct port *notify) {
    if (!notify) {
        return 0;
    }
    if (!(task->policy & EXCSIM_LAUNCHD)) {
        return MPG_FLAGS_KERN_FAILURE_TASK;
    }
    if (!port_stays(notify)) {
        return MPG_FLAGS_KERN_FAILURE_NOTIFY_TYPE;
    }
    bool launchds = notify->receiver && notify->receiver->task->policy & EXCSIM_LAUNCHD;
    return launchds ? 0 : MPG_FLAGS_KERN_FAILURE_NOTIFY_RECV;
}

static kern_return_t request_port_destroyed(struct port *port, mach_port_name_t name, struct port *notify) {
    struct task *task = current->task;
    if (rule(RULE_PORT_TYPES)) {
        if (port_stays(port) || !port_policy(port)->port_destroyed) {
            guard_raise(GUARD_INVALID_NOTIFICATION_REQ, port_type_number(port->type),
                        MACH_NOTIFY_PORT_DESTROYED);
            return KERN_INVALID_RIGHT;
        }
    } else if (port_is_reply(port) || port_is_kobject(port) || port->special_reply) {
        if (rule(RULE_MISPLACED_REQUESTS_GUARDED)) {
            guard_raise(GUARD_INVALID_RIGHT, name, 0);
        }
        return KERN_INVALID_RIGHT;
    }
    if (port_is_any_service_type(port->type) && rule(RULE_SERVICES_RETURN_TO_LAUNCHD)) {
        uint64_t payload = service_request_fault(task, notify);
        if (payload) {
            guard_raise(GUARD_KERN_FAILURE, rule(RULE_REASONS) ? 0 : name, rule(RULE_REASONS) ? payload : 0);
            return rule(RULE_REASONS) ? KERN_INVALID_RIGHT : KERN_FAILURE;
        }
    }
    if (port->pdrequest) {
        guard_raise(GUARD_KERN_FAILURE, rule(RULE_REASONS) ? 0 : name,
                    rule(RULE_REASONS) ? MPG_FLAGS_KERN_FAILURE_MULTI_NOTI : 0);
        return KERN_FAILURE;
    }
    port->pdrequest = notify;
    return KERN_SUCCESS;
}

static kern_return_t request_no_senders(struct port *port, mach_port_name_t name, uint32_t sync,
                                        struct port *notify, struct port **previous) {
    if (rule(RULE_PORT_TYPES) ? !port_policy(port)->no_senders : port_is_reply(port)) {
        if (rule(RULE_PORT_TYPES)) {
            guard_raise(GUARD_INVALID_NOTIFICATION_REQ, port_type_number(port->type), MACH_NOTIFY_NO_SENDERS);
        } else {
            guard_raise(GUARD_INVALID_RIGHT, name, 0);
        }
        return KERN_INVALID_RIGHT;
    }
    *previous = port->nsrequest;
    if (!port->srights && sync <= port->mscount && notify) {
        port->nsrequest = NULL;
        notify_no_senders(notify, port->mscount);
    } else {
        port->nsrequest = notify;
    }
    return KERN_SUCCESS;
}

/* ipc_right_request_alloc */
static kern_return_t request_dead_name(struct entry *entry, bool send_possible, bool armed,
                                       struct port *notify, struct port **previous) {
    bool at_once = send_possible || (armed && rule(RULE_DEAD_NAMES_AT_ONCE));
    if (!notify && entry->request_state == REQUEST_NONE) {
        return KERN_SUCCESS;
    }
    entry_check(entry, false);
    if (entry_type(entry) & MACH_PORT_TYPE_PORT_RIGHTS) {
        struct port *port = entry->port;
        *previous = entry_cancel_request(entry);
        if (!notify) {
            return KERN_SUCCESS;
        }
        bool full =
            !(entry->bits & MACH_PORT_TYPE_SEND_ONCE) && !port->in_kernel && port->msgcount >= port->qlimit;
        if (send_possible && armed && !full) {
            notify_send_possible(notify, entry_name(entry));
        } else {
            port_add_request(port, entry);
            entry->request = notify;
            entry->request_state = !send_possible ? REQUEST_DEAD_NAME
                                   : armed        ? REQUEST_ARMED
                                                  : REQUEST_SEND_POSSIBLE;
        }
        return KERN_SUCCESS;
    }
    if (at_once && notify && entry->bits & MACH_PORT_TYPE_DEAD_NAME) {
        if (entry_urefs(entry) < UREFS_MAX) {
            entry->bits++;
        }
        notify_dead_name(notify, entry_name(entry));
        return KERN_SUCCESS;
    }
    return entry->bits & MACH_PORT_TYPE_DEAD_NAME ? KERN_INVALID_ARGUMENT : KERN_INVALID_RIGHT;
}

/*
 * Ports of some types receive no notifications; it is only reported (ipc_port_can_receive_notifications,
 * 26.4).
 */
static void check_notification_port(const struct port *notify, mach_port_name_t name) {
    bool good = notify->type == PORT_PLAIN || notify->type == PORT_SERVICE ||
                notify->type == PORT_WEAK_SERVICE || notify->type == PORT_BOOTSTRAP ||
                notify->type == PORT_CONNECTION || notify->type == PORT_NOTIFICATION;
    if (!good) {
        guard_raise(GUARD_INVALID_NOTIFICATION_PORT, name, notify->type);
    }
}

static kern_return_t dispatch_request(const struct wire_request *request, struct port *notify,
                                      struct port **previous) {
    mach_port_name_t name = word(request, 1);
    uint32_t id = word(request, 2), sync = word(request, 3);
    struct port *port;
    struct entry *entry;
    kern_return_t result;
    bool valid = MACH_PORT_VALID(name);
    switch (id) {
    case MACH_NOTIFY_PORT_DESTROYED:
        if (rule(RULE_REASONS) && !valid) {
            return KERN_INVALID_ARGUMENT;
        }
        if (sync) {
            return KERN_INVALID_VALUE;
        }
        result = find_receive(request, &port);
        return result == KERN_SUCCESS ? request_port_destroyed(port, name, notify) : result;
    case MACH_NOTIFY_NO_SENDERS:
        if (rule(RULE_REASONS) && !valid) {
            return KERN_INVALID_ARGUMENT;
        }
        result = find_receive(request, &port);
        return result == KERN_SUCCESS ? request_no_senders(port, name, sync, notify, previous) : result;
    case MACH_NOTIFY_DEAD_NAME:
    case MACH_NOTIFY_SEND_POSSIBLE:
        if (!valid) {
            return KERN_INVALID_ARGUMENT;
        }
        result = find_entry(request, false, &entry);
        return result == KERN_SUCCESS
                   ? request_dead_name(entry, id == MACH_NOTIFY_SEND_POSSIBLE, sync, notify, previous)
                   : result;
    default:
        return rule(RULE_REASONS) && !valid ? KERN_INVALID_ARGUMENT : KERN_INVALID_VALUE;
    }
}

/*
 * The trap leaves what is not to become a send-once right to a message to the kernel: that takes the right,
 * and MIG's routine does not.
 */
static kern_return_t request_by_message(mach_port_name_t notify_name, mach_msg_type_name_t disposition) {
    struct entry *entry = space_lookup(current->task->space, notify_name);
    struct port *port;
    kern_return_t result = entry ? right_copyin(entry, disposition, COPYIN_PORT_DESCRIPTOR,
                                                COPYIN_DEAD_OK | COPYIN_IMMOVABLE_OK, NULL, &port)
                                 : KERN_INVALID_NAME;
    if (result == KERN_INVALID_RIGHT) {
        guard_raise(GUARD_SEND_INVALID_RIGHT, notify_name,
                    guard_reason(MPG_FLAGS_SEND_INVALID_RIGHT_PORT, 0, disposition));
    }
    if (result != KERN_SUCCESS) {
        return MACH_SEND_INVALID_RIGHT;
    }
    port_release_right(port, right_received_kind(disposition));
    return MIG_TYPE_ERROR;
}

/* _kernelrpc_mach_port_request_notification_trap, osfmk/ipc/mach_kernelrpc.c: its own errors come first. */
kern_return_t call_port_request_notification(struct thread *thread, const struct wire_request *request,
                                             const uint8_t *payload) {
    (void)payload;
    mach_port_name_t notify_name = word(request, 4);
    mach_msg_type_name_t disposition = word(request, 5);
    struct port *notify = NULL, *previous = NULL;
    if (MACH_PORT_VALID(notify_name) && right_received_kind(disposition) != MACH_MSG_TYPE_PORT_SEND_ONCE) {
        return request_by_message(notify_name, disposition);
    }
    if (MACH_PORT_VALID(notify_name)) {
        struct entry *entry = space_lookup(current->task->space, notify_name);
        kern_return_t result =
            entry ? right_copyin(entry, disposition, COPYIN_CALL, COPYIN_DEAD_OK, NULL, &notify)
                  : KERN_INVALID_NAME;
        if (result != KERN_SUCCESS) {
            return result;
        }
        if (port_valid(notify)) {
            check_notification_port(notify, notify_name);
        }
    } else if (notify_name == MACH_PORT_DEAD) {
        notify = PORT_DEAD;
    }
    if (notify == PORT_DEAD) {
        return KERN_INVALID_CAPABILITY;
    }
    kern_return_t result = dispatch_request(request, notify, &previous);
    if (result != KERN_SUCCESS) {
        port_release_right(notify, MACH_MSG_TYPE_PORT_SEND_ONCE);
        return result;
    }
    /*
     * The trap, which takes requests alone and no cancellations, fails for a port before it that has died,
     * and the new request stands.
     */
    bool fails = port_valid(previous) && !previous->active && notify;
    mach_port_name_t name = space_copyout(current->task->space, previous, MACH_MSG_TYPE_PORT_SEND_ONCE);
    if (fails) {
        return KERN_INVALID_CAPABILITY;
    }
    thread->reply.value[0] = name;
    return KERN_SUCCESS;
}
