/* Port sets (osfmk/ipc/mach_port.c, ipc_pset.c). */
#include <stdlib.h>
#include <string.h>

#include "call.h"

static bool blames_set(const struct entry *entry) {
    return rule(RULE_FORMER_RECEIVERS_ARE_NO_SETS) || !(entry->bits & BITS_EX_RECEIVE);
}

/* ipc_object_translate_port_pset; ipc_object_translate_two before */
static kern_return_t find_member_and_set(const struct wire_request *request, bool blames, struct port **port,
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
    if (!blames && (!set_entry || !(set_entry->bits & MACH_PORT_TYPE_PORT_SET))) {
        return set_entry ? KERN_INVALID_RIGHT : KERN_INVALID_NAME;
    }
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
        if (blames_set(set_entry)) {
            guard_raise(GUARD_INVALID_RIGHT, after,
                        guard_reason(MPG_FLAGS_INVALID_RIGHT_TRANSLATE_PSET, 0, set_entry->bits));
        }
        return KERN_INVALID_RIGHT;
    }
    *port = port_entry->port;
    *set = set_entry->set;
    return KERN_SUCCESS;
}

kern_return_t call_port_move_member(struct thread *thread, const struct wire_request *request,
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
        return member || !rule(RULE_GUARDS_OF_MEMBERS) ? KERN_SUCCESS : KERN_NOT_IN_SET;
    }
    result = find_member_and_set(request, rule(RULE_GUARDS_OF_MEMBERS), &port, &set);
    if (result != KERN_SUCCESS) {
        return result;
    }
    pset_extract_all(port, set);
    if (!pset_contains(set, port)) {
        pset_insert(set, port);
    }
    return KERN_SUCCESS;
}

kern_return_t call_port_insert_member(struct thread *thread, const struct wire_request *request,
                                      const uint8_t *payload) {
    (void)thread, (void)payload;
    struct port *port;
    struct pset *set;
    kern_return_t result = find_member_and_set(request, rule(RULE_GUARDS_OF_MEMBERS), &port, &set);
    if (result != KERN_SUCCESS) {
        return result;
    }
    if (pset_contains(set, port)) {
        return KERN_ALREADY_IN_SET;
    }
    pset_insert(set, port);
    return KERN_SUCCESS;
}

kern_return_t call_port_extract_member(struct thread *thread, const struct wire_request *request,
                                       const uint8_t *payload) {
    (void)thread, (void)payload;
    struct port *port;
    struct pset *set;
    kern_return_t result = find_member_and_set(request, true, &port, &set);
    if (result != KERN_SUCCESS) {
        return result;
    }
    return pset_extract(set, port) ? KERN_SUCCESS : KERN_NOT_IN_SET;
}

static int compare_names(const void *one, const void *other) {
    mach_port_name_t names[2];
    memcpy(&names[0], one, sizeof names[0]);
    memcpy(&names[1], other, sizeof names[1]);
    return names[0] < names[1] ? -1 : names[0] > names[1];
}

static void add_names(struct thread *thread, struct list *members) {
    LIST_EACH(members, node) {
        mach_port_name_t name = LIST_MEMBER(node, struct member, in_set)->port->name;
        if (thread->reply.size + sizeof name <= WIRE_MESSAGE_MAX) {
            thread_payload(thread, &name, sizeof name);
        }
    }
}

kern_return_t call_port_get_set_status(struct thread *thread, const struct wire_request *request,
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
    add_names(thread, &entry->set->members);
    add_names(thread, &entry->set->preposted);
    if (rule(RULE_MEMBERS_SORTED)) {
        qsort(thread->reply_payload, thread->reply.size / sizeof(mach_port_name_t), sizeof(mach_port_name_t),
              compare_names);
    }
    return KERN_SUCCESS;
}
