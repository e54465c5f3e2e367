/* mach/message.h: one round trip a call, send and receive together. */
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "connection.h"
#include "mach/mach.h"

const security_token_t KERNEL_SECURITY_TOKEN = KERNEL_SECURITY_TOKEN_VALUE;
const audit_token_t KERNEL_AUDIT_TOKEN = KERNEL_AUDIT_TOKEN_VALUE;
NDR_record_t NDR_record = {.int_rep = NDR_INT_LITTLE_ENDIAN};

/*
 * What libsystem_kernel's mach_msg() adds to the options of the trap (libsyscall/mach/mach_msg.c,
 * xnu-11417.101.15): MACH64_MACH_MSG2 and MACH64_SEND_MQ_CALL, osfmk/mach/message.h.
 */
static const uint64_t QUEUE_CALL = 0x8000000400000000;

static size_t descriptor_size(const mach_msg_descriptor_t *descriptor) {
    return descriptor->type.type == MACH_MSG_PORT_DESCRIPTOR ? sizeof(mach_msg_port_descriptor_t)
                                                             : sizeof(mach_msg_guarded_port_descriptor_t);
}

static int is_memory(const mach_msg_descriptor_t *descriptor) {
    return descriptor->type.type == MACH_MSG_OOL_DESCRIPTOR ||
           descriptor->type.type == MACH_MSG_OOL_VOLATILE_DESCRIPTOR;
}

/* The bytes that a descriptor has out of line. */
static size_t out_of_line_size(const mach_msg_descriptor_t *descriptor) {
    if (is_memory(descriptor)) {
        return descriptor->out_of_line.size;
    }
    return descriptor->type.type == MACH_MSG_OOL_PORTS_DESCRIPTOR
               ? descriptor->ool_ports.count * sizeof(mach_port_name_t)
               : 0;
}

/* The descriptors of a complex message, one after the other, as far as they lie within it. */
struct descriptors {
    const uint8_t *at, *end;
    uint32_t left;
};

static struct descriptors descriptors_of(const mach_msg_header_t *message, size_t size) {
    struct descriptors descriptors = {0};
    if (size >= sizeof(mach_msg_base_t) && MACH_MSGH_BITS_IS_COMPLEX(message->msgh_bits)) {
        const mach_msg_base_t *base = (const mach_msg_base_t *)message;
        descriptors = (struct descriptors){(const uint8_t *)(base + 1), (const uint8_t *)message + size,
                                           base->body.msgh_descriptor_count};
    }
    return descriptors;
}

/* The next one, copied; its place in the message, or NULL after the last. */
static const uint8_t *next_descriptor(struct descriptors *descriptors, mach_msg_descriptor_t *descriptor) {
    const uint8_t *at = descriptors->at;
    size_t room = (size_t)(descriptors->end - at);
    if (!descriptors->left || room < sizeof descriptor->port) {
        return NULL;
    }
    memcpy(descriptor, at, sizeof descriptor->port);
    size_t size = descriptor_size(descriptor);
    if (room < size) {
        return NULL;
    }
    memcpy(descriptor, at, size);
    descriptors->left--;
    descriptors->at += size;
    return at;
}

int copy_from_caller(void *to, const void *from, size_t size) {
    struct iovec local = {to, size}, remote = {(void *)(uintptr_t)from, size};
    return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)size;
}

/* What a message carries out of line, behind it in one buffer; what is not there ends it early. */
static size_t gather(const mach_msg_header_t *message, size_t size, uint8_t *to, size_t room) {
    struct descriptors descriptors = descriptors_of(message, size);
    mach_msg_descriptor_t descriptor;
    size_t gathered = 0;
    while (next_descriptor(&descriptors, &descriptor)) {
        size_t bytes = out_of_line_size(&descriptor);
        if (bytes > room - gathered ||
            (bytes && !copy_from_caller(to + gathered, descriptor.out_of_line.address, bytes))) {
            break;
        }
        gathered += bytes;
    }
    return gathered;
}

