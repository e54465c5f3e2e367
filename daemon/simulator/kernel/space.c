/* Port name spaces (osfmk/ipc/ipc_space.c, ipc_entry.c, ipc_object.c): from names to rights. */
#include <stdlib.h>
#include <string.h>

#include "kernel.h"

/* The low bits of a name's generation are set; those of an entry's bits count how often it was used up. */
enum { CHUNK = 256, GENERATION_ONE = 0x04000000, ROLLOVER = 0x03000000 };

static void space_grow(struct space *space) {
    struct entry **chunks = realloc(space->chunks, (space->chunk_count + 1) * sizeof *chunks);
    if (!chunks) {
        abort();
    }
    space->chunks = chunks;
    struct entry *chunk = kernel_alloc(CHUNK * sizeof *chunk);
    chunks[space->chunk_count] = chunk;
    for (uint32_t at = 0; at < CHUNK; at++) {
        struct entry *entry = &chunk[at];
        entry->index = space->chunk_count * CHUNK + at;
        entry->space = space;
        entry->bits = 0xfc000000; /* the first use has generation 0 */
        list_init(&entry->in_port);
        if (entry->index) { /* index 0 is not a name */
            list_insert(&space->free, &entry->in_port);
        }
    }
    space->chunk_count++;
}

struct space *space_new(struct task *task) {
    struct space *space = kernel_alloc(sizeof *space);
    space->task = task;
    list_init(&space->free);
    space_grow(space);
    return space;
}

uint32_t space_size(const struct space *space) {
    return space->chunk_count * CHUNK;
}

mach_port_name_t entry_name(const struct entry *entry) {
    return MACH_PORT_MAKE(entry->index, (entry->bits & 0xff000000) | ROLLOVER);
}

struct entry *space_at(struct space *space, uint32_t index) {
    if (index / CHUNK >= space->chunk_count) {
        return NULL;
    }
    struct entry *entry = &space->chunks[index / CHUNK][index % CHUNK];
    return entry_type(entry) == MACH_PORT_TYPE_NONE ? NULL : entry;
}

struct entry *space_lookup(struct space *space, mach_port_name_t name) {
    struct entry *entry = space_at(space, MACH_PORT_INDEX(name));
    return entry && entry_name(entry) == name ? entry : NULL;
}

static struct entry *take_free(struct space *space, struct entry *entry, uint32_t generation) {
    list_remove(&entry->in_port);
    entry->bits = generation;
    entry->port = NULL;
    entry->request = NULL;
    entry->request_state = REQUEST_NONE;
    entry->request_slot = 0;
    space->used++;
    return entry;
}

struct entry *space_allocate(struct space *space) {
    if (space->used + 1 >= settings.port_table_size) {
        space->full = true;
        return NULL;
    }
    if (list_empty(&space->free)) {
        space_grow(space);
    }
    struct entry *entry = LIST_MEMBER(space->free.next, struct entry, in_port);
    return take_free(space, entry, (entry->bits & 0xff000000) + GENERATION_ONE);
}

kern_return_t space_allocate_name(struct space *space, mach_port_name_t name, struct entry **result) {
    uint32_t index = MACH_PORT_INDEX(name);
    if (index > settings.port_table_size) {
        return KERN_NO_SPACE;
    }
    if ((name & 3) != 3 && rule(RULE_NAMES_CHECKED)) {
        return KERN_INVALID_VALUE;
    }
    if (!index) {
        return KERN_FAILURE;
    }
    if (index == settings.port_table_size) { /* it passes the check, and the table cannot grow so far */
        space->full = true;
        return KERN_NO_SPACE;
    }
    while (index / CHUNK >= space->chunk_count) {
        space_grow(space);
    }
    struct entry *entry = &space->chunks[index / CHUNK][index % CHUNK];
    if (entry_type(entry) == MACH_PORT_TYPE_NONE) {
        take_free(space, entry, MACH_PORT_GEN(name) & ~(uint32_t)ROLLOVER);
    } else if (entry_name(entry) != name) {
        return KERN_FAILURE;
    }
    *result = entry;
    return KERN_SUCCESS;
}

/* ipc_space_check_table_size_limit, osfmk/ipc/ipc_space.c; launchd may fill its space. */
bool space_take_full(struct space *space) {
    bool first = space->full && !space->full_handled;
    space->full_handled |= space->full;
    return first && rule(RULE_FULL_SPACE_ENDS) && !(space->task->policy & EXCSIM_LAUNCHD);
}

void space_free(struct entry *entry) {
    entry_detach(entry);
    entry->bits &= 0xff000000;
    entry->port = NULL;
    entry->request_state = REQUEST_NONE;
    entry->space->used--;
    list_insert(entry->space->free.next, &entry->in_port);
}

