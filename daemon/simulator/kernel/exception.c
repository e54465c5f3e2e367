/*
 * Exceptions: which handlers they are delivered to (osfmk/kern/ipc_tt.c), the messages
 * (osfmk/kern/exception.c), and what happens to the process (mach_port_guard_ast, osfmk/ipc/ipc_policy.c;
 * virt_memory_guard_ast, osfmk/vm/vm_map.c; fd_guard_ast, bsd/kern/kern_guarded.c). The thread's handler
 * comes first, then the task's, then the host's, which is ReportCrash: it handles what no other handler did,
 * and what it would write is kept for excsim_crash_report().
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"

/* ---- crash reports ---- */

enum { REPORTS = 4096 };
static struct excsim_crash_report reports[REPORTS];

static void report_crash(const struct thread *thread, exception_type_t exception, uint64_t code, bool fatal) {
    reports[counts.crash_reports++ % REPORTS] = (struct excsim_crash_report){
        .thread_id = thread->id,
        .code = code,
        .subcode = thread->raising.subcode,
        .pid = thread->task->pid,
        .exception = exception,
        .fatal = fatal,
    };
}

bool exception_crash_report(uint64_t index, struct excsim_crash_report *report) {
    if (index >= counts.crash_reports || index + REPORTS < counts.crash_reports) {
        return false;
    }
    *report = reports[index % REPORTS];
    return true;
}

/* ---- the unified log ---- */

enum { LOG_LINES = 256 };
static char log_lines[LOG_LINES][EXCSIM_LOG_LINE];

/* Of every guard, delivered or not (guard_ast, osfmk/kern/thread.c of macOS 26's kernel). */
static void log_guard(struct task *task, uint64_t code, uint64_t subcode) {
    snprintf(log_lines[counts.log_lines++ % LOG_LINES], EXCSIM_LOG_LINE,
             "ERROR: [%s:%d] EXC_GUARD AST: type=0x%x flavor=0x%x target=0x%x code=0x%" PRIx64
             " subcode=0x%" PRIx64,
             task_name(task), task->pid, excguard_guard_type(code), excguard_guard_flavor(code),
             (unsigned)code, code, subcode);
}

const char *exception_log_line(uint64_t index) {
    return index + LOG_LINES < counts.log_lines ? NULL : log_lines[index % LOG_LINES];
}

/* ---- exception ports ---- */

static bool flavor_is_valid(uint32_t flavor) {
    /* VALID_THREAD_STATE_FLAVOR of mach/i386/thread_status.h and mach/arm/thread_status.h */
    if (settings.arch == ARCH_X86_64) {
        return (flavor >= 1 && flavor <= 13) || (flavor >= 16 && flavor <= 25);
    }
    static const uint32_t arm = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 9 |
                                1 << 10 | 1 << 14 | 1 << 15 | 1 << 16 | 1 << 17 | 1 << 27;
    return flavor < 32 && arm >> flavor & 1;
}

/* The behaviors that show no control port (behavior_is_identity_protected). */
static bool is_protected(uint32_t behavior) {
    return behavior == EXCEPTION_IDENTITY_PROTECTED || behavior == EXCEPTION_STATE ||
           behavior == EXCEPTION_STATE_IDENTITY_PROTECTED;
}

