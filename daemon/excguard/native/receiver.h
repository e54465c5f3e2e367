/*
 * The thread that replies to the kernel.
 *
 * A child that broke a rule is stopped until its exception message gets a reply. So the reply comes from a
 * thread that waits for Mach only: it never runs Python, shares no lock with it, allocates nothing,
 * and between receiving a message and replying makes only the calls that turn a thread it has not seen before
 * into a pid, and, in a burst of more than 64 hits, the one that releases the identity token of an earlier
 * one. The reply and the next receive are one call, so a hit of a storm costs two kernel calls
 * (tests/native/test_receiver_calls.py).
 *
 * Each target (a watched child and its descendants) has an exception port of its own; all are members of one
 * port set that the thread receives from. The ports, the port set and the pipe stay the caller's: the
 * receiver never destroys them. What it owns is what messages bring (reply rights, task identity tokens,
 * whatever else a refused message carried), and all of it is released, on every path.
 *
 * All functions but the thread's own may be called by any thread; they return a kern_return_t.
 */
#ifndef EXCGUARD_RECEIVER_H
#define EXCGUARD_RECEIVER_H

#include <mach/mach.h>
#include <stdint.h>

#include "journal.h"

#define EXCGUARD_MAX_TARGETS 128u

enum excguard_reply_policy {
    /* KERN_FAILURE: the kernel goes on to the next handler, ReportCrash writes its report as usual. */
    EXCGUARD_REPLY_FORWARD = 0,
    /*
     * KERN_SUCCESS: no crash report. Only ever given to a hit that came with EXCEPTION_IDENTITY_PROTECTED
     * from the process that excguard_receiver_set_pid named; everything else gets KERN_FAILURE.
     */
    EXCGUARD_REPLY_CONSUME = 1,
};

struct excguard_receiver;

/* What the thread has done besides hits and refusals, which the journal counts. */
struct excguard_receiver_stats {
    uint64_t messages;       /* received, of any kind */
    uint64_t notifications;  /* from the kernel, that we ask for */
    uint64_t reply_failures; /* replies that could not be delivered: the waiting thread is gone */
    uint64_t receive_errors; /* mach_msg returns other than a message, an interruption or a too large one */
    uint64_t wakeups;        /* bytes written to wake_fd */
    int32_t last_error;      /* mach_msg_return_t of the last receive error or reply failure; 0: none */
    int32_t running;         /* 1 until the thread has ended */
};

/*
 * Starts the thread on `port_set`, writing to `journal` (which must stay open until excguard_receiver_stop).
 * `wake_fd`: write end of a pipe, non-blocking; -1: none. It gets one byte when there is something to read
 * and excguard_receiver_arm was called since the last one. The reader arms, then reads the journal, and waits
 * for the pipe when that was empty. The receiver adds a control port of its own to the set.
 */
kern_return_t excguard_receiver_start(struct excguard_journal *journal, mach_port_t port_set, int wake_fd,
                                      struct excguard_receiver **out);

/*
 * From now on a message to `port` is a hit of `target_id` (not 0). Call it before a process gets the port:
 * hits that come first are refused as unknown_port. KERN_NO_SPACE: EXCGUARD_MAX_TARGETS are in use.
 * KERN_NAME_EXISTS.
 */
kern_return_t excguard_receiver_add_target(struct excguard_receiver *receiver, mach_port_name_t port,
                                           uint32_t target_id, uint32_t reply_policy);

/* Names the target's own process; 0: none. */
kern_return_t excguard_receiver_set_pid(struct excguard_receiver *receiver, uint32_t target_id, int32_t pid);

/*
 * Takes the target's port out of the port set. When this returns every message that came from it has been
 * handled as the target's, and no further one is received: those that wait in the port end with it, which
 * the kernel takes for a handler that has failed. To be called before excguard_receiver_remove_target, or
 * what arrives between that and the port's end is refused as unknown_port. KERN_INVALID_NAME: no such target.
 */
kern_return_t excguard_receiver_silence_target(struct excguard_receiver *receiver, uint32_t target_id);

/*
 * Forgets the target. When this returns the thread handles no message of it any more, and the port can be
 * destroyed. KERN_INVALID_NAME: no such target.
 */
kern_return_t excguard_receiver_remove_target(struct excguard_receiver *receiver, uint32_t target_id);

/*
 * From now on the receiver asks for no-senders notifications of the target's port, again after each. They go
 * to a plain port of the receiver's own, for since macOS 26.4 an exception port that is named as the
 * notification port is a guard violation (INVALID_NOTIFICATION_PORT). KERN_INVALID_NAME: no such target.
 * KERN_NAME_EXISTS: it does already.
 */
kern_return_t excguard_receiver_watch_senders(struct excguard_receiver *receiver, uint32_t target_id);

/*
 * How many times the last process that held the target's port has gone, since
 * excguard_receiver_watch_senders; 0 for a target it does not know.
 */
uint64_t excguard_receiver_no_senders(struct excguard_receiver *receiver, uint32_t target_id);

/* Asks for one byte in wake_fd at the next hit or notification. */
void excguard_receiver_arm(struct excguard_receiver *receiver);

void excguard_receiver_stats(const struct excguard_receiver *receiver, struct excguard_receiver_stats *out);

/*
 * Stops the thread (by a message to its control port), waits for its end and frees the receiver. Messages
 * still in the queues stay there. NULL is allowed.
 */
void excguard_receiver_stop(struct excguard_receiver *receiver);

#endif