void entry_attach(struct entry *entry, struct port *port, uint32_t type) {
    entry_detach(entry);
    entry->bits |= type;
    entry->port = port;
    list_insert(type & MACH_PORT_TYPE_SEND_ONCE ? &port->once_entries : &port->entries, &entry->in_port);
}

void entry_detach(struct entry *entry) {
    list_remove(&entry->in_port);
}

struct port *entry_cancel_request(struct entry *entry) {
    struct port *request = entry->request;
    if (entry->request_slot) {
        port_remove_request(entry->port, entry);
    }
    entry->request = NULL;
    entry->request_state = REQUEST_NONE;
    return request;
}

void entry_end(struct entry *entry) {
    struct port *port = entry->port;
    struct pset *set = entry->set;
    mach_port_name_t name = entry_name(entry);
    uint32_t type = entry_type(entry);
    struct port *request = entry_cancel_request(entry);
    space_free(entry);
    if (type == MACH_PORT_TYPE_PORT_SET) {
        pset_destroy(set);
    } else if (type & MACH_PORT_TYPE_PORT_RIGHTS) {
        port_release_rights(port, type);
    }
    if (request) {
        notify_port_deleted(request, name);
    }
}

struct entry *space_find(struct space *space, struct port *port) {
    if (port->receiver == space) {
        return space_lookup(space, port->name);
    }
    LIST_EACH(&port->entries, node) {
        struct entry *entry = LIST_MEMBER(node, struct entry, in_port);
        if (entry->space == space) {
            return entry;
        }
    }
    return NULL;
}

/* ipc_right_check, osfmk/ipc/ipc_right.c */
bool entry_check(struct entry *entry, bool allow_dead_once) {
    if (!(entry->bits & MACH_PORT_TYPE_SEND_RIGHTS)) {
        return false;
    }
    struct port *port = entry->port;
    if (port->active ||
        (allow_dead_once && entry->request_state == REQUEST_NONE && entry->bits & MACH_PORT_TYPE_SEND_ONCE)) {
        return false;
    }
    uint32_t urefs = entry_urefs(entry);
    if (entry_asks_for_dead_name(entry) && urefs < UREFS_MAX) {
        urefs++; /* the one that the dead-name notification brings */
    }
    if (entry->bits & MACH_PORT_TYPE_SEND) {
        port->srights--;
    } else {
        port->sorights--;
    }
    entry_detach(entry);
    entry_cancel_request(entry); /* notified when the port died */
    uint32_t marks = rule(RULE_PORT_TYPES) ? BITS_PINNED : BITS_PINNED | BITS_IMMOVABLE;
    entry->bits = (entry->bits & ~(BITS_TYPE | BITS_UREFS | marks)) | MACH_PORT_TYPE_DEAD_NAME | urefs;
    entry->port = NULL;
    port_release(port);
    return true;
}

/* ipc_should_mark_immovable_send, ipc_policy.c of xnu-12377; ip_is_immovable_send before. */
uint32_t entry_immovable_bit(const struct entry *entry, const struct port *port) {
    const struct task *task = entry->space->task;
    bool own = (port->type == PORT_TASK_CONTROL && port == task->ports[TASK_FLAVOR_CONTROL]) ||
               (port->type == PORT_THREAD_CONTROL && ((struct thread *)port->kobject)->task == task);
    if (own) {
        return task->hardened ? BITS_IMMOVABLE : 0;
    }
    bool weak_control =
        port->type == PORT_TASK_READ || port->type == PORT_TASK_INSPECT || port->type == PORT_THREAD_READ;
    if (weak_control && rule(RULE_KEPT_CONTROL_PORTS)) {
        return BITS_IMMOVABLE;
    }
    if (rule(RULE_PORT_TYPES)) {
        return port_policy(port)->sends_stay ? BITS_IMMOVABLE : 0;
    }
    return port->type == PORT_CONNECTION && rule(RULE_CONNECTIONS_STAY) ? BITS_IMMOVABLE : 0;
}

