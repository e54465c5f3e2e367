/* Tasks, threads and the host (osfmk/kern/ipc_tt.c, task.c), launchd, sysctl, posix_spawn. */
#include <errno.h>
#include <string.h>

#include "call.h"

/* ---- tasks ---- */

/* The thread that a name is the control port of. */
static kern_return_t find_thread(mach_port_name_t name, struct thread **thread) {
    struct entry *entry = space_lookup(current->task->space, name);
    if (!entry || !(entry->bits & MACH_PORT_TYPE_SEND) || entry_check(entry, false)) {
        return MACH_SEND_INVALID_DEST;
    }
    if (entry->port->type != PORT_THREAD_CONTROL) {
        return KERN_INVALID_ARGUMENT;
    }
    *thread = entry->port->kobject;
    return KERN_SUCCESS;
}

/* Whose exception ports a call is about: a task's, or a thread's, which come before them. */
struct holder {
    struct task *task;
    struct action *actions;
};

static kern_return_t find_holder(const struct wire_request *request, struct holder *holder) {
    struct thread *of;
    kern_return_t result;
    switch (request->op) {
    case WIRE_THREAD_SET_EXCEPTION_PORTS:
    case WIRE_THREAD_GET_EXCEPTION_PORTS:
    case WIRE_THREAD_SWAP_EXCEPTION_PORTS:
        result = find_thread(word(request, 0), &of);
        if (result == KERN_SUCCESS) {
            *holder = (struct holder){of->task, thread_actions(of)};
        }
        return result;
    default:
        result = find_task(word(request, 0), TASK_FLAVOR_CONTROL, &holder->task);
        holder->actions = result == KERN_SUCCESS ? holder->task->actions : NULL;
        return result;
    }
}

kern_return_t call_task_set_ports(struct thread *thread, const struct wire_request *request,
                                  const uint8_t *payload) {
    (void)payload;
    bool swap =
        request->op == WIRE_TASK_SWAP_EXCEPTION_PORTS || request->op == WIRE_THREAD_SWAP_EXCEPTION_PORTS;
    mach_port_name_t name = word(request, 2);
    struct port *port = NULL;
    struct holder holder;
    kern_return_t result = find_holder(request, &holder);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (MACH_PORT_VALID(name)) { /* the stub copies a send right in */
        struct entry *entry = space_lookup(current->task->space, name);
        result = entry ? right_copyin(entry, MACH_MSG_TYPE_COPY_SEND, COPYIN_CALL, COPYIN_IMMOVABLE_OK, NULL,
                                      &port)
                       : KERN_INVALID_NAME;
        if (result == KERN_INVALID_RIGHT) {
            guard_raise(GUARD_SEND_INVALID_RIGHT, name,
                        guard_reason(MPG_FLAGS_SEND_INVALID_RIGHT_PORT, 0, MACH_MSG_TYPE_COPY_SEND));
        }
        if (result != KERN_SUCCESS) {
            return MACH_SEND_INVALID_RIGHT;
        }
    }
    uint32_t mask = word(request, 1), behavior = word(request, 3), flavor = word(request, 4);
    result = exception_validate(holder.task, mask, port, behavior, flavor);
    if (result == KERN_SUCCESS && swap) {
        result = exception_get_ports(thread, holder.actions, mask, word(request, 5));
    }
    if (result == KERN_SUCCESS) {
        exception_set_ports(holder.actions, mask, port, behavior, flavor);
        return KERN_SUCCESS;
    }
    port_release_right(port, MACH_MSG_TYPE_PORT_SEND);
    return result;
}

kern_return_t call_task_get_ports(struct thread *thread, const struct wire_request *request,
                                  const uint8_t *payload) {
    (void)payload;
    struct holder holder;
    kern_return_t result = find_holder(request, &holder);
    return result == KERN_SUCCESS
               ? exception_get_ports(thread, holder.actions, word(request, 1), word(request, 2))
               : result;
}

/* True of a task's weaker ports as well: they stand for the same task (mach_task_is_self, ipc_tt.c). */
kern_return_t call_task_is_self(struct thread *thread, const struct wire_request *request,
                                const uint8_t *payload) {
    (void)payload;
    struct task *task;
    kern_return_t result = find_task(word(request, 0), TASK_FLAVOR_NAME, &task);
    thread->reply.value[0] = result == KERN_SUCCESS && task == thread->task;
    return result;
}

kern_return_t call_task_get_guard(struct thread *thread, const struct wire_request *request,
                                  const uint8_t *payload) {
    (void)payload;
    struct task *task;
    kern_return_t result = find_task(word(request, 0), TASK_FLAVOR_INSPECT, &task);
    if (result == KERN_SUCCESS) {
        thread->reply.value[0] = task->exc_guard;
    }
    return result;
}