static int carries_out_of_line(const mach_msg_header_t *message, size_t size) {
    struct descriptors descriptors = descriptors_of(message, size);
    mach_msg_descriptor_t descriptor;
    while (next_descriptor(&descriptors, &descriptor)) {
        if (out_of_line_size(&descriptor)) {
            return 1;
        }
    }
    return 0;
}

/* Memory that was sent with `deallocate` is the receiver's alone. */
static void deallocate_sent(const mach_msg_header_t *message, size_t size) {
    struct descriptors descriptors = descriptors_of(message, size);
    mach_msg_descriptor_t descriptor;
    while (next_descriptor(&descriptors, &descriptor)) {
        if (out_of_line_size(&descriptor) && descriptor.out_of_line.deallocate) {
            vm_deallocate(mach_task_self_, (vm_address_t)descriptor.out_of_line.address,
                          out_of_line_size(&descriptor));
        }
    }
}

/* Memory of the caller's for what a received message brought out of line. */
static void place_out_of_line(mach_msg_header_t *message, size_t size, const uint8_t *from, size_t left) {
    struct descriptors descriptors = descriptors_of(message, size);
    mach_msg_descriptor_t descriptor;
    const uint8_t *at;
    while ((at = next_descriptor(&descriptors, &descriptor))) {
        size_t bytes = out_of_line_size(&descriptor);
        vm_address_t address = 0;
        if (!bytes || bytes > left || vm_allocate(mach_task_self_, &address, bytes, VM_FLAGS_ANYWHERE)) {
            continue;
        }
        memcpy((void *)address, from, bytes);
        from += bytes;
        left -= bytes;
        descriptor.out_of_line.address = (void *)address;
        memcpy((uint8_t *)(uintptr_t)at, &descriptor, descriptor_size(&descriptor));
    }
}

static mach_msg_return_t message_call(struct call_site site, mach_msg_header_t *msg, uint64_t option,
                                      mach_msg_size_t send_size, mach_msg_size_t rcv_size,
                                      mach_port_name_t rcv_name, mach_msg_timeout_t timeout,
                                      mach_port_name_t notify, mach_msg_header_t *rcv_msg) {
    size_t size = option & MACH_SEND_MSG ? send_size : 0;
    if (size > WIRE_MESSAGE_MAX - MAX_TRAILER_SIZE) {
        return MACH_SEND_TOO_LARGE;
    }
    const void *payload = msg;
    uint8_t *gathered = NULL;
    if (carries_out_of_line(msg, size)) {
        gathered = malloc(WIRE_MESSAGE_MAX);
        if (!gathered) {
            return MACH_SEND_NO_BUFFER;
        }
        memcpy(gathered, msg, size);
        size += gather(msg, size, gathered + size, WIRE_MESSAGE_MAX - MAX_TRAILER_SIZE - size);
        payload = gathered;
    }
    mach_msg_header_t *receive_to = rcv_msg ? rcv_msg : msg;
    int interruptible = (option & (MACH_SEND_INTERRUPT | MACH_RCV_INTERRUPT)) != 0;
    struct answer answer = connection_call(
        site, WIRE_MSG,
        ARGS(option, send_size, rcv_size, rcv_name, timeout, notify, (uintptr_t)receive_to, (uintptr_t)msg),
        payload, size, interruptible);
    int comes_back = answer.flags & WIRE_TO_SEND_BUFFER;
    if (gathered && !comes_back && (answer.result & ~0x3fff) != MACH_SEND_IN_PROGRESS - 1) {
        deallocate_sent((const mach_msg_header_t *)gathered, send_size);
    }
    free(gathered);
    uint32_t room = comes_back ? send_size : rcv_size;
    mach_msg_header_t *to = comes_back ? msg : receive_to;
    if (!answer.size) {
        return answer.result;
    }
    if (answer.result == MACH_RCV_TOO_LARGE && option & MACH_RCV_LARGE) { /* only these two fields are set */
        mach_msg_header_t header;
        memcpy(&header, answer.payload, sizeof header);
        to->msgh_size = header.msgh_size;
        if (option & MACH_RCV_LARGE_IDENTITY) {
            to->msgh_local_port = header.msgh_local_port;
        }
        return answer.result;
    }
    uint32_t message_size = answer.value[1] ? (uint32_t)answer.value[1] : answer.size;
    uint32_t copied = message_size < room ? message_size : room;
    memcpy(to, answer.payload, copied);
    if (answer.size > message_size) {
        place_out_of_line(to, copied, answer.payload + message_size, answer.size - message_size);
    }
    return answer.result;
}