/* set_exception_ports_validation */
kern_return_t exception_validate(struct task *task, uint32_t mask, struct port *port, uint32_t behavior,
                                 uint32_t flavor) {
    if (mask & ~(uint32_t)(EXC_MASK_ALL | EXC_MASK_CRASH | EXC_MASK_CORPSE_NOTIFY)) {
        return KERN_INVALID_ARGUMENT;
    }
    uint32_t options = MACH_EXCEPTION_CODES | MACH_EXCEPTION_ERRORS;
    if (rule(RULE_BACKTRACES)) {
        options |= MACH_EXCEPTION_BACKTRACE_PREFERRED;
    }
    uint32_t plain = behavior & ~options;
    if (port_valid(port)) {
        uint32_t newest = rule(RULE_STATE_IDENTITY_PROTECTED) ? EXCEPTION_STATE_IDENTITY_PROTECTED
                          : rule(RULE_IDENTITY_PROTECTED)     ? EXCEPTION_IDENTITY_PROTECTED
                                                              : EXCEPTION_STATE_IDENTITY;
        if (plain < EXCEPTION_DEFAULT || plain > newest) {
            return KERN_INVALID_ARGUMENT;
        }
        /*
         * Services, immovable since 26, may still be exception ports there (ipc_is_valid_exception_port,
         * osfmk/ipc/ipc_policy.c). Objects of the kernel's are refused as a whole here: XNU goes by the send
         * right's immovability, which its own comment says is about them.
         */
        bool stays = port->immovable && port->type != PORT_EXCEPTION && port->type != PORT_SERVICE;
        if (rule(RULE_EXCEPTION_PORTS_CHECKED) && (stays || port_is_kobject(port) || port_is_reply(port))) {
            return KERN_INVALID_RIGHT;
        }
    }
    if (flavor && !flavor_is_valid(flavor)) {
        return KERN_INVALID_ARGUMENT;
    }
    bool needs_codes = plain == EXCEPTION_IDENTITY_PROTECTED || plain == EXCEPTION_STATE_IDENTITY_PROTECTED ||
                       behavior & options & MACH_EXCEPTION_BACKTRACE_PREFERRED;
    if (needs_codes && !(behavior & MACH_EXCEPTION_CODES)) {
        return KERN_INVALID_ARGUMENT;
    }
    /* set_exception_behavior_allowed */
    bool insecure = port_valid(port) && !is_protected(plain) && rule(RULE_PROTECTED_BEHAVIORS_ALONE);
    bool second = task->one_exception_port && rule(RULE_ONE_EXCEPTION_PORT);
    if (task->hardened && (insecure || second)) {
        if (rule(RULE_PORT_IN_BEHAVIOR_TARGET)) {
            guard_raise(GUARD_EXCEPTION_BEHAVIOR_ENFORCE, (uint32_t)(uintptr_t)port, 0);
        } else if (rule(RULE_REASONS)) {
            guard_raise(GUARD_EXCEPTION_BEHAVIOR_ENFORCE, behavior, mask);
        } else {
            guard_raise(GUARD_EXCEPTION_BEHAVIOR_ENFORCE, 0, 0);
        }
        return rule(RULE_ONE_EXCEPTION_PORT) ? KERN_DENIED : KERN_NO_ACCESS;
    }
    return KERN_SUCCESS;
}

void exception_set_ports(struct action *actions, uint32_t mask, struct port *port, uint32_t behavior,
                         uint32_t flavor) {
    for (int at = FIRST_EXCEPTION; at < EXC_TYPES_COUNT; at++) {
        if (mask >> at & 1) {
            task_set_action(&actions[at], port_valid(port) ? port_copy_send(port) : NULL, behavior, flavor);
        }
    }
    if (port_valid(port)) {
        port_release_send(port);
    }
}

/* Equal actions share one entry; ports become send rights of the caller. */
kern_return_t exception_get_ports(struct thread *thread, const struct action *actions, uint32_t mask,
                                  uint32_t room) {
    struct wire_action found[EXC_TYPES_COUNT];
    struct port *ports[EXC_TYPES_COUNT];
    uint32_t count = 0;
    if (mask & ~(uint32_t)(EXC_MASK_ALL | EXC_MASK_CRASH | EXC_MASK_CORPSE_NOTIFY)) {
        return KERN_INVALID_ARGUMENT;
    }
    for (int at = FIRST_EXCEPTION; at < EXC_TYPES_COUNT; at++) {
        const struct action *action = &actions[at];
        uint32_t same = 0;
        if (!(mask >> at & 1)) {
            continue;
        }
        while (same < count && (ports[same] != action->port || found[same].behavior != action->behavior ||
                                found[same].flavor != action->flavor)) {
            same++;
        }
        if (same == count) {
            if (count >= room) {
                continue;
            }
            found[count] = (struct wire_action){0, 0, action->behavior, action->flavor};
            ports[count++] = action->port;
        }
        found[same].mask |= 1u << at;
    }
    for (uint32_t at = 0; at < count; at++) {
        if (ports[at]) {
            found[at].port =
                space_copyout(thread->task->space, port_copy_send(ports[at]), MACH_MSG_TYPE_PORT_SEND);
        }
    }
    thread_payload(thread, found, count * sizeof *found);
    return KERN_SUCCESS;
}

