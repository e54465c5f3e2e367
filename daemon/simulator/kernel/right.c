/*
 * Operations on the rights of a name (osfmk/ipc/ipc_right.c), with the guards that misuse raises. Payloads
 * of 26.4 and later say what was wrong: reason, right or disposition, and the entry's bits; older ones are 0.
 */
#include "kernel.h"

static kern_return_t invalid_right(const struct entry *entry, uint8_t reason, uint32_t detail,
                                   uint32_t bits) {
    guard_raise(GUARD_INVALID_RIGHT, entry_name(entry), guard_reason(reason, detail, bits));
    return KERN_INVALID_RIGHT;
}

/*
 * mach_port_guard_exception_pinned, osfmk/ipc/ipc_policy.c: hard for hardened tasks, soft for the others,
 * none for those of a simulator.
 */
static kern_return_t pinned(const struct entry *entry, uint8_t reason) {
    struct task *task = entry->space->task;
    if (current && task == current->task && !(rule(RULE_REASONS) && task->policy & EXCSIM_OF_SIMULATOR)) {
        bool hard = rule(RULE_REASONS) ? task_restricted(task, 1) : task->hardened;
        guard_raise(hard ? GUARD_MOD_REFS : GUARD_MOD_REFS_NON_FATAL, entry_name(entry),
                    rule(RULE_REASONS) ? reason : (uint64_t)reason << 56);
    }
    return KERN_INVALID_CAPABILITY;
}

/* MPG_FLAGS_MOD_REFS_PINNED_COPYIN of mach/port.h; it was 4 before. */
static uint8_t pinned_copyin(void) {
    return rule(RULE_REASONS) ? MPG_FLAGS_MOD_REFS_PINNED_COPYIN : 4;
}

/* What an IMMOVABLE of a send right shows: the port's type and the disposition. */
static uint64_t type_and_disposition(const struct port *port, mach_msg_type_name_t disposition) {
    return rule(RULE_REASONS) ? (uint64_t)port_type_number(port->type) << 32 | disposition : 0;
}

static kern_return_t immovable(const struct entry *entry, mach_msg_type_name_t disposition) {
    if (current && entry->space == current->task->space) {
        guard_raise(GUARD_IMMOVABLE, entry_name(entry), type_and_disposition(entry->port, disposition));
    }
    return KERN_INVALID_CAPABILITY;
}

/* ipc_right_lookup_read finds no object behind a dead name, nor behind one whose port has just died. */
bool right_is_dead(const struct entry *entry) {
    return entry->bits & MACH_PORT_TYPE_DEAD_NAME ||
           (entry->bits & MACH_PORT_TYPE_PORT_RIGHTS && !entry->port->active);
}

kern_return_t right_translate_receive(struct space *space, mach_port_name_t name, struct port **port) {
    struct entry *entry = space_lookup(space, name);
    if (!entry || (rule(RULE_DEAD_IS_NO_NAME) && right_is_dead(entry))) {
        return KERN_INVALID_NAME;
    }
    if (!(entry->bits & MACH_PORT_TYPE_RECEIVE)) {
        return KERN_INVALID_RIGHT;
    }
    *port = entry->port;
    return KERN_SUCCESS;
}

/* ---- ends of rights ---- */

static void drop_entry_request(struct entry *entry, mach_port_name_t name) {
    struct port *request = entry_cancel_request(entry);
    if (request) {
        notify_port_deleted(request, name);
    }
}

static void drop_urefs(struct entry *entry, uint32_t count) {
    if (entry_urefs(entry) < UREFS_MAX) { /* an overflowed count stays pegged */
        entry->bits -= count;
    }
}

/* An entry that holds the receive right as well loses its send right. */
static void clear_send_of_receiver(struct entry *entry) {
    uint32_t marks = rule(RULE_PORT_TYPES) ? 0 : BITS_PINNED | BITS_IMMOVABLE; /* xnu-12377 leaves them */
    entry->bits &= ~(BITS_UREFS | marks | MACH_PORT_TYPE_SEND);
}

static void end_send_of_receiver(struct entry *entry) {
    clear_send_of_receiver(entry);
    port_release_send(entry->port);
}

