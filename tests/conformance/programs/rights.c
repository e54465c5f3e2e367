/*
 * Names, rights, contexts, guards, attributes and sets: mach/mach_port.h.
 * Sources: osfmk/ipc of xnu-11417.101.15.
 */
#include "check.h"

/* mach_port_allocate_full, mach_port.c; a name that is not a task's cannot be sent to */
CHECK(allocate) {
    mach_port_t port, set, dead, other = 7;
    EXPECT(KERN_SUCCESS, mach_port_allocate(SELF, MACH_PORT_RIGHT_RECEIVE, &port));
    EXPECT(KERN_SUCCESS, mach_port_allocate(SELF, MACH_PORT_RIGHT_PORT_SET, &set));
    EXPECT(KERN_SUCCESS, mach_port_allocate(SELF, MACH_PORT_RIGHT_DEAD_NAME, &dead));
    EXPECT(MACH_PORT_TYPE_RECEIVE, type_of(port));
    EXPECT(MACH_PORT_TYPE_PORT_SET, type_of(set));
    EXPECT(MACH_PORT_TYPE_DEAD_NAME, type_of(dead));
    EXPECT(KERN_INVALID_VALUE, mach_port_allocate(SELF, MACH_PORT_RIGHT_SEND, &other));
    EXPECT(KERN_INVALID_VALUE, mach_port_allocate(SELF, MACH_PORT_RIGHT_SEND_ONCE, &other));
    EXPECT(KERN_INVALID_VALUE, mach_port_allocate(SELF, 99, &other));
    EXPECT(MACH_SEND_INVALID_DEST, mach_port_allocate(no_name(), MACH_PORT_RIGHT_RECEIVE, &other));
    EXPECT(MACH_SEND_INVALID_DEST, mach_port_allocate(MACH_PORT_NULL, MACH_PORT_RIGHT_RECEIVE, &other));
}

/* mach_port_allocate_full, mach_port.c; ipc_entry_alloc_name, ipc_entry.c */
CHECK(allocate_name) {
    mach_port_t name = MACH_PORT_MAKE(1000, 0x43000000);
    EXPECT(KERN_SUCCESS, mach_port_allocate_name(SELF, MACH_PORT_RIGHT_RECEIVE, name));
    EXPECT(MACH_PORT_TYPE_RECEIVE, type_of(name));
    EXPECT(KERN_NAME_EXISTS, mach_port_allocate_name(SELF, MACH_PORT_RIGHT_RECEIVE, name));
    EXPECT(KERN_INVALID_VALUE, mach_port_allocate_name(SELF, MACH_PORT_RIGHT_RECEIVE, MACH_PORT_NULL));
    EXPECT(KERN_INVALID_VALUE, mach_port_allocate_name(SELF, MACH_PORT_RIGHT_SEND, name + 0x100));
}

/* ipc_entry_claim and IE_BITS_NEW_GEN, ipc_entry.c and ipc_entry.h */
CHECK(names_are_not_reused_soon) {
    mach_port_t first, second;
    MUST(mach_port_allocate(SELF, MACH_PORT_RIGHT_RECEIVE, &first));
    MUST(mach_port_mod_refs(SELF, first, MACH_PORT_RIGHT_RECEIVE, -1));
    MUST(mach_port_allocate(SELF, MACH_PORT_RIGHT_RECEIVE, &second));
    EXPECT(1, first != second);
    EXPECT(KERN_INVALID_NAME, mach_port_deallocate(SELF, first));
}

/* mach_port_construct, mach_port.c; MPO_ flags, mach/port.h */
CHECK(construct) {
    mach_port_t port = receive_right(MPO_CONTEXT_AS_GUARD | MPO_STRICT | MPO_INSERT_SEND_RIGHT, GUARD);
    mach_port_options_t limited = {.flags = MPO_QLIMIT, .mpl.mpl_qlimit = 7},
                        unlimited = {.flags = MPO_QLIMIT, .mpl.mpl_qlimit = 5000};
    EXPECT(MACH_PORT_TYPE_SEND_RECEIVE, type_of(port));
    EXPECT(1, refs_of(port, MACH_PORT_RIGHT_SEND));
    EXPECT(MACH_PORT_STATUS_FLAG_GUARDED | MACH_PORT_STATUS_FLAG_STRICT_GUARD, status_of(port).mps_flags);
    MUST(mach_port_construct(SELF, &limited, 0, &port));
    EXPECT(7, status_of(port).mps_qlimit);
    EXPECT(KERN_INVALID_VALUE, mach_port_construct(SELF, &unlimited, 0, &port));
}

