/* mach/mach_port.h, mach/mach_init.h, mach/mig.h, mach/vm_map.h */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "connection.h"
#include "mach/mach.h"

mach_port_t mach_task_self_ = WIRE_TASK_SELF_NAME;
mach_port_t bootstrap_port = WIRE_BOOTSTRAP_NAME;

/* Stores an answer's first value through `out` on success. */
static kern_return_t give(struct answer answer, uint32_t *out) {
    if (answer.result == KERN_SUCCESS) {
        *out = (uint32_t)answer.value[0];
    }
    return answer.result;
}

kern_return_t mach_port_allocate(ipc_space_t task, mach_port_right_t right, mach_port_name_t *name) {
    return give(CALL(WIRE_PORT_ALLOCATE, task, right), name);
}

kern_return_t mach_port_allocate_name(ipc_space_t task, mach_port_right_t right, mach_port_name_t name) {
    if (!MACH_PORT_VALID(name)) {
        return KERN_INVALID_VALUE;
    }
    return CALL(WIRE_PORT_ALLOCATE, task, right, name).result;
}

kern_return_t mach_port_construct(ipc_space_t task, mach_port_options_ptr_t options,
                                  mach_port_context_t context, mach_port_name_t *name) {
    struct call_site site = CALL_SITE;
    mach_service_port_info_data_t service;
    int is_service = options->flags & MPO_SERVICE_PORT; /* or another type since 26, which passes it over */
    uint64_t argument = is_service ? (uintptr_t)options->service_port_info : options->service_port_name;
    int readable = is_service && copy_from_caller(&service, options->service_port_info, sizeof service);
    return give(connection_call(site, WIRE_PORT_CONSTRUCT,
                                ARGS(task, options->flags, options->mpl.mpl_qlimit, context, argument),
                                &service, readable ? sizeof service : 0, 0),
                name);
}

kern_return_t mach_port_destruct(ipc_space_t task, mach_port_name_t name, mach_port_delta_t srdelta,
                                 mach_port_context_t guard) {
    return CALL(WIRE_PORT_DESTRUCT, task, name, (uint32_t)srdelta, guard).result;
}

kern_return_t mach_port_destroy(ipc_space_t task, mach_port_name_t name) {
    return CALL(WIRE_PORT_DESTROY, task, name).result;
}

kern_return_t mach_port_deallocate(ipc_space_t task, mach_port_name_t name) {
    return CALL(WIRE_PORT_DEALLOCATE, task, name).result;
}

kern_return_t mach_port_get_refs(ipc_space_t task, mach_port_name_t name, mach_port_right_t right,
                                 mach_port_urefs_t *refs) {
    return give(CALL(WIRE_PORT_GET_REFS, task, name, right), refs);
}

kern_return_t mach_port_mod_refs(ipc_space_t task, mach_port_name_t name, mach_port_right_t right,
                                 mach_port_delta_t delta) {
    return CALL(WIRE_PORT_MOD_REFS, task, name, right, (uint32_t)delta).result;
}

kern_return_t mach_port_type(ipc_space_t task, mach_port_name_t name, mach_port_type_t *ptype) {
    return give(CALL(WIRE_PORT_TYPE, task, name), ptype);
}

kern_return_t mach_port_set_mscount(ipc_space_t task, mach_port_name_t name, mach_port_mscount_t mscount) {
    return CALL(WIRE_PORT_SET_MSCOUNT, task, name, mscount).result;
}

kern_return_t mach_port_move_member(ipc_space_t task, mach_port_name_t member, mach_port_name_t after) {
    return CALL(WIRE_PORT_MOVE_MEMBER, task, member, after).result;
}

kern_return_t mach_port_insert_member(ipc_space_t task, mach_port_name_t name, mach_port_name_t pset) {
    return CALL(WIRE_PORT_INSERT_MEMBER, task, name, pset).result;
}

