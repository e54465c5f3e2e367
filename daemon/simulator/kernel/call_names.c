/* Names and their rights (osfmk/ipc/mach_port.c, mach_kernelrpc.c). */
#include <string.h>

#include "call.h"

/* What a new name denotes: a port with its receive right, a set, or a dead name. */
static void fill(struct entry *entry, mach_port_right_t right) {
    if (right == MACH_PORT_RIGHT_RECEIVE) {
        struct port *port = port_new(PORT_PLAIN);
        entry_attach(entry, port, MACH_PORT_TYPE_RECEIVE);
        port->receiver = entry->space;
        port->name = entry_name(entry);
    } else if (right == MACH_PORT_RIGHT_PORT_SET) {
        entry->bits |= MACH_PORT_TYPE_PORT_SET;
        entry->set = pset_new(entry->space);
        entry->set->name = entry_name(entry);
    } else {
        entry->bits |= MACH_PORT_TYPE_DEAD_NAME | 1;
    }
}

kern_return_t call_port_allocate(struct thread *thread, const struct wire_request *request,
                                 const uint8_t *payload) {
    (void)payload;
    mach_port_right_t right = word(request, 1);
    mach_port_name_t wanted = word(request, 2);
    struct space *space;
    struct entry *entry;
    kern_return_t result = find_space(request, &space);
    if (result != KERN_SUCCESS) {
        return result;
    }
    /* A dead name is always the kernel's choice (mach_port_allocate_full). */
    if ((right != MACH_PORT_RIGHT_RECEIVE && right != MACH_PORT_RIGHT_PORT_SET &&
         right != MACH_PORT_RIGHT_DEAD_NAME) ||
        wanted == MACH_PORT_DEAD) {
        return KERN_INVALID_VALUE;
    }
    if (wanted && right != MACH_PORT_RIGHT_DEAD_NAME) {
        result = space_allocate_name(space, wanted, &entry);
        if (result == KERN_SUCCESS && entry_type(entry)) {
            return KERN_NAME_EXISTS;
        }
    } else {
        entry = space_allocate(space);
        result = entry ? KERN_SUCCESS : KERN_NO_SPACE;
    }
    if (result != KERN_SUCCESS) {
        return result;
    }
    fill(entry, right);
    thread->reply.value[0] = entry_name(entry);
    return KERN_SUCCESS;
}

/* ---- construction ---- */

/* Whether a process's MPO_REPLY_PORT is a real reply port; that of others is a provisional (weak) one. */
static bool has_reply_ports(const struct task *task) {
    if (rule(RULE_PORT_TYPES)) {
        return task_restricted(task, 1);
    }
    uint32_t kinds = EXCSIM_PLATFORM | (rule(RULE_REPLY_PORTS_OF_HARDENED) ? EXCSIM_HARDENED_RUNTIME : 0);
    return task->hardened || task->policy & kinds;
}

/* The type that MPO_ flags give before macOS 26, where they are independent bits. */
static enum port_type type_of_bits(const struct task *task, uint32_t flags) {
    if (flags & MPO_SERVICE_PORT && rule(RULE_SERVICE_PORTS)) {
        return PORT_SERVICE;
    }
    if (flags & MPO_CONNECTION_PORT && rule(RULE_SERVICE_PORTS)) {
        return PORT_CONNECTION;
    }
    if (flags & MPO_EXCEPTION_PORT && rule(RULE_EXCEPTION_PORTS)) {
        return PORT_EXCEPTION;
    }
    if (flags & MPO_REPLY_PORT && rule(RULE_REPLY_PORTS)) {
        return has_reply_ports(task) ? PORT_REPLY : PORT_WEAK_REPLY;
    }
    return flags & MPO_PROVISIONAL_REPLY_PORT && rule(RULE_REPLY_PORTS) ? PORT_WEAK_REPLY : PORT_PLAIN;
}

