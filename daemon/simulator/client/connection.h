/* The calling thread's connection to the simulated kernel. */
#ifndef EXCSIM_CONNECTION_H
#define EXCSIM_CONNECTION_H

#include <stddef.h>
#include <stdint.h>

#include "mach/kern_return.h"
#include "wire.h"

/* Where an Apple function was called from, for the thread state that guard exceptions show. */
struct call_site {
    uint64_t pc, sp, fp;
};
/*
 * In the function that the program calls: its frame pointer register is still the caller's in its own frame.
 */
#define CALL_SITE                                                         \
    ((struct call_site){(uint64_t)(uintptr_t)__builtin_return_address(0), \
                        (uint64_t)(uintptr_t)__builtin_dwarf_cfa(),       \
                        *(const uint64_t *)__builtin_frame_address(0)})

/* The answer; its payload is valid until the thread's next call. */
struct answer {
    kern_return_t result;
    uint32_t flags;
    uint64_t value[2];
    uint32_t size;
    const uint8_t *payload;
};

/*
 * Makes a call: up to eight arguments as an initializer of `struct wire_request.arg`, and a payload.
 * MIG_SERVER_DIED without a kernel: it has ended, or EXCSIM_SOCKET names none, which is said once on stderr.
 */
struct answer connection_call(struct call_site site, enum wire_op op, const uint64_t arg[8],
                              const void *payload, size_t size, int interruptible);
#define ARGS(...) ((const uint64_t[8]){__VA_ARGS__})
#define CALL(op, ...) connection_call(CALL_SITE, op, ARGS(__VA_ARGS__), NULL, 0, 0)

/* Whether EXCSIM_SOCKET names a kernel. */
int connection_is_configured(void);
/* The 64-bit id of the calling thread; 0 without a kernel. */
uint64_t connection_thread_id(void);
/* The thread's cached MIG reply port; lives as long as the thread. */
uint32_t *connection_reply_port(void);
/* Copies memory of the program's that may not be there; 0: it is not (message.c). */
int copy_from_caller(void *to, const void *from, size_t size);

#endif