mach_msg_return_t mach_msg(mach_msg_header_t *msg, mach_msg_option_t option, mach_msg_size_t send_size,
                           mach_msg_size_t rcv_size, mach_port_name_t rcv_name, mach_msg_timeout_t timeout,
                           mach_port_name_t notify) {
    return message_call(CALL_SITE, msg, QUEUE_CALL | (uint32_t)option, send_size, rcv_size, rcv_name, timeout,
                        notify, NULL);
}

mach_msg_return_t mach_msg_overwrite(mach_msg_header_t *msg, mach_msg_option_t option,
                                     mach_msg_size_t send_size, mach_msg_size_t rcv_size,
                                     mach_port_name_t rcv_name, mach_msg_timeout_t timeout,
                                     mach_port_name_t notify, mach_msg_header_t *rcv_msg,
                                     mach_msg_size_t rcv_limit) {
    (void)rcv_limit; /* obsolete */
    return message_call(CALL_SITE, msg, QUEUE_CALL | (uint32_t)option, send_size, rcv_size, rcv_name, timeout,
                        notify, rcv_msg);
}

mach_msg_return_t mach_msg_send(mach_msg_header_t *msg) {
    return message_call(CALL_SITE, msg, QUEUE_CALL | MACH_SEND_MSG, msg->msgh_size, 0, MACH_PORT_NULL,
                        MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL, NULL);
}

mach_msg_return_t mach_msg_receive(mach_msg_header_t *msg) {
    return message_call(CALL_SITE, msg, QUEUE_CALL | MACH_RCV_MSG, 0, msg->msgh_size, msg->msgh_local_port,
                        MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL, NULL);
}

/* The trap of macOS 12 and earlier, still there: exported, and in no header. */
mach_msg_return_t mach_msg_overwrite_trap(mach_msg_header_t *msg, mach_msg_option_t option,
                                          mach_msg_size_t send_size, mach_msg_size_t rcv_size,
                                          mach_port_name_t rcv_name, mach_msg_timeout_t timeout,
                                          mach_msg_priority_t priority, mach_msg_header_t *rcv_msg,
                                          mach_msg_size_t rcv_limit);
mach_msg_return_t mach_msg_overwrite_trap(mach_msg_header_t *msg, mach_msg_option_t option,
                                          mach_msg_size_t send_size, mach_msg_size_t rcv_size,
                                          mach_port_name_t rcv_name, mach_msg_timeout_t timeout,
                                          mach_msg_priority_t priority, mach_msg_header_t *rcv_msg,
                                          mach_msg_size_t rcv_limit) {
    (void)rcv_limit;
    return message_call(CALL_SITE, msg, (uint32_t)option, send_size, rcv_size, rcv_name, timeout, priority,
                        rcv_msg);
}

/* The trap of macOS 13 and later, which MIG's stubs call for kernel objects: exported, and in no header. */
mach_msg_return_t mach_msg2_internal(void *data, uint64_t option64, uint64_t msgh_bits_and_send_size,
                                     uint64_t msgh_remote_and_local_port, uint64_t msgh_voucher_and_id,
                                     uint64_t desc_count_and_rcv_name, uint64_t rcv_size_and_priority,
                                     uint64_t timeout);
