/* The simulator's own calls (excsim.h). */
#include <string.h>

#include "call.h"

kern_return_t call_raise_exception(struct thread *thread, const struct wire_request *request,
                                   const uint8_t *payload) {
    (void)payload;
    exception_type_t exception = (exception_type_t)word(request, 0);
    if (exception < FIRST_EXCEPTION || exception >= EXC_TYPES_COUNT || exception == EXC_RPC_ALERT ||
        exception == EXC_CRASH) { /* that one comes of others */
        return KERN_INVALID_ARGUMENT;
    }
    thread->repeat = request->arg[3];
    thread->repeat_exception = exception;
    thread->repeat_code = request->arg[1];
    thread->repeat_subcode = request->arg[2];
    return KERN_SUCCESS;
}

kern_return_t call_harden(struct thread *thread, const struct wire_request *request, const uint8_t *payload) {
    (void)payload;
    if (word(request, 0) > 2 || (int)word(request, 0) < thread->task->hardened) {
        return KERN_INVALID_ARGUMENT;
    }
    if (word(request, 0)) {
        task_harden(thread->task, (int)word(request, 0), word(request, 1));
    }
    return KERN_SUCCESS;
}

kern_return_t call_set_policy(struct thread *thread, const struct wire_request *request,
                              const uint8_t *payload) {
    (void)payload;
    task_set_policy(thread->task, word(request, 0));
    return KERN_SUCCESS;
}

kern_return_t call_census(struct thread *thread, const struct wire_request *request, const uint8_t *payload) {
    (void)payload;
    struct excsim_space_census space;
    if (request->op == WIRE_KERNEL_CENSUS) {
        thread_payload(thread, &counts, sizeof counts);
    } else {
        space_census(thread->task->space, &space);
        thread_payload(thread, &space, sizeof space);
    }
    return KERN_SUCCESS;
}

kern_return_t call_crash_report(struct thread *thread, const struct wire_request *request,
                                const uint8_t *payload) {
    (void)payload;
    struct excsim_crash_report report;
    if (request->arg[0] >= counts.crash_reports) {
        return KERN_NOT_FOUND;
    }
    if (!exception_crash_report(request->arg[0], &report)) {
        return KERN_INVALID_ARGUMENT;
    }
    thread_payload(thread, &report, sizeof report);
    return KERN_SUCCESS;
}

kern_return_t call_log_line(struct thread *thread, const struct wire_request *request,
                            const uint8_t *payload) {
    (void)payload;
    if (request->arg[0] >= counts.log_lines) {
        return KERN_NOT_FOUND;
    }
    const char *line = exception_log_line(request->arg[0]);
    if (!line) {
        return KERN_INVALID_ARGUMENT;
    }
    thread_payload(thread, line, EXCSIM_LOG_LINE);
    return KERN_SUCCESS;
}

kern_return_t call_pin(struct thread *thread, const struct wire_request *request, const uint8_t *payload) {
    (void)payload;
    struct entry *entry = space_lookup(thread->task->space, word(request, 0));
    if (!entry) {
        return KERN_INVALID_NAME;
    }
    if (!(entry->bits & MACH_PORT_TYPE_SEND)) {
        return KERN_INVALID_RIGHT;
    }
    entry->bits |= BITS_PINNED;
    return KERN_SUCCESS;
}

kern_return_t call_sign(struct thread *thread, const struct wire_request *request, const uint8_t *payload) {
    struct wire_signature *signature = &thread->task->signature;
    if (request->size != sizeof *signature) {
        return KERN_INVALID_ARGUMENT;
    }
    memcpy(signature, payload, sizeof *signature);
    signature->identifier[sizeof signature->identifier - 1] = signature->team[sizeof signature->team - 1] =
        '\0';
    return KERN_SUCCESS;
}

/*
 * Of the process that sent the audit token: not of one that has its pid now, nor of the program it runs
 * after an exec.
 */
kern_return_t call_signature(struct thread *thread, const struct wire_request *request,
                             const uint8_t *payload) {
    (void)payload;
    struct task *task = task_find((pid_t)word(request, 0));
    if (!task || task->pid_version != word(request, 1)) {
        return KERN_NOT_FOUND;
    }
    thread_payload(thread, &task->signature, sizeof task->signature);
    return KERN_SUCCESS;
}
