/*
 * SPDX-License-Identifier: Apache-2.0 OR MIT-0
 *
 * excguard_client: two files to build into a QA app, so that it registers excguard's exception port
 * itself.
 *
 * A parent may start a program with an exception port, and no more: exception ports of hardened programs and
 * the guard behavior of any program are set with its own task port, which no parent has. So excguard keeps
 * the port ready, and the program fetches and registers it, early in main and in one call:
 *
 *     #include "excguard_client.h"
 *     int main(void) {
 *         int outcome = excguard_client_watch_self();
 *         if (outcome > EXCGUARD_CLIENT_NOT_CONFIGURED)
 *             fprintf(stderr, "excguard: %s\n", excguard_client_outcome_name(outcome));
 *
 * Outside of excguard that call does nothing and says EXCGUARD_CLIENT_NOT_CONFIGURED. It needs `registration
 * = "rendezvous"` or "both" for the target in excguard's configuration.
 *
 * The calls below it are for programs that fetch ports of their own. Needs macOS 12; no library but
 * libSystem. What goes over the wire is described in docs/rendezvous.md of excguard.
 */
#ifndef EXCGUARD_CLIENT_H
#define EXCGUARD_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include <mach/mach.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the wire ---- */

#define EXCGUARD_RENDEZVOUS_VERSION 1
#define EXCGUARD_RENDEZVOUS_REQUEST 0x65787271    /* 'exrq': struct excguard_rendezvous_request */
#define EXCGUARD_RENDEZVOUS_REPLY 0x65787270      /* 'exrp': struct excguard_rendezvous_reply and the keys */
#define EXCGUARD_RENDEZVOUS_REGISTERED 0x65786174 /* 'exat': struct excguard_rendezvous_registered */
#define EXCGUARD_RENDEZVOUS_MAX_PORTS 32

/*
 * The keys of the ports that excguard gives to its own targets. The key of the exception port implies
 * its behavior.
 */
#define EXCGUARD_KEY_IDENTITY 0x65784944       /* 'exID': send; EXCEPTION_IDENTITY_PROTECTED */
#define EXCGUARD_KEY_STATE_IDENTITY 0x65785354 /* 'exST': send; EXCEPTION_STATE_IDENTITY_PROTECTED */
#define EXCGUARD_KEY_CONTROL 0x65784354        /* 'exCT': send; takes EXCGUARD_RENDEZVOUS_REGISTERED */

/* The protocol of Chromium's base/apple/mach_port_rendezvous.h since 2025, its "generation 3". */
#define EXCGUARD_CHROMIUM_REQUEST 0x6d727a76       /* 'mrzv' */
#define EXCGUARD_CHROMIUM_REQUEST_PLIST 0x6d727a56 /* 'mrzV' */
#define EXCGUARD_CHROMIUM_REPLY 0x4d525a56         /* 'MRZV' */
#define EXCGUARD_CHROMIUM_MAX_PORTS 6
#define EXCGUARD_CHROMIUM_MAX_DATA 18432 /* bytes of Info.plist */

/* Each struct is packed by its contents: all fields are 4 bytes wide. */
struct excguard_rendezvous_request {
    mach_msg_header_t header;
    uint32_t version;
    uint32_t total_length; /* of the message, as msgh_size */
    uint32_t flags;        /* none yet: 0 */
};

/*
 * Behind the header: mach_msg_body_t, one mach_msg_port_descriptor_t a port, this, one uint32_t key a port.
 */
struct excguard_rendezvous_tail {
    uint32_t version;
    uint32_t total_length;
    uint32_t status; /* one of the first five outcomes below */
};

struct excguard_rendezvous_registered {
    mach_msg_header_t header;
    uint32_t version;
    uint32_t total_length;
    uint32_t outcome;
    int32_t result;
};

/* ---- outcomes ---- */

enum {
    /* The server's replies. Only the first one comes with ports, possibly none. */
    EXCGUARD_CLIENT_GRANTED = 0,
    EXCGUARD_CLIENT_UNKNOWN = 1,        /* it has no ports for this process */
    EXCGUARD_CLIENT_CLAIMED_BEFORE = 2, /* this process has already received its ports */
    EXCGUARD_CLIENT_REFUSED = 3,        /* this program's code signature does not meet the requirement */
    EXCGUARD_CLIENT_OTHER_VERSION = 4,  /* it does not support this version */

    /* Failures of the client. */
    EXCGUARD_CLIENT_NOT_CONFIGURED = 5,     /* the environment names no server */
    EXCGUARD_CLIENT_NO_SERVER = 6,          /* no process offers the service */
    EXCGUARD_CLIENT_TIMED_OUT = 7,          /* no reply in time */
    EXCGUARD_CLIENT_NO_ANSWER = 8,          /* the server died or dropped the request */
    EXCGUARD_CLIENT_BAD_REPLY = 9,          /* it sent an invalid reply; all rights in it were released */
    EXCGUARD_CLIENT_WRONG_SERVER = 10,      /* another process replied */
    EXCGUARD_CLIENT_UNTRUSTED_SERVER = 11,  /* the server's code signature does not meet the requirement */
    EXCGUARD_CLIENT_SYSTEM_ERROR = 12,      /* a Mach call failed: see `result` */
    EXCGUARD_CLIENT_NO_EXCEPTION_PORT = 13, /* watch_self: ports came, but none for exceptions */
    EXCGUARD_CLIENT_NOT_REGISTERED = 14,    /* watch_self: the kernel refused to register it: see `result` */
    EXCGUARD_CLIENT_OUTCOME_COUNT
};