/* ---- thread state ---- */

static uint32_t state_words(uint32_t flavor) {
    if (settings.arch == ARCH_X86_64) {
        return flavor == x86_THREAD_STATE64 ? x86_THREAD_STATE64_COUNT
               : flavor == x86_THREAD_STATE ? x86_THREAD_STATE_COUNT
                                            : 0;
    }
    return flavor == ARM_THREAD_STATE64 ? ARM_THREAD_STATE64_COUNT
           : flavor == ARM_THREAD_STATE ? ARM_UNIFIED_THREAD_STATE_COUNT
                                        : 0;
}

/* Where the thread called from; its other registers are not known here and read as 0. */
static void read_state(const struct thread *thread, uint32_t flavor, void *state) {
    const struct wire_request *request = &thread->request;
    if (settings.arch == ARCH_X86_64) {
        x86_thread_state64_t registers = {
            .__rip = request->pc, .__rsp = request->sp, .__rbp = request->fp, .__cs = 0x2b};
        x86_thread_state_t both = {.tsh = {x86_THREAD_STATE64, x86_THREAD_STATE64_COUNT},
                                   .uts = {.ts64 = registers}};
        if (flavor == x86_THREAD_STATE64) {
            memcpy(state, &registers, sizeof registers);
        } else {
            memcpy(state, &both, sizeof both);
        }
    } else {
        arm_thread_state64_t registers = {
            .__pc = request->pc, .__lr = request->pc, .__sp = request->sp, .__fp = request->fp};
        arm_unified_thread_state_t both = {.ash = {ARM_THREAD_STATE64, ARM_THREAD_STATE64_COUNT}};
        both.ts_64 = registers;
        if (flavor == ARM_THREAD_STATE64) {
            memcpy(state, &registers, sizeof registers);
        } else {
            memcpy(state, &both, sizeof both);
        }
    }
}

/* ---- the message ---- */

struct writer {
    struct message *message;
    uint32_t at;
};

static void put(struct writer *writer, const void *bytes, uint32_t size) {
    memcpy(writer->message->bytes + writer->at, bytes, size);
    writer->at += size;
}

static void put32(struct writer *writer, uint32_t value) {
    put(writer, &value, sizeof value);
}

static void put_code(struct writer *writer, uint64_t code, bool wide) {
    put(writer, &code, wide ? 8 : 4);
}

static void put_port(struct writer *writer, uint32_t index, struct port *port) {
    message_set_descriptor(writer->message, index, writer->at, port, MACH_MSG_TYPE_PORT_SEND);
    writer->at += sizeof(mach_msg_port_descriptor_t);
}

static struct port *reply_port(struct thread *thread) {
    if (!thread->reply_port) {
        thread->reply_port = port_new_kernel(PORT_EXCEPTION_REPLY, thread);
    }
    return thread->reply_port;
}

/*
 * Sends the exception to a handler as mach_exc.defs and exc.defs lay it out; false: no live handler.
 */
