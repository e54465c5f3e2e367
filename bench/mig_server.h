/*
 * A stand-in for the server that MIG generates from mach_exc.defs, for the two messages that excguard
 * receives: it checks the layout of the request as the generated code does, calls the server's function, and
 * fills in the reply. Written by hand, and calibrated to the instructions a message that Apple's generated
 * code takes at -O3 (macOS 26.4 SDK): 67 without and 106 with the thread state of x86_64.
 */
#ifndef MIG_SERVER_H
#define MIG_SERVER_H

#include <stdbool.h>

#include <mach/message.h>

/* Answers `request`, behind which is its trailer, in `reply`; false for a message that it does not know. */
bool mig_server(mach_msg_header_t *request, mach_msg_header_t *reply);

#endif