/* The type that MPO_ flags ask for on this release (mach_port_construct); 0: none. */
static enum port_type constructed_type(const struct task *task, uint32_t flags) {
    if (!rule(RULE_PORT_TYPES)) {
        return type_of_bits(task, flags);
    }
    switch (flags & MPO_PORT_TYPE_MASK) {
    case MPO_PORT:
        return PORT_PLAIN;
    case MPO_SERVICE_PORT:
        return flags & MPO_ENFORCE_REPLY_PORT_SEMANTICS && !(task->policy & EXCSIM_OF_SIMULATOR)
                   ? PORT_SERVICE
                   : PORT_WEAK_SERVICE;
    case MPO_CONNECTION_PORT:
        return PORT_CONNECTION;
    case MPO_REPLY_PORT:
        return has_reply_ports(task) ? PORT_REPLY : PORT_WEAK_REPLY;
    case MPO_WEAK_REPLY_PORT:
        return PORT_WEAK_REPLY;
    case MPO_NOTIFICATION_PORT:
        return rule(RULE_NOTIFICATION_PORTS) ? PORT_NOTIFICATION : 0;
    case MPO_EXCEPTION_PORT:
        return PORT_EXCEPTION;
    case MPO_CONNECTION_PORT_WITH_PORT_ARRAY:
        return PORT_CONNECTION_WITH_ARRAY;
    default:
        return 0;
    }
}

static bool at_most_one(uint32_t flags) {
    return (flags & (flags - 1)) == 0;
}

static bool flags_fit(uint32_t flags, enum port_type type) {
    const uint32_t known = 0x3ff | MPO_ENFORCE_REPLY_PORT_SEMANTICS | MPO_PORT_TYPE_MASK;
    if (rule(RULE_PORT_TYPES)) {
        return !(flags & ~known) && type;
    }
    if (rule(RULE_SERVICE_PORTS) &&
        !at_most_one(flags & (MPO_SERVICE_PORT | MPO_CONNECTION_PORT | MPO_TG_BLOCK_TRACKING))) {
        return false;
    }
    return !rule(RULE_FLAGS_EXCLUDE) ||
           at_most_one(flags & (MPO_REPLY_PORT | MPO_ENFORCE_REPLY_PORT_SEMANTICS | MPO_EXCEPTION_PORT |
                                MPO_PROVISIONAL_REPLY_PORT));
}

/* Some types need an entitlement of a restricted process (mach_port_construct of 12377 and newer). */
static kern_return_t check_entitlement(struct task *task, enum port_type type, uint32_t flags) {
    bool asked = type == PORT_CONNECTION_WITH_ARRAY || type == PORT_WEAK_REPLY;
    if (!rule(RULE_PORT_TYPES) || !asked || !task_restricted(task, 1) || task->policy & EXCSIM_ENTITLED) {
        return KERN_SUCCESS;
    }
    if (type == PORT_WEAK_REPLY && !rule(RULE_WEAK_REPLY_PORTS_ENTITLED)) {
        if (!task->made_weak_reply_port) { /* reported once a task, and allowed */
            task->made_weak_reply_port = true;
            guard_raise(GUARD_WEAK_REPLY_PORT, 0, 0);
        }
        return KERN_SUCCESS;
    }
    guard_raise(GUARD_INVALID_MPO_ENTITLEMENT, flags, 0);
    return KERN_DENIED;
}

/* What launchd says of the service; `address` is where it says so, and `size` 0 if nothing is there. */
static kern_return_t check_service(uint64_t address, const mach_service_port_info_data_t *info, size_t size) {
    if (!address) {
        return KERN_INVALID_ARGUMENT;
    }
    if (size != sizeof *info) {
        return KERN_MEMORY_ERROR;
    }
    return memchr(info->mspi_string_name, '\0', sizeof info->mspi_string_name) ? KERN_SUCCESS
                                                                               : KERN_INVALID_ARGUMENT;
}