kern_return_t call_task_set_guard(struct thread *thread, const struct wire_request *request,
                                  const uint8_t *payload) {
    (void)thread, (void)payload;
    struct task *task;
    kern_return_t result = find_task(word(request, 0), TASK_FLAVOR_CONTROL, &task);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (word(request, 1) & ~(uint32_t)TASK_EXC_GUARD_ALL) {
        return KERN_INVALID_VALUE;
    }
    /*
     * Release kernels refuse to clear DELIVER or FATAL and to set ONCE. Flags that all tasks start with here
     * may be cleared: on a Mac tasks start without them, and a program that sets its flags should find it so.
     */
    uint32_t set = word(request, 1) & ~task->exc_guard, cleared = task->exc_guard & ~word(request, 1);
    uint32_t given = settings.guard_default & (TASK_EXC_GUARD_MP_DELIVER | TASK_EXC_GUARD_VM_DELIVER);
    if (rule(RULE_GUARD_FLAGS_STAY) &&
        (cleared & HARDENED_FLAGS & ~given || set & (TASK_EXC_GUARD_MP_ONCE | TASK_EXC_GUARD_VM_ONCE))) {
        return KERN_DENIED;
    }
    task->exc_guard = word(request, 1);
    return KERN_SUCCESS;
}

kern_return_t call_task_create_token(struct thread *thread, const struct wire_request *request,
                                     const uint8_t *payload) {
    (void)payload;
    struct task *task;
    kern_return_t result = find_task(word(request, 0), TASK_FLAVOR_CONTROL, &task);
    return result == KERN_SUCCESS ? return_port(thread, task_token(task)) : result;
}

kern_return_t call_token_get_port(struct thread *thread, const struct wire_request *request,
                                  const uint8_t *payload) {
    (void)payload;
    uint32_t flavor = word(request, 1);
    struct entry *entry = space_lookup(current->task->space, word(request, 0));
    if (!entry || !(entry->bits & MACH_PORT_TYPE_SEND) || entry_check(entry, false)) {
        return MACH_SEND_INVALID_DEST;
    }
    if (entry->port->type != PORT_TASK_ID_TOKEN) {
        return MIG_BAD_ID;
    }
    if (flavor > TASK_FLAVOR_MAX) {
        return KERN_INVALID_ARGUMENT;
    }
    struct task *task = entry->port->kobject;
    if (!task->alive) {
        return KERN_NOT_FOUND;
    }
    /*
     * The policy denies control of another process (mac_task_check_task_id_token_get_task) if that one is
     * hardened.
     */
    if (task != current->task && flavor <= TASK_FLAVOR_READ && (task->hardened || !settings.developer_mode)) {
        return KERN_DENIED;
    }
    return return_port(thread, task_port(task, flavor));
}

kern_return_t call_task_get_special(struct thread *thread, const struct wire_request *request,
                                    const uint8_t *payload) {
    (void)payload;
    struct task *task;
    kern_return_t result = find_task(word(request, 0), TASK_FLAVOR_INSPECT, &task);
    if (result != KERN_SUCCESS) {
        return result;
    }
    switch (word(request, 1)) {
    case TASK_KERNEL_PORT:
        if (!task->hardened) {
            return return_port(thread, task_port(task, TASK_FLAVOR_CONTROL));
        }
        /*
         * The own port of a hardened task stays where it is; this one moves, and takes an entitlement
         * since 26.0 (task_get_special_port, ipc_tt.c).
         */
        return rule(RULE_PORT_TYPES) && !(task->policy & EXCSIM_ENTITLED)
                   ? KERN_DENIED
                   : return_port(thread, task_movable_port(task));
    case TASK_NAME_PORT:
        return return_port(thread, task_port(task, TASK_FLAVOR_NAME));
    case TASK_INSPECT_PORT:
        return return_port(thread, task_port(task, TASK_FLAVOR_INSPECT));
    case TASK_READ_PORT:
        return return_port(thread, task_port(task, TASK_FLAVOR_READ));
    case TASK_BOOTSTRAP_PORT:
        return task->bootstrap ? return_port(thread, port_copy_send(task->bootstrap)) : KERN_SUCCESS;
    default:
        return KERN_INVALID_ARGUMENT;
    }
}

kern_return_t call_task_set_special(struct thread *thread, const struct wire_request *request,
                                    const uint8_t *payload) {
    (void)thread, (void)payload;
    struct task *task;
    struct port *port = NULL;
    kern_return_t result = find_task(word(request, 0), TASK_FLAVOR_CONTROL, &task);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (word(request, 1) != TASK_BOOTSTRAP_PORT) {
        return KERN_INVALID_ARGUMENT;
    }
    if (MACH_PORT_VALID(word(request, 2))) {
        struct entry *entry = space_lookup(current->task->space, word(request, 2));
        if (!entry || right_copyin(entry, MACH_MSG_TYPE_COPY_SEND, COPYIN_CALL, COPYIN_IMMOVABLE_OK, NULL,
                                   &port) != KERN_SUCCESS) {
            return MACH_SEND_INVALID_RIGHT;
        }
        /* Others could get it by task_get_special_port (task_set_special_port, ipc_tt.c, since 11.3). */
        if (entry->bits & BITS_IMMOVABLE && rule(RULE_KEPT_CONTROL_PORTS)) {
            port_release_send(port);
            return KERN_INVALID_RIGHT;
        }
    }
    struct port *old = task->bootstrap;
    task->bootstrap = port;
    if (old) {
        port_release_send(old);
    }
    return KERN_SUCCESS;
}