/* mach_port_destruct, mach_port.c; ipc_right_destruct, ipc_right.c */
CHECK(destruct) {
    mach_port_t port = receive_right(MPO_CONTEXT_AS_GUARD | MPO_INSERT_SEND_RIGHT, GUARD);
    EXPECT(KERN_SUCCESS, mach_port_destruct(SELF, port, -1, GUARD));
    EXPECT(0, type_of(port));
    port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    EXPECT(KERN_SUCCESS, mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, 2));
    EXPECT(KERN_SUCCESS, mach_port_destruct(SELF, port, -1, 0));
    EXPECT(MACH_PORT_TYPE_DEAD_NAME, type_of(port));
    EXPECT(2, refs_of(port, MACH_PORT_RIGHT_DEAD_NAME));
    EXPECT(KERN_INVALID_RIGHT, mach_port_destruct(SELF, port, 0, 0));
    EXPECT(KERN_INVALID_RIGHT, mach_port_destruct(SELF, send_right(), 0, 0));
    EXPECT(KERN_INVALID_RIGHT, mach_port_destruct(SELF, receive_right(0, 0), -1, 0));
    EXPECT(KERN_INVALID_VALUE, mach_port_destruct(SELF, receive_right(MPO_INSERT_SEND_RIGHT, 0), -2, 0));
    EXPECT(KERN_INVALID_NAME, mach_port_destruct(SELF, no_name(), 0, 0));
    EXPECT(KERN_INVALID_NAME, mach_port_destruct(SELF, MACH_PORT_NULL, 0, 0));
}

/* mach_port_deallocate_kernel, mach_port.c; ipc_right_dealloc, ipc_right.c */
CHECK(deallocate) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, 1));
    EXPECT(KERN_SUCCESS, mach_port_deallocate(SELF, port));
    EXPECT(MACH_PORT_TYPE_SEND_RECEIVE, type_of(port));
    EXPECT(KERN_SUCCESS, mach_port_deallocate(SELF, port));
    EXPECT(MACH_PORT_TYPE_RECEIVE, type_of(port));
    EXPECT(KERN_INVALID_RIGHT, mach_port_deallocate(SELF, port));
    EXPECT(KERN_INVALID_NAME, mach_port_deallocate(SELF, no_name()));
    EXPECT(KERN_SUCCESS, mach_port_deallocate(SELF, MACH_PORT_NULL));
    EXPECT(KERN_SUCCESS, mach_port_deallocate(SELF, MACH_PORT_DEAD));
    mach_port_t dead = dead_name();
    EXPECT(KERN_SUCCESS, mach_port_deallocate(SELF, dead));
    EXPECT(0, type_of(dead));
    mach_port_t once = send_once_right(port);
    EXPECT(MACH_PORT_TYPE_SEND_ONCE, type_of(once));
    EXPECT(KERN_SUCCESS, mach_port_deallocate(SELF, once));
    EXPECT(0, type_of(once));
    mach_port_t set = port_set();
    EXPECT(KERN_SUCCESS, mach_port_deallocate(SELF, set));
    EXPECT(0, type_of(set));
}

/* mach_port_destroy, mach_port.c; ipc_right_destroy, ipc_right.c */
CHECK(destroy) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0), dead = dead_name(), set = port_set(),
                once = send_once_right(port);
    EXPECT(KERN_SUCCESS, mach_port_destroy(SELF, once));
    EXPECT(0, type_of(once));
    EXPECT(KERN_SUCCESS, mach_port_destroy(SELF, port));
    EXPECT(0, type_of(port));
    EXPECT(KERN_SUCCESS, mach_port_destroy(SELF, dead));
    EXPECT(0, type_of(dead));
    EXPECT(KERN_SUCCESS, mach_port_destroy(SELF, set));
    EXPECT(0, type_of(set));
    EXPECT(KERN_INVALID_NAME, mach_port_destroy(SELF, port));
    EXPECT(KERN_SUCCESS, mach_port_destroy(SELF, MACH_PORT_NULL));
}

/* mach_port_get_refs and mach_port_mod_refs, mach_port.c; ipc_right_delta, ipc_right.c */
CHECK(references_of_send_rights) {
    mach_port_t port = send_right();
    EXPECT(1, refs_of(port, MACH_PORT_RIGHT_SEND));
    EXPECT(0, refs_of(port, MACH_PORT_RIGHT_RECEIVE));
    EXPECT(0, refs_of(port, MACH_PORT_RIGHT_DEAD_NAME));
    EXPECT(KERN_SUCCESS, mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, 9));
    EXPECT(10, refs_of(port, MACH_PORT_RIGHT_SEND));
    EXPECT(KERN_SUCCESS, mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, 0));
    EXPECT(KERN_INVALID_VALUE, mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, -11));
    EXPECT(KERN_SUCCESS, mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, -10));
    EXPECT(0, type_of(port));
    EXPECT(KERN_INVALID_NAME, mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, 1));
}