static bool send_to(struct thread *thread, const struct action *action) {
    struct raising *raising = &thread->raising;
    if (!action->port || !action->port->active) {
        return false;
    }
    /* A dying process is not asked about its own end (check_exc_receiver_dependency). */
    if (raising->exception == EXC_CRASH && action->port->receiver == thread->task->space) {
        return false;
    }
    bool wide = action->behavior & MACH_EXCEPTION_CODES;
    uint32_t behavior = action->behavior & ~MACH_EXCEPTION_MASK;
    bool has_state = behavior != EXCEPTION_DEFAULT && behavior != EXCEPTION_IDENTITY_PROTECTED;
    bool has_control = behavior == EXCEPTION_DEFAULT || behavior == EXCEPTION_STATE_IDENTITY;
    bool has_token =
        behavior == EXCEPTION_IDENTITY_PROTECTED || behavior == EXCEPTION_STATE_IDENTITY_PROTECTED;
    uint32_t words = has_state ? state_words(action->flavor) : 0;
    if (has_state && !words) {
        return false;
    }
    static const uint32_t ids[] = {0, 2405, 2406, 2407, 2408, 2410};
    uint32_t id = wide ? ids[behavior] : 2400 + behavior;
    uint32_t ports = has_control ? 2 : has_token ? 1 : 0;
    uint32_t size = sizeof(mach_msg_header_t) + (ports ? sizeof(mach_msg_body_t) : 0) +
                    ports * (uint32_t)sizeof(mach_msg_port_descriptor_t) + (uint32_t)sizeof(NDR_record_t) +
                    (has_token ? 8 : 0) + 8 + (wide ? 16 : 8) + (has_state ? 8 + words * 4 : 0);
    struct writer writer = {message_new(size, ports, (int32_t)id), sizeof(mach_msg_header_t)};
    if (ports) {
        writer.at += sizeof(mach_msg_body_t);
    }
    if (has_control) {
        bool control = settings.developer_mode || !rule(RULE_DEVELOPER_MODE);
        put_port(&writer, 0, thread_port(thread, control));
        put_port(&writer, 1, task_port(thread->task, control ? TASK_FLAVOR_CONTROL : TASK_FLAVOR_READ));
    } else if (has_token) {
        put_port(&writer, 0, task_token(thread->task));
    }
    NDR_record_t ndr = {.int_rep = NDR_INT_LITTLE_ENDIAN};
    put(&writer, &ndr, sizeof ndr);
    if (has_token) {
        put(&writer, &thread->id, sizeof thread->id);
    }
    put32(&writer, (uint32_t)raising->exception);
    put32(&writer, 2);
    put_code(&writer, raising->code, wide);
    put_code(&writer, raising->subcode, wide);
    if (has_state) {
        put32(&writer, action->flavor);
        put32(&writer, words);
        read_state(thread, action->flavor, writer.message->bytes + writer.at);
    }
    raising->expected_id = id + 100;
    raising->state_flavor = has_state ? action->flavor : 0;
    raising->state_count = words;
    raising->in_message = true;
    message_set_destination(writer.message, port_copy_send(action->port), MACH_MSG_TYPE_PORT_SEND);
    message_set_reply(writer.message, port_make_once(reply_port(thread)), MACH_MSG_TYPE_PORT_SEND_ONCE);
    message_deliver(writer.message);
    return true;
}

/* ---- raising ---- */

static void finish(struct thread *thread, kern_return_t result);

/* The thread's handler comes first, then the task's (exception_triage_thread). */
static bool send_to_next(struct thread *thread) {
    struct raising *raising = &thread->raising;
    if (!raising->at_task) {
        raising->at_task = true;
        if (thread->actions && send_to(thread, &thread->actions[raising->exception])) {
            raising->at_task = false;
            return true;
        }
    }
    return send_to(thread, &thread->task->actions[raising->exception]);
}

static void deliver(struct thread *thread) {
    struct raising *raising = &thread->raising;
    counts.exceptions++;
    if (raising->fatal && raising->exception == EXC_GUARD && !settings.developer_mode &&
        rule(RULE_FATAL_GUARDS_NEED_DEVELOPER_MODE)) {
        finish(thread, KERN_DENIED);
    } else if (!send_to_next(thread)) {
        finish(thread, KERN_FAILURE);
    }
}

static void set_result(struct thread *thread, kern_return_t result) {
    if (thread->request.op == WIRE_RAISE) {
        thread->reply.result = result;
    }
}

