/* Ports and port sets (osfmk/ipc/ipc_port.c, ipc_pset.c): rights to them, their births and deaths. */
#include <stdlib.h>
#include <string.h>

#include "kernel.h"

struct port *port_new(enum port_type type) {
    struct port *port = kernel_alloc(sizeof *port);
    port->refs = 1;
    port->type = type;
    port->active = true;
    port->qlimit = MACH_PORT_QLIMIT_DEFAULT;
    list_init(&port->messages);
    list_init(&port->receivers);
    list_init(&port->senders);
    list_init(&port->entries);
    list_init(&port->once_entries);
    list_init(&port->members);
    counts.ports++;
    return port;
}

struct port *port_new_kernel(enum port_type type, void *kobject) {
    struct port *port = port_new(type);
    port->in_kernel = true;
    port->kobject = kobject;
    return port;
}

void port_set_service(struct port *port, const mach_service_port_info_data_t *info) {
    port->service = kernel_alloc(sizeof *port->service);
    *port->service = *info;
}

void port_reference(struct port *port) {
    port->refs++;
}

void port_release(struct port *port) {
    if (--port->refs) {
        return;
    }
    counts.ports--;
    free(port->service);
    free(port->requests);
    free(port);
}

bool port_is_reply(const struct port *port) {
    return port->type == PORT_REPLY || port->type == PORT_SPECIAL_REPLY;
}

bool port_is_any_service_type(enum port_type type) {
    return type == PORT_SERVICE || type == PORT_WEAK_SERVICE;
}

uint32_t port_type_number(enum port_type type) {
    /* osfmk/ipc/ipc_types.h of xnu-12377 of 26.0 or 26.1. */
    static const uint8_t of_26_0[] = {
        [PORT_PLAIN] = 1,
        [PORT_SERVICE] = 2,
        [PORT_WEAK_SERVICE] = 3,
        [PORT_CONNECTION] = 4,
        [PORT_CONNECTION_WITH_ARRAY] = 5,
        [PORT_EXCEPTION] = 6,
        [PORT_REPLY] = 8,
        [PORT_SPECIAL_REPLY] = 9,
        [PORT_WEAK_REPLY] = 10,
        [PORT_THREAD_CONTROL] = 11,
        [PORT_THREAD_READ] = 12,
        [PORT_TASK_CONTROL] = 14,
        [PORT_TASK_READ] = 15,
        [PORT_TASK_INSPECT] = 16,
        [PORT_TASK_NAME] = 17,
        [PORT_TASK_ID_TOKEN] = 19,
        [PORT_HOST] = 21,
    };
    bool renumbered = rule(RULE_PORT_TYPES_RENUMBERED) || type >= sizeof of_26_0 || !of_26_0[type];
    return renumbered ? type : of_26_0[type];
}

/* ipc_policy_array, ipc_policy.c of xnu-12377. */
const struct port_policy *port_policy(const struct port *port) {
    static const struct port_policy policies[PORT_HOST + 1] = {
        [PORT_PLAIN] = {.no_senders = true, .port_destroyed = true},
        [PORT_SERVICE] = {.reply_ports = true, .no_senders = true, .port_destroyed = true},
        [PORT_BOOTSTRAP] = {.stays = true, .reply_ports = true, .no_senders = true},
        [PORT_WEAK_SERVICE] = {.no_senders = true, .port_destroyed = true},
        [PORT_CONNECTION] = {.sends_stay = true,
                             .reply_ports = true,
                             .no_senders = true,
                             .port_destroyed = true},
        [PORT_CONNECTION_WITH_ARRAY] = {.stays = true, .no_senders = true},
        [PORT_NOTIFICATION] = {.stays = true, .sends_stay = true},
        [PORT_EXCEPTION] = {.stays = true, .no_senders = true},
        [PORT_REPLY] = {.stays = true, .sends_stay = true},
        [PORT_SPECIAL_REPLY] = {.stays = true, .sends_stay = true},
        [PORT_WEAK_REPLY] = {.no_senders = true, .port_destroyed = true},
    };
    static const struct port_policy object = {.stays = true, .no_senders = true};
    return port->type < PORT_THREAD_CONTROL ? &policies[port->type] : &object;
}

bool port_stays(const struct port *port) {
    if (rule(RULE_PORT_TYPES)) {
        return port->immovable || port_policy(port)->stays;
    }
    return port->immovable || port_is_reply(port) || port_is_kobject(port);
}

bool port_is_kobject(const struct port *port) {
    return port->type >= PORT_THREAD_CONTROL;
}

struct port *port_make_send(struct port *port) {
    port->mscount++;
    return port_copy_send(port);
}

struct port *port_copy_send(struct port *port) {
    port->srights++;
    port->refs++;
    return port;
}

struct port *port_make_once(struct port *port) {
    port->sorights++;
    port->refs++;
    return port;
}