static kern_return_t check_construction(struct task *task, const struct wire_request *request,
                                        enum port_type type, const mach_service_port_info_data_t *info) {
    uint32_t flags = word(request, 1), qlimit = word(request, 2);
    if (!flags_fit(flags, type)) {
        return KERN_INVALID_ARGUMENT;
    }
    bool may_make_services = task->policy & EXCSIM_LAUNCHD_COALITION;
    if (port_is_any_service_type(type) && !may_make_services) {
        return KERN_DENIED;
    }
    if (type == PORT_CONNECTION && !word(request, 4)) {
        return KERN_INVALID_ARGUMENT;
    }
    kern_return_t result = port_is_any_service_type(type)
                               ? check_service(request->arg[4], info, request->size)
                               : check_entitlement(task, type, flags);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (flags & MPO_QLIMIT && qlimit > MACH_PORT_QLIMIT_MAX) {
        return KERN_INVALID_VALUE;
    }
    return flags & MPO_TG_BLOCK_TRACKING ? KERN_DENIED : KERN_SUCCESS; /* for the window server */
}

/* What the flags say of a new port beside its type. */
static void configure(struct port *port, uint32_t flags, uint32_t qlimit, uint64_t context) {
    port->context = context;
    if (flags & MPO_CONTEXT_AS_GUARD) {
        port->guarded = true;
        port->strict_guard = flags & MPO_STRICT;
    }
    bool by_flag = flags & MPO_IMMOVABLE_RECEIVE && (flags & MPO_CONTEXT_AS_GUARD || rule(RULE_PORT_TYPES));
    bool by_type = port->type == PORT_EXCEPTION || port->type == PORT_REPLY ||
                   (port->type == PORT_CONNECTION && rule(RULE_CONNECTIONS_STAY));
    port->immovable = by_flag || (by_type && !rule(RULE_PORT_TYPES));
    port->enforce_reply_semantics = flags & MPO_ENFORCE_REPLY_PORT_SEMANTICS;
    if (flags & MPO_QLIMIT) {
        port->qlimit = qlimit;
    }
    if (flags & (MPO_IMPORTANCE_RECEIVER | MPO_DENAP_RECEIVER | MPO_TEMPOWNER)) {
        port->importance = true;
        port->tempowner = flags & MPO_TEMPOWNER;
    }
}

static struct entry *make_port(struct space *space, enum port_type type, uint32_t flags, uint32_t qlimit,
                               uint64_t context) {
    struct entry *entry = space_allocate(space);
    if (!entry) {
        return NULL;
    }
    struct port *port = port_new(type);
    entry_attach(entry, port, MACH_PORT_TYPE_RECEIVE);
    port->receiver = space;
    port->name = entry_name(entry);
    configure(port, flags, qlimit, context);
    if (flags & MPO_INSERT_SEND_RIGHT) {
        port_make_send(port);
        entry->bits |= MACH_PORT_TYPE_SEND | entry_immovable_bit(entry, port);
        entry->bits++;
    }
    return entry;
}

static kern_return_t return_new_name(struct thread *thread, const struct entry *entry) {
    thread->reply.value[0] = entry ? entry_name(entry) : MACH_PORT_NULL;
    return entry ? KERN_SUCCESS : KERN_NO_SPACE;
}

kern_return_t call_port_construct(struct thread *thread, const struct wire_request *request,
                                  const uint8_t *payload) {
    const mach_service_port_info_data_t *info = (const mach_service_port_info_data_t *)payload;
    uint32_t flags = word(request, 1), qlimit = word(request, 2);
    struct space *space;
    kern_return_t result = find_space(request, &space);
    if (result != KERN_SUCCESS) {
        return result;
    }
    enum port_type type = constructed_type(space->task, flags);
    result = check_construction(space->task, request, type, info);
    if (result != KERN_SUCCESS) {
        return result;
    }
    struct entry *entry = make_port(space, type, flags, qlimit, request->arg[3]);
    if (entry && port_is_any_service_type(type)) {
        port_set_service(entry->port, info);
    }
    return return_new_name(thread, entry);
}