/* mach_port_get_refs and mach_port_mod_refs, mach_port.c */
CHECK(references_of_no_right) {
    EXPECT(1, refs_of(MACH_PORT_NULL, MACH_PORT_RIGHT_SEND));
    EXPECT(1, refs_of(MACH_PORT_DEAD, MACH_PORT_RIGHT_SEND_ONCE));
    EXPECT(KERN_SUCCESS, mach_port_mod_refs(SELF, MACH_PORT_NULL, MACH_PORT_RIGHT_SEND, 1));
    EXPECT(KERN_INVALID_NAME, mach_port_mod_refs(SELF, MACH_PORT_DEAD, MACH_PORT_RIGHT_RECEIVE, -1));
    mach_port_t former = receive_right(MPO_INSERT_SEND_RIGHT, 0); /* whose entry has bit 5 of the types */
    EXPECT(MACH_MSG_SUCCESS, send_right_to(receive_right(0, 0), former, MACH_MSG_TYPE_MOVE_RECEIVE));
    EXPECT(0, refs_of(former, MACH_PORT_RIGHT_LABELH));
}

/* MACH_PORT_UREFS_MAX, ipc_right.h; ipc_right_delta and ipc_right_dealloc, ipc_right.c */
CHECK(references_stay_at_their_maximum) {
    mach_port_t port = send_right();
    EXPECT(KERN_SUCCESS, mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, 65000));
    EXPECT(KERN_SUCCESS, mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, 65000));
    EXPECT(65535, refs_of(port, MACH_PORT_RIGHT_SEND));
    EXPECT(KERN_SUCCESS, mach_port_deallocate(SELF, port));
    EXPECT(65535, refs_of(port, MACH_PORT_RIGHT_SEND));
}

/* ipc_right_delta, ipc_right.c */
CHECK(references_of_other_rights) {
    mach_port_t port = receive_right(0, 0), once = send_once_right(port), set = port_set(),
                dead = dead_name();
    mach_port_urefs_t refs;
    EXPECT(1, refs_of(port, MACH_PORT_RIGHT_RECEIVE));
    EXPECT(0, refs_of(port, MACH_PORT_RIGHT_SEND));
    EXPECT(1, refs_of(once, MACH_PORT_RIGHT_SEND_ONCE));
    EXPECT(1, refs_of(set, MACH_PORT_RIGHT_PORT_SET));
    EXPECT(1, refs_of(dead, MACH_PORT_RIGHT_DEAD_NAME));
    EXPECT(KERN_INVALID_NAME, mach_port_get_refs(SELF, no_name(), MACH_PORT_RIGHT_SEND, &refs));
    EXPECT(KERN_INVALID_VALUE, mach_port_get_refs(SELF, port, 99, &refs));
    EXPECT(KERN_SUCCESS, mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, 0));
    EXPECT(KERN_INVALID_VALUE, mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, 1));
    EXPECT(KERN_INVALID_VALUE, mach_port_mod_refs(SELF, once, MACH_PORT_RIGHT_SEND_ONCE, 1));
    EXPECT(KERN_INVALID_VALUE, mach_port_mod_refs(SELF, set, MACH_PORT_RIGHT_PORT_SET, 1));
    EXPECT(KERN_INVALID_RIGHT, mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, 1));
    EXPECT(KERN_INVALID_RIGHT, mach_port_mod_refs(SELF, set, MACH_PORT_RIGHT_RECEIVE, -1));
    EXPECT(KERN_INVALID_RIGHT, mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_DEAD_NAME, -1));
    EXPECT(KERN_INVALID_VALUE, mach_port_mod_refs(SELF, port, 99, 1));
    EXPECT(KERN_SUCCESS, mach_port_mod_refs(SELF, dead, MACH_PORT_RIGHT_DEAD_NAME, 3));
    EXPECT(4, refs_of(dead, MACH_PORT_RIGHT_DEAD_NAME));
    EXPECT(KERN_SUCCESS, mach_port_mod_refs(SELF, dead, MACH_PORT_RIGHT_DEAD_NAME, -4));
    EXPECT(KERN_SUCCESS, mach_port_mod_refs(SELF, once, MACH_PORT_RIGHT_SEND_ONCE, -1));
    EXPECT(KERN_SUCCESS, mach_port_mod_refs(SELF, set, MACH_PORT_RIGHT_PORT_SET, -1));
    EXPECT(KERN_SUCCESS, mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -1));
    EXPECT(0, type_of(dead) | type_of(once) | type_of(set) | type_of(port));
}

