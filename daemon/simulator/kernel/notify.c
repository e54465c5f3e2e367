/* Messages about the fate of ports (osfmk/mach/notify.defs), from the kernel to a send-once right. */
#include <string.h>

#include "kernel.h"

static void send(struct message *message, struct port *once) {
    message_set_destination(message, once, MACH_MSG_TYPE_PORT_SEND_ONCE);
    message_deliver(message);
}

/* NDR record and one number behind the header: the form of four of the notifications. */
static void send_number(struct port *once, int32_t id, uint32_t number) {
    struct message *message = message_new(offsetof(mach_dead_name_notification_t, trailer), 0, id);
    message->bytes[offsetof(mach_dead_name_notification_t, NDR) + offsetof(NDR_record_t, int_rep)] =
        NDR_INT_LITTLE_ENDIAN;
    memcpy(message->bytes + offsetof(mach_dead_name_notification_t, not_port), &number, sizeof number);
    send(message, once);
}

void notify_no_senders(struct port *once, uint32_t mscount) {
    send_number(once, MACH_NOTIFY_NO_SENDERS, mscount);
}

void notify_dead_name(struct port *once, mach_port_name_t name) {
    send_number(once, MACH_NOTIFY_DEAD_NAME, name);
}

void notify_port_deleted(struct port *once, mach_port_name_t name) {
    send_number(once, MACH_NOTIFY_PORT_DELETED, name);
}

void notify_send_possible(struct port *once, mach_port_name_t name) {
    send_number(once, MACH_NOTIFY_SEND_POSSIBLE, name);
}

void notify_port_destroyed(struct port *once, struct port *receive_right) {
    struct message *message =
        message_new(offsetof(mach_port_destroyed_notification_t, trailer), 1, MACH_NOTIFY_PORT_DESTROYED);
    message_set_descriptor(message, 0, offsetof(mach_port_destroyed_notification_t, not_port), receive_right,
                           MACH_MSG_TYPE_PORT_RECEIVE);
    for (struct port *at = once; at; at = at->destination) {
        if (at == receive_right) { /* on its way into its own queue: it could never be received */
            message_set_destination(message, once, MACH_MSG_TYPE_PORT_SEND_ONCE);
            message_destroy(message);
            return;
        }
    }
    if (once->active) {
        port_reference(once);
        receive_right->destination = once;
    }
    send(message, once);
}

void notify_send_once(struct port *once) {
    send(message_new(offsetof(mach_send_once_notification_t, trailer), 0, MACH_NOTIFY_SEND_ONCE), once);
}
