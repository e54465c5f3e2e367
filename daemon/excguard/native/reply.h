/* The bytes of a reply. Inline, because the receiver's usual path makes no calls (answer.c). */
#ifndef EXCGUARD_REPLY_H
#define EXCGUARD_REPLY_H

#include "parser.h"
#include "wire.h"

static_assert(EXCGUARD_REPLY_SIZE == sizeof(struct excguard_reply), "a reply without state");

/*
 * The reply to the request at `bytes`, a struct excguard_reply, 16 bytes at a time: the compiler makes slower code of
 * an assignment of the struct. The right that came as the reply port goes back as the destination (send-once, moved).
 */
EXCGUARD_INLINE void excguard_write_reply(const uint8_t *bytes, int32_t id, int32_t ret_code,
                                          uint8_t reply[EXCGUARD_REPLY_SIZE])
{
    typedef uint32_t words __attribute__((vector_size(16)));
    const words kept = {MACH_MSGH_BITS_REMOTE_MASK, 0, UINT32_MAX, 0};
    const words size = {0, EXCGUARD_REPLY_SIZE, 0, 0};
    const words rest = {0, (uint32_t)id + EXCGUARD_REPLY_ID_OFFSET, 0, NDR_INT_LITTLE_ENDIAN};
    words head;
    memcpy(&head, bytes, sizeof head);
    head = (head & kept) | size;
    memcpy(reply, &head, sizeof head);
    memcpy(reply + sizeof head, &rest, sizeof rest);
    excguard_store32(reply + offsetof(struct excguard_reply, RetCode), (uint32_t)ret_code);
}

#endif
