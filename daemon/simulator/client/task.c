/* mach/task.h, mach/mach_traps.h, servers/bootstrap.h, sys/sysctl.h, pthread.h, bsm/libbsm.h */
#include <errno.h>
#include <string.h>

#include "bsm/libbsm.h"
#include "connection.h"
#include "mach/mach.h"
#include "pthread.h"
#include "servers/bootstrap.h"
#include "sys/sysctl.h"

static kern_return_t give(struct answer answer, uint32_t *out) {
    if (answer.result == KERN_SUCCESS) {
        *out = (uint32_t)answer.value[0];
    }
    return answer.result;
}

/* ---- exception ports ---- */

static kern_return_t give_actions(struct answer answer, exception_mask_array_t masks,
                                  mach_msg_type_number_t *count, exception_handler_array_t ports,
                                  exception_behavior_array_t behaviors, exception_flavor_array_t flavors) {
    if (answer.result != KERN_SUCCESS) {
        return answer.result;
    }
    *count = answer.size / (uint32_t)sizeof(struct wire_action);
    for (mach_msg_type_number_t at = 0; at < *count; at++) {
        struct wire_action action;
        memcpy(&action, answer.payload + at * sizeof action, sizeof action);
        masks[at] = action.mask;
        ports[at] = action.port;
        behaviors[at] = (exception_behavior_t)action.behavior;
        flavors[at] = (thread_state_flavor_t)action.flavor;
    }
    return KERN_SUCCESS;
}

kern_return_t task_set_exception_ports(task_t task, exception_mask_t exception_mask, mach_port_t new_port,
                                       exception_behavior_t behavior, thread_state_flavor_t new_flavor) {
    return CALL(WIRE_TASK_SET_EXCEPTION_PORTS, task, exception_mask, new_port, (uint32_t)behavior,
                (uint32_t)new_flavor)
        .result;
}

kern_return_t task_get_exception_ports(task_t task, exception_mask_t exception_mask,
                                       exception_mask_array_t masks, mach_msg_type_number_t *masksCnt,
                                       exception_handler_array_t old_handlers,
                                       exception_behavior_array_t old_behaviors,
                                       exception_flavor_array_t old_flavors) {
    return give_actions(CALL(WIRE_TASK_GET_EXCEPTION_PORTS, task, exception_mask, EXC_TYPES_COUNT), masks,
                        masksCnt, old_handlers, old_behaviors, old_flavors);
}

kern_return_t task_swap_exception_ports(task_t task, exception_mask_t exception_mask, mach_port_t new_port,
                                        exception_behavior_t behavior, thread_state_flavor_t new_flavor,
                                        exception_mask_array_t masks, mach_msg_type_number_t *masksCnt,
                                        exception_handler_array_t old_handlers,
                                        exception_behavior_array_t old_behaviors,
                                        exception_flavor_array_t old_flavors) {
    return give_actions(CALL(WIRE_TASK_SWAP_EXCEPTION_PORTS, task, exception_mask, new_port,
                             (uint32_t)behavior, (uint32_t)new_flavor, EXC_TYPES_COUNT),
                        masks, masksCnt, old_handlers, old_behaviors, old_flavors);
}

kern_return_t thread_set_exception_ports(thread_act_t thread, exception_mask_t exception_mask,
                                         mach_port_t new_port, exception_behavior_t behavior,
                                         thread_state_flavor_t new_flavor) {
    return CALL(WIRE_THREAD_SET_EXCEPTION_PORTS, thread, exception_mask, new_port, (uint32_t)behavior,
                (uint32_t)new_flavor)
        .result;
}

kern_return_t thread_get_exception_ports(thread_act_t thread, exception_mask_t exception_mask,
                                         exception_mask_array_t masks, mach_msg_type_number_t *masksCnt,
                                         exception_handler_array_t old_handlers,
                                         exception_behavior_array_t old_behaviors,
                                         exception_flavor_array_t old_flavors) {
    return give_actions(CALL(WIRE_THREAD_GET_EXCEPTION_PORTS, thread, exception_mask, EXC_TYPES_COUNT), masks,
                        masksCnt, old_handlers, old_behaviors, old_flavors);
}

kern_return_t thread_swap_exception_ports(thread_act_t thread, exception_mask_t exception_mask,
                                          mach_port_t new_port, exception_behavior_t behavior,
                                          thread_state_flavor_t new_flavor, exception_mask_array_t masks,
                                          mach_msg_type_number_t *masksCnt,
                                          exception_handler_array_t old_handlers,
                                          exception_behavior_array_t old_behaviors,
                                          exception_flavor_array_t old_flavors) {
    return give_actions(CALL(WIRE_THREAD_SWAP_EXCEPTION_PORTS, thread, exception_mask, new_port,
                             (uint32_t)behavior, (uint32_t)new_flavor, EXC_TYPES_COUNT),
                        masks, masksCnt, old_handlers, old_behaviors, old_flavors);
}

/* ---- the rest of a task ---- */