/* mach_reply_port() makes a plain port (osfmk/kern/ipc_tt.c, all releases). */
kern_return_t call_reply_port(struct thread *thread, const struct wire_request *request,
                              const uint8_t *payload) {
    (void)request, (void)payload;
    return return_new_name(thread, make_port(thread->task->space, PORT_PLAIN, 0, 0, 0));
}

/* The reply port of synchronous calls that a thread keeps: of the type that reply ports have in its task. */
kern_return_t call_special_reply_port(struct thread *thread, const struct wire_request *request,
                                      const uint8_t *payload) {
    (void)request, (void)payload;
    bool real = rule(RULE_PORT_TYPES) || (rule(RULE_REPLY_PORTS) && has_reply_ports(thread->task));
    enum port_type type = real ? PORT_SPECIAL_REPLY : PORT_WEAK_REPLY;
    struct entry *entry = make_port(thread->task->space, type, MPO_INSERT_SEND_RIGHT, 0, 0);
    if (entry) {
        entry->port->special_reply = true; /* IPC_PORT_INIT_SPECIAL_REPLY, ipc_port_init */
        entry->port->immovable = !rule(RULE_REPLY_PORTS);
    }
    return return_new_name(thread, entry);
}

/* ---- ends of names ---- */

kern_return_t call_port_destruct(struct thread *thread, const struct wire_request *request,
                                 const uint8_t *payload) {
    (void)thread, (void)payload;
    struct entry *entry;
    if (!MACH_PORT_VALID(word(request, 1))) {
        return KERN_INVALID_NAME;
    }
    kern_return_t result = find_entry(request, true, &entry);
    return result == KERN_SUCCESS ? right_destruct(entry, (int32_t)word(request, 2), request->arg[3])
                                  : result;
}

kern_return_t call_port_destroy_name(struct thread *thread, const struct wire_request *request,
                                     const uint8_t *payload) {
    (void)thread, (void)payload;
    struct entry *entry;
    if (!MACH_PORT_VALID(word(request, 1))) {
        return KERN_SUCCESS;
    }
    kern_return_t result = find_entry(request, true, &entry);
    return result == KERN_SUCCESS ? right_destroy(entry) : result;
}

kern_return_t call_port_deallocate(struct thread *thread, const struct wire_request *request,
                                   const uint8_t *payload) {
    (void)thread, (void)payload;
    struct entry *entry;
    if (!MACH_PORT_VALID(word(request, 1))) {
        return KERN_SUCCESS;
    }
    kern_return_t result = find_entry(request, true, &entry);
    return result == KERN_SUCCESS ? right_deallocate(entry) : result;
}

kern_return_t call_port_get_refs(struct thread *thread, const struct wire_request *request,
                                 const uint8_t *payload) {
    (void)payload;
    mach_port_right_t right = word(request, 2);
    struct entry *entry;
    if (right >= MACH_PORT_RIGHT_NUMBER) {
        return KERN_INVALID_VALUE;
    }
    if (!MACH_PORT_VALID(word(request, 1))) {
        thread->reply.value[0] = 1;
        return right == MACH_PORT_RIGHT_SEND || right == MACH_PORT_RIGHT_SEND_ONCE ? KERN_SUCCESS
                                                                                   : KERN_INVALID_NAME;
    }
    kern_return_t result = find_entry(request, false, &entry);
    if (result != KERN_SUCCESS) {
        return result;
    }
    entry_check(entry, false);
    bool counted = right == MACH_PORT_RIGHT_SEND || right == MACH_PORT_RIGHT_DEAD_NAME;
    if (entry_type(entry) & MACH_PORT_TYPE(right)) {
        thread->reply.value[0] = counted ? entry_urefs(entry) : 1;
    }
    return KERN_SUCCESS;
}

