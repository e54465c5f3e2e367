/* What debuggers read of a name space and its names (osfmk/ipc/mach_debug.c). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "call.h"
#include "mach_debug/ipc_info.h"
#include "mach_debug/mach_debug_types.h"

/* What is not a task's is another error where these calls convert the port themselves. */
static kern_return_t find_debugged_space(const struct wire_request *request, struct space **space) {
    kern_return_t result = find_readable_space(request, space);
    return result == KERN_INVALID_TASK && rule(RULE_SPACES_ARE_READ) ? KERN_INVALID_ARGUMENT : result;
}

static ipc_info_object_type_t object_type(const struct port *port) {
    switch (port->type) {
    case PORT_THREAD_CONTROL:
        return IPC_OTYPE_THREAD_CONTROL;
    case PORT_THREAD_READ:
        return IPC_OTYPE_THREAD_READ;
    case PORT_TASK_CONTROL:
        return IPC_OTYPE_TASK_CONTROL;
    case PORT_TASK_READ:
        return IPC_OTYPE_TASK_READ;
    case PORT_TASK_INSPECT:
        return IPC_OTYPE_TASK_INSPECT;
    case PORT_TASK_NAME:
        return IPC_OTYPE_TASK_NAME;
    case PORT_TASK_ID_TOKEN:
        return IPC_OTYPE_TASK_ID_TOKEN;
    case PORT_HOST:
        return IPC_OTYPE_HOST;
    default:
        return IPC_OTYPE_NONE;
    }
}

/* Of what an app can have, task identity tokens alone have a description: pid, unique id, its version. */
static void describe(struct thread *thread, const struct port *port) {
    char description[KOBJECT_DESCRIPTION_LENGTH] = "";
    if (port->type == PORT_TASK_ID_TOKEN && port->kobject) {
        const struct task *task = port->kobject;
        snprintf(description, sizeof description, "%d,%" PRIu32 ",%" PRIu32, task->pid, task->pid_version,
                 task->pid_version);
    }
    thread_payload(thread, description, strlen(description) + 1);
}

kern_return_t call_port_kobject(struct thread *thread, const struct wire_request *request,
                                const uint8_t *payload) {
    (void)payload;
    struct space *space;
    kern_return_t result = find_debugged_space(request, &space);
    if (result != KERN_SUCCESS) {
        return result;
    }
    struct entry *entry = space_lookup(space, word(request, 1));
    if (!entry) {
        return KERN_INVALID_NAME;
    }
    if (right_is_dead(entry)) {
        return rule(RULE_DEAD_IS_NO_NAME) ? KERN_INVALID_NAME : KERN_INVALID_RIGHT;
    }
    if (!(entry->bits & MACH_PORT_TYPE_SEND_RECEIVE)) {
        return KERN_INVALID_RIGHT;
    }
    thread->reply.value[0] = object_type(entry->port);
    describe(thread, entry->port);
    return KERN_SUCCESS;
}

/* A number that is the same for all names of an object, and not its address (VM_KERNEL_ADDRHASH). */
static natural_t object_number(const void *object) {
    return (natural_t)((uintptr_t)object * 0x9e3779b97f4a7c15 >> 32);
}

/*
 * Of each entry of the table, used or not. The number of its request, the next free entry and the hash are
 * the kernel's own affair and 0 here.
 */
kern_return_t call_port_space_info(struct thread *thread, const struct wire_request *request,
                                   const uint8_t *payload) {
    (void)payload;
    struct space *space;
    kern_return_t result = find_debugged_space(request, &space);
    if (result != KERN_SUCCESS) {
        return result;
    }
    uint32_t index = word(request, 1), size = space_size(space);
    for (; index < size && thread->reply.size + sizeof(ipc_info_name_t) <= WIRE_MESSAGE_MAX; index++) {
        const struct entry *entry = space_at(space, index);
        ipc_info_name_t info = {.iin_name = index ? MACH_PORT_MAKE(index, 0) : 0xff};
        if (entry) {
            info.iin_name = entry_name(entry);
            info.iin_type = entry_type(entry) | entry_request_type(entry);
            info.iin_urefs = entry_urefs(entry);
            info.iin_object = rule(RULE_OBJECT_NUMBERS) ? object_number(entry->port) : 0;
        }
        thread_payload(thread, &info, sizeof info);
    }
    thread->reply.value[0] = index < size ? index : 0;
    thread->reply.value[1] = size;
    return KERN_SUCCESS;
}