kern_return_t right_deallocate(struct entry *entry) {
    entry_check(entry, false);
    uint32_t type = entry_type(entry), urefs = entry_urefs(entry);
    switch (type) {
    case MACH_PORT_TYPE_PORT_SET:
    case MACH_PORT_TYPE_SEND_ONCE:
        entry_end(entry);
        return KERN_SUCCESS;
    case MACH_PORT_TYPE_DEAD_NAME:
        if (urefs == 1) {
            space_free(entry);
        } else {
            drop_urefs(entry, 1);
        }
        return KERN_SUCCESS;
    case MACH_PORT_TYPE_SEND:
    case MACH_PORT_TYPE_SEND_RECEIVE:
        if (urefs > 1) {
            drop_urefs(entry, 1);
        } else if (entry->bits & BITS_PINNED) {
            return pinned(entry, MPG_FLAGS_MOD_REFS_PINNED_DEALLOC);
        } else if (type == MACH_PORT_TYPE_SEND) {
            entry_end(entry);
        } else {
            end_send_of_receiver(entry);
        }
        return KERN_SUCCESS;
    default:
        return invalid_right(entry, MPG_FLAGS_INVALID_RIGHT_DEALLOC, 0, entry->bits);
    }
}

kern_return_t right_destroy(struct entry *entry) {
    const struct port *port = entry->port;
    if (entry->bits & MACH_PORT_TYPE_RECEIVE && port->guarded && port->context) {
        guard_raise(GUARD_DESTROY, entry_name(entry), port->context);
        return KERN_INVALID_RIGHT;
    }
    if (entry->bits & BITS_PINNED && port->active) {
        return pinned(entry, MPG_FLAGS_MOD_REFS_PINNED_DESTROY);
    }
    entry_end(entry);
    return KERN_SUCCESS;
}

/*
 * Ends the receive right of an entry; send rights beside it become a dead name, or stay if the port lives on.
 */
static void end_receive(struct entry *entry) {
    struct port *port = entry->port;
    if (!(entry->bits & MACH_PORT_TYPE_SEND)) {
        entry_end(entry);
        return;
    }
    entry->bits = (entry->bits & ~MACH_PORT_TYPE_RECEIVE) | BITS_EX_RECEIVE;
    port_destroy(port); /* the entry still holds a reference */
    if (!port->active && entry->request_state == REQUEST_SPENT) {
        entry->request_state = REQUEST_DEAD_NAME; /* here it brings a user reference too (ipc_right_delta) */
    }
    /* The notification reaches its receiver when the entry is a dead name already. */
    entry_check(entry, false);
}

static kern_return_t delta_receive(struct entry *entry, int32_t delta) {
    struct port *port = entry->port;
    if (!(entry->bits & MACH_PORT_TYPE_RECEIVE)) {
        if (entry->bits & BITS_EX_RECEIVE) {
            return KERN_INVALID_RIGHT;
        }
        return invalid_right(entry, MPG_FLAGS_INVALID_RIGHT_DELTA, MACH_PORT_RIGHT_RECEIVE, entry->bits);
    }
    if (delta == 0) {
        return KERN_SUCCESS;
    }
    if (delta != -1) {
        return KERN_INVALID_VALUE;
    }
    if (port->guarded) {
        guard_raise(rule(RULE_GUARDED_IS_DESTROY) ? GUARD_DESTROY : GUARD_MOD_REFS, entry_name(entry),
                    port->context);
        return KERN_INVALID_RIGHT;
    }
    if (!port->pdrequest) {
        entry->bits &= ~BITS_IMMOVABLE; /* unlike mach_port_destruct */
    }
    end_receive(entry);
    return KERN_SUCCESS;
}

/* Whether urefs + delta is a count; *delta becomes what is really added. */
static bool urefs_delta(uint32_t urefs, int32_t *delta) {
    if (*delta > UREFS_MAX || *delta < -UREFS_MAX) {
        return false;
    }
    if (urefs == UREFS_MAX) {
        if (*delta != -UREFS_MAX) {
            *delta = 0;
        }
        return true;
    }
    if (*delta < 0 && (uint32_t)-*delta > urefs) {
        return false;
    }
    if (*delta > 0 && urefs + (uint32_t)*delta > UREFS_MAX) {
        *delta = (int32_t)(UREFS_MAX - urefs);
    }
    return true;
}