kern_return_t task_get_exc_guard_behavior(task_inspect_t task, task_exc_guard_behavior_t *behavior) {
    return give(CALL(WIRE_TASK_GET_GUARD_BEHAVIOR, task), behavior);
}

kern_return_t task_set_exc_guard_behavior(task_t task, task_exc_guard_behavior_t behavior) {
    return CALL(WIRE_TASK_SET_GUARD_BEHAVIOR, task, behavior).result;
}

kern_return_t task_create_identity_token(task_t task, task_id_token_t *token) {
    return give(CALL(WIRE_TASK_CREATE_TOKEN, task), token);
}

kern_return_t task_identity_token_get_task_port(task_id_token_t token, task_flavor_t flavor,
                                                mach_port_t *task_port) {
    return give(CALL(WIRE_TOKEN_GET_TASK_PORT, token, flavor), task_port);
}

kern_return_t task_get_special_port(task_inspect_t task, int which_port, mach_port_t *special_port) {
    return give(CALL(WIRE_TASK_GET_SPECIAL_PORT, task, (uint32_t)which_port), special_port);
}

kern_return_t task_set_special_port(task_t task, int which_port, mach_port_t special_port) {
    return CALL(WIRE_TASK_SET_SPECIAL_PORT, task, (uint32_t)which_port, special_port).result;
}

kern_return_t task_for_pid(mach_port_name_t target_tport, int pid, mach_port_name_t *t) {
    return give(CALL(WIRE_TASK_FOR_PID, target_tport, (uint64_t)pid, TASK_FLAVOR_CONTROL), t);
}

kern_return_t task_name_for_pid(mach_port_name_t target_tport, int pid, mach_port_name_t *tn) {
    return give(CALL(WIRE_TASK_FOR_PID, target_tport, (uint64_t)pid, TASK_FLAVOR_NAME), tn);
}

kern_return_t pid_for_task(mach_port_name_t t, int *x) {
    struct answer answer = CALL(WIRE_PID_FOR_TASK, t);
    *x = answer.result == KERN_SUCCESS ? (int)answer.value[0] : -1;
    return answer.result;
}

/* ---- launchd ---- */

static struct answer named(struct call_site site, enum wire_op op, mach_port_t bp, mach_port_t port,
                           const char *name) {
    size_t size = strnlen(name, BOOTSTRAP_MAX_NAME_LEN);
    if (size == BOOTSTRAP_MAX_NAME_LEN) {
        return (struct answer){.result = BOOTSTRAP_UNKNOWN_SERVICE};
    }
    return connection_call(site, op, ARGS(bp, port), name, size + 1, 0);
}

kern_return_t bootstrap_register(mach_port_t bp, char *service_name, mach_port_t sp) {
    return named(CALL_SITE, WIRE_BOOTSTRAP_REGISTER, bp, sp, service_name).result;
}

kern_return_t bootstrap_look_up(mach_port_t bp, const char *service_name, mach_port_t *sp) {
    return give(named(CALL_SITE, WIRE_BOOTSTRAP_LOOK_UP, bp, MACH_PORT_NULL, service_name), sp);
}

kern_return_t bootstrap_check_in(mach_port_t bp, const char *service_name, mach_port_t *sp) {
    return give(named(CALL_SITE, WIRE_BOOTSTRAP_CHECK_IN, bp, MACH_PORT_NULL, service_name), sp);
}

/* ---- the host ---- */

int sysctlbyname(const char *name, void *oldp, size_t *oldlenp, void *newp, size_t newlen) {
    (void)newlen;
    if (newp) {
        errno = EPERM;
        return -1;
    }
    size_t size = strnlen(name, WIRE_NAME_MAX);
    struct answer answer = {.result = ENOENT};
    if (size < WIRE_NAME_MAX) {
        answer = connection_call(CALL_SITE, WIRE_SYSCTL, ARGS(0), name, size + 1, 0);
    }
    if (answer.result != KERN_SUCCESS) {
        errno = answer.result > 0 ? answer.result : ENXIO;
        return -1;
    }
    if (!oldlenp) {
        return 0;
    }
    size_t room = *oldlenp;
    *oldlenp = answer.size;
    if (!oldp) {
        return 0;
    }
    memcpy(oldp, answer.payload, answer.size < room ? answer.size : room);
    if (room >= answer.size) {
        return 0;
    }
    *oldlenp = room;
    errno = ENOMEM;
    return -1;
}

int(pthread_threadid_np)(pthread_t thread, uint64_t *thread_id) {
    if (thread && !pthread_equal(thread, pthread_self())) {
        return ESRCH;
    }
    *thread_id = connection_thread_id();
    return *thread_id ? 0 : ESRCH;
}

pid_t audit_token_to_pid(audit_token_t atoken) {
    return (pid_t)atoken.val[5];
}

uid_t audit_token_to_euid(audit_token_t atoken) {
    return atoken.val[1];
}

uid_t audit_token_to_ruid(audit_token_t atoken) {
    return atoken.val[3];
}

int audit_token_to_pidversion(audit_token_t atoken) {
    return (int)atoken.val[7];
}