/* mach_port_insert_right, mach_port.c; ipc_object_copyout_name, ipc_object.c */
CHECK(insert_right) {
    mach_port_t port = receive_right(0, 0);
    EXPECT(KERN_SUCCESS, mach_port_insert_right(SELF, port, port, MACH_MSG_TYPE_MAKE_SEND));
    EXPECT(KERN_SUCCESS, mach_port_insert_right(SELF, port, port, MACH_MSG_TYPE_MAKE_SEND));
    EXPECT(KERN_SUCCESS, mach_port_insert_right(SELF, port, port, MACH_MSG_TYPE_COPY_SEND));
    EXPECT(3, refs_of(port, MACH_PORT_RIGHT_SEND));
    EXPECT(2, status_of(port).mps_mscount);
    EXPECT(KERN_RIGHT_EXISTS, mach_port_insert_right(SELF, port + 0x10000, port, MACH_MSG_TYPE_MAKE_SEND));
    EXPECT(KERN_SUCCESS, mach_port_insert_right(SELF, port + 0x10000, port, MACH_MSG_TYPE_MAKE_SEND_ONCE));
    EXPECT(MACH_PORT_TYPE_SEND_ONCE, type_of(port + 0x10000));
    EXPECT(KERN_NAME_EXISTS,
           mach_port_insert_right(SELF, port + 0x10000, port, MACH_MSG_TYPE_MAKE_SEND_ONCE));
    EXPECT(KERN_INVALID_RIGHT,
           mach_port_insert_right(SELF, port, port, 99)); /* of the copyin, which comes first */
    EXPECT(KERN_INVALID_VALUE, mach_port_insert_right(SELF, MACH_PORT_NULL, port, MACH_MSG_TYPE_MAKE_SEND));
}

/* mach_port_extract_right, mach_port.c; ipc_object_copyin, ipc_object.c */
CHECK(extract_right) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0), out;
    mach_msg_type_name_t kind;
    EXPECT(KERN_SUCCESS, mach_port_extract_right(SELF, port, MACH_MSG_TYPE_COPY_SEND, &out, &kind));
    EXPECT(port, out);
    EXPECT(MACH_MSG_TYPE_PORT_SEND, kind);
    EXPECT(2, refs_of(port, MACH_PORT_RIGHT_SEND));
    EXPECT(KERN_SUCCESS, mach_port_extract_right(SELF, port, MACH_MSG_TYPE_MOVE_SEND, &out, &kind));
    EXPECT(2, refs_of(port, MACH_PORT_RIGHT_SEND));
    EXPECT(KERN_SUCCESS, mach_port_extract_right(SELF, port, MACH_MSG_TYPE_MAKE_SEND_ONCE, &out, &kind));
    EXPECT(MACH_MSG_TYPE_PORT_SEND_ONCE, kind);
    EXPECT(MACH_PORT_TYPE_SEND_ONCE, type_of(out));
    EXPECT(KERN_SUCCESS, mach_port_extract_right(SELF, out, MACH_MSG_TYPE_MOVE_SEND_ONCE, &out, &kind));
    EXPECT(MACH_PORT_TYPE_SEND_ONCE, type_of(out));
    EXPECT(KERN_INVALID_RIGHT,
           mach_port_extract_right(SELF, send_right(), MACH_MSG_TYPE_MAKE_SEND, &out, &kind));
    EXPECT(KERN_INVALID_VALUE, mach_port_extract_right(SELF, port, 99, &out, &kind));
    EXPECT(KERN_INVALID_NAME, mach_port_extract_right(SELF, no_name(), MACH_MSG_TYPE_COPY_SEND, &out, &kind));
}

/* mach_port_names, mach_port.c */
CHECK(names) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    mach_port_name_array_t names;
    mach_port_type_array_t types;
    mach_msg_type_number_t count, type_count, found = 0;
    EXPECT(KERN_SUCCESS, mach_port_names(SELF, &names, &count, &types, &type_count));
    EXPECT(count, type_count);
    for (mach_msg_type_number_t at = 0; at < count; at++) {
        if (names[at] == port) {
            found = types[at];
        }
    }
    EXPECT(MACH_PORT_TYPE_SEND_RECEIVE, found);
    EXPECT(KERN_SUCCESS, vm_deallocate(SELF, (vm_address_t)names, count * sizeof *names));
    EXPECT(KERN_SUCCESS, vm_deallocate(SELF, (vm_address_t)types, count * sizeof *types));
}

/* mach_port_type, mach_port.c */
CHECK(type) {
    mach_port_type_t type;
    EXPECT(KERN_SUCCESS, mach_port_type(SELF, MACH_PORT_DEAD, &type));
    EXPECT(MACH_PORT_TYPE_DEAD_NAME, type);
    EXPECT(KERN_INVALID_NAME, mach_port_type(SELF, MACH_PORT_NULL, &type));
    EXPECT(KERN_INVALID_NAME, mach_port_type(SELF, no_name(), &type));
    EXPECT(MACH_PORT_TYPE_SEND, type_of(SELF));
}

