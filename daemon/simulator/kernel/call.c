/*
 * The calls of libSystem, one function each: arguments from the wire, results to it (osfmk/ipc/mach_port.c,
 * osfmk/kern).
 */
#include <errno.h>
#include <string.h>

#include "kernel.h"

typedef kern_return_t call(struct thread *thread, const struct wire_request *request, const uint8_t *payload);

static uint32_t word(const struct wire_request *request, int at) {
    return (uint32_t)request->arg[at];
}

/* ---- the task that a call is about ---- */

/* The result of a call on a name that is not a task's: MIG cannot send to it, or gets an invalid reply. */
static kern_return_t find_task(mach_port_name_t name, mach_task_flavor_t weakest, struct task **task) {
    struct entry *entry = space_lookup(current->task->space, name);
    if (!entry || !(entry->bits & MACH_PORT_TYPE_SEND) || entry_check(entry, false)) {
        return MACH_SEND_INVALID_DEST;
    }
    *task = task_from_port(entry->port, weakest);
    return *task ? KERN_SUCCESS : KERN_INVALID_TASK;
}

static kern_return_t find_space(const struct wire_request *request, struct space **space) {
    struct task *task;
    kern_return_t result = find_task(word(request, 0), TASK_FLAVOR_CONTROL, &task);
    if (result == KERN_SUCCESS) {
        *space = task->space;
    }
    return result;
}

/*
 * The name that arg[1] denotes in the space of arg[0]; raises INVALID_NAME if it denotes nothing and `blame`
 * is set.
 */