kern_return_t mach_port_extract_member(ipc_space_t task, mach_port_name_t name, mach_port_name_t pset) {
    return CALL(WIRE_PORT_EXTRACT_MEMBER, task, name, pset).result;
}

kern_return_t mach_port_request_notification(ipc_space_t task, mach_port_name_t name, mach_msg_id_t msgid,
                                             mach_port_mscount_t sync, mach_port_t notify,
                                             mach_msg_type_name_t notifyPoly, mach_port_t *previous) {
    return give(CALL(WIRE_PORT_REQUEST_NOTIFICATION, task, name, (uint32_t)msgid, sync, notify, notifyPoly),
                previous);
}

kern_return_t mach_port_insert_right(ipc_space_t task, mach_port_name_t name, mach_port_t poly,
                                     mach_msg_type_name_t polyPoly) {
    return CALL(WIRE_PORT_INSERT_RIGHT, task, name, poly, polyPoly).result;
}

kern_return_t mach_port_extract_right(ipc_space_t task, mach_port_name_t name, mach_msg_type_name_t msgt_name,
                                      mach_port_t *poly, mach_msg_type_name_t *polyPoly) {
    struct answer answer = CALL(WIRE_PORT_EXTRACT_RIGHT, task, name, msgt_name);
    if (answer.result == KERN_SUCCESS) {
        *polyPoly = (mach_msg_type_name_t)answer.value[1];
    }
    return give(answer, poly);
}

kern_return_t mach_port_get_attributes(ipc_space_read_t task, mach_port_name_t name,
                                       mach_port_flavor_t flavor, mach_port_info_t port_info_out,
                                       mach_msg_type_number_t *port_info_outCnt) {
    struct answer answer = CALL(WIRE_PORT_GET_ATTRIBUTES, task, name, (uint32_t)flavor, *port_info_outCnt);
    if (answer.result == KERN_SUCCESS) {
        memcpy(port_info_out, answer.payload, answer.size);
        *port_info_outCnt = answer.size / (uint32_t)sizeof(natural_t);
    }
    return answer.result;
}

kern_return_t mach_port_set_attributes(ipc_space_t task, mach_port_name_t name, mach_port_flavor_t flavor,
                                       mach_port_info_t port_info, mach_msg_type_number_t port_infoCnt) {
    return connection_call(CALL_SITE, WIRE_PORT_SET_ATTRIBUTES, ARGS(task, name, (uint32_t)flavor), port_info,
                           port_infoCnt < 64 ? port_infoCnt * sizeof(natural_t) : 0, 0)
        .result;
}

kern_return_t mach_port_get_srights(ipc_space_t task, mach_port_name_t name, mach_port_rights_t *srights) {
    return give(CALL(WIRE_PORT_GET_SRIGHTS, task, name), srights);
}

kern_return_t mach_port_get_context(ipc_space_read_t task, mach_port_name_t name,
                                    mach_port_context_t *context) {
    struct answer answer = CALL(WIRE_PORT_GET_CONTEXT, task, name);
    if (answer.result == KERN_SUCCESS) {
        *context = answer.value[0];
    }
    return answer.result;
}

kern_return_t mach_port_set_context(ipc_space_t task, mach_port_name_t name, mach_port_context_t context) {
    return CALL(WIRE_PORT_SET_CONTEXT, task, name, context).result;
}

kern_return_t mach_port_guard(ipc_space_t task, mach_port_name_t name, mach_port_context_t guard,
                              boolean_t strict) {
    return CALL(WIRE_PORT_GUARD, task, name, guard, strict ? MPG_STRICT : 0).result;
}

kern_return_t mach_port_guard_with_flags(ipc_space_t task, mach_port_name_t name, mach_port_context_t guard,
                                         uint64_t flags) {
    return CALL(WIRE_PORT_GUARD, task, name, guard, flags).result;
}