/* The last send right is gone. */
static void no_senders(struct port *port) {
    if (!port->active) {
        return;
    }
    if (port->type ==
        PORT_TASK_ID_TOKEN) { /* a token's port lives for its senders (osfmk/kern/task_ident.c) */
        struct task *task = port->kobject;
        port->kobject = NULL;
        port_destroy(port);
        task_release(task);
    } else if (port->nsrequest) {
        struct port *once = port->nsrequest;
        port->nsrequest = NULL;
        notify_no_senders(once, port->mscount);
    }
}

void port_release_send(struct port *port) {
    if (!--port->srights) {
        no_senders(port);
    }
    port_release(port);
}

void port_release_rights(struct port *port, uint32_t type) {
    if (!(type & MACH_PORT_TYPE_RECEIVE)) {
        port_release_right(port, type & MACH_PORT_TYPE_SEND ? MACH_MSG_TYPE_PORT_SEND
                                                            : MACH_MSG_TYPE_PORT_SEND_ONCE);
        return;
    }
    struct port *once = NULL;
    uint32_t mscount = port->mscount;
    if (type & MACH_PORT_TYPE_SEND) {
        if (!--port->srights) {
            once = port->nsrequest;
            port->nsrequest = NULL;
        }
        port_release(port);
    }
    port_destroy(port);
    if (once) {
        notify_no_senders(once, mscount);
    }
}

void port_drop_once(struct port *port) {
    port->sorights--;
    port_release(port);
}

void port_release_once(struct port *port) {
    if (!port->active) {
        port_drop_once(port);
    } else if (port->type == PORT_EXCEPTION_REPLY) {
        struct thread *thread = port->kobject;
        port_drop_once(port);
        exception_reply(thread, NULL);
    } else if (port->in_kernel) {
        port_drop_once(port);
    } else {
        notify_send_once(port);
    }
}

void port_release_right(struct port *port, mach_msg_type_name_t kind) {
    if (!port_valid(port)) {
        return;
    }
    if (kind == MACH_MSG_TYPE_PORT_SEND) {
        port_release_send(port);
    } else if (kind == MACH_MSG_TYPE_PORT_SEND_ONCE) {
        port_release_once(port);
    } else {
        port_destroy(port);
    }
}

/*
 * Sends away those who wait to receive from the port itself. Whether it dies or only leaves, the result is
 * this one and never MACH_RCV_PORT_DIED (ipc_mqueue_receive_results, osfmk/ipc/ipc_mqueue.c).
 */
static void dismiss_receivers(struct port *port) {
    while (!list_empty(&port->receivers)) {
        receive_fail(LIST_MEMBER(port->receivers.next, struct thread, wait), MACH_RCV_PORT_CHANGED);
    }
}

void port_leave_space(struct port *port) {
    pset_extract_all(port, NULL);
    port->receiver = NULL;
    port->name = MACH_PORT_NULL;
    port->mscount = 0;
    port->seqno = 0;
    port->context = 0;
    port->guarded = port->strict_guard = port->immovable = false;
    dismiss_receivers(port);
}

/* ---- requests for notifications of names ---- */

/* How many slots the table has after it has grown from that many (ipc_port_request_grow). */
static uint32_t next_requests_size(uint32_t size) {
    if (size < 2) {
        return 2;
    }
    if (!rule(RULE_REQUESTS_BY_SIZE_CLASS)) {
        return 2 * size;
    }
    uint32_t power = 2; /* size classes: powers of two, and the middle between two of them */
    while (power * 2 <= size) {
        power *= 2;
    }
    return size < power + power / 2 ? power + power / 2 : 2 * power;
}

/* New slots are used from the last to the first. */
static void grow_requests(struct port *port) {
    uint32_t size = next_requests_size(port->requests_size);
    struct request_slot *slots = kernel_alloc(size * sizeof *slots);
    if (port->requests) {
        memcpy(slots, port->requests, port->requests_size * sizeof *slots);
        free(port->requests);
    }
    for (uint32_t slot = port->requests_size ? port->requests_size : 1; slot < size; slot++) {
        slots[slot].next = port->requests_free;
        port->requests_free = slot;
    }
    port->requests = slots;
    port->requests_size = size;
}

bool port_grow_requests(struct port *port, uint32_t size) {
    enum { REQUESTS_MAX = 1 << 10 }; /* the kernel's is more, and depends on its pages */
    while (size <= REQUESTS_MAX && port->requests_size < size) {
        grow_requests(port);
    }
    return size <= REQUESTS_MAX;
}

void port_add_request(struct port *port, struct entry *entry) {
    if (!port->requests_free) {
        grow_requests(port);
    }
    uint32_t slot = port->requests_free;
    port->requests_free = port->requests[slot].next;
    port->requests[slot].entry = entry;
    entry->request_slot = slot;
}

void port_remove_request(struct port *port, struct entry *entry) {
    struct request_slot *slot = &port->requests[entry->request_slot];
    slot->entry = NULL;
    slot->next = port->requests_free;
    port->requests_free = entry->request_slot;
    entry->request_slot = 0;
}