/* mach_port_get_context and mach_port_set_context, mach_port.c */
CHECK(context) {
    mach_port_t port = receive_right(0, 5);
    mach_port_context_t context;
    EXPECT(KERN_SUCCESS, mach_port_get_context(SELF, port, &context));
    EXPECT(5, context);
    EXPECT(KERN_SUCCESS, mach_port_set_context(SELF, port, 1ull << 63 | 6));
    EXPECT(KERN_SUCCESS, mach_port_get_context(SELF, port, &context));
    EXPECT(1ull << 63 | 6, context);
    EXPECT(KERN_INVALID_RIGHT, mach_port_get_context(SELF, send_right(), &context));
    EXPECT(KERN_INVALID_NAME, mach_port_set_context(SELF, no_name(), 1));
    EXPECT(KERN_SUCCESS,
           mach_port_get_context(SELF, receive_right(MPO_CONTEXT_AS_GUARD | MPO_STRICT, GUARD), &context));
    EXPECT(0, context); /* a strict guard is a secret */
}

/* mach_port_guard_locked, mach_port_unguard_locked and mach_port_swap_guard, mach_port.c */
CHECK(guard) {
    mach_port_t port = receive_right(0, 0);
    EXPECT(KERN_SUCCESS, mach_port_guard(SELF, port, GUARD, 0));
    EXPECT(MACH_PORT_STATUS_FLAG_GUARDED, status_of(port).mps_flags);
    EXPECT(KERN_INVALID_ARGUMENT, mach_port_guard(SELF, port, GUARD, 0));
    EXPECT(KERN_SUCCESS, mach_port_swap_guard(SELF, port, GUARD, GUARD + 1));
    EXPECT(KERN_SUCCESS, mach_port_unguard(SELF, port, GUARD + 1));
    EXPECT(0, status_of(port).mps_flags);
    EXPECT(KERN_SUCCESS, mach_port_guard_with_flags(SELF, port, GUARD, MPG_STRICT | MPG_IMMOVABLE_RECEIVE));
    EXPECT(MACH_PORT_STATUS_FLAG_GUARDED | MACH_PORT_STATUS_FLAG_STRICT_GUARD |
               MACH_PORT_STATUS_FLAG_GUARD_IMMOVABLE_RECEIVE,
           status_of(port).mps_flags);
    EXPECT(KERN_SUCCESS, mach_port_destruct(SELF, port, 0, GUARD));
    EXPECT(KERN_INVALID_NAME, mach_port_guard(SELF, no_name(), GUARD, 0));
    EXPECT(KERN_INVALID_RIGHT, mach_port_guard(SELF, send_right(), GUARD, 0));
    EXPECT(KERN_INVALID_NAME, mach_port_unguard(SELF, no_name(), GUARD));
    EXPECT(KERN_INVALID_NAME, mach_port_swap_guard(SELF, no_name(), GUARD, 1));
}

/* mach_port_get_attributes and mach_port_set_attributes, mach_port.c */
CHECK(attributes) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0), once = send_once_right(port);
    mach_port_limits_t limits = {3};
    mach_port_status_t status = status_of(port);
    mach_msg_type_number_t count = MACH_PORT_LIMITS_INFO_COUNT;
    EXPECT(MACH_PORT_QLIMIT_DEFAULT, status.mps_qlimit);
    EXPECT(1, status.mps_srights);
    EXPECT(1, status.mps_sorights);
    EXPECT(1, status.mps_mscount);
    EXPECT(0, status.mps_msgcount + status.mps_pset + status.mps_seqno + status.mps_pdrequest +
                  status.mps_nsrequest);
    EXPECT(KERN_SUCCESS,
           mach_port_set_attributes(SELF, port, MACH_PORT_LIMITS_INFO, (mach_port_info_t)&limits, count));
    limits.mpl_qlimit = 0;
    EXPECT(KERN_SUCCESS,
           mach_port_get_attributes(SELF, port, MACH_PORT_LIMITS_INFO, (mach_port_info_t)&limits, &count));
    EXPECT(3, limits.mpl_qlimit);
    EXPECT(MACH_PORT_LIMITS_INFO_COUNT, count);
    limits.mpl_qlimit = MACH_PORT_QLIMIT_MAX + 1;
    EXPECT(KERN_INVALID_VALUE,
           mach_port_set_attributes(SELF, port, MACH_PORT_LIMITS_INFO, (mach_port_info_t)&limits, count));
    EXPECT(KERN_FAILURE,
           mach_port_set_attributes(SELF, port, MACH_PORT_LIMITS_INFO, (mach_port_info_t)&limits, 0));
    EXPECT(KERN_INVALID_ARGUMENT, mach_port_set_attributes(SELF, port, 99, (mach_port_info_t)&limits, count));
    EXPECT(KERN_INVALID_ARGUMENT,
           mach_port_get_attributes(SELF, port, 99, (mach_port_info_t)&limits, &count));
    count = MACH_PORT_RECEIVE_STATUS_COUNT - 1;
    EXPECT(KERN_FAILURE,
           mach_port_get_attributes(SELF, port, MACH_PORT_RECEIVE_STATUS, (mach_port_info_t)&status, &count));
    count = MACH_PORT_RECEIVE_STATUS_COUNT;
    EXPECT(KERN_INVALID_RIGHT,
           mach_port_get_attributes(SELF, once, MACH_PORT_RECEIVE_STATUS, (mach_port_info_t)&status, &count));
    EXPECT(KERN_INVALID_NAME, mach_port_get_attributes(SELF, no_name(), MACH_PORT_RECEIVE_STATUS,
                                                       (mach_port_info_t)&status, &count));
}