mach_msg_return_t mach_msg2_internal(void *data, uint64_t option64, uint64_t msgh_bits_and_send_size,
                                     uint64_t msgh_remote_and_local_port, uint64_t msgh_voucher_and_id,
                                     uint64_t desc_count_and_rcv_name, uint64_t rcv_size_and_priority,
                                     uint64_t timeout) {
    mach_msg_header_t *header = data;
    *header = (mach_msg_header_t){
        .msgh_bits = (uint32_t)msgh_bits_and_send_size,
        .msgh_size = (uint32_t)(msgh_bits_and_send_size >> 32),
        .msgh_remote_port = (uint32_t)msgh_remote_and_local_port,
        .msgh_local_port = (uint32_t)(msgh_remote_and_local_port >> 32),
        .msgh_voucher_port = (uint32_t)msgh_voucher_and_id,
        .msgh_id = (mach_msg_id_t)(msgh_voucher_and_id >> 32),
    };
    return message_call(CALL_SITE, header, option64 | 0x8000000000000000, header->msgh_size,
                        (uint32_t)rcv_size_and_priority, (uint32_t)(desc_count_and_rcv_name >> 32),
                        (uint32_t)timeout, (uint32_t)(rcv_size_and_priority >> 32), NULL);
}

/* One right of a message that was received, or that could not be sent. */
static void destroy_right(mach_port_t port, mach_msg_type_name_t disposition) {
    mach_port_t once;
    mach_msg_type_name_t kind;
    if (!MACH_PORT_VALID(port)) {
        return;
    }
    switch (disposition) {
    case MACH_MSG_TYPE_MOVE_SEND:
    case MACH_MSG_TYPE_MOVE_SEND_ONCE:
        mach_port_deallocate(mach_task_self_, port);
        break;
    case MACH_MSG_TYPE_MOVE_RECEIVE:
        mach_port_mod_refs(mach_task_self_, port, MACH_PORT_RIGHT_RECEIVE, -1);
        break;
    case MACH_MSG_TYPE_MAKE_SEND: /* made and released: the port may get a no-senders notification */
        if (mach_port_insert_right(mach_task_self_, port, port, MACH_MSG_TYPE_MAKE_SEND) == KERN_SUCCESS) {
            mach_port_deallocate(mach_task_self_, port);
        }
        break;
    case MACH_MSG_TYPE_MAKE_SEND_ONCE:
        if (mach_port_extract_right(mach_task_self_, port, MACH_MSG_TYPE_MAKE_SEND_ONCE, &once, &kind) ==
            KERN_SUCCESS) {
            mach_port_deallocate(mach_task_self_, once);
        }
        break;
    default:
        break;
    }
}

static void destroy_descriptor(const mach_msg_descriptor_t *descriptor) {
    const mach_port_name_t *names = descriptor->ool_ports.address;
    switch (descriptor->type.type) {
    case MACH_MSG_PORT_DESCRIPTOR:
        destroy_right(descriptor->port.name, descriptor->port.disposition);
        return;
    case MACH_MSG_GUARDED_PORT_DESCRIPTOR:
        if (MACH_PORT_VALID(descriptor->guarded_port.name)) {
            mach_port_destruct(mach_task_self_, descriptor->guarded_port.name, 0,
                               descriptor->guarded_port.context);
        }
        return;
    case MACH_MSG_OOL_PORTS_DESCRIPTOR:
        for (mach_msg_size_t at = 0; at < descriptor->ool_ports.count; at++) {
            destroy_right(names[at], descriptor->ool_ports.disposition);
        }
        break;
    default:
        break;
    }
    if (descriptor->out_of_line.deallocate && descriptor->type.type != MACH_MSG_OOL_VOLATILE_DESCRIPTOR &&
        out_of_line_size(descriptor)) {
        vm_deallocate(mach_task_self_, (vm_address_t)descriptor->out_of_line.address,
                      out_of_line_size(descriptor));
    }
}

void mach_msg_destroy(mach_msg_header_t *msg) {
    mach_msg_bits_t bits = msg->msgh_bits;
    destroy_right(msg->msgh_remote_port,
                  MACH_MSGH_BITS_REMOTE(bits)); /* the local port is the receiver's own */
    if (!MACH_MSGH_BITS_IS_COMPLEX(bits)) {
        return;
    }
    struct descriptors descriptors = descriptors_of(msg, msg->msgh_size);
    mach_msg_descriptor_t descriptor;
    while (next_descriptor(&descriptors, &descriptor)) {
        destroy_descriptor(&descriptor);
    }
}