static kern_return_t find_entry(const struct wire_request *request, bool blame, struct entry **entry) {
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

static kern_return_t find_receive(const struct wire_request *request, struct port **port) {
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

static kern_return_t return_port(struct thread *thread, struct port *port) {
    thread->reply.value[0] = copyout_to_caller(port);
    return thread->reply.value[0] ? KERN_SUCCESS : KERN_RESOURCE_SHORTAGE;
}

/* ---- names ---- */

static kern_return_t port_allocate(struct thread *thread, const struct wire_request *request,
                                   const uint8_t *payload) {
    (void)payload;
    mach_port_right_t right = word(request, 1);
    mach_port_name_t wanted = word(request, 2);
    struct space *space;
    kern_return_t result = find_space(request, &space);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (right != MACH_PORT_RIGHT_RECEIVE && right != MACH_PORT_RIGHT_PORT_SET &&
        right != MACH_PORT_RIGHT_DEAD_NAME) {
        return KERN_INVALID_VALUE;
    }
    if (wanted && space_lookup(space, wanted)) {
        return KERN_NAME_EXISTS;
    }
    struct entry *entry = wanted ? space_allocate_name(space, wanted) : space_allocate(space);
    if (!entry) {
        return wanted ? KERN_INVALID_VALUE : KERN_NO_SPACE;
    }
    if (right == MACH_PORT_RIGHT_RECEIVE) {
        struct port *port = port_new(PORT_PLAIN);
        entry_attach(entry, port, MACH_PORT_TYPE_RECEIVE);
        port->receiver = space;
        port->name = entry_name(entry);
    } else if (right == MACH_PORT_RIGHT_PORT_SET) {
        entry->bits |= MACH_PORT_TYPE_PORT_SET;
        entry->set = pset_new(space);
        entry->set->name = entry_name(entry);
    } else {
        entry->bits |= MACH_PORT_TYPE_DEAD_NAME | 1;
    }
    thread->reply.value[0] = entry_name(entry);
    return KERN_SUCCESS;
}

/* The kind of port that MPO_ flags ask for on this release (mach_port_construct); 0: none. */
static enum port_type constructed_type(const struct task *task, uint32_t flags) {
    if (release_is_before(260000)) { /* independent bits, and unknown ones mean nothing */
        if (flags & MPO_SERVICE_PORT) {
            return PORT_SERVICE;
        }
        if (flags & MPO_CONNECTION_PORT) {
            return PORT_CONNECTION;
        }
        if (flags & MPO_EXCEPTION_PORT && !release_is_before(150000)) {
            return PORT_EXCEPTION;
        }
        if (flags & MPO_REPLY_PORT && !release_is_before(120000)) {
            return PORT_REPLY;
        }
        return flags & MPO_PROVISIONAL_REPLY_PORT && !release_is_before(130000) ? PORT_WEAK_REPLY
                                                                                : PORT_PLAIN;
    }
    switch (flags & MPO_PORT_TYPE_MASK) {
    case MPO_PORT:
        return PORT_PLAIN;
    case MPO_SERVICE_PORT:
        return flags & MPO_ENFORCE_REPLY_PORT_SEMANTICS ? PORT_SERVICE : PORT_WEAK_SERVICE;
    case MPO_CONNECTION_PORT:
        return PORT_CONNECTION;
    case MPO_REPLY_PORT:
        return task->hardened ? PORT_REPLY : PORT_WEAK_REPLY;
    case MPO_WEAK_REPLY_PORT:
        return PORT_WEAK_REPLY;
    case MPO_NOTIFICATION_PORT:
        return PORT_NOTIFICATION;
    case MPO_EXCEPTION_PORT:
        return PORT_EXCEPTION;
    case MPO_CONNECTION_PORT_WITH_PORT_ARRAY:
        return PORT_CONNECTION_WITH_ARRAY;
    default:
        return 0;
    }
}

/* Flags that exclude each other on releases before 26. */
static bool at_most_one(uint32_t flags) {
    return (flags & (flags - 1)) == 0;
}

static kern_return_t check_construction(const struct task *task, uint32_t flags, uint32_t qlimit,
                                        enum port_type type, mach_port_name_t service) {
    const uint32_t known = 0x3ff | MPO_ENFORCE_REPLY_PORT_SEMANTICS | MPO_PORT_TYPE_MASK;
    bool new_rules = !release_is_before(260000);
    if (new_rules ? (flags & ~known || !type)
                  : !at_most_one(flags & (MPO_SERVICE_PORT | MPO_CONNECTION_PORT | MPO_TG_BLOCK_TRACKING)) ||
                        !at_most_one(flags & (MPO_REPLY_PORT | MPO_ENFORCE_REPLY_PORT_SEMANTICS |
                                              MPO_EXCEPTION_PORT | MPO_PROVISIONAL_REPLY_PORT))) {
        return KERN_INVALID_ARGUMENT;
    }
    if (type == PORT_SERVICE || type == PORT_WEAK_SERVICE || flags & MPO_TG_BLOCK_TRACKING) {
        return KERN_DENIED; /* for launchd, and for the window server */
    }
    if (type == PORT_CONNECTION && !service) {
        return KERN_INVALID_ARGUMENT;
    }
    bool entitled_only =
        type == PORT_CONNECTION_WITH_ARRAY || (type == PORT_WEAK_REPLY && flags & MPO_WEAK_REPLY_PORT);
    if (new_rules && entitled_only && task->hardened) {
        guard_raise(GUARD_INVALID_MPO_ENTITLEMENT, flags, 0);
        return KERN_DENIED;
    }
    return flags & MPO_QLIMIT && qlimit > MACH_PORT_QLIMIT_MAX ? KERN_INVALID_VALUE : KERN_SUCCESS;
}

static kern_return_t port_construct(struct thread *thread, const struct wire_request *request,
                                    const uint8_t *payload) {
    (void)payload;
    uint32_t flags = word(request, 1);
    struct space *space;
    kern_return_t result = find_space(request, &space);
    if (result != KERN_SUCCESS) {
        return result;
    }
    enum port_type type = constructed_type(space->task, flags);
    result = check_construction(space->task, flags, word(request, 2), type, word(request, 4));
    if (result != KERN_SUCCESS) {
        return result;
    }
    struct entry *entry = space_allocate(space);
    if (!entry) {
        return KERN_NO_SPACE;
    }
    struct port *port = port_new(type);
    entry_attach(entry, port, MACH_PORT_TYPE_RECEIVE);
    port->receiver = space;
    port->name = entry_name(entry);
    port->context = request->arg[3];
    if (flags & MPO_CONTEXT_AS_GUARD) {
        port->guarded = true;
        port->strict_guard = flags & MPO_STRICT;
    }
    bool always_immovable =
        type == PORT_NOTIFICATION || type == PORT_EXCEPTION || type == PORT_CONNECTION_WITH_ARRAY;
    bool immovable_by_flag =
        flags & MPO_IMMOVABLE_RECEIVE && (flags & MPO_CONTEXT_AS_GUARD || !release_is_before(260000));
    port->immovable =
        immovable_by_flag || always_immovable || (type == PORT_CONNECTION && release_is_before(260000));
    port->enforce_reply_semantics = flags & MPO_ENFORCE_REPLY_PORT_SEMANTICS;
    if (flags & MPO_QLIMIT) {
        port->qlimit = word(request, 2);
    }
    if (flags & MPO_INSERT_SEND_RIGHT) {
        port_make_send(port);
        entry->bits |= MACH_PORT_TYPE_SEND;
        entry->bits++;
    }
    thread->reply.value[0] = entry_name(entry);
    return KERN_SUCCESS;
}

static kern_return_t port_destruct(struct thread *thread, const struct wire_request *request,
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

static kern_return_t port_destroy_name(struct thread *thread, const struct wire_request *request,
                                       const uint8_t *payload) {
    (void)thread, (void)payload;
    struct entry *entry;
    if (!MACH_PORT_VALID(word(request, 1))) {
        return KERN_SUCCESS;
    }
    kern_return_t result = find_entry(request, true, &entry);
    return result == KERN_SUCCESS ? right_destroy(entry) : result;
}

static kern_return_t port_deallocate(struct thread *thread, const struct wire_request *request,
                                     const uint8_t *payload) {
    (void)thread, (void)payload;
    struct entry *entry;
    if (!MACH_PORT_VALID(word(request, 1))) {
        return KERN_SUCCESS;
    }
    kern_return_t result = find_entry(request, true, &entry);
    return result == KERN_SUCCESS ? right_deallocate(entry) : result;
}

static kern_return_t port_get_refs(struct thread *thread, const struct wire_request *request,
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
    if (entry->bits & MACH_PORT_TYPE(right)) {
        thread->reply.value[0] = counted ? entry_urefs(entry) : 1;
    }
    return KERN_SUCCESS;
}

static kern_return_t port_mod_refs(struct thread *thread, const struct wire_request *request,
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

static uint32_t type_of(struct entry *entry) {
    entry_check(entry, false);
    bool asked = entry->request && entry_type(entry) & MACH_PORT_TYPE_PORT_RIGHTS;
    return entry_type(entry) | (asked ? MACH_PORT_TYPE_DNREQUEST : 0);
}

static kern_return_t port_type(struct thread *thread, const struct wire_request *request,
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
        thread->reply.value[0] = type_of(entry);
    }
    return result;
}

static kern_return_t port_names(struct thread *thread, const struct wire_request *request,
                                const uint8_t *payload) {
    (void)payload;
    struct space *space;
    kern_return_t result = find_space(request, &space);
    if (result != KERN_SUCCESS) {
        return result;
    }
    uint32_t index = word(request, 1);
    for (; index < SPACE_NAMES_MAX && thread->reply.size + 8 <= WIRE_MESSAGE_MAX; index++) {
        struct entry *entry = space_at(space, index);
        if (!entry) {
            continue;
        }
        uint32_t pair[] = {entry_name(entry), type_of(entry)};
        thread_payload(thread, pair, sizeof pair);
    }
    thread->reply.value[0] = index < SPACE_NAMES_MAX ? index : 0;
    return KERN_SUCCESS;
}

static kern_return_t port_insert_right(struct thread *thread, const struct wire_request *request,
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
    if (!MACH_PORT_VALID(name) || !kind) {
        return KERN_INVALID_VALUE;
    }
    struct entry *entry = space_lookup(current->task->space, right_name);
    if (!MACH_PORT_VALID(right_name)) {
        return KERN_INVALID_CAPABILITY;
    }
    if (!entry) {
        return KERN_INVALID_NAME;
    }
    result = right_copyin(entry, disposition,
                          COPYIN_DEAD_OK | (space == current->task->space ? COPYIN_IMMOVABLE_OK : 0), &port);
    if (result != KERN_SUCCESS) {
        return result;
    }
    return port == PORT_DEAD ? KERN_INVALID_CAPABILITY : space_copyout_name(space, port, kind, name);
}

static kern_return_t port_extract_right(struct thread *thread, const struct wire_request *request,
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
    result = right_copyin(entry, disposition, own_copy ? COPYIN_IMMOVABLE_OK : 0, &port);
    if (result != KERN_SUCCESS) {
        return result;
    }
    thread->reply.value[0] = space_copyout(current->task->space, port, kind);
    thread->reply.value[1] = kind;
    return thread->reply.value[0] ? KERN_SUCCESS : KERN_RESOURCE_SHORTAGE;
}

/* ---- port sets ---- */

/* ipc_object_translate_port_pset */
static kern_return_t find_member_and_set(const struct wire_request *request, struct port **port,
                                         struct pset **set) {
    struct space *space;
    mach_port_name_t member = word(request, 1), after = word(request, 2);
    kern_return_t result = find_space(request, &space);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (!MACH_PORT_VALID(member) || !MACH_PORT_VALID(after)) {
        return KERN_INVALID_RIGHT;
    }
    struct entry *port_entry = space_lookup(space, member), *set_entry = space_lookup(space, after);
    if (!port_entry || !set_entry) {
        guard_raise(GUARD_INVALID_NAME, port_entry ? after : member, 0);
        return KERN_INVALID_NAME;
    }
    if (!(port_entry->bits & MACH_PORT_TYPE_RECEIVE)) {
        if (!(port_entry->bits & BITS_EX_RECEIVE)) {
            guard_raise(GUARD_INVALID_RIGHT, member,
                        guard_reason(MPG_FLAGS_INVALID_RIGHT_TRANSLATE_PORT, 0, port_entry->bits));
        }
        return KERN_INVALID_RIGHT;
    }
    if (!(set_entry->bits & MACH_PORT_TYPE_PORT_SET)) {
        guard_raise(GUARD_INVALID_RIGHT, after,
                    guard_reason(MPG_FLAGS_INVALID_RIGHT_TRANSLATE_PSET, 0, set_entry->bits));
        return KERN_INVALID_RIGHT;
    }
    *port = port_entry->port;
    *set = set_entry->set;
    return KERN_SUCCESS;
}

static kern_return_t port_move_member(struct thread *thread, const struct wire_request *request,
                                      const uint8_t *payload) {
    (void)thread, (void)payload;
    struct port *port;
    struct pset *set;
    kern_return_t result;
    if (word(request, 2) == MACH_PORT_NULL) {
        result = find_receive(request, &port);
        if (result != KERN_SUCCESS) {
            return result;
        }
        bool member = !list_empty(&port->members);
        pset_extract_all(port, NULL);
        return member ? KERN_SUCCESS : KERN_NOT_IN_SET;
    }
    result = find_member_and_set(request, &port, &set);
    if (result != KERN_SUCCESS) {
        return result;
    }
    pset_extract_all(port, set);
    if (!pset_contains(set, port)) {
        pset_insert(set, port);
    }
    return KERN_SUCCESS;
}

static kern_return_t port_insert_member(struct thread *thread, const struct wire_request *request,
                                        const uint8_t *payload) {
    (void)thread, (void)payload;
    struct port *port;
    struct pset *set;
    kern_return_t result = find_member_and_set(request, &port, &set);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (pset_contains(set, port)) {
        return KERN_ALREADY_IN_SET;
    }
    pset_insert(set, port);
    return KERN_SUCCESS;
}

static kern_return_t port_extract_member(struct thread *thread, const struct wire_request *request,
                                         const uint8_t *payload) {
    (void)thread, (void)payload;
    struct port *port;
    struct pset *set;
    kern_return_t result = find_member_and_set(request, &port, &set);
    if (result != KERN_SUCCESS) {
        return result;
    }
    return pset_extract(set, port) ? KERN_SUCCESS : KERN_NOT_IN_SET;
}

static kern_return_t port_get_set_status(struct thread *thread, const struct wire_request *request,
                                         const uint8_t *payload) {
    (void)payload;
    struct entry *entry;
    if (!MACH_PORT_VALID(word(request, 1))) {
        return KERN_INVALID_RIGHT;
    }
    kern_return_t result = find_entry(request, false, &entry);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (!(entry->bits & MACH_PORT_TYPE_PORT_SET)) {
        return KERN_INVALID_RIGHT;
    }
    LIST_EACH(&entry->set->members, node) {
        mach_port_name_t name = LIST_MEMBER(node, struct member, in_set)->port->name;
        if (thread->reply.size + sizeof name <= WIRE_MESSAGE_MAX) {
            thread_payload(thread, &name, sizeof name);
        }
    }
    return KERN_SUCCESS;
}

/* ---- attributes, contexts, guards ---- */

static void get_status(const struct port *port, mach_port_status_t *status) {
    *status = (mach_port_status_t){
        .mps_pset = !list_empty(&port->members),
        .mps_seqno = port->seqno,
        .mps_mscount = port->mscount,
        .mps_qlimit = port->qlimit,
        .mps_msgcount = port->msgcount,
        .mps_sorights = port->sorights,
        .mps_srights = port->srights > 0,
        .mps_pdrequest = port->pdrequest != NULL,
        .mps_nsrequest = port->nsrequest != NULL,
    };
    if (port->guarded) {
        status->mps_flags |= MACH_PORT_STATUS_FLAG_GUARDED;
        if (port->strict_guard) {
            status->mps_flags |= MACH_PORT_STATUS_FLAG_STRICT_GUARD;
        }
        if (port->immovable) {
            status->mps_flags |= MACH_PORT_STATUS_FLAG_GUARD_IMMOVABLE_RECEIVE;
        }
    }
}

static kern_return_t port_get_attributes(struct thread *thread, const struct wire_request *request,
                                         const uint8_t *payload) {
    (void)payload;
    uint32_t count = word(request, 3), needed;
    union {
        mach_port_limits_t limits;
        mach_port_status_t status;
        mach_port_info_ext_t extended;
        uint32_t requests;
    } info;
    memset(&info, 0, sizeof info);
    switch (word(request, 2)) {
    case MACH_PORT_LIMITS_INFO:
        needed = MACH_PORT_LIMITS_INFO_COUNT;
        break;
    case MACH_PORT_RECEIVE_STATUS:
        needed = MACH_PORT_RECEIVE_STATUS_COUNT;
        break;
    case MACH_PORT_DNREQUESTS_SIZE:
        needed = MACH_PORT_DNREQUESTS_SIZE_COUNT;
        break;
    case MACH_PORT_INFO_EXT:
        needed = MACH_PORT_INFO_EXT_COUNT;
        break;
    default:
        return KERN_INVALID_ARGUMENT;
    }
    if (count < needed) {
        return KERN_FAILURE;
    }
    struct port *port;
    kern_return_t result = find_receive(request, &port);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (word(request, 2) == MACH_PORT_LIMITS_INFO) {
        info.limits.mpl_qlimit = port->qlimit;
    } else if (word(request, 2) == MACH_PORT_DNREQUESTS_SIZE) {
        LIST_EACH(&port->entries, node)
        info.requests += LIST_MEMBER(node, struct entry, in_port)->request != NULL;
    } else {
        get_status(port, &info.status); /* mpie_status is at the start of the extended one */
    }
    thread_payload(thread, &info, needed * sizeof(natural_t));
    return KERN_SUCCESS;
}

static kern_return_t port_set_attributes(struct thread *thread, const struct wire_request *request,
                                         const uint8_t *payload) {
    (void)thread;
    struct port *port;
    uint32_t flavor = word(request, 2), value = 0;
    if (flavor == MACH_PORT_LIMITS_INFO) {
        if (request->size < sizeof value) {
            return KERN_FAILURE;
        }
        memcpy(&value, payload, sizeof value);
        if (value > MACH_PORT_QLIMIT_MAX) {
            return KERN_INVALID_VALUE;
        }
    } else if (flavor != MACH_PORT_TEMPOWNER && flavor != MACH_PORT_IMPORTANCE_RECEIVER &&
               flavor != MACH_PORT_DENAP_RECEIVER) {
        return KERN_INVALID_ARGUMENT;
    }
    kern_return_t result = find_receive(request, &port);
    if (result == KERN_SUCCESS && flavor == MACH_PORT_LIMITS_INFO) {
        port->qlimit = value;
        message_queue_moved(port);
    }
    return result;
}

static kern_return_t port_get_srights(struct thread *thread, const struct wire_request *request,
                                      const uint8_t *payload) {
    (void)payload;
    struct port *port;
    kern_return_t result = find_receive(request, &port);
    if (result == KERN_SUCCESS) {
        thread->reply.value[0] = port->srights;
    }
    return result;
}

static kern_return_t port_set_mscount(struct thread *thread, const struct wire_request *request,
                                      const uint8_t *payload) {
    (void)thread, (void)payload;
    struct port *port;
    kern_return_t result = find_receive(request, &port);
    if (result == KERN_SUCCESS) {
        port->mscount = word(request, 2);
    }
    return result;
}

static kern_return_t port_get_context(struct thread *thread, const struct wire_request *request,
                                      const uint8_t *payload) {
    (void)payload;
    struct port *port;
    kern_return_t result = find_receive(request, &port);
    if (result == KERN_SUCCESS) {
        thread->reply.value[0] = port->strict_guard ? 0 : port->context;
    }
    return result;
}

static kern_return_t port_set_context(struct thread *thread, const struct wire_request *request,
                                      const uint8_t *payload) {
    (void)thread, (void)payload;
    struct port *port;
    kern_return_t result = find_receive(request, &port);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (port->strict_guard) {
        guard_raise(GUARD_SET_CONTEXT, word(request, 1), port->context);
        return KERN_INVALID_ARGUMENT;
    }
    port->context = request->arg[2];
    return KERN_SUCCESS;
}

/*
 * As find_receive, for the calls about guards: these blame the caller for a name or right that is not there.
 */
static kern_return_t find_guardable(const struct wire_request *request, struct port **port) {
    if (!MACH_PORT_VALID(word(request, 1))) {
        return KERN_INVALID_NAME;
    }
    kern_return_t result = find_receive(request, port);
    if (result == KERN_INVALID_NAME) {
        guard_raise(GUARD_INVALID_NAME, word(request, 1), 0);
    } else if (result == KERN_INVALID_RIGHT) {
        guard_raise(GUARD_INVALID_RIGHT, word(request, 1), guard_reason(MPG_FLAGS_INVALID_RIGHT_RECV, 0, 0));
    }
    return result;
}

static kern_return_t port_guard(struct thread *thread, const struct wire_request *request,
                                const uint8_t *payload) {
    (void)thread, (void)payload;
    uint64_t flags = request->arg[3];
    struct port *port;
    kern_return_t result = find_guardable(request, &port);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (port->context) {
        /* Its payload was 0 before 15.4 (osfmk/ipc/mach_port.c of xnu-11215.81.4 and xnu-11417.101.15). */
        guard_raise(GUARD_INVALID_ARGUMENT, word(request, 1), release_is_before(150400) ? 0 : port->context);
        return KERN_INVALID_ARGUMENT;
    }
    port->context = request->arg[2];
    port->guarded = true;
    port->strict_guard = flags & MPG_STRICT;
    if (flags & MPG_IMMOVABLE_RECEIVE) {
        port->immovable = true;
    }
    return KERN_SUCCESS;
}

static kern_return_t port_unguard(struct thread *thread, const struct wire_request *request,
                                  const uint8_t *payload) {
    (void)thread, (void)payload;
    struct port *port;
    kern_return_t result = find_guardable(request, &port);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (!port->guarded) {
        guard_raise(GUARD_UNGUARDED, word(request, 1), 0);
        return KERN_INVALID_ARGUMENT;
    }
    if (port->context != request->arg[2]) {
        guard_raise(GUARD_INCORRECT_GUARD, word(request, 1), port->context);
        return KERN_INVALID_ARGUMENT;
    }
    port->context = 0;
    port->guarded = port->strict_guard = false;
    return KERN_SUCCESS;
}

static kern_return_t port_swap_guard(struct thread *thread, const struct wire_request *request,
                                     const uint8_t *payload) {
    (void)thread, (void)payload;
    struct port *port;
    kern_return_t result = find_guardable(request, &port);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (!port->guarded) {
        guard_raise(GUARD_UNGUARDED, word(request, 1), 0);
    } else if (port->strict_guard) {
        guard_raise(GUARD_SET_CONTEXT, word(request, 1), port->context);
    } else if (port->context != request->arg[2]) {
        guard_raise(GUARD_INCORRECT_GUARD, word(request, 1), port->context);
    } else {
        port->context = request->arg[3];
        return KERN_SUCCESS;
    }
    return KERN_INVALID_ARGUMENT;
}

/* ---- notifications ---- */

static kern_return_t request_port_destroyed(struct port *port, mach_port_name_t name, uint32_t sync,
                                            struct port *notify) {
    if (sync) {
        return KERN_INVALID_VALUE;
    }
    bool forbidden =
        port_is_reply(port) || port_is_kobject(port) || (port->immovable && !release_is_before(260000));
    if (forbidden) {
        if (release_is_before(260000)) {
            guard_raise(GUARD_INVALID_RIGHT, name, 0);
        } else {
            guard_raise(GUARD_INVALID_NOTIFICATION_REQ, port->type, MACH_NOTIFY_PORT_DESTROYED);
        }
        return KERN_INVALID_RIGHT;
    }
    if (port->pdrequest) {
        bool reasons = !release_is_before(RELEASE_26_4);
        guard_raise(GUARD_KERN_FAILURE, reasons ? 0 : name,
                    guard_reason(MPG_FLAGS_KERN_FAILURE_MULTI_NOTI, 0, 0));
        return KERN_FAILURE;
    }
    port->pdrequest = notify;
    return KERN_SUCCESS;
}

static kern_return_t request_no_senders(struct port *port, mach_port_name_t name, uint32_t sync,
                                        struct port *notify, struct port **previous) {
    bool forbidden = port_is_reply(port) || (port->type == PORT_NOTIFICATION && !release_is_before(260000));
    if (forbidden) {
        if (release_is_before(260000)) {
            guard_raise(GUARD_INVALID_RIGHT, name, 0);
        } else {
            guard_raise(GUARD_INVALID_NOTIFICATION_REQ, port->type, MACH_NOTIFY_NO_SENDERS);
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
    if (!notify && !entry->request) {
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
            entry->request = notify;
            entry->send_possible = send_possible && armed;
        }
        return KERN_SUCCESS;
    }
    if (send_possible && notify && entry->bits & MACH_PORT_TYPE_DEAD_NAME) {
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
    if (!MACH_PORT_VALID(name)) {
        return id == MACH_NOTIFY_DEAD_NAME || !release_is_before(RELEASE_26_4) ? KERN_INVALID_ARGUMENT
                                                                               : KERN_INVALID_RIGHT;
    }
    switch (id) {
    case MACH_NOTIFY_PORT_DESTROYED:
        result = find_receive(request, &port);
        return result == KERN_SUCCESS ? request_port_destroyed(port, name, sync, notify) : result;
    case MACH_NOTIFY_NO_SENDERS:
        result = find_receive(request, &port);
        return result == KERN_SUCCESS ? request_no_senders(port, name, sync, notify, previous) : result;
    case MACH_NOTIFY_DEAD_NAME:
    case MACH_NOTIFY_SEND_POSSIBLE:
        result = find_entry(request, false, &entry);
        return result == KERN_SUCCESS
                   ? request_dead_name(entry, id == MACH_NOTIFY_SEND_POSSIBLE, sync, notify, previous)
                   : result;
    default:
        return KERN_INVALID_VALUE;
    }
}

static kern_return_t port_request_notification(struct thread *thread, const struct wire_request *request,
                                               const uint8_t *payload) {
    (void)payload;
    mach_port_name_t notify_name = word(request, 4);
    mach_msg_type_name_t disposition = word(request, 5);
    struct port *notify = NULL, *previous = NULL;
    if (notify_name == MACH_PORT_DEAD) {
        return KERN_INVALID_CAPABILITY;
    }
    if (notify_name) {
        struct entry *entry = space_lookup(current->task->space, notify_name);
        if (disposition != MACH_MSG_TYPE_MAKE_SEND_ONCE && disposition != MACH_MSG_TYPE_MOVE_SEND_ONCE) {
            return MIG_TYPE_ERROR; /* of the routine's descriptor: a send-once right */
        }
        kern_return_t result =
            entry ? right_copyin(entry, disposition, COPYIN_DEAD_OK, &notify) : KERN_INVALID_NAME;
        if (result != KERN_SUCCESS) {
            return MACH_SEND_INVALID_RIGHT;
        }
        if (notify == PORT_DEAD || !notify->active) {
            port_release_right(notify, MACH_MSG_TYPE_PORT_SEND_ONCE);
            return KERN_INVALID_CAPABILITY;
        }
        check_notification_port(notify, notify_name);
    }
    kern_return_t result = dispatch_request(request, notify, &previous);
    if (result != KERN_SUCCESS) {
        port_release_right(notify, MACH_MSG_TYPE_PORT_SEND_ONCE);
        return result;
    }
    thread->reply.value[0] = space_copyout(current->task->space, previous, MACH_MSG_TYPE_PORT_SEND_ONCE);
    return KERN_SUCCESS;
}

static kern_return_t reply_port(struct thread *thread, const struct wire_request *request,
                                const uint8_t *payload) {
    (void)request, (void)payload;
    struct wire_request construct = {.arg = {WIRE_TASK_SELF_NAME, MPO_REPLY_PORT}};
    return port_construct(thread, &construct, NULL);
}

/* ---- tasks ---- */

static kern_return_t task_set_ports(struct thread *thread, const struct wire_request *request,
                                    const uint8_t *payload) {
    (void)payload;
    bool swap = request->op == WIRE_TASK_SWAP_EXCEPTION_PORTS;
    mach_port_name_t name = word(request, 2);
    struct port *port = NULL;
    struct task *task;
    kern_return_t result = find_task(word(request, 0), TASK_FLAVOR_CONTROL, &task);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (MACH_PORT_VALID(name)) { /* the stub copies a send right in */
        struct entry *entry = space_lookup(current->task->space, name);
        result = entry ? right_copyin(entry, MACH_MSG_TYPE_COPY_SEND, COPYIN_IMMOVABLE_OK, &port)
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
    result = exception_validate(task, mask, port, behavior, flavor);
    if (result == KERN_SUCCESS && swap) {
        result = exception_get_ports(thread, task, mask, word(request, 5));
    }
    if (result == KERN_SUCCESS) {
        return exception_set_ports(task, mask, port, behavior, flavor);
    }
    port_release_right(port, MACH_MSG_TYPE_PORT_SEND);
    return result;
}

static kern_return_t task_get_ports(struct thread *thread, const struct wire_request *request,
                                    const uint8_t *payload) {
    (void)payload;
    struct task *task;
    kern_return_t result = find_task(word(request, 0), TASK_FLAVOR_CONTROL, &task);
    return result == KERN_SUCCESS ? exception_get_ports(thread, task, word(request, 1), word(request, 2))
                                  : result;
}

static kern_return_t task_get_guard(struct thread *thread, const struct wire_request *request,
                                    const uint8_t *payload) {
    (void)payload;
    struct task *task;
    kern_return_t result = find_task(word(request, 0), TASK_FLAVOR_INSPECT, &task);
    if (result == KERN_SUCCESS) {
        thread->reply.value[0] = task->exc_guard;
    }
    return result;
}

static kern_return_t task_set_guard(struct thread *thread, const struct wire_request *request,
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
     * Since 12.0 (xnu-8019.41.5) release kernels refuse to clear DELIVER or FATAL and to set ONCE. Flags
     * that all tasks start with here may be cleared: on a Mac tasks start without them, and a program that
     * sets its flags should find it so.
     */
    uint32_t set = word(request, 1) & ~task->exc_guard, cleared = task->exc_guard & ~word(request, 1);
    uint32_t given = settings.guard_default & (TASK_EXC_GUARD_MP_DELIVER | TASK_EXC_GUARD_VM_DELIVER);
    if (!release_is_before(120000) &&
        (cleared & HARDENED_FLAGS & ~given || set & (TASK_EXC_GUARD_MP_ONCE | TASK_EXC_GUARD_VM_ONCE))) {
        return KERN_DENIED;
    }
    task->exc_guard = word(request, 1);
    return KERN_SUCCESS;
}

static kern_return_t task_create_token(struct thread *thread, const struct wire_request *request,
                                       const uint8_t *payload) {
    (void)payload;
    struct task *task;
    kern_return_t result = find_task(word(request, 0), TASK_FLAVOR_CONTROL, &task);
    return result == KERN_SUCCESS ? return_port(thread, task_token(task)) : result;
}

static kern_return_t token_get_port(struct thread *thread, const struct wire_request *request,
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

static kern_return_t task_get_special(struct thread *thread, const struct wire_request *request,
                                      const uint8_t *payload) {
    (void)payload;
    struct task *task;
    kern_return_t result = find_task(word(request, 0), TASK_FLAVOR_INSPECT, &task);
    if (result != KERN_SUCCESS) {
        return result;
    }
    switch (word(request, 1)) {
    case TASK_KERNEL_PORT:
        return return_port(thread, task_port(task, TASK_FLAVOR_CONTROL));
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

static kern_return_t task_set_special(struct thread *thread, const struct wire_request *request,
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
        if (!entry || right_copyin(entry, MACH_MSG_TYPE_COPY_SEND, 0, &port) != KERN_SUCCESS) {
            return MACH_SEND_INVALID_RIGHT;
        }
    }
    struct port *old = task->bootstrap;
    task->bootstrap = port;
    if (old) {
        port_release_send(old);
    }
    return KERN_SUCCESS;
}

static kern_return_t for_pid(struct thread *thread, const struct wire_request *request,
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

static kern_return_t pid_for_task_port(struct thread *thread, const struct wire_request *request,
                                       const uint8_t *payload) {
    (void)payload;
    struct task *task;
    if (find_task(word(request, 0), TASK_FLAVOR_NAME, &task) != KERN_SUCCESS) {
        return KERN_FAILURE;
    }
    thread->reply.value[0] = (uint64_t)task->pid;
    return KERN_SUCCESS;
}

static kern_return_t host_self(struct thread *thread, const struct wire_request *request,
                               const uint8_t *payload) {
    (void)request, (void)payload;
    return return_port(thread, task_host_port());
}

static kern_return_t thread_self(struct thread *thread, const struct wire_request *request,
                                 const uint8_t *payload) {
    (void)request, (void)payload;
    return return_port(thread, thread_port(thread, true));
}

/* vm_map_delete, osfmk/vm/vm_map.c: it is the client that has seen the gap. */
static kern_return_t vm_gap(struct thread *thread, const struct wire_request *request,
                            const uint8_t *payload) {
    (void)thread, (void)payload;
    guard_raise_gap(request->arg[0]);
    return KERN_SUCCESS;
}

/* ---- launchd, sysctl, spawn ---- */

static kern_return_t bootstrap(struct thread *thread, const struct wire_request *request,
                               const uint8_t *payload) {
    if (!request->size || request->size > WIRE_NAME_MAX || payload[request->size - 1] || !payload[0]) {
        return BOOTSTRAP_UNKNOWN_SERVICE;
    }
    return bootstrap_call(thread, request, (const char *)payload);
}

static kern_return_t sysctl(struct thread *thread, const struct wire_request *request,
                            const uint8_t *payload) {
    uint8_t value[128];
    size_t size = sizeof value;
    if (!request->size || request->size > WIRE_NAME_MAX || payload[request->size - 1] ||
        !release_sysctl((const char *)payload, value, &size)) {
        return ENOENT;
    }
    thread_payload(thread, value, size);
    return 0;
}

static kern_return_t spawn(struct thread *thread, const struct wire_request *request,
                           const uint8_t *payload) {
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

/* ---- the simulator's own ---- */

static kern_return_t raise_exception(struct thread *thread, const struct wire_request *request,
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

static kern_return_t harden(struct thread *thread, const struct wire_request *request,
                            const uint8_t *payload) {
    (void)payload;
    if (word(request, 0) > 2 || (int)word(request, 0) < thread->task->hardened) {
        return KERN_INVALID_ARGUMENT;
    }
    if (word(request, 0)) {
        task_harden(thread->task, (int)word(request, 0), word(request, 1));
    }
    return KERN_SUCCESS;
}

static kern_return_t census(struct thread *thread, const struct wire_request *request,
                            const uint8_t *payload) {
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

static kern_return_t crash_report(struct thread *thread, const struct wire_request *request,
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

static kern_return_t log_line(struct thread *thread, const struct wire_request *request,
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

static kern_return_t pin(struct thread *thread, const struct wire_request *request, const uint8_t *payload) {
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

static kern_return_t sign(struct thread *thread, const struct wire_request *request, const uint8_t *payload) {
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
static kern_return_t signature(struct thread *thread, const struct wire_request *request,
                               const uint8_t *payload) {
    (void)payload;
    struct task *task = task_find((pid_t)word(request, 0));
    if (!task || task->pid_version != word(request, 1)) {
        return KERN_NOT_FOUND;
    }
    thread_payload(thread, &task->signature, sizeof task->signature);
    return KERN_SUCCESS;
}

static call *const calls[WIRE_OP_COUNT] = {
    [WIRE_PORT_ALLOCATE] = port_allocate,
    [WIRE_PORT_CONSTRUCT] = port_construct,
    [WIRE_PORT_DESTRUCT] = port_destruct,
    [WIRE_PORT_DESTROY] = port_destroy_name,
    [WIRE_PORT_DEALLOCATE] = port_deallocate,
    [WIRE_PORT_GET_REFS] = port_get_refs,
    [WIRE_PORT_MOD_REFS] = port_mod_refs,
    [WIRE_PORT_TYPE] = port_type,
    [WIRE_PORT_NAMES] = port_names,
    [WIRE_PORT_SET_MSCOUNT] = port_set_mscount,
    [WIRE_PORT_GET_SET_STATUS] = port_get_set_status,
    [WIRE_PORT_MOVE_MEMBER] = port_move_member,
    [WIRE_PORT_INSERT_MEMBER] = port_insert_member,
    [WIRE_PORT_EXTRACT_MEMBER] = port_extract_member,
    [WIRE_PORT_REQUEST_NOTIFICATION] = port_request_notification,
    [WIRE_PORT_INSERT_RIGHT] = port_insert_right,
    [WIRE_PORT_EXTRACT_RIGHT] = port_extract_right,
    [WIRE_PORT_GET_ATTRIBUTES] = port_get_attributes,
    [WIRE_PORT_SET_ATTRIBUTES] = port_set_attributes,
    [WIRE_PORT_GET_SRIGHTS] = port_get_srights,
    [WIRE_PORT_GET_CONTEXT] = port_get_context,
    [WIRE_PORT_SET_CONTEXT] = port_set_context,
    [WIRE_PORT_GUARD] = port_guard,
    [WIRE_PORT_UNGUARD] = port_unguard,
    [WIRE_PORT_SWAP_GUARD] = port_swap_guard,
    [WIRE_REPLY_PORT] = reply_port,
    [WIRE_TASK_SET_EXCEPTION_PORTS] = task_set_ports,
    [WIRE_TASK_SWAP_EXCEPTION_PORTS] = task_set_ports,
    [WIRE_TASK_GET_EXCEPTION_PORTS] = task_get_ports,
    [WIRE_TASK_GET_GUARD_BEHAVIOR] = task_get_guard,
    [WIRE_TASK_SET_GUARD_BEHAVIOR] = task_set_guard,
    [WIRE_TASK_CREATE_TOKEN] = task_create_token,
    [WIRE_TOKEN_GET_TASK_PORT] = token_get_port,
    [WIRE_TASK_GET_SPECIAL_PORT] = task_get_special,
    [WIRE_TASK_SET_SPECIAL_PORT] = task_set_special,
    [WIRE_TASK_FOR_PID] = for_pid,
    [WIRE_PID_FOR_TASK] = pid_for_task_port,
    [WIRE_HOST_SELF] = host_self,
    [WIRE_THREAD_SELF] = thread_self,
    [WIRE_VM_GAP] = vm_gap,
    [WIRE_BOOTSTRAP_REGISTER] = bootstrap,
    [WIRE_BOOTSTRAP_LOOK_UP] = bootstrap,
    [WIRE_BOOTSTRAP_CHECK_IN] = bootstrap,
    [WIRE_SYSCTL] = sysctl,
    [WIRE_SPAWN_PREPARE] = spawn,
    [WIRE_SPAWN_COMMIT] = spawn,
    [WIRE_SPAWN_CANCEL] = spawn,
    [WIRE_RAISE] = raise_exception,
    [WIRE_HARDEN] = harden,
    [WIRE_SPACE_CENSUS] = census,
    [WIRE_KERNEL_CENSUS] = census,
    [WIRE_CRASH_REPORT] = crash_report,
    [WIRE_LOG_LINE] = log_line,
    [WIRE_PIN] = pin,
    [WIRE_SIGN] = sign,
    [WIRE_SIGNATURE] = signature,
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
