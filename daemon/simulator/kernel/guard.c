/*
 * Mach port guards: which number each has on the simulated release, and how a misuse becomes a pending
 * exception (mach_port_guard_exception, osfmk/ipc/ipc_policy.c; thread_ast_mach_exception,
 * osfmk/kern/thread.c).
 */
#include <string.h>

#include "kernel.h"

static const char *const names[GUARD_COUNT] = {
    [GUARD_DESTROY] = "kGUARD_EXC_DESTROY",
    [GUARD_MOD_REFS] = "kGUARD_EXC_MOD_REFS",
    [GUARD_MOD_REFS_NON_FATAL] = "kGUARD_EXC_MOD_REFS_NON_FATAL",
    [GUARD_INVALID_OPTIONS] = "kGUARD_EXC_INVALID_OPTIONS",
    [GUARD_SET_CONTEXT] = "kGUARD_EXC_SET_CONTEXT",
    [GUARD_EXCEPTION_BEHAVIOR_ENFORCE] = "kGUARD_EXC_EXCEPTION_BEHAVIOR_ENFORCE",
    [GUARD_SERVICE_PORT_VIOLATION_FATAL] = "kGUARD_EXC_SERVICE_PORT_VIOLATION_FATAL",
    [GUARD_UNGUARDED] = "kGUARD_EXC_UNGUARDED",
    [GUARD_KOBJECT_REPLY_PORT_SEMANTICS] = "kGUARD_EXC_KOBJECT_REPLY_PORT_SEMANTICS",
    [GUARD_REQUIRE_REPLY_PORT_SEMANTICS] = "kGUARD_EXC_REQUIRE_REPLY_PORT_SEMANTICS",
    [GUARD_INCORRECT_GUARD] = "kGUARD_EXC_INCORRECT_GUARD",
    [GUARD_IMMOVABLE] = "kGUARD_EXC_IMMOVABLE",
    [GUARD_INVALID_NOTIFICATION_REQ] = "kGUARD_EXC_INVALID_NOTIFICATION_REQ",
    [GUARD_INVALID_MPO_ENTITLEMENT] = "kGUARD_EXC_INVALID_MPO_ENTITLEMENT",
    [GUARD_DESCRIPTOR_VIOLATION] = "kGUARD_EXC_DESCRIPTOR_VIOLATION",
    [GUARD_INVALID_RIGHT] = "kGUARD_EXC_INVALID_RIGHT",
    [GUARD_INVALID_NAME] = "kGUARD_EXC_INVALID_NAME",
    [GUARD_INVALID_VALUE] = "kGUARD_EXC_INVALID_VALUE",
    [GUARD_INVALID_ARGUMENT] = "kGUARD_EXC_INVALID_ARGUMENT",
    [GUARD_KERN_FAILURE] = "kGUARD_EXC_KERN_FAILURE",
    [GUARD_SEND_INVALID_REPLY] = "kGUARD_EXC_SEND_INVALID_REPLY",
    [GUARD_SEND_INVALID_VOUCHER] = "kGUARD_EXC_SEND_INVALID_VOUCHER",
    [GUARD_SEND_INVALID_RIGHT] = "kGUARD_EXC_SEND_INVALID_RIGHT",
    [GUARD_RCV_INVALID_NAME] = "kGUARD_EXC_RCV_INVALID_NAME",
    [GUARD_WEAK_REPLY_PORT] = "kGUARD_EXC_WEAK_REPLY_PORT",
    [GUARD_MOVE_WEAK_REPLY_PORT] = "kGUARD_EXC_MOVE_WEAK_REPLY_PORT",
    [GUARD_INVALID_NOTIFICATION_PORT] = "kGUARD_EXC_INVALID_NOTIFICATION_PORT",
    [GUARD_MACH_EXC_THREAD_SET_STATE] = "kGUARD_EXC_MACH_EXC_THREAD_SET_STATE",
};

/* What guards were called before they were renamed. */
static const char *const old_names[GUARD_COUNT] = {
    [GUARD_WEAK_REPLY_PORT] = "kGUARD_EXC_PROVISIONAL_REPLY_PORT",
    [GUARD_MOVE_WEAK_REPLY_PORT] = "kGUARD_EXC_MOVE_PROVISIONAL_REPLY_PORT",
};

enum { DEALLOC_GAP = 0x1 }; /* kGUARD_EXC_DEALLOC_GAP, mach/vm_statistics.h, since 10.14.1 */

static uint32_t flavors[GUARD_COUNT]; /* 0: the simulated release has no such guard */

void guard_init(void) {
    uint32_t count;
    const struct excguard_guard_row *rows = excguard_guard_rows(&count);
    for (const struct excguard_guard_row *row = rows; row < rows + count; row++) {
        if (row->guard_type != TYPE_MACH_PORT || settings.release < row->first_release ||
            settings.release > row->last_release) {
            continue;
        }
        for (int guard = 0; guard < GUARD_COUNT; guard++) {
            const char *old = old_names[guard];
            if (!strcmp(row->kernel_name, names[guard]) || (old && !strcmp(row->kernel_name, old))) {
                flavors[guard] = row->flavor;
            }
        }
    }
}

bool guard_exists(enum guard guard) {
    return flavors[guard] != 0;
}

bool guard_is(uint64_t code, enum guard guard) {
    return guard_exists(guard) && excguard_guard_type(code) == TYPE_MACH_PORT &&
           excguard_guard_flavor(code) == flavors[guard];
}

enum excguard_severity guard_severity(uint64_t code) {
    struct excguard_guard guard;
    excguard_guard_decode(code, settings.release, &guard);
    return guard.severity == EXCGUARD_SEVERITY_UNKNOWN ? EXCGUARD_SEVERITY_SOFT : guard.severity;
}

/* The first one stands, but a fatal one takes the place of one that is not (thread_ast_mach_exception). */
static void pend(uint64_t code, uint64_t payload, bool fatal) {
    if (!current->guard.code || (!current->guard.sticky && fatal)) {
        current->guard = (struct pending_guard){code, payload, fatal};
    }
}

void guard_raise(enum guard guard, uint32_t target, uint64_t payload) {
    if (!current || !guard_exists(guard)) {
        return;
    }
    uint64_t code = (uint64_t)TYPE_MACH_PORT << 61 | (uint64_t)flavors[guard] << 32 | target;
    enum excguard_severity severity = guard_severity(code);
    pend(code, payload,
         severity == EXCGUARD_SEVERITY_FATAL ||
             (current->task->exc_guard & TASK_EXC_GUARD_MP_FATAL &&
              (severity == EXCGUARD_SEVERITY_OPTIONAL || rule(RULE_FATAL_FLAG_IS_FOR_ALL))));
}

void guard_raise_gap(uint64_t address) {
    if (rule(RULE_GAPS_ARE_GUARDED)) {
        pend((uint64_t)TYPE_VIRT_MEMORY << 61 | (uint64_t)DEALLOC_GAP << 32, address,
             current->task->exc_guard & TASK_EXC_GUARD_VM_FATAL);
    }
}

uint64_t guard_reason(uint8_t reason, uint32_t high, uint32_t low) {
    if (!rule(RULE_REASONS)) {
        return 0;
    }
    return (uint64_t)reason << 56 | (uint64_t)(high & 0xffffff) << 32 | low;
}
