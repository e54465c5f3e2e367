/* The rules of the kernel that differ between releases, with the range of each. */
#include "rules.h"

#include <stdint.h>

#include "kernel.h"

enum { ALWAYS = 0, RELEASE_26_4 = 260400, FOR_EVER = UINT32_MAX };

/* Releases as settings.release; `before` is the first one without the rule. */
static const struct range {
    uint32_t since, before;
} ranges[RULE_COUNT] = {
    /* Deallocations of what is not mapped (vm_map_guard_exception, osfmk/vm/vm_map.c of xnu-4903.221.2). */
    [RULE_GAPS_ARE_GUARDED] = {101401, FOR_EVER},
    /*
     * Calls that look at names and ports take a task's read port (convert_port_to_space_read, ipc_tt.c of
     * xnu-7195.50.7), and those of mach_debug.c convert it themselves.
     */
    [RULE_SPACES_ARE_READ] = {110000, FOR_EVER},
    /*
     * The port of an exception handler may not be one that stays (set_exception_ports_validation, ipc_tt.c of
     * xnu-7195.141.2); before, any send right is one.
     */
    [RULE_EXCEPTION_PORTS_CHECKED] = {110500, FOR_EVER},
    /* TASK_EXC_GUARD_MP_FATAL is for every flavor (mach_port_guard_ast, mach_port.c of xnu-7195.81.3). */
    [RULE_FATAL_FLAG_IS_FOR_ALL] = {ALWAYS, 120000},
    /*
     * The last optional flavor is taken for a soft one (mach_port_guard_ast compares with >=, xnu-8019.41.5
     * to xnu-8020.140.41).
     */
    [RULE_LAST_OPTIONAL_IS_SOFT] = {120000, 130000},
    /* Release kernels keep task_exc_guard (task_set_exc_guard_behavior, task.c of xnu-8019.41.5). */
    [RULE_GUARD_FLAGS_STAY] = {120000, FOR_EVER},
    /*
     * A request for the end of a port that has none is blamed (mach_port_request_notification, mach_port.c of
     * xnu-8019.41.5); before, it only fails.
     */
    [RULE_MISPLACED_REQUESTS_GUARDED] = {120000, FOR_EVER},
    /* MACH_PORT_GUARD_INFO of mach_port_assert_attributes (mach_port.c of xnu-8019.41.5). */
    [RULE_GUARDS_ARE_ASSERTED] = {120000, FOR_EVER},
    /*
     * MPO_SERVICE_PORT, MPO_CONNECTION_PORT, of which at most one may be set, and
     * mach_port_get_service_port_info and mach_port_is_connection_for_service (mach_port.c of xnu-8019.41.5).
     */
    [RULE_SERVICE_PORTS] = {120000, FOR_EVER},
    /* EXCEPTION_IDENTITY_PROTECTED (osfmk/mach/exception_types.h of xnu-8019.41.5). */
    [RULE_IDENTITY_PROTECTED] = {120000, FOR_EVER},
    /* MACH_EXCEPTION_BACKTRACE_PREFERRED (osfmk/mach/exception_types.h of xnu-8792.41.9). */
    [RULE_BACKTRACES] = {130000, FOR_EVER},
    /* mach_port_get_set_status sorts the names (mach_port_name_cmp, mach_port.c of xnu-8020.101.4). */
    [RULE_MEMBERS_SORTED] = {120300, FOR_EVER},
    /*
     * The rights of a connection port stay: its send rights, and its receive right but for messages
     * (mach_port_construct and ipc_right_copyout, xnu-8792.41.9); before, it is as movable as any.
     */
    [RULE_CONNECTIONS_STAY] = {130000, FOR_EVER},
    /*
     * A port's table of requests grows by kalloc's size classes (ipc_port_request_grow, ipc_port.c of
     * xnu-8792.41.9); before, it doubles (ipc_table_init, ipc_table.c).
     */
    [RULE_REQUESTS_BY_SIZE_CLASS] = {130000, FOR_EVER},
    /*
     * Developer Mode, and its sysctl: without it, exception messages carry read ports, no control ports
     * (exception_deliver, exception.c of xnu-8792.41.9).
     */
    [RULE_DEVELOPER_MODE] = {130000, FOR_EVER},
    /*
     * Fatal guards are not delivered outside of Developer Mode (exception_triage_thread, exception.c of
     * xnu-10002.41.9).
     */
    [RULE_FATAL_GUARDS_NEED_DEVELOPER_MODE] = {140100, FOR_EVER},
    /*
     * Hardened tasks have handlers of protected behaviors alone (set_exception_behavior_allowed, ipc_tt.c of
     * xnu-10063.101.15).
     */
    [RULE_PROTECTED_BEHAVIORS_ALONE] = {140400, FOR_EVER},
    /*
     * The target of EXCEPTION_BEHAVIOR_ENFORCE is the port, truncated from the kernel's pointer (ipc_tt.c up
     * to xnu-10063.121.3).
     */
    [RULE_PORT_IN_BEHAVIOR_TARGET] = {ALWAYS, 140600},
    /* MPO_EXCEPTION_PORT (mach_port_construct, mach_port.c of xnu-11215.1.10). */
    [RULE_EXCEPTION_PORTS] = {150000, FOR_EVER},
    /*
     * A task that registered its hardened handler has no other, and what is refused is KERN_DENIED
     * (set_exception_behavior_allowed, ipc_tt.c of xnu-11215.1.10).
     */
    [RULE_ONE_EXCEPTION_PORT] = {150000, FOR_EVER},
    /* EXCEPTION_STATE_IDENTITY_PROTECTED (osfmk/mach/exception_types.h of xnu-11215.1.10). */
    [RULE_STATE_IDENTITY_PROTECTED] = {150000, FOR_EVER},
    /*
     * The ports of a body get their names from the first to the last; before, from the last to the first
     * (ipc_kmsg_copyout_descriptors, ipc_kmsg.c of xnu-11215.1.10, and ipc_kmsg_copyout_body).
     */
    [RULE_BODY_COPIED_OUT_IN_ORDER] = {150000, FOR_EVER},
    /*
     * A guarded descriptor whose port the receiver did not ask for is one without a name; before, it becomes
     * a port descriptor, 4 bytes shorter (ipc_kmsg_copyout_guarded_port_descriptor, xnu-11215.1.10).
     */
    [RULE_LOST_GUARDED_DESCRIPTORS_STAY] = {150000, FOR_EVER},
    /*
     * The context of a guarded port that comes back to its sender is the buffer that was sent
     * (mach_msg_receive_pseudo, mach_msg.c of xnu-11215.1.10); before, the one that the thread received in
     * last (ith_msg_addr).
     */
    [RULE_RETURNS_TO_SEND_BUFFER] = {150000, FOR_EVER},
    /* Each guard is a line in the unified log (thread_guard_violation's AST, thread.c of xnu-12377). */
    [RULE_GUARDS_ARE_LOGGED] = {260000, FOR_EVER},
    /* MPO_NOTIFICATION_PORT, which no source of 26.0 or 26.1 has (osfmk/mach/port.h of the 26.4 SDK). */
    [RULE_NOTIFICATION_PORTS] = {RELEASE_26_4, FOR_EVER},
    /* The numbers of port types (osfmk/ipc/ipc_types.h), which changed between 26.2 and 26.4. */
    [RULE_PORT_TYPES_RENUMBERED] = {RELEASE_26_4, FOR_EVER},
    /* SERVICE_PORT_VIOLATION_FATAL shows the violated policy; 0 in newer sources (ipc_policy.c, xnu-12377).
     */
    [RULE_POLICY_IN_SERVICE_TARGET] = {ALWAYS, RELEASE_26_4},
    /* A chosen name must have its low bits set (ipc_entry_alloc_name, xnu-8019.41.5). */
    [RULE_NAMES_CHECKED] = {120000, FOR_EVER},
    /*
     * A dead-name request of a dead name with a sync count is notified at once, as a send-possible request is
     * (ipc_right_request_alloc, xnu-8020.140.41).
     */
    [RULE_DEAD_NAMES_AT_ONCE] = {ALWAYS, 130000},
    /*
     * A port that dies gives back its no-senders request before the messages in its queue are destroyed
     * (ipc_port_destroy, ipc_port.c of xnu-4903.241.1 to xnu-8019.80.24).
     */
    [RULE_REQUEST_ENDS_BEFORE_QUEUE] = {ALWAYS, 120300},
    /*
     * mach_port_move_member, insert_member and extract_member blame the caller for wrong names and rights
     * (mach_port.c, xnu-8020.101.4); before, the set of the first two is looked up without blame
     * (ipc_pset_lazy_allocate), and to take a port out of no set succeeds.
     */
    [RULE_GUARDS_OF_MEMBERS] = {120300, FOR_EVER},
    /*
     * A name that once held a receive right is blamed when it is used as a set
     * (ipc_object_translate_port_pset, xnu-11417.101.15; before, the test for receive rights met the number
     * of sets as well).
     */
    [RULE_FORMER_RECEIVERS_ARE_NO_SETS] = {150400, FOR_EVER},
    /* MACH_PORT_SERVICE_THROTTLED (mach_port.c, xnu-10002.1.13). */
    [RULE_THROTTLED] = {140000, FOR_EVER},
    /*
     * Launchd alone asks for the return of service ports (ipc_policy.c of xnu-12377); before, only with the
     * boot argument -service_port_defense_enabled (mach_port.c of xnu-8792.41.9 to xnu-11417.121.6).
     */
    [RULE_SERVICES_RETURN_TO_LAUNCHD] = {260000, FOR_EVER},
    /*
     * A name without a port (a dead name) is KERN_INVALID_NAME to who looks for a right, not
     * KERN_INVALID_RIGHT (ipc_right_lookup_read, xnu-8019.41.5).
     */
    [RULE_DEAD_IS_NO_NAME] = {120000, FOR_EVER},
    /*
     * A task whose table of names cannot grow any more is ended (task_port_space_ast, task.c of
     * xnu-8019.41.5); before, it gets KERN_NO_SPACE and goes on.
     */
    [RULE_FULL_SPACE_ENDS] = {120000, FOR_EVER},
    /*
     * Read and inspect ports of tasks and threads do not leave the task that got them, whoever it is
     * (convert_task_to_port_with_flavor, ipc_tt.c of xnu-7195.101.1).
     */
    [RULE_KEPT_CONTROL_PORTS] = {110300, FOR_EVER},
    /*
     * mach_port_space_info numbers the objects for every caller (mach_debug.c, xnu-8792.41.9); before, for
     * those alone that may see the kernel's task.
     */
    [RULE_OBJECT_NUMBERS] = {130000, FOR_EVER},
    /* MPO_REPLY_PORT and provisional reply ports (ipc_port_init, xnu-8792.41.9). */
    [RULE_REPLY_PORTS] = {130000, FOR_EVER},
    /*
     * The reply ports of processes with the hardened runtime are real ones; before, those of platform
     * binaries alone (task_is_hardened_binary in ipc_port_init, xnu-10063.101.15).
     */
    [RULE_REPLY_PORTS_OF_HARDENED] = {140400, FOR_EVER},
    /*
     * MPO_ENFORCE_REPLY_PORT_SEMANTICS of any port is looked at in the header
     * (ipc_right_copyin_check_reply, xnu-8792.41.9); 26.0 goes by the port's type.
     */
    [RULE_REPLY_PORTS_ENFORCED] = {130000, 260000},
    /*
     * A call to a kernel object says so in its options and receives its answer
     * (ipc_validate_kmsg_dest_from_user, ipc_kmsg.c of xnu-8792.41.9).
     */
    [RULE_CALLS_MATCH_PORTS] = {130000, FOR_EVER},
    /*
     * Kernel objects take real reply ports alone from hardened binaries (ipc_right_copyin_check_reply,
     * ipc_right.c of xnu-10063.101.15); 26.0 goes by the process's enhanced security.
     */
    [RULE_OBJECTS_ASK_REPLY_PORTS] = {140400, 260000},
    /* MPO_ flags of which at most one may be set (mach_port_construct, xnu-10063.101.15). */
    [RULE_FLAGS_EXCLUDE] = {140400, FOR_EVER},
    /*
     * The descriptors of a message are measured and their types checked before its header is looked at
     * (ipc_kmsg_get_and_inflate_from_user, xnu-11215.1.10).
     */
    [RULE_BODY_FIRST] = {150000, FOR_EVER},
    /* A receive buffer without room for a header is MACH_RCV_INVALID_DATA (mach_msg.c, xnu-11215.1.10). */
    [RULE_SMALL_BUFFER_IS_INVALID] = {150000, FOR_EVER},
    /*
     * The dispositions and names of a header are checked as a whole before any name is looked up, and a dead
     * name is no reply port (ipc_kmsg_copyin_header_validate and _rights, xnu-11417.101.15).
     */
    [RULE_HEADER_VALIDATED_FIRST] = {150400, FOR_EVER},
    /* INVALID_OPTIONS shows the options (ipc_policy.c, xnu-11417.101.15). */
    [RULE_OPTIONS_IN_PAYLOAD] = {150400, FOR_EVER},
    /*
     * A message that was not sent names its reply port again, where there was a new send-once right before
     * (ipc_kmsg_copyout_reply_port, ipc_kmsg.c of xnu-11417.101.15).
     */
    [RULE_REPLY_PORTS_RETURN] = {150400, FOR_EVER},
    /* INVALID_ARGUMENT shows the context that is there (mach_port_guard_locked, xnu-11417.101.15). */
    [RULE_CONTEXT_IN_PAYLOAD] = {150400, FOR_EVER},
    /*
     * The end of a guarded receive right by mach_port_mod_refs is DESTROY; before, MOD_REFS (ipc_right_delta,
     * xnu-11417.101.15).
     */
    [RULE_GUARDED_IS_DESTROY] = {150400, FOR_EVER},
    /*
     * The last reference to its own task's port stays with every task (ICP_OPTIONS_PINNED_3P_SOFT is the
     * default, ipc_policy.c of xnu-12377), which starts with two.
     */
    [RULE_PINNED_TASK_PORTS] = {260000, FOR_EVER},
    /* Payloads hold a reason and the rights at hand (ipc_right.c of xnu-12377 of 26.0 or 26.1). */
    [RULE_REASONS] = {260000, FOR_EVER},
    /*
     * A port has one type, chosen when it is constructed, and its policies follow from it (ipc_policy_array,
     * ipc_policy.c of xnu-12377).
     */
    [RULE_PORT_TYPES] = {260000, FOR_EVER},
    /*
     * MPO_WEAK_REPLY_PORT needs its entitlement from enhanced security 1 on; before, it was only reported
     * (mach_port_construct of a newer source).
     */
    [RULE_WEAK_REPLY_PORTS_ENTITLED] = {RELEASE_26_4, FOR_EVER},
};

static bool holds[RULE_COUNT];

void rules_init(void) {
    for (int at = 0; at < RULE_COUNT; at++) {
        holds[at] = settings.release >= ranges[at].since && settings.release < ranges[at].before;
    }
}

bool rule(enum rule rule) {
    return holds[rule];
}