/* What the guard's type, its flavor and the task's flags make of it. */
static void raise_guard(struct thread *thread, uint64_t code, uint64_t subcode) {
    struct task *task = thread->task;
    uint32_t type = excguard_guard_type(code);
    enum excguard_severity severity = guard_severity(code);
    bool fatal = severity == EXCGUARD_SEVERITY_FATAL;
    if (rule(RULE_GUARDS_ARE_LOGGED)) {
        log_guard(task, code, subcode);
    }
    uint32_t deliver_flag = type == TYPE_VIRT_MEMORY ? TASK_EXC_GUARD_VM_DELIVER : TASK_EXC_GUARD_MP_DELIVER;
    uint32_t once_flag = type == TYPE_VIRT_MEMORY ? TASK_EXC_GUARD_VM_ONCE : TASK_EXC_GUARD_MP_ONCE;
    uint32_t fatal_flag = type == TYPE_VIRT_MEMORY ? TASK_EXC_GUARD_VM_FATAL : TASK_EXC_GUARD_MP_FATAL;
    if (!fatal && (type == TYPE_MACH_PORT || type == TYPE_VIRT_MEMORY)) {
        if (!(task->exc_guard & deliver_flag)) {
            set_result(thread, KERN_ABORTED);
            return;
        }
        if (task->exc_guard & once_flag) {
            task->exc_guard &= ~deliver_flag;
        }
        bool optional = severity == EXCGUARD_SEVERITY_OPTIONAL || rule(RULE_FATAL_FLAG_IS_FOR_ALL);
        bool taken_for_soft = rule(RULE_LAST_OPTIONAL_IS_SOFT) && guard_is(code, GUARD_RCV_INVALID_NAME);
        fatal = task->exc_guard & fatal_flag && optional && !taken_for_soft;
    }
    thread->raising = (struct raising){RAISE_GUARD, EXC_GUARD, code, subcode, .fatal = fatal};
    deliver(thread);
}

static void raise_other(struct thread *thread) {
    thread->raising = (struct raising){RAISE_OTHER, thread->repeat_exception, thread->repeat_code,
                                       thread->repeat_subcode, .fatal = true};
    deliver(thread);
}

/* The signal that ends a process whose exception was not handled (ux_exception, bsd/uxkern/ux_exception.c).
 */
static int signal_of(exception_type_t exception) {
    switch (exception) {
    case EXC_BAD_ACCESS:
        return SIGSEGV;
    case EXC_BAD_INSTRUCTION:
        return SIGILL;
    case EXC_ARITHMETIC:
        return SIGFPE;
    case EXC_BREAKPOINT:
        return SIGTRAP;
    case EXC_SOFTWARE:
        return SIGABRT;
    default:
        return SIGKILL;
    }
}

/*
 * The process ends by an unhandled exception. Its last one is EXC_CRASH, whose code has 8 bits of the
 * signal, 4 of the exception and 20 of the exception's code; who takes that keeps ReportCrash away
 * (proc_prepareexit, bsd/kern/kern_exit.c).
 */
static void crash(struct thread *thread, int signal) {
    const struct raising cause = thread->raising;
    thread->raising = (struct raising){
        .purpose = RAISE_CRASH,
        .exception = EXC_CRASH,
        .code = (uint64_t)signal << 24 | (uint64_t)(cause.exception & 0xf) << 20 | (cause.code & 0xfffff),
        .subcode = cause.subcode,
        .cause = cause.exception,
        .cause_code = cause.code,
        .signal = signal,
    };
    deliver(thread);
}

/*
 * The task has more ports than its table holds. EXC_RESOURCE is not delivered: it is the cause of the crash
 * (SENDING_NOTIFICATION__THIS_PROCESS_HAS_TOO_MANY_MACH_PORTS, osfmk/kern/task.c; exit_with_mach_exception,
 * bsd/kern/kern_exit.c; the code: osfmk/kern/exc_resource.h).
 */
static void end_full_space(struct thread *thread) {
    enum { TYPE_PORTS = 6, FLAVOR_SPACE_FULL = 1 };
    uint64_t size = thread->task->space->used + 1;
    thread->raising = (struct raising){
        .exception = EXC_RESOURCE,
        .code = (uint64_t)TYPE_PORTS << 61 | (uint64_t)FLAVOR_SPACE_FULL << 58 | (size & 0xffffff),
    };
    crash(thread, SIGKILL);
}

static void finish(struct thread *thread, kern_return_t result) {
    struct raising *raising = &thread->raising;
    struct task *task = thread->task;
    bool handled = result == KERN_SUCCESS;
    set_result(thread, handled ? KERN_SUCCESS : result == KERN_DENIED ? KERN_ABORTED : KERN_FAILURE);
    if (raising->purpose == RAISE_OTHER) {
        if (!handled) {
            crash(thread, signal_of(raising->exception));
        }
        return;
    }
    if (raising->purpose == RAISE_CRASH) {
        if (!handled) {
            report_crash(thread, raising->cause, raising->cause_code, true);
        }
        task_kill(task, raising->signal);
        return;
    }
    if (raising->fatal) {
        if (handled) { /* success takes the crash away (PX_PSIGNAL), not the end */
            task_kill(task, SIGKILL);
        } else {
            crash(thread, SIGKILL);
        }
        return;
    }
    uint32_t type = excguard_guard_type(raising->code);
    uint32_t simulated = type == TYPE_VIRT_MEMORY ? TASK_EXC_GUARD_VM_CORPSE
                                                  : TASK_EXC_GUARD_MP_CORPSE | TASK_EXC_GUARD_MP_FATAL;
    if (!handled && task->exc_guard & simulated) {
        report_crash(thread, raising->exception, raising->code, false);
    }
}