/* mach_port_get_srights and mach_port_set_mscount, mach_port.c */
CHECK(counts_of_rights) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0), to = receive_right(0, 0);
    mach_port_rights_t rights;
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, 5));
    EXPECT(KERN_SUCCESS, mach_port_get_srights(SELF, port, &rights));
    EXPECT(1, rights); /* of one space */
    MUST(send_right_to(to, port, MACH_MSG_TYPE_COPY_SEND));
    EXPECT(KERN_SUCCESS, mach_port_get_srights(SELF, port, &rights));
    EXPECT(2, rights); /* and of a message */
    EXPECT(KERN_SUCCESS, mach_port_set_mscount(SELF, port, 41));
    MUST(mach_port_insert_right(SELF, port, port, MACH_MSG_TYPE_MAKE_SEND));
    EXPECT(42, status_of(port).mps_mscount);
    EXPECT(KERN_INVALID_RIGHT, mach_port_get_srights(SELF, send_right(), &rights));
    EXPECT(KERN_INVALID_NAME, mach_port_set_mscount(SELF, no_name(), 1));
}

static unsigned members_of(mach_port_t set) {
    mach_port_name_array_t members;
    mach_msg_type_number_t count;
    MUST(mach_port_get_set_status(SELF, set, &members, &count));
    MUST(vm_deallocate(SELF, (vm_address_t)members, count * sizeof *members));
    return count;
}

/* mach_port_move_member, mach_port_insert_member and mach_port_extract_member, mach_port.c */
CHECK(sets) {
    mach_port_t one = receive_right(0, 0), other = receive_right(0, 0), set = port_set(), second = port_set();
    mach_port_name_array_t members;
    mach_msg_type_number_t count;
    EXPECT(KERN_SUCCESS, mach_port_insert_member(SELF, one, set));
    EXPECT(KERN_ALREADY_IN_SET, mach_port_insert_member(SELF, one, set));
    EXPECT(KERN_SUCCESS, mach_port_insert_member(SELF, one, second));
    EXPECT(KERN_SUCCESS, mach_port_insert_member(SELF, other, set));
    EXPECT(2, members_of(set));
    EXPECT(1, status_of(one).mps_pset);
    EXPECT(KERN_SUCCESS, mach_port_move_member(SELF, other, second));
    EXPECT(1, members_of(set));
    EXPECT(2, members_of(second));
    EXPECT(KERN_SUCCESS, mach_port_move_member(SELF, other, second));
    EXPECT(KERN_SUCCESS, mach_port_extract_member(SELF, one, set));
    EXPECT(KERN_NOT_IN_SET, mach_port_extract_member(SELF, one, set));
    EXPECT(KERN_SUCCESS, mach_port_move_member(SELF, one, MACH_PORT_NULL));
    kern_return_t of_no_set = release() < 1203 ? KERN_SUCCESS : KERN_NOT_IN_SET;
    EXPECT(of_no_set, mach_port_move_member(SELF, one, MACH_PORT_NULL));
    EXPECT(KERN_SUCCESS, mach_port_mod_refs(SELF, other, MACH_PORT_RIGHT_RECEIVE, -1));
    EXPECT(0, members_of(second));
    EXPECT(KERN_INVALID_RIGHT, mach_port_insert_member(SELF, set, second));
    EXPECT(KERN_INVALID_RIGHT, mach_port_insert_member(SELF, one, send_right()));
    EXPECT(KERN_INVALID_NAME, mach_port_insert_member(SELF, one, no_name()));
    EXPECT(KERN_INVALID_NAME, mach_port_move_member(SELF, no_name(), set));
    EXPECT(KERN_INVALID_RIGHT, mach_port_get_set_status(SELF, one, &members, &count));
    EXPECT(KERN_INVALID_NAME, mach_port_get_set_status(SELF, no_name(), &members, &count));
}