kern_return_t call_port_mod_refs(struct thread *thread, const struct wire_request *request,
                                 const uint8_t *payload) {
    (void)thread, (void)payload;
    mach_port_right_t right = word(request, 2);
    struct entry *entry;
    if (right >= MACH_PORT_RIGHT_NUMBER) {
        return KERN_INVALID_VALUE;
    }
    if (!MACH_PORT_VALID(word(request, 1))) {
        return right == MACH_PORT_RIGHT_SEND || right == MACH_PORT_RIGHT_SEND_ONCE ? KERN_SUCCESS
                                                                                   : KERN_INVALID_NAME;
    }
    kern_return_t result = find_entry(request, true, &entry);
    return result == KERN_SUCCESS ? right_delta(entry, right, (int32_t)word(request, 3)) : result;
}

kern_return_t call_port_type(struct thread *thread, const struct wire_request *request,
                             const uint8_t *payload) {
    (void)payload;
    struct entry *entry;
    if (word(request, 1) == MACH_PORT_NULL) {
        return KERN_INVALID_NAME;
    }
    if (word(request, 1) == MACH_PORT_DEAD) {
        thread->reply.value[0] = MACH_PORT_TYPE_DEAD_NAME;
        return KERN_SUCCESS;
    }
    kern_return_t result = find_entry(request, false, &entry);
    if (result == KERN_SUCCESS) {
        entry_check(entry, false);
        thread->reply.value[0] = entry_type(entry) | (entry_request_type(entry) & MACH_PORT_TYPE_DNREQUEST);
    }
    return result;
}

/* mach_port_names_helper: a name whose port died is left as it is. */
static uint32_t type_in_list(const struct entry *entry) {
    if (entry->bits & MACH_PORT_TYPE_SEND_RIGHTS && !entry->port->active) {
        return MACH_PORT_TYPE_DEAD_NAME;
    }
    return entry_type(entry) | entry_request_type(entry);
}

kern_return_t call_port_names(struct thread *thread, const struct wire_request *request,
                              const uint8_t *payload) {
    (void)payload;
    struct space *space;
    kern_return_t result = find_space(request, &space);
    if (result != KERN_SUCCESS) {
        return result;
    }
    uint32_t index = word(request, 1);
    for (; index < space_size(space) && thread->reply.size + 8 <= WIRE_MESSAGE_MAX; index++) {
        const struct entry *entry = space_at(space, index);
        if (!entry) {
            continue;
        }
        uint32_t pair[] = {entry_name(entry), type_in_list(entry)};
        thread_payload(thread, pair, sizeof pair);
    }
    thread->reply.value[0] = index < space_size(space) ? index : 0;
    return KERN_SUCCESS;
}

/* ---- rights that come and go ---- */

/*
 * mach_port_insert_right() of a right into its own name (ipc_object_insert_send_right): one more user
 * reference, whatever the port.
 */
static kern_return_t insert_own(struct entry *entry, mach_msg_type_name_t disposition) {
    if (entry->bits & (MACH_PORT_TYPE_DEAD_NAME)) {
        return KERN_INVALID_CAPABILITY;
    }
    if (!(entry->bits & MACH_PORT_TYPE_PORT_RIGHTS)) {
        return KERN_INVALID_RIGHT;
    }
    struct port *port = entry->port;
    if (!port->active) {
        return KERN_INVALID_CAPABILITY;
    }
    if (disposition == MACH_MSG_TYPE_MAKE_SEND) {
        if (!(entry->bits & MACH_PORT_TYPE_RECEIVE)) {
            return KERN_INVALID_RIGHT;
        }
        port->mscount++;
        if (!(entry->bits & MACH_PORT_TYPE_SEND)) {
            port_copy_send(port);
            entry->bits |= MACH_PORT_TYPE_SEND | entry_immovable_bit(entry, port);
        }
    } else if (!(entry->bits & MACH_PORT_TYPE_SEND)) {
        return KERN_INVALID_RIGHT;
    }
    if (entry_urefs(entry) < UREFS_MAX) {
        entry->bits++;
    }
    return KERN_SUCCESS;
}