static kern_return_t delta_send(struct entry *entry, int32_t delta) {
    if (!(entry->bits & MACH_PORT_TYPE_SEND)) {
        /*
         * No guard for a dead name, which can be a race, nor for an attempt to add the first send right to a
         * receive right.
         */
        bool guarded = !(entry->bits & MACH_PORT_TYPE_DEAD_NAME) &&
                       (!(entry->bits & MACH_PORT_TYPE_RECEIVE) || delta != 1);
        if (guarded) {
            invalid_right(entry, MPG_FLAGS_INVALID_RIGHT_DELTA, MACH_PORT_RIGHT_SEND, entry->bits);
        }
        return KERN_INVALID_RIGHT;
    }
    if (entry_check(entry, false)) {
        return KERN_INVALID_RIGHT;
    }
    if (!urefs_delta(entry_urefs(entry), &delta)) {
        return KERN_INVALID_VALUE;
    }
    if ((int32_t)entry_urefs(entry) + delta > 0) {
        entry->bits += (uint32_t)delta;
        return KERN_SUCCESS;
    }
    if (entry->bits & BITS_PINNED) {
        return pinned(entry, MPG_FLAGS_MOD_REFS_PINNED_DEALLOC);
    }
    if (entry->bits & MACH_PORT_TYPE_RECEIVE) {
        end_send_of_receiver(entry);
    } else {
        entry_end(entry);
    }
    return KERN_SUCCESS;
}

static kern_return_t delta_send_once(struct entry *entry, int32_t delta) {
    if (!(entry->bits & MACH_PORT_TYPE_SEND_ONCE)) {
        return KERN_INVALID_RIGHT;
    }
    if (entry_check(entry, false)) {
        return invalid_right(entry, MPG_FLAGS_INVALID_RIGHT_DELTA, MACH_PORT_RIGHT_SEND_ONCE, entry->bits);
    }
    if (delta > 0 || delta < -1) {
        return KERN_INVALID_VALUE;
    }
    if (delta) {
        entry_end(entry);
    }
    return KERN_SUCCESS;
}

static kern_return_t delta_dead_name(struct entry *entry, int32_t delta) {
    entry_check(entry, false);
    if (!(entry->bits & MACH_PORT_TYPE_DEAD_NAME)) {
        return invalid_right(entry, MPG_FLAGS_INVALID_RIGHT_DELTA, MACH_PORT_RIGHT_DEAD_NAME, entry->bits);
    }
    if (!urefs_delta(entry_urefs(entry), &delta)) {
        return KERN_INVALID_VALUE;
    }
    if ((int32_t)entry_urefs(entry) + delta == 0) {
        space_free(entry);
    } else {
        entry->bits += (uint32_t)delta;
    }
    return KERN_SUCCESS;
}

static kern_return_t delta_port_set(struct entry *entry, int32_t delta) {
    if (!(entry->bits & MACH_PORT_TYPE_PORT_SET)) {
        return invalid_right(entry, MPG_FLAGS_INVALID_RIGHT_DELTA, MACH_PORT_RIGHT_PORT_SET, entry->bits);
    }
    if (delta == 0) {
        return KERN_SUCCESS;
    }
    return delta == -1 ? right_deallocate(entry) : KERN_INVALID_VALUE;
}

kern_return_t right_delta(struct entry *entry, mach_port_right_t right, int32_t delta) {
    mach_port_name_t name = entry_name(entry);
    kern_return_t result;
    switch (right) {
    case MACH_PORT_RIGHT_RECEIVE:
        result = delta_receive(entry, delta);
        break;
    case MACH_PORT_RIGHT_SEND:
        result = delta_send(entry, delta);
        break;
    case MACH_PORT_RIGHT_SEND_ONCE:
        result = delta_send_once(entry, delta);
        break;
    case MACH_PORT_RIGHT_DEAD_NAME:
        result = delta_dead_name(entry, delta);
        break;
    case MACH_PORT_RIGHT_PORT_SET:
        result = delta_port_set(entry, delta);
        break;
    default:
        return KERN_INVALID_RIGHT;
    }
    if (result == KERN_INVALID_VALUE) {
        guard_raise(GUARD_INVALID_VALUE, name,
                    guard_reason(MPG_FLAGS_INVALID_VALUE_DELTA, right,
                                 (uint32_t)(uint16_t)delta << 16 | entry_urefs(entry)));
    }
    return result;
}