/* mach_port_name_cmp and mach_port_get_set_status, mach_port.c of xnu-8020.101.4 */
CHECK(members_are_sorted) {
    mach_port_t first = receive_right(0, 0), last = receive_right(0, 0), set = port_set(), least, greatest;
    mach_port_name_array_t members;
    mach_msg_type_number_t count;
    least = first < last ? first : last;
    greatest = first < last ? last : first;
    MUST(mach_port_insert_member(SELF, greatest, set));
    MUST(mach_port_insert_member(SELF, least, set));
    MUST(mach_port_get_set_status(SELF, set, &members, &count));
    EXPECT(2, count);
    if (release() >= 1203) {
        EXPECT(least, members[0]);
    }
    EXPECT(least + greatest, members[0] + members[1]);
    MUST(vm_deallocate(SELF, (vm_address_t)members, count * sizeof *members));
}

/* ipc_port_request_grow, ipc_port.c; mach_port_get_attributes and mach_port_set_attributes, mach_port.c */
CHECK(room_for_requests) {
    mach_port_t port = receive_right(0, 0), previous;
    mach_msg_type_number_t count = MACH_PORT_DNREQUESTS_SIZE_COUNT;
    integer_t size = 5;
    MUST(mach_port_set_attributes(SELF, port, MACH_PORT_DNREQUESTS_SIZE, &size,
                                  MACH_PORT_DNREQUESTS_SIZE_COUNT));
    MUST(mach_port_get_attributes(SELF, port, MACH_PORT_DNREQUESTS_SIZE, &size, &count));
    EXPECT(release() >= 1300 ? 0 : 8, size);
    MUST(mach_port_request_notification(SELF, port, MACH_NOTIFY_DEAD_NAME, 0, receive_right(0, 0),
                                        MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous));
    MUST(mach_port_get_attributes(SELF, port, MACH_PORT_DNREQUESTS_SIZE, &size, &count));
    EXPECT(release() >= 1300 ? 2 : 8, size);
}

/* mach_port_get_set_status, mach_port.c */
CHECK(many_members) {
    enum { MANY = 600 };
    mach_port_t set = port_set();
    for (int at = 0; at < MANY; at++) {
        MUST(mach_port_insert_member(SELF, receive_right(0, 0), set));
    }
    EXPECT(MANY, members_of(set));
}

/* ipc_right_check, ipc_right.c */
CHECK(death_of_a_port_makes_dead_names) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0), once = send_once_right(port);
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, 3));
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -1));
    EXPECT(MACH_PORT_TYPE_DEAD_NAME, type_of(port));
    EXPECT(4, refs_of(port, MACH_PORT_RIGHT_DEAD_NAME));
    EXPECT(MACH_PORT_TYPE_DEAD_NAME, type_of(once));
    EXPECT(KERN_SUCCESS, mach_port_deallocate(SELF, once));
    EXPECT(KERN_SUCCESS, mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_DEAD_NAME, -4));
}

/* mach_port_kobject, osfmk/ipc/mach_debug.c; IPC_OTYPE_, osfmk/mach_debug/ipc_info.h */
CHECK(kernel_objects) {
    enum { NO_OBJECT = 0, THREAD = 1, TASK = 2, HOST = 3, TASK_NAME = 20, TASK_READ = 45 };
    mach_port_t port = receive_right(0, 0), name, reader;
    unsigned type = 99, address = 99;
    mach_vm_address_t wide_address = 99;
    EXPECT(KERN_SUCCESS, mach_port_kernel_object(SELF, port, &type, &address));
    EXPECT(NO_OBJECT, type);
    EXPECT(0, address);
    EXPECT(KERN_SUCCESS, mach_port_kobject(SELF, port, (void *)&type, &wide_address));
    EXPECT(NO_OBJECT, type);
    EXPECT(0, wide_address);
    EXPECT(KERN_SUCCESS, mach_port_kernel_object(SELF, SELF, &type, &address));
    EXPECT(TASK, type);
    EXPECT(KERN_SUCCESS, mach_port_kernel_object(SELF, mach_thread_self(), &type, &address));
    EXPECT(THREAD, type);
    EXPECT(KERN_SUCCESS, mach_port_kernel_object(SELF, mach_host_self(), &type, &address));
    EXPECT(HOST, type);
    MUST(task_get_special_port(SELF, TASK_NAME_PORT, &name));
    EXPECT(KERN_SUCCESS, mach_port_kernel_object(SELF, name, &type, &address));
    EXPECT(TASK_NAME, type);
    MUST(task_get_special_port(SELF, TASK_READ_PORT, &reader));
    EXPECT(KERN_SUCCESS, mach_port_kernel_object(reader, reader, &type, &address));
    EXPECT(TASK_READ, type);

    kobject_description_t description = "?";
    unsigned pid = 0, version = 0, last = 0;
    unsigned long long unique = 0;
    EXPECT(KERN_SUCCESS,
           mach_port_kobject_description(SELF, SELF, (void *)&type, &wide_address, description));
    EXPECT(TASK, type);
    EXPECT(0, strcmp("", description));
    MUST(task_create_identity_token(SELF, &name));
    EXPECT(KERN_SUCCESS,
           mach_port_kobject_description(SELF, name, (void *)&type, &wide_address, description));
    EXPECT(3, sscanf(description, "%u,%llu,%u%n", &pid, &unique, &version, (int *)&last));
    EXPECT((unsigned)getpid(), pid);
    EXPECT(strlen(description), last);
    EXPECT(KERN_INVALID_NAME,
           mach_port_kobject_description(SELF, no_name(), (void *)&type, &wide_address, description));
    MUST(task_get_special_port(SELF, TASK_NAME_PORT, &name));

    EXPECT(KERN_INVALID_RIGHT, mach_port_kernel_object(SELF, port_set(), &type, &address));
    EXPECT(KERN_INVALID_RIGHT, mach_port_kernel_object(SELF, send_once_right(port), &type, &address));
    EXPECT(KERN_INVALID_NAME, mach_port_kernel_object(SELF, no_name(), &type, &address));
    EXPECT(KERN_INVALID_NAME, mach_port_kernel_object(SELF, dead_name(), &type, &address));
    EXPECT(KERN_INVALID_ARGUMENT, mach_port_kernel_object(name, port, &type, &address));
}

