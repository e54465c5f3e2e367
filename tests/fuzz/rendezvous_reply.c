/*
 * libFuzzer over the client's parser of replies. Its first two bytes choose protocol and expected server, the
 * rest is a message as it was received, in a buffer of exactly its size.
 */
#include <stdlib.h>
#include <string.h>

#include "excguard_client.h"

#define MUST(condition)   \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct excguard_client client;
    if (size < 2) {
        return 0;
    }
    uint32_t protocol = data[0] & 1;
    int32_t pid = data[1] & 1 ? 4242 : 0;
    size -= 2;
    uint8_t *message = malloc(size ? size : 1);
    memcpy(message, data + 2, size);
    int outcome = excguard_client_parse_reply(message, size, pid, protocol, &client);
    MUST(outcome == client.outcome && outcome >= 0 && outcome < EXCGUARD_CLIENT_OUTCOME_COUNT);
    MUST(client.count <= EXCGUARD_RENDEZVOUS_MAX_PORTS);
    MUST(outcome == EXCGUARD_CLIENT_GRANTED || client.count == 0);
    if (outcome <= EXCGUARD_CLIENT_OTHER_VERSION) {
        mach_msg_header_t header;
        memcpy(&header, message, sizeof header);
        MUST(header.msgh_size <= size && MACH_MSGH_BITS_IS_COMPLEX(header.msgh_bits));
        MUST(!pid || (int32_t)client.server[5] == pid);
        MUST(client.data_offset + client.data_size <= header.msgh_size);
    }
    for (uint32_t at = 0; at < client.count; at++) {
        MUST(client.ports[at].kind >= MACH_MSG_TYPE_PORT_RECEIVE &&
             client.ports[at].kind <= MACH_MSG_TYPE_PORT_SEND_ONCE);
        for (uint32_t before = 0; before < at; before++) {
            MUST(client.ports[before].key != client.ports[at].key);
        }
    }
    free(message);
    return 0;
}