kern_return_t mach_port_peek(ipc_space_t task, mach_port_name_t name, mach_msg_trailer_type_t trailer_type,
                             mach_port_seqno_t *request_seqnop, mach_msg_size_t *msg_sizep,
                             mach_msg_id_t *msg_idp, mach_msg_trailer_info_t trailer_infop,
                             mach_msg_type_number_t *trailer_infopCnt) {
    uint32_t head[2];
    struct answer answer = CALL(WIRE_PORT_PEEK, task, name, trailer_type, *request_seqnop, *trailer_infopCnt);
    if (answer.result == KERN_SUCCESS) {
        *msg_idp = (mach_msg_id_t)answer.value[0];
        memcpy(head, answer.payload, sizeof head);
        *request_seqnop = head[0];
        *msg_sizep = head[1];
        memcpy(trailer_infop, answer.payload + sizeof head, answer.size - sizeof head);
        *trailer_infopCnt = answer.size - (uint32_t)sizeof head;
    }
    return answer.result;
}

kern_return_t mach_port_assert_attributes(ipc_space_t task, mach_port_name_t name, mach_port_flavor_t flavor,
                                          mach_port_info_t info, mach_msg_type_number_t infoCnt) {
    return connection_call(CALL_SITE, WIRE_PORT_ASSERT, ARGS(task, name, (uint32_t)flavor), info,
                           infoCnt < 64 ? infoCnt * sizeof(natural_t) : 0, 0)
        .result;
}

kern_return_t mach_port_kobject(ipc_space_read_t task, mach_port_name_t name,
                                ipc_info_object_type_t *object_type, mach_vm_address_t *object_addr) {
    struct answer answer = CALL(WIRE_PORT_KOBJECT, task, name);
    if (answer.result == KERN_SUCCESS) {
        *object_type = (ipc_info_object_type_t)answer.value[0];
        *object_addr = 0; /* but on Apple's development kernels */
    }
    return answer.result;
}

kern_return_t mach_port_kobject_description(ipc_space_read_t task, mach_port_name_t name,
                                            ipc_info_object_type_t *object_type,
                                            mach_vm_address_t *object_addr,
                                            kobject_description_t description) {
    struct answer answer = CALL(WIRE_PORT_KOBJECT, task, name);
    if (answer.result == KERN_SUCCESS) {
        *object_type = (ipc_info_object_type_t)answer.value[0];
        *object_addr = 0;
        snprintf(description, KOBJECT_DESCRIPTION_LENGTH, "%s", (const char *)answer.payload);
    }
    return answer.result;
}

kern_return_t mach_port_is_connection_for_service(ipc_space_t task, mach_port_name_t connection_port,
                                                  mach_port_name_t service_port, uint64_t *filter_policy_id) {
    struct answer answer = CALL(WIRE_PORT_IS_CONNECTION, task, connection_port, service_port);
    if (answer.result == KERN_SUCCESS) {
        *filter_policy_id = 0;
    }
    return answer.result;
}

kern_return_t mach_port_kernel_object(ipc_space_read_t task, mach_port_name_t name, unsigned *object_type,
                                      unsigned *object_addr) {
    struct answer answer = CALL(WIRE_PORT_KOBJECT, task, name);
    if (answer.result == KERN_SUCCESS) {
        *object_type = (unsigned)answer.value[0];
        *object_addr = 0;
    }
    return answer.result;
}

kern_return_t mach_port_get_service_port_info(ipc_space_read_t task, mach_port_name_t name,
                                              mach_service_port_info_data_t *sp_info_out) {
    struct answer answer = CALL(WIRE_PORT_GET_SERVICE_INFO, task, name);
    if (answer.result == KERN_SUCCESS) {
        memcpy(sp_info_out, answer.payload, sizeof *sp_info_out);
    }
    return answer.result;
}

/* libdispatch's: exported, and in no header. */
mach_port_t thread_get_special_reply_port(void);
mach_port_t thread_get_special_reply_port(void) {
    return (mach_port_t)CALL(WIRE_SPECIAL_REPLY_PORT, 0).value[0];
}