kern_return_t right_destruct(struct entry *entry, int32_t srdelta, uint64_t guard) {
    mach_port_name_t name = entry_name(entry);
    if (!(entry->bits & MACH_PORT_TYPE_RECEIVE)) {
        if (entry->bits & BITS_EX_RECEIVE) {
            return KERN_INVALID_RIGHT;
        }
        return invalid_right(entry, MPG_FLAGS_INVALID_RIGHT_DESTRUCT, 0, entry->bits);
    }
    if (srdelta && !(entry->bits & MACH_PORT_TYPE_SEND)) {
        return invalid_right(entry, MPG_FLAGS_INVALID_RIGHT_DESTRUCT, 0, entry->bits);
    }
    uint32_t urefs = entry_urefs(entry);
    struct port *port = entry->port;
    bool bad_delta = srdelta > 0 || (uint32_t)-(int64_t)srdelta > urefs;
    if (srdelta <= 0 && port->guarded && guard != port->context) {
        guard_raise(GUARD_DESTROY, name, port->context);
        return KERN_INVALID_ARGUMENT;
    }
    if (bad_delta) {
        guard_raise(GUARD_INVALID_VALUE, name,
                    guard_reason(MPG_FLAGS_INVALID_VALUE_DESTRUCT, (uint32_t)srdelta, urefs));
        return KERN_INVALID_VALUE;
    }
    if (urefs == UREFS_MAX && srdelta != -UREFS_MAX) {
        srdelta = 0;
    }
    if (srdelta && urefs + (uint32_t)srdelta == 0) {
        end_send_of_receiver(entry);
    } else {
        entry->bits += (uint32_t)srdelta;
    }
    end_receive(entry);
    return KERN_SUCCESS;
}

/* ---- rights on their way ---- */

mach_msg_type_name_t right_received_kind(mach_msg_type_name_t disposition) {
    switch (disposition) {
    case MACH_MSG_TYPE_MOVE_RECEIVE:
        return MACH_MSG_TYPE_PORT_RECEIVE;
    case MACH_MSG_TYPE_MOVE_SEND:
    case MACH_MSG_TYPE_COPY_SEND:
    case MACH_MSG_TYPE_MAKE_SEND:
        return MACH_MSG_TYPE_PORT_SEND;
    case MACH_MSG_TYPE_MOVE_SEND_ONCE:
    case MACH_MSG_TYPE_MAKE_SEND_ONCE:
        return MACH_MSG_TYPE_PORT_SEND_ONCE;
    default:
        return 0;
    }
}

static bool is_once(mach_msg_type_name_t disposition) {
    return disposition == MACH_MSG_TYPE_MOVE_SEND_ONCE || disposition == MACH_MSG_TYPE_MAKE_SEND_ONCE;
}

static kern_return_t copyin_dead(struct entry *entry, bool move, bool dead_ok, struct port **port) {
    if (!dead_ok) {
        return KERN_INVALID_RIGHT;
    }
    if (move && entry_urefs(entry) == 1) {
        space_free(entry);
    } else if (move) {
        drop_urefs(entry, 1);
    }
    *port = PORT_DEAD;
    return KERN_SUCCESS;
}

static void move_receive(struct entry *entry) {
    struct port *port = entry->port;
    port_leave_space(port);
    if (entry->bits & MACH_PORT_TYPE_SEND) {
        entry->bits = (entry->bits & ~MACH_PORT_TYPE_RECEIVE) | BITS_EX_RECEIVE;
    } else {
        mach_port_name_t name = entry_name(entry);
        drop_entry_request(entry, name);
        space_free(entry);
    }
}

static void move_send(struct entry *entry) {
    struct port *port = entry->port;
    if (entry_urefs(entry) > 1) {
        port_copy_send(port);
        drop_urefs(entry, 1);
    } else if (entry->bits & MACH_PORT_TYPE_RECEIVE) { /* the naked right goes, with its reference */
        clear_send_of_receiver(entry);
    } else {
        mach_port_name_t name = entry_name(entry);
        drop_entry_request(entry, name);
        space_free(entry);
    }
}

/* ipc_move_receive_allowed of 12377; ipc_right_copyin before. */
static bool move_receive_allowed(const struct entry *entry, enum copyin_place place) {
    const struct port *port = entry->port;
    struct task *task = entry->space->task;
    bool launchd = task->policy & EXCSIM_LAUNCHD;
    if (rule(RULE_PORT_TYPES)) {
        if (port->type == PORT_SERVICE && !launchd) {
            uint32_t policy = rule(RULE_POLICY_IN_SERVICE_TARGET) ? 7 : 0; /* IPCPV_MOVE_SERVICE_PORT */
            guard_raise(GUARD_SERVICE_PORT_VIOLATION_FATAL, policy, entry_name(entry));
            return false;
        }
        if (port->type == PORT_WEAK_REPLY && task_restricted(task, 2) && !task->moved_weak_reply_port) {
            task->moved_weak_reply_port = true; /* reported once a task */
            guard_raise(GUARD_MOVE_WEAK_REPLY_PORT, entry_name(entry), 0);
        }
        if (port_stays(port)) {
            guard_raise(GUARD_IMMOVABLE, entry_name(entry), 0);
            return false;
        }
        return true;
    }
    /* The receive right of a connection port moves in the body of a message. */
    bool in_body = place == COPYIN_PORT_DESCRIPTOR || place == COPYIN_GUARDED || place == COPYIN_ARRAY;
    bool connection = port->type == PORT_CONNECTION && in_body;
    bool stays = port_is_kobject(port) || port_is_reply(port) || port->special_reply;
    if (stays || (port->immovable && !connection)) {
        guard_raise(GUARD_IMMOVABLE, entry_name(entry), 0);
        return false;
    }
    return true;
}