/* _kernelrpc_mach_port_insert_right_trap, osfmk/ipc/mach_kernelrpc.c */
kern_return_t call_port_insert_right(struct thread *thread, const struct wire_request *request,
                                     const uint8_t *payload) {
    (void)thread, (void)payload;
    mach_port_name_t name = word(request, 1), right_name = word(request, 2);
    mach_msg_type_name_t disposition = word(request, 3), kind = right_received_kind(disposition);
    struct space *space;
    struct port *port;
    kern_return_t result = find_space(request, &space);
    if (result != KERN_SUCCESS) {
        return result;
    }
    struct entry *entry = space_lookup(current->task->space, right_name);
    if (!entry) {
        return KERN_INVALID_NAME;
    }
    bool own = name == right_name && space == current->task->space;
    if (own && (disposition == MACH_MSG_TYPE_MAKE_SEND || disposition == MACH_MSG_TYPE_COPY_SEND)) {
        return insert_own(entry, disposition);
    }
    result =
        right_copyin(entry, disposition, COPYIN_CALL,
                     COPYIN_DEAD_OK | (space == current->task->space ? COPYIN_IMMOVABLE_OK : 0), NULL, &port);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (!MACH_PORT_VALID(name) || !kind) {
        port_release_right(port, kind);
        return KERN_INVALID_VALUE;
    }
    return port == PORT_DEAD ? KERN_INVALID_CAPABILITY : space_copyout_name(space, port, kind, name);
}

kern_return_t call_port_extract_right(struct thread *thread, const struct wire_request *request,
                                      const uint8_t *payload) {
    (void)payload;
    mach_msg_type_name_t disposition = word(request, 2), kind = right_received_kind(disposition);
    struct entry *entry;
    struct port *port;
    if (!kind) {
        return KERN_INVALID_VALUE;
    }
    if (!MACH_PORT_VALID(word(request, 1))) {
        return KERN_INVALID_RIGHT;
    }
    kern_return_t result = find_entry(request, false, &entry);
    if (result != KERN_SUCCESS) {
        return result;
    }
    bool own_copy = entry->space == current->task->space && disposition == MACH_MSG_TYPE_COPY_SEND;
    result = right_copyin(entry, disposition, COPYIN_CALL,
                          COPYIN_DEAD_OK | (own_copy ? COPYIN_IMMOVABLE_OK : 0), NULL, &port);
    if (result != KERN_SUCCESS) {
        return result;
    }
    thread->reply.value[0] = space_copyout(current->task->space, port, kind);
    thread->reply.value[1] = kind;
    return thread->reply.value[0] ? KERN_SUCCESS : KERN_RESOURCE_SHORTAGE;
}

/*
 * Of fork(2) alone: ends a reference to a right of a kernel object of that type
 * (mach_port_deallocate_kernel, xnu-12377).
 */
kern_return_t call_port_deallocate_kernel(struct thread *thread, const struct wire_request *request,
                                          const uint8_t *payload) {
    (void)thread, (void)payload;
    enum { ANY_TYPE = 0xff };
    uint32_t expected = word(request, 2);
    struct entry *entry;
    if (!MACH_PORT_VALID(word(request, 1))) {
        return KERN_SUCCESS;
    }
    kern_return_t result = find_entry(request, true, &entry);
    if (result != KERN_SUCCESS) {
        return result;
    }
    bool dead = entry->bits & MACH_PORT_TYPE_DEAD_NAME;
    uint32_t found = entry->bits & MACH_PORT_TYPE_PORT_RIGHTS ? port_type_number(entry->port->type) : 0;
    if (!dead && expected != ANY_TYPE && expected != found) {
        guard_raise(GUARD_INVALID_RIGHT, entry_name(entry),
                    guard_reason(MPG_FLAGS_INVALID_RIGHT_DEALLOC_KERNEL, expected, found));
        return KERN_INVALID_RIGHT;
    }
    return right_deallocate(entry);
}