kern_return_t mach_port_unguard(ipc_space_t task, mach_port_name_t name, mach_port_context_t guard) {
    return CALL(WIRE_PORT_UNGUARD, task, name, guard).result;
}

kern_return_t mach_port_swap_guard(ipc_space_t task, mach_port_name_t name, mach_port_context_t old_guard,
                                   mach_port_context_t new_guard) {
    return CALL(WIRE_PORT_SWAP_GUARD, task, name, old_guard, new_guard).result;
}

/* ---- arrays: memory of their own, as from vm_allocate ---- */

static void *allocate_array(uint32_t count) {
    void *memory = mmap(NULL, (count ? count : 1) * sizeof(natural_t), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

kern_return_t vm_allocate(vm_map_t target_task, vm_address_t *address, vm_size_t size, int flags) {
    if (target_task != mach_task_self_) {
        return KERN_INVALID_ARGUMENT;
    }
    if (!size) {
        *address = 0;
        return KERN_SUCCESS;
    }
    int fixed = flags & VM_FLAGS_ANYWHERE ? 0 : MAP_FIXED_NOREPLACE;
    void *memory = mmap((void *)(fixed ? *address : 0), size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0);
    if (memory == MAP_FAILED) {
        return KERN_NO_SPACE;
    }
    *address = (vm_address_t)memory;
    return KERN_SUCCESS;
}

kern_return_t vm_deallocate(vm_map_t target_task, vm_address_t address, vm_size_t size) {
    if (target_task != mach_task_self_) {
        return KERN_INVALID_ARGUMENT;
    }
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = address & -page,
              end = (address + size + page - 1) & -page;
    if (!size) {
        return KERN_SUCCESS;
    }
    if (end <= first) {
        return KERN_INVALID_ARGUMENT;
    }
    for (uintptr_t at = first; at < end;
         at += page) { /* mach_vm_deallocate() succeeds all the same, and blames the first gap */
        unsigned char resident;
        if (mincore((void *)at, page, &resident) && errno == ENOMEM) {
            CALL(WIRE_VM_GAP, at);
            break;
        }
    }
    munmap((void *)first, end - first);
    return KERN_SUCCESS;
}

kern_return_t mach_port_names(ipc_space_t task, mach_port_name_array_t *names,
                              mach_msg_type_number_t *namesCnt, mach_port_type_array_t *types,
                              mach_msg_type_number_t *typesCnt) {
    enum { MAX_NAMES = 65536 }; /* of the largest table */
    struct call_site site = CALL_SITE;
    uint32_t *pairs = mmap(NULL, MAX_NAMES * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
             count = 0;
    struct answer answer = {.result = pairs == MAP_FAILED ? KERN_RESOURCE_SHORTAGE : KERN_SUCCESS,
                            .value = {1}};
    if (answer.result != KERN_SUCCESS) {
        return answer.result;
    }
    do {
        answer = connection_call(site, WIRE_PORT_NAMES, ARGS(task, answer.value[0]), NULL, 0, 0);
        if (answer.result == KERN_SUCCESS && count + answer.size / 8 <= MAX_NAMES) {
            memcpy(pairs + (size_t)count * 2, answer.payload, answer.size);
            count += answer.size / 8;
        }
    } while (answer.result == KERN_SUCCESS && answer.value[0]);
    uint32_t *found_names = answer.result == KERN_SUCCESS ? allocate_array(count) : NULL;
    uint32_t *found_types = found_names ? allocate_array(count) : NULL;
    if (found_types) {
        for (uint32_t at = 0; at < count; at++) {
            found_names[at] = pairs[at * 2];
            found_types[at] = pairs[at * 2 + 1];
        }
        *names = found_names;
        *types = found_types;
        *namesCnt = *typesCnt = count;
    } else if (answer.result == KERN_SUCCESS) {
        answer.result = KERN_RESOURCE_SHORTAGE;
    }
    munmap(pairs, MAX_NAMES * 8);
    return answer.result;
}

kern_return_t mach_port_space_info(ipc_space_read_t space, ipc_info_space_t *space_info,
                                   ipc_info_name_array_t *table_info, mach_msg_type_number_t *table_infoCnt,
                                   ipc_info_tree_name_array_t *tree_info,
                                   mach_msg_type_number_t *tree_infoCnt) {
    struct call_site site = CALL_SITE;
    uint8_t *table = NULL;
    size_t room = 0, size = 0;
    struct answer answer = {.result = KERN_SUCCESS};
    do {
        answer = connection_call(site, WIRE_PORT_SPACE_INFO, ARGS(space, answer.value[0]), NULL, 0, 0);
        if (answer.result == KERN_SUCCESS && !table) { /* what was added since does not get in */
            room = answer.value[1] * sizeof(ipc_info_name_t);
            table = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (table == MAP_FAILED) {
                return KERN_RESOURCE_SHORTAGE;
            }
        }
        if (answer.result == KERN_SUCCESS) {
            size_t part = answer.size <= room - size ? answer.size : room - size;
            memcpy(table + size, answer.payload, part);
            size += part;
        }
    } while (answer.result == KERN_SUCCESS && answer.value[0]);
    if (answer.result != KERN_SUCCESS) {
        if (table) {
            munmap(table, room);
        }
        return answer.result;
    }
    *table_info = (ipc_info_name_array_t)table;
    *table_infoCnt = (mach_msg_type_number_t)(size / sizeof(ipc_info_name_t));
    *space_info = (ipc_info_space_t){.iis_genno_mask = 0xff, .iis_table_size = *table_infoCnt};
    *tree_info = NULL; /* there have been no trees since OS X 10.9 */
    *tree_infoCnt = 0;
    return KERN_SUCCESS;
}

kern_return_t mach_port_get_set_status(ipc_space_read_t task, mach_port_name_t name,
                                       mach_port_name_array_t *members, mach_msg_type_number_t *membersCnt) {
    struct answer answer = CALL(WIRE_PORT_GET_SET_STATUS, task, name);
    if (answer.result != KERN_SUCCESS) {
        return answer.result;
    }
    uint32_t count = answer.size / (uint32_t)sizeof(mach_port_name_t);
    *members = allocate_array(count);
    if (!*members) {
        return KERN_RESOURCE_SHORTAGE;
    }
    memcpy(*members, answer.payload, answer.size);
    *membersCnt = count;
    return KERN_SUCCESS;
}

/* ---- what every thread has ---- */

mach_port_t mach_host_self(void) {
    return (mach_port_t)CALL(WIRE_HOST_SELF, 0).value[0];
}

mach_port_t mach_thread_self(void) {
    return (mach_port_t)CALL(WIRE_THREAD_SELF, 0).value[0];
}

boolean_t mach_task_is_self(task_name_t task) {
    return task == mach_task_self_ || CALL(WIRE_TASK_IS_SELF, task).value[0];
}

mach_port_t mach_reply_port(void) {
    return (mach_port_t)CALL(WIRE_REPLY_PORT, 0).value[0];
}

mach_port_t mig_get_reply_port(void) {
    uint32_t *port = connection_reply_port();
    if (port && *port == MACH_PORT_NULL) {
        *port = mach_reply_port();
    }
    return port ? *port : MACH_PORT_NULL;
}

void mig_dealloc_reply_port(mach_port_t reply_port) {
    uint32_t *port = connection_reply_port();
    if (port && *port == reply_port) {
        *port = MACH_PORT_NULL;
        mach_port_mod_refs(mach_task_self_, reply_port, MACH_PORT_RIGHT_RECEIVE, -1);
    }
}

void mig_put_reply_port(mach_port_t reply_port) {
    (void)reply_port; /* it stays the thread's */
}