/* ipc_right_copyin_check_guard_locked */
static bool guard_matches(const struct entry *entry, const struct guarded_send *guarded) {
    const struct port *port = entry->port;
    bool unguarded =
        guarded->flags & MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND && !port->guarded && !guarded->context;
    if (unguarded || (port->guarded && port->context == guarded->context)) {
        return true;
    }
    guard_raise(GUARD_INCORRECT_GUARD, entry_name(entry), port->context);
    return false;
}

/* A reply port's right outside of where reply ports may stand (ipc_right_copyin). */
static kern_return_t misused_reply_port(const struct entry *entry, enum copyin_place place,
                                        mach_msg_type_name_t disposition) {
    guard_raise(GUARD_INVALID_RIGHT, entry_name(entry),
                guard_reason(MPG_FLAGS_INVALID_RIGHT_COPYIN, place, disposition));
    return KERN_INVALID_CAPABILITY;
}

static bool holds_reply_port(const struct entry *entry) {
    return entry_type(entry) & MACH_PORT_TYPE_PORT_RIGHTS && port_is_reply(entry->port);
}

kern_return_t right_copyin(struct entry *entry, mach_msg_type_name_t disposition, enum copyin_place place,
                           int flags, const struct guarded_send *guarded, struct port **result) {
    struct port *port = entry_type(entry) & MACH_PORT_TYPE_PORT_RIGHTS ? entry->port : NULL;
    bool reply = holds_reply_port(entry);
    *result = NULL;
    if (reply && rule(RULE_PORT_TYPES) && !is_once(disposition)) {
        guard_raise(GUARD_IMMOVABLE, entry_name(entry), type_and_disposition(port, disposition));
        return KERN_INVALID_CAPABILITY;
    }
    switch (disposition) {
    case MACH_MSG_TYPE_MAKE_SEND:
    case MACH_MSG_TYPE_MAKE_SEND_ONCE:
        if (!(entry->bits & MACH_PORT_TYPE_RECEIVE)) {
            return KERN_INVALID_RIGHT;
        }
        if (reply && (disposition == MACH_MSG_TYPE_MAKE_SEND ||
                      (place != COPYIN_DESTINATION && place != COPYIN_REPLY_PORT))) {
            return misused_reply_port(entry, place, disposition);
        }
        *result = disposition == MACH_MSG_TYPE_MAKE_SEND ? port_make_send(port) : port_make_once(port);
        return KERN_SUCCESS;

    case MACH_MSG_TYPE_MOVE_RECEIVE:
        if (!(entry->bits & MACH_PORT_TYPE_RECEIVE)) {
            return KERN_INVALID_RIGHT;
        }
        if (!move_receive_allowed(entry, place)) {
            return KERN_INVALID_CAPABILITY;
        }
        if (guarded && !guard_matches(entry, guarded)) {
            return KERN_INVALID_ARGUMENT;
        }
        move_receive(entry);
        *result = port;
        return KERN_SUCCESS;

    case MACH_MSG_TYPE_COPY_SEND:
    case MACH_MSG_TYPE_MOVE_SEND:
    case MACH_MSG_TYPE_MOVE_SEND_ONCE:
        break;
    default:
        return KERN_INVALID_RIGHT;
    }

    /* These three take what is there, dead or alive. */
    uint32_t moves = flags & COPYIN_MOVES_TWO ? 2 : 1;
    entry_check(entry, place == COPYIN_DESTINATION && disposition == MACH_MSG_TYPE_MOVE_SEND_ONCE);
    if (entry->bits & MACH_PORT_TYPE_DEAD_NAME) {
        return copyin_dead(entry, disposition != MACH_MSG_TYPE_COPY_SEND, flags & COPYIN_DEAD_OK, result);
    }
    uint32_t needed =
        disposition == MACH_MSG_TYPE_MOVE_SEND_ONCE ? MACH_PORT_TYPE_SEND_ONCE : MACH_PORT_TYPE_SEND;
    if (!(entry->bits & needed) || (disposition == MACH_MSG_TYPE_MOVE_SEND && entry_urefs(entry) < moves)) {
        return KERN_INVALID_RIGHT;
    }
    if (disposition == MACH_MSG_TYPE_MOVE_SEND && entry->bits & BITS_PINNED && entry_urefs(entry) == moves) {
        return pinned(entry, pinned_copyin());
    }
    if (reply && !(disposition == MACH_MSG_TYPE_MOVE_SEND_ONCE && place == COPYIN_DESTINATION)) {
        return misused_reply_port(entry, place, disposition);
    }
    if (entry->bits & BITS_IMMOVABLE && !(flags & COPYIN_IMMOVABLE_OK)) {
        return immovable(entry, disposition);
    }
    if (disposition == MACH_MSG_TYPE_COPY_SEND) {
        port_copy_send(port);
    } else if (disposition == MACH_MSG_TYPE_MOVE_SEND) {
        for (uint32_t move = 0; move < moves; move++) {
            move_send(entry);
        }
    } else {
        mach_port_name_t name = entry_name(entry);
        drop_entry_request(entry, name);
        space_free(entry);
    }
    *result = port;
    return KERN_SUCCESS;
}