kern_return_t call_for_pid(struct thread *thread, const struct wire_request *request,
                           const uint8_t *payload) {
    (void)payload;
    struct task *self;
    uint32_t flavor = word(request, 2);
    if (find_task(word(request, 0), TASK_FLAVOR_CONTROL, &self) != KERN_SUCCESS || self != current->task ||
        flavor > TASK_FLAVOR_MAX) {
        return KERN_FAILURE;
    }
    struct task *task = task_of_pid((pid_t)request->arg[1]);
    if (!task || (flavor == TASK_FLAVOR_CONTROL && task != self && task->hardened)) {
        return KERN_FAILURE;
    }
    return return_port(thread, task_port(task, flavor));
}

kern_return_t call_pid_for_task_port(struct thread *thread, const struct wire_request *request,
                                     const uint8_t *payload) {
    (void)payload;
    struct task *task;
    if (find_task(word(request, 0), TASK_FLAVOR_NAME, &task) != KERN_SUCCESS) {
        return KERN_FAILURE;
    }
    thread->reply.value[0] = (uint64_t)task->pid;
    return KERN_SUCCESS;
}

kern_return_t call_host_self(struct thread *thread, const struct wire_request *request,
                             const uint8_t *payload) {
    (void)request, (void)payload;
    return return_port(thread, task_host_port());
}

/*
 * The last reference to a thread's port stays with a hardened task, as that to its own port does
 * (ipc_main_thread_set_immovable_pinned, osfmk/kern/ipc_tt.c, and ipc_port_copyout_send_pinned, which
 * libpthread's bsdthread_create calls). libpthread holds one from the start to the end of the thread.
 */
kern_return_t call_thread_self(struct thread *thread, const struct wire_request *request,
                               const uint8_t *payload) {
    (void)request, (void)payload;
    struct space *space = thread->task->space;
    bool pinned = thread->task->hardened;
    if (pinned && (!thread->control || !space_find(space, thread->control))) {
        space_copyout(space, thread_port(thread, true), MACH_MSG_TYPE_PORT_SEND); /* libpthread's reference */
    }
    kern_return_t result = return_port(thread, thread_port(thread, true));
    if (pinned && result == KERN_SUCCESS) {
        space_find(space, thread->control)->bits |= BITS_PINNED;
    }
    return result;
}

/* vm_map_delete, osfmk/vm/vm_map.c: it is the client that has seen the gap. */
kern_return_t call_vm_gap(struct thread *thread, const struct wire_request *request, const uint8_t *payload) {
    (void)thread, (void)payload;
    guard_raise_gap(request->arg[0]);
    return KERN_SUCCESS;
}

/* ---- launchd, sysctl, spawn ---- */

kern_return_t call_bootstrap(struct thread *thread, const struct wire_request *request,
                             const uint8_t *payload) {
    if (!request->size || request->size > WIRE_NAME_MAX || payload[request->size - 1] || !payload[0]) {
        return BOOTSTRAP_UNKNOWN_SERVICE;
    }
    return bootstrap_call(thread, request, (const char *)payload);
}

kern_return_t call_sysctl(struct thread *thread, const struct wire_request *request, const uint8_t *payload) {
    uint8_t value[128];
    size_t size = sizeof value;
    if (!request->size || request->size > WIRE_NAME_MAX || payload[request->size - 1] ||
        !release_sysctl((const char *)payload, value, &size)) {
        return ENOENT;
    }
    thread_payload(thread, value, size);
    return 0;
}

kern_return_t call_spawn(struct thread *thread, const struct wire_request *request, const uint8_t *payload) {
    struct wire_action actions[WIRE_ACTIONS_MAX];
    if (request->op == WIRE_SPAWN_COMMIT) {
        return spawn_commit(thread->task, request->arg[0], (pid_t)request->arg[1]);
    }
    if (request->op == WIRE_SPAWN_CANCEL) {
        spawn_cancel(thread->task, request->arg[0]);
        return KERN_SUCCESS;
    }
    if (request->size > sizeof actions || request->size % sizeof *actions) {
        return KERN_INVALID_ARGUMENT;
    }
    memcpy(actions, payload, request->size);
    return spawn_prepare(thread, word(request, 0), actions, request->size / sizeof *actions);
}