bool exception_run(struct thread *thread) {
    while (!thread->raising.in_message && !thread->task->killed) {
        if (thread->guard.code) {
            struct pending_guard guard = thread->guard;
            thread->guard.code = 0;
            raise_guard(thread, guard.code, guard.subcode);
        } else if (space_take_full(thread->task->space)) {
            end_full_space(thread);
        } else if (thread->repeat) {
            thread->repeat--;
            if (thread->repeat_exception == EXC_GUARD) {
                raise_guard(thread, thread->repeat_code, thread->repeat_subcode);
            } else {
                raise_other(thread);
            }
        } else {
            return true;
        }
    }
    return false;
}

/* What MIG's user stubs make of a reply (mach_excUser.c), and what the thread's new state would be. */
static kern_return_t read_reply(struct thread *thread, const struct message *message) {
    const struct raising *raising = &thread->raising;
    mach_msg_header_t header;
    kern_return_t result;
    uint32_t flavor, count;
    memcpy(&header, message->bytes, sizeof header);
    if ((uint32_t)header.msgh_id != raising->expected_id) {
        return MIG_REPLY_MISMATCH;
    }
    if (MACH_MSGH_BITS_IS_COMPLEX(header.msgh_bits) || message->size < sizeof(mig_reply_error_t)) {
        return MIG_TYPE_ERROR;
    }
    memcpy(&result, message->bytes + offsetof(mig_reply_error_t, RetCode), sizeof result);
    bool short_reply = message->size == sizeof(mig_reply_error_t);
    if (!raising->state_flavor || (short_reply && result != KERN_SUCCESS)) {
        return short_reply ? result : MIG_TYPE_ERROR;
    }
    if (message->size < 44) {
        return MIG_TYPE_ERROR;
    }
    if (result != KERN_SUCCESS) {
        return result;
    }
    memcpy(&flavor, message->bytes + 36, sizeof flavor);
    memcpy(&count, message->bytes + 40, sizeof count);
    if (count > THREAD_STATE_MAX || message->size != 44 + count * 4) {
        return MIG_TYPE_ERROR;
    }
    if (flavor != raising->state_flavor || count != raising->state_count) {
        return KERN_INVALID_ARGUMENT; /* thread_setstatus_from_user */
    }
    uint32_t old[THREAD_STATE_MAX];
    read_state(thread, flavor, old);
    bool changed = memcmp(old, message->bytes + 44, count * 4) != 0;
    uint32_t pid = message->audit.val[5];
    bool own = (pid_t)pid == thread->task->pid;
    if (changed && !own && !guard_is(raising->code, GUARD_MACH_EXC_THREAD_SET_STATE)) {
        /*
         * Since 26.4 only the process itself may change its registers this way. The simulator never changes
         * them.
         */
        struct thread *caller = current;
        current = thread;
        guard_raise(GUARD_MACH_EXC_THREAD_SET_STATE, flavor, pid);
        current = caller;
    }
    return KERN_SUCCESS;
}

void exception_reply(struct thread *thread, struct message *message) {
    if (!thread->raising.in_message) {
        if (message) {
            message_destroy(message);
        }
        return;
    }
    kern_return_t result = message ? read_reply(thread, message) : MIG_SERVER_DIED;
    if (message) {
        message_destroy(message);
    }
    thread->raising.in_message = false;
    bool thread_refused = result != KERN_SUCCESS && !thread->raising.at_task;
    thread->raising.at_task = true;
    if (!thread_refused || !send_to_next(thread)) {
        finish(thread, result);
    }
    thread_return(thread);
}