/*
 * Whether a kernel object takes real reply ports alone: of hardened binaries
 * (ip_violates_rigid_reply_port_semantics, ipc_port.c).
 */
static bool is_rigid(const struct port *to, const struct task *task) {
    bool hardened = task->hardened || task->policy & (EXCSIM_PLATFORM | EXCSIM_HARDENED_RUNTIME);
    return rule(RULE_OBJECTS_ASK_REPLY_PORTS) && port_is_kobject(to) && to->type != PORT_EXCEPTION_REPLY &&
           hardened && !(task->policy & (EXCSIM_OF_SIMULATOR | EXCSIM_OPTED_OUT));
}

/* ipc_right_copyin_check_reply */
bool right_check_reply(struct entry *entry, mach_msg_type_name_t disposition,
                       const struct entry *destination) {
    struct port *port = entry_type(entry) & MACH_PORT_TYPE_PORT_RIGHTS ? entry->port : NULL;
    bool reply = holds_reply_port(entry);
    if (reply && rule(RULE_PORT_TYPES) && !is_once(disposition)) {
        return false;
    }
    if (disposition == MACH_MSG_TYPE_MAKE_SEND || disposition == MACH_MSG_TYPE_MAKE_SEND_ONCE) {
        if (!(entry->bits & MACH_PORT_TYPE_RECEIVE)) {
            return false;
        }
    } else if (!(entry->bits & MACH_PORT_TYPE_DEAD_NAME)) {
        if (!(entry->bits & MACH_PORT_TYPE_SEND_RIGHTS)) {
            return false;
        }
        bool last = entry->bits & BITS_PINNED && entry_urefs(entry) == 1;
        if (rule(RULE_REASONS) && disposition == MACH_MSG_TYPE_MOVE_SEND && last && port->active) {
            pinned(entry, pinned_copyin());
            return false;
        }
        if (port->active && entry->bits & BITS_IMMOVABLE) {
            immovable(entry, MACH_MSG_TYPE_MOVE_SEND_ONCE);
            return false;
        }
        uint32_t needed =
            disposition == MACH_MSG_TYPE_MOVE_SEND_ONCE ? MACH_PORT_TYPE_SEND_ONCE : MACH_PORT_TYPE_SEND;
        if (port->active && !(entry->bits & needed)) {
            return false;
        }
    }
    /* Before 26.0: what the local port and the destination ask of each other. */
    if (!rule(RULE_REPLY_PORTS_ENFORCED) || !port || !port->active) {
        return true;
    }
    if (reply && disposition != MACH_MSG_TYPE_MAKE_SEND_ONCE) {
        return false;
    }
    const struct port *to = entry_type(destination) & MACH_PORT_TYPE_PORT_RIGHTS ? destination->port : NULL;
    if (reply || !to || !to->active) {
        return true;
    }
    bool asks = to->enforce_reply_semantics && port->type != PORT_WEAK_REPLY;
    if (asks || is_rigid(to, entry->space->task)) {
        guard_raise(GUARD_REQUIRE_REPLY_PORT_SEMANTICS, entry_name(entry), 0);
        return false;
    }
    return true;
}