void port_notify_send_possible(struct port *port) {
    for (uint32_t slot = 1; slot < port->requests_size; slot++) {
        struct entry *entry = port->requests[slot].entry;
        if (entry && entry->request_state == REQUEST_ARMED) {
            struct port *once = entry->request;
            entry->request = NULL;
            entry->request_state = REQUEST_SPENT;
            notify_send_possible(once, entry_name(entry));
        }
    }
}

/* ipc_port_dnnotify */
static void dead_name_notifications(struct port *port) {
    for (uint32_t slot = 1; slot < port->requests_size; slot++) {
        struct entry *entry = port->requests[slot].entry;
        if (entry && entry->request) {
            struct port *request = entry->request;
            entry->request = NULL;
            notify_dead_name(request, entry_name(entry));
        }
    }
}

/* ---- the end of a port ---- */

void port_destroy(struct port *port) {
    if (!port->in_kernel) {
        port_leave_space(port);
        if (port->destination) {
            port_release(port->destination);
            port->destination = NULL;
        }
    }
    if (port->pdrequest) {
        struct port *once = port->pdrequest;
        port->pdrequest = NULL;
        notify_port_destroyed(once, port);
        return;
    }
    port->active = false;
    message_queue_moved(port); /* those who wait to send: their messages vanish */
    struct port *once = port->nsrequest;
    port->nsrequest = NULL;
    if (once && rule(RULE_REQUEST_ENDS_BEFORE_QUEUE)) {
        port_release_once(once);
        once = NULL;
    }
    while (!list_empty(&port->messages)) {
        struct message *message = LIST_MEMBER(port->messages.next, struct message, link);
        message_dequeue(port, message);
        message_destroy(message);
    }
    if (once) {
        port_release_once(once);
    }
    dead_name_notifications(port);
    port_release(port);
}

/* ---- port sets ---- */

struct pset *pset_new(struct space *space) {
    struct pset *set = kernel_alloc(sizeof *set);
    set->space = space;
    list_init(&set->members);
    list_init(&set->preposted);
    list_init(&set->receivers);
    return set;
}

static void member_free(struct member *member) {
    list_remove(&member->in_port);
    list_remove(&member->in_set);
    free(member);
}

void pset_destroy(struct pset *set) {
    while (!list_empty(&set->members)) {
        member_free(LIST_MEMBER(set->members.next, struct member, in_set));
    }
    while (!list_empty(&set->preposted)) {
        member_free(LIST_MEMBER(set->preposted.next, struct member, in_set));
    }
    while (!list_empty(&set->receivers)) {
        receive_fail(LIST_MEMBER(set->receivers.next, struct thread, wait), MACH_RCV_PORT_CHANGED);
    }
    free(set);
}

static struct member *find_member(const struct pset *set, const struct port *port) {
    LIST_EACH(&port->members, node) {
        struct member *member = LIST_MEMBER(node, struct member, in_port);
        if (member->set == set) {
            return member;
        }
    }
    return NULL;
}

bool pset_contains(const struct pset *set, const struct port *port) {
    return find_member(set, port) != NULL;
}

void pset_insert(struct pset *set, struct port *port) {
    struct member *member = kernel_alloc(sizeof *member);
    member->port = port;
    member->set = set;
    list_insert(&port->members, &member->in_port);
    list_insert(&set->members, &member->in_set);
    /* What waits in the port's queue is for those who wait on the set. */
    while (!list_empty(&port->messages) && !list_empty(&set->receivers)) {
        struct thread *thread = LIST_MEMBER(set->receivers.next, struct thread, wait);
        struct message *message = LIST_MEMBER(port->messages.next, struct message, link);
        receive_take(thread, port, message);
    }
    if (!list_empty(&port->messages)) {
        pset_prepost(port);
    }
}

static void move_member(struct member *member, struct list *list) {
    list_remove(&member->in_set);
    list_insert(list, &member->in_set);
    member->preposted = list == &member->set->preposted;
}

void pset_prepost(struct port *port) {
    LIST_EACH(&port->members, node) {
        struct member *member = LIST_MEMBER(node, struct member, in_port);
        if (!member->preposted) {
            move_member(member, &member->set->preposted);
        }
    }
}

struct port *pset_first_prepost(struct pset *set) {
    while (!list_empty(&set->preposted)) {
        struct member *member = LIST_MEMBER(set->preposted.next, struct member, in_set);
        if (!list_empty(&member->port->messages)) {
            move_member(member, &set->preposted);
            return member->port;
        }
        move_member(member, &set->members);
    }
    return NULL;
}

bool pset_extract(struct pset *set, struct port *port) {
    struct member *member = find_member(set, port);
    if (member) {
        member_free(member);
    }
    return member != NULL;
}

void pset_extract_all(struct port *port, const struct pset *except) {
    LIST_EACH_SAFE(&port->members, node) {
        struct member *member = LIST_MEMBER(node, struct member, in_port);
        if (member->set != except) {
            member_free(member);
        }
    }
}