/* mach_port_space_info, osfmk/ipc/mach_debug.c */
CHECK(space_info) {
    enum { MORE_THAN_ONE_ANSWER = 5000 };
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0), dead = dead_name(), reader, name;
    mach_port_t waiting = receive_right(0, 0);
    ipc_info_space_t space;
    ipc_info_name_array_t table;
    ipc_info_tree_name_array_t tree;
    mach_msg_type_number_t count, tree_count, used = 0, names_count, types_count;
    mach_port_name_array_t names;
    mach_port_type_array_t types;
    for (int at = 0; at < MORE_THAN_ONE_ANSWER; at++) {
        receive_right(0, 0);
    }
    MUST(mach_port_insert_right(SELF, port, port, MACH_MSG_TYPE_MAKE_SEND));
    MUST(mach_port_insert_right(SELF, waiting, waiting, MACH_MSG_TYPE_MAKE_SEND));
    EXPECT(KERN_SUCCESS, request(port, MACH_NOTIFY_DEAD_NAME, receive_right(0, 0)));
    EXPECT(KERN_SUCCESS, request(waiting, MACH_NOTIFY_SEND_POSSIBLE, receive_right(0, 0)));
    MUST(task_get_special_port(SELF, TASK_READ_PORT, &reader));
    MUST(task_get_special_port(SELF, TASK_NAME_PORT, &name));
    EXPECT(KERN_SUCCESS, mach_port_names(SELF, &names, &names_count, &types, &types_count));
    EXPECT(KERN_INVALID_ARGUMENT, mach_port_space_info(name, &space, &table, &count, &tree, &tree_count));
    EXPECT(KERN_SUCCESS, mach_port_space_info(reader, &space, &table, &count, &tree, &tree_count));
    EXPECT(0xff, space.iis_genno_mask);
    EXPECT(space.iis_table_size, count);
    EXPECT(0, tree_count);
    for (mach_msg_type_number_t at = 0; at < count; at++) {
        used += table[at].iin_type != MACH_PORT_TYPE_NONE;
    }
    EXPECT(names_count, used);
    for (mach_msg_type_number_t at = 0; at < names_count; at++) {
        EXPECT(table[MACH_PORT_INDEX(names[at])].iin_type, types[at]);
    }

    const ipc_info_name_t *found = &table[MACH_PORT_INDEX(port)];
    EXPECT(port, found->iin_name);
    EXPECT(MACH_PORT_TYPE_SEND_RECEIVE | MACH_PORT_TYPE_DNREQUEST, found->iin_type);
    EXPECT(2, found->iin_urefs);
    if (release() >= 1300) {
        EXPECT(1, found->iin_object != 0);
        EXPECT(1, found->iin_object != table[MACH_PORT_INDEX(reader)].iin_object);
    }
    EXPECT(MACH_PORT_TYPE_SEND_RECEIVE | MACH_PORT_TYPE_DNREQUEST | MACH_PORT_TYPE_SPREQUEST |
               MACH_PORT_TYPE_SPREQUEST_DELAYED,
           table[MACH_PORT_INDEX(waiting)].iin_type);
    EXPECT(MACH_PORT_TYPE_SEND_RECEIVE | MACH_PORT_TYPE_DNREQUEST, type_of(waiting)); /* hidden there */
    found = &table[MACH_PORT_INDEX(dead)];
    EXPECT(dead, found->iin_name);
    EXPECT(1, found->iin_urefs);
    EXPECT(0, found->iin_object);
    MUST(vm_deallocate(SELF, (vm_address_t)table, count * sizeof *table));
}