/* A description for logs; never NULL. */
const char *excguard_client_outcome_name(int outcome);

/* ---- the one call ---- */

/*
 * Fetches the exception port that excguard has ready for this process and registers it for EXC_MASK_GUARD of
 * the own task, with a behavior that hands out no control port; sets the task's guard behavior if excguard's
 * configuration says so; reports the result to excguard. Works once in a process and removes excguard's
 * variables from the environment, so call it before there are other threads that read it; later calls return
 * what the first one did. Returns an outcome; on EXCGUARD_CLIENT_GRANTED the program is watched.
 */
int excguard_client_watch_self(void);

/* ---- fetching ports ---- */

enum { EXCGUARD_CLIENT_PROTOCOL_EXCGUARD, EXCGUARD_CLIENT_PROTOCOL_CHROMIUM };

/* What is done about `server_requirement`. */
enum {
    EXCGUARD_CLIENT_VALIDATION_OFF,
    EXCGUARD_CLIENT_VALIDATION_REPORT, /* it is checked; the result is in `validation`, and changes nothing */
    EXCGUARD_CLIENT_VALIDATION_ENFORCE,
};

struct excguard_client_options {
    char service[128];   /* its name in the bootstrap name space; empty: none */
    int32_t server_pid;  /* the process that must reply; 0: any */
    uint32_t timeout_ms; /* for the whole exchange; 0: no limit, for debugging */
    uint32_t protocol;
    uint32_t validation;
    /* Code signing requirement, see csreq(1); NULL or "": none. The environment never sets it. */
    const char *server_requirement;
};

/*
 * Reads EXCGUARD_RENDEZVOUS_SERVICE, _SERVER_PID, _VALIDATION ("off", "report", "enforce") and _TIMEOUT
 * (seconds, 0 for no limit; default 10) and removes them. EXCGUARD_CLIENT_GRANTED, or
 * EXCGUARD_CLIENT_NOT_CONFIGURED when the first two are not there or not what they should be.
 */
int excguard_client_options_from_environment(struct excguard_client_options *options);

struct excguard_client_port {
    uint32_t key;
    mach_port_t name;
    uint32_t kind; /* MACH_MSG_TYPE_PORT_RECEIVE, _SEND or _SEND_ONCE */
};

struct excguard_client {
    int32_t outcome;
    int32_t result; /* of the Mach call behind EXCGUARD_CLIENT_NO_SERVER, _SYSTEM_ERROR, _NOT_REGISTERED */
    int32_t validation; /* OSStatus of the check of `server_requirement`; 0: fulfilled, or not checked */
    uint32_t server[8]; /* audit token of the replying process; zeros: none */
    uint32_t data_offset, data_size; /* Chromium's additional data, in the message */
    uint32_t count;                  /* of ports that were not taken */
    struct excguard_client_port ports[EXCGUARD_RENDEZVOUS_MAX_PORTS];
};

/*
 * Asks for this process's ports: one exchange, each port once. Returns the outcome, which is in `client` too.
 */
int excguard_client_acquire(const struct excguard_client_options *options, struct excguard_client *client);

/*
 * The right under `key`, which is the caller's from now on; MACH_PORT_NULL when there is none, or when it is
 * of another kind, and then it stays. Not for two threads at once.
 */
mach_port_t excguard_client_take(struct excguard_client *client, uint32_t key, mach_msg_type_name_t kind);

/* Releases the rights that were not taken. */
void excguard_client_release(struct excguard_client *client);

/* ---- the parts ---- */

/*
 * Checks a received message, `capacity` bytes with its trailer, and fills outcome, server and ports. Takes
 * nothing as given but the size of the buffer. Any outcome from EXCGUARD_CLIENT_NOT_CONFIGURED on: the
 * message still owns its rights.
 */
int excguard_client_parse_reply(const void *message, size_t capacity, int32_t server_pid, uint32_t protocol,
                                struct excguard_client *client);

/*
 * Whether the process behind an audit token runs validly signed code that fulfils a requirement: 0, or the
 * OSStatus of the Security framework, such as -67050 (errSecCSReqFailed). The framework is loaded at the
 * first call; EXCGUARD_CLIENT_NO_SECURITY when it cannot be.
 */
#define EXCGUARD_CLIENT_NO_SECURITY (-4) /* unimpErr */
int32_t excguard_client_check_signature(const uint32_t audit_token[8], const char *requirement);
/* Whether a text is a valid requirement: 0 or an OSStatus, such as -67052 (errSecCSReqInvalid). */
int32_t excguard_client_check_requirement(const char *requirement);

#ifdef __cplusplus
}
#endif

#endif
