/* One task cannot make the simulated kernel grow without end: names, and bytes in queues. */
#include "scenario.h"

static uint8_t buffer[60000];

int main(void) {
    unsigned names = 0, messages = 0;
    mach_port_options_t options = {.flags = MPO_QLIMIT | MPO_INSERT_SEND_RIGHT,
                                   .mpl.mpl_qlimit = MACH_PORT_QLIMIT_MAX};
    mach_port_t port, ignored;
    mach_msg_return_t result;
    MUST(mach_port_construct(SELF, &options, 0, &port));
    mach_msg_header_t *header = (mach_msg_header_t *)buffer;
    do {
        *header =
            (mach_msg_header_t){MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0), sizeof buffer, port, 0, 0, 1};
        result = mach_msg(header, MACH_SEND_MSG | MACH_SEND_TIMEOUT, sizeof buffer, 0, 0, 0, 0);
        messages++;
    } while (result == MACH_MSG_SUCCESS && messages < 2000);
    if (result != MACH_SEND_NO_BUFFER || messages > 600) {
        fprintf(stderr, "message %u: %#x\n", messages, result);
        return 1;
    }
    while ((result = mach_port_allocate(SELF, MACH_PORT_RIGHT_PORT_SET, &ignored)) == KERN_SUCCESS &&
           names < 70000) {
        names++;
    }
    if (result != KERN_NO_SPACE || names > 65536) {
        fprintf(stderr, "name %u: %#x\n", names, result);
        return 1;
    }
    return 0;
}