static void put_right(struct entry *entry, struct port *port, mach_msg_type_name_t kind) {
    struct space *space = entry->space;
    if (kind == MACH_MSG_TYPE_PORT_RECEIVE) {
        bool held_send = entry->bits & MACH_PORT_TYPE_SEND;
        if (held_send) {
            entry->bits |= MACH_PORT_TYPE_RECEIVE; /* and was one before, if it was */
        } else {
            entry_attach(entry, port, MACH_PORT_TYPE_RECEIVE);
        }
        if (port->destination) {
            port_release(port->destination);
        }
        port->destination = NULL;
        port->receiver = space;
        port->name = entry_name(entry);
        /*
         * A connection's receive right may move on in messages alone (ipc_right_copyout), and since 12377 it
         * moves once, as a service's does (IPC_MOVE_POLICY_ONCE, ipc_port_mark_in_space).
         */
        port->immovable = (port->type == PORT_CONNECTION && rule(RULE_CONNECTIONS_STAY)) ||
                          (port->type == PORT_SERVICE && rule(RULE_PORT_TYPES));
    } else if (kind == MACH_MSG_TYPE_PORT_SEND) {
        if (entry->bits & MACH_PORT_TYPE_SEND) { /* one naked right is enough for all user references */
            port->srights--;
            port_release(port);
        } else if (entry->bits & MACH_PORT_TYPE_RECEIVE) {
            entry->bits |= MACH_PORT_TYPE_SEND;
        } else {
            entry_attach(entry, port, MACH_PORT_TYPE_SEND);
        }
        if (entry_urefs(entry) < UREFS_MAX) {
            entry->bits++;
        }
        entry->bits |= entry_immovable_bit(entry, port);
    } else {
        entry_attach(entry, port, MACH_PORT_TYPE_SEND_ONCE);
        entry->bits |= entry_immovable_bit(entry, port);
        entry->bits++;
    }
}

mach_port_name_t space_copyout(struct space *space, struct port *port, mach_msg_type_name_t kind) {
    if (!port_valid(port)) {
        return port ? MACH_PORT_DEAD : MACH_PORT_NULL;
    }
    if (!port->active) {
        port_release_right(port, kind);
        return MACH_PORT_DEAD;
    }
    struct entry *entry = kind == MACH_MSG_TYPE_PORT_SEND_ONCE ? NULL : space_find(space, port);
    if (!entry) {
        entry = space_allocate(space);
    }
    if (!entry) {
        port_release_right(port, kind);
        return MACH_PORT_NULL;
    }
    put_right(entry, port, kind);
    return entry_name(entry);
}

/* ipc_object_copyout_name, osfmk/ipc/ipc_object.c */
kern_return_t space_copyout_name(struct space *space, struct port *port, mach_msg_type_name_t kind,
                                 mach_port_name_t name) {
    struct entry *entry;
    kern_return_t result = space_allocate_name(space, name, &entry);
    if (result == KERN_SUCCESS) {
        bool in_use = entry_type(entry) != MACH_PORT_TYPE_NONE;
        struct entry *found = kind == MACH_MSG_TYPE_PORT_SEND_ONCE ? NULL : space_find(space, port);
        if (!port->active) {
            result = KERN_INVALID_CAPABILITY;
        } else if (found && found != entry) {
            result = KERN_RIGHT_EXISTS;
        } else if (in_use && !found) {
            result = KERN_NAME_EXISTS;
        }
        if (result != KERN_SUCCESS && !in_use) {
            space_free(entry);
        }
    }
    if (result == KERN_SUCCESS) {
        put_right(entry, port, kind);
    } else {
        port_release_right(port, kind);
    }
    return result;
}

void space_census(struct space *space, struct excsim_space_census *census) {
    memset(census, 0, sizeof *census);
    for (uint32_t index = 1; index < space->chunk_count * CHUNK; index++) {
        struct entry *entry = space_at(space, index);
        if (!entry) {
            continue;
        }
        entry_check(entry, false);
        census->names++;
        census->receive += (entry->bits & MACH_PORT_TYPE_RECEIVE) != 0;
        census->send += (entry->bits & MACH_PORT_TYPE_SEND) != 0;
        census->send_once += (entry->bits & MACH_PORT_TYPE_SEND_ONCE) != 0;
        census->port_sets += (entry->bits & MACH_PORT_TYPE_PORT_SET) != 0;
        census->dead_names += (entry->bits & MACH_PORT_TYPE_DEAD_NAME) != 0;
        if (entry->bits & MACH_PORT_TYPE_SEND) {
            census->send_urefs += entry_urefs(entry);
        }
    }
}

void space_destroy(struct space *space) {
    /* Receive rights first, so that no message comes in while the rest goes (ipc_space_terminate). */
    for (int receive = 1; receive >= 0; receive--) {
        for (uint32_t index = 1; index < space->chunk_count * CHUNK; index++) {
            struct entry *entry = space_at(space, index);
            if (!entry || (receive && !(entry->bits & MACH_PORT_TYPE_RECEIVE))) {
                continue;
            }
            entry_end(entry);
        }
    }
    for (uint32_t chunk = 0; chunk < space->chunk_count; chunk++) {
        free(space->chunks[chunk]);
    }
    free(space->chunks);
    free(space);
}
