/*
 * The simulated kernel: tasks and threads, port name spaces, ports, messages, exceptions. One process, one
 * thread.
 *
 * Written after the documented behavior of XNU; where a comment cites a file, it is of xnu-11417.121.6
 * (macOS 15.5) unless it says otherwise, and "26" stands for the sources of macOS 26.
 *
 * Who owns what: a `struct port` lives as long as its references. Each send right and each send-once right,
 * wherever it is (a name space, a message, an exception port, a notification request), holds one reference,
 * and so does the receive right. Functions that are said to consume a right take that reference over,
 * whatever they return.
 */
#ifndef EXCSIM_KERNEL_H
#define EXCSIM_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "excsim.h"
#include "guard.h"
#include "mach/arm/thread_status.h"
#include "mach/i386/thread_status.h"
#include "mach/mach.h"
#include "mach/notify.h"
#include "servers/bootstrap.h"

#include "list.h"
#include "rules.h"
#include "wire.h"

struct port;
struct space;
struct task;
struct thread;

/* ---- what is simulated (release.c) ---- */

enum arch { ARCH_X86_64, ARCH_ARM64 };

struct settings {
    uint32_t release; /* major * 10000 + minor * 100 + patch */
    char release_text[16];
    enum arch arch;
    bool developer_mode;
    uint32_t guard_default;   /* task_exc_guard of new tasks */
    uint32_t port_table_size; /* how far a task's table of names grows */
};
extern struct settings settings;

/* What hardened tasks start with (_TASK_EXC_GUARD_ALL_FATAL, osfmk/kern/task.c). */
enum {
    HARDENED_FLAGS = TASK_EXC_GUARD_MP_DELIVER | TASK_EXC_GUARD_MP_FATAL | TASK_EXC_GUARD_VM_DELIVER |
                     TASK_EXC_GUARD_VM_FATAL
};

bool release_parse(const char *text); /* sets settings.release and its text */
/*
 * The value of a sysctl; false if there is none of that name. *size: in, room; out, bytes, 0 if there was no
 * room.
 */
bool release_sysctl(const char *name, void *value, size_t *size);

/* ---- guards (guard.c) ---- */

enum guard {
    GUARD_DESTROY,
    GUARD_MOD_REFS,
    GUARD_MOD_REFS_NON_FATAL,
    GUARD_INVALID_OPTIONS,
    GUARD_SET_CONTEXT,
    GUARD_EXCEPTION_BEHAVIOR_ENFORCE,
    GUARD_SERVICE_PORT_VIOLATION_FATAL,
    GUARD_UNGUARDED,
    GUARD_KOBJECT_REPLY_PORT_SEMANTICS,
    GUARD_REQUIRE_REPLY_PORT_SEMANTICS,
    GUARD_INCORRECT_GUARD,
    GUARD_IMMOVABLE,
    GUARD_INVALID_NOTIFICATION_REQ,
    GUARD_INVALID_MPO_ENTITLEMENT,
    GUARD_DESCRIPTOR_VIOLATION,
    GUARD_INVALID_RIGHT,
    GUARD_INVALID_NAME,
    GUARD_INVALID_VALUE,
    GUARD_INVALID_ARGUMENT,
    GUARD_KERN_FAILURE,
    GUARD_SEND_INVALID_REPLY,
    GUARD_SEND_INVALID_VOUCHER,
    GUARD_SEND_INVALID_RIGHT,
    GUARD_RCV_INVALID_NAME,
    GUARD_WEAK_REPLY_PORT,
    GUARD_MOVE_WEAK_REPLY_PORT,
    GUARD_INVALID_NOTIFICATION_PORT,
    GUARD_MACH_EXC_THREAD_SET_STATE,
    GUARD_COUNT,
};

enum { TYPE_MACH_PORT = 1, TYPE_VIRT_MEMORY = 5 };

void guard_init(void); /* after release_parse */
/* Whether the simulated release has this guard. */
bool guard_exists(enum guard guard);
bool guard_is(uint64_t code, enum guard guard);
/* The current thread will raise this one before it returns, unless a more severe one is pending. */
void guard_raise(enum guard guard, uint32_t target, uint64_t payload);
/* The same for a deallocation of unmapped memory: kGUARD_EXC_DEALLOC_GAP. */
void guard_raise_gap(uint64_t address);
/*
 * The payload of a guard that carries its reason (RULE_REASONS): reason << 56 | high << 32 | low; 0 before.
 */
uint64_t guard_reason(uint8_t reason, uint32_t high, uint32_t low);
/* What the kernel makes of the options of a message: its own bits for the task are added. */
uint64_t message_options(const struct task *task, uint64_t options);
/* On the simulated release; a guard type that the tables lack counts as soft. */
enum excguard_severity guard_severity(uint64_t code);

/* ---- ports (port.c) ---- */

/* The numbers of osfmk/ipc/ipc_types.h of macOS 26.4. Payloads show port_type_number(). */
enum port_type {
    PORT_PLAIN = 1,
    PORT_SERVICE = 2,
    PORT_BOOTSTRAP = 3,
    PORT_WEAK_SERVICE = 4,
    PORT_CONNECTION = 5,
    PORT_CONNECTION_WITH_ARRAY = 6,
    PORT_NOTIFICATION = 7,
    PORT_EXCEPTION = 8,
    PORT_REPLY = 10,
    PORT_SPECIAL_REPLY = 11,
    PORT_WEAK_REPLY = 12,
    PORT_THREAD_CONTROL = 13,
    PORT_THREAD_READ = 14,
    PORT_TASK_CONTROL = 17,
    PORT_TASK_READ = 18,
    PORT_TASK_INSPECT = 19,
    PORT_TASK_NAME = 20,
    PORT_TASK_ID_TOKEN = 22,
    PORT_HOST = 24,
    PORT_EXCEPTION_REPLY = 64, /* where a thread of the kernel waits for the answer to an exception message */
};

/* The number that the simulated release has for a type. */
uint32_t port_type_number(enum port_type type);

/* What follows from a port's type since macOS 26 (RULE_PORT_TYPES). */
struct port_policy {
    bool stays;       /* its receive right does not move */
    bool sends_stay;  /* nor do its send rights */
    bool reply_ports; /* messages to it name real reply ports */
    bool no_senders;  /* may ask for this notification, and for the next */
    bool port_destroyed;
};
const struct port_policy *port_policy(const struct port *port);

struct port {
    uint32_t refs;
    enum port_type type;
    bool active;
    bool in_kernel;           /* the receive right is the kernel's */
    struct space *receiver;   /* whose receive right it is; NULL in limbo or in transit */
    mach_port_name_t name;    /* in that space */
    struct port *destination; /* in transit: the port whose queue holds the message with the receive right */
    uint32_t srights, sorights; /* extant */
    uint32_t mscount;           /* send rights made since the receive right came here */
    uint32_t seqno;             /* of the next message received */
    uint32_t qlimit;
    uint32_t msgcount;
    bool guarded, strict_guard, immovable, enforce_reply_semantics;
    bool importance, tempowner;    /* set by MPO_ flags and attributes, and given back as mps_flags */
    bool special_reply;            /* of a thread, for synchronous calls; it stays, whatever its type */
    bool throttled;                /* MACH_PORT_SERVICE_THROTTLED */
    struct request_slot *requests; /* its table of requests; NULL: there were none */
    uint32_t requests_size;        /* of the table; slot 0 is not used */
    uint32_t requests_free;        /* the first free slot; 0: none */
    uint64_t context;
    struct port *nsrequest, *pdrequest; /* send-once rights to notify; or NULL */
    struct list messages;               /* struct message */
    struct list receivers, senders;     /* struct thread that waits for a message, for room */
    struct list entries;                /* struct entry with send or receive rights */
    struct list once_entries;           /* struct entry with a send-once right */
    struct list members;                /* struct member: the port sets that it is in */
    void *kobject;                      /* struct task or struct thread */
    mach_service_port_info_t service;   /* of a service port: its name and domain; NULL else */
};

struct pset {
    struct space *space;
    mach_port_name_t name;
    struct list members;   /* struct member */
    struct list preposted; /* those of them that had messages when the set was last looked at */
    struct list receivers; /* struct thread */
};

struct member {
    struct list in_port, in_set;
    bool preposted; /* in which list of the set it is */
    struct port *port;
    struct pset *set;
};

/* A request for notifications about a name (struct ipc_port_request). */
struct request_slot {
    struct entry *entry; /* that has it; NULL: the slot is free */
    uint32_t next;       /* free slot */
};

/* A port that stands for MACH_PORT_DEAD in the place of a right. */
#define PORT_DEAD ((struct port *)-1)
static inline bool port_valid(const struct port *port) {
    return port != NULL && port != PORT_DEAD;
}

/* A new port with one reference, for its receive right. */
struct port *port_new(enum port_type type);
struct port *port_new_kernel(enum port_type type, void *kobject);
void port_reference(struct port *port);
void port_release(struct port *port);
/* New rights; each returns its argument. */
struct port *port_make_send(struct port *port);
struct port *port_copy_send(struct port *port);
struct port *port_make_once(struct port *port);
/* Ends of rights. A send-once right that goes unused notifies its port. */
void port_release_send(struct port *port);
void port_release_once(struct port *port);
void port_drop_once(struct port *port); /* used: no notification */
/*
 * All rights of a name (MACH_PORT_TYPE_*). When both end, who waits for no senders is notified after the port
 * is gone (ipc_right_destroy).
 */
void port_release_rights(struct port *port, uint32_t type);
/* Any right of a received kind (MACH_MSG_TYPE_PORT_*), valid or not. */
void port_release_right(struct port *port, mach_msg_type_name_t kind);
/*
 * Consumes the receive right: the port dies, or goes back to who asked for its port-destroyed notification.
 */
void port_destroy(struct port *port);
/* The receive right leaves its space: waiters are sent away, guards and sets fall off. */
void port_leave_space(struct port *port);
bool port_is_reply(const struct port *port); /* a real reply port: only send-once rights */
/* Names a port that is to be a service; `info` has a terminated name. */
void port_set_service(struct port *port, const mach_service_port_info_data_t *info);
bool port_is_any_service_type(enum port_type type);
/* Whether its receive right stays where it is. */
bool port_stays(const struct port *port);
bool port_is_kobject(const struct port *port);

/*
 * The entry's request gets a slot in the table of its port, whose order is that of the notifications
 * (ipc_port_request_alloc), or gives it back.
 */
void port_add_request(struct port *port, struct entry *entry);
void port_remove_request(struct port *port, struct entry *entry);
/* Makes room for requests; false: for so many there is none. */
bool port_grow_requests(struct port *port, uint32_t size);
/* Notifies who armed a request, whether there is room in the queue or not (ipc_port_spnotify). */
void port_notify_send_possible(struct port *port);

struct pset *pset_new(struct space *space);
void pset_destroy(struct pset *set);
bool pset_contains(const struct pset *set, const struct port *port);
void pset_insert(struct pset *set, struct port *port);
bool pset_extract(struct pset *set, struct port *port); /* false: it was no member */
void pset_extract_all(struct port *port, const struct pset *except);
/* The port has a message: its sets hear of it, in the order of the ports (waitq_link_prepost_locked). */
void pset_prepost(struct port *port);
/* The member to receive from next; it goes to the end, so that none starves (waitq_set_first_prepost). */
struct port *pset_first_prepost(struct pset *set);

/* ---- name spaces (space.c) ---- */

enum {
    BITS_UREFS = 0x0000ffff,
    BITS_TYPE = 0x001f0000,
    BITS_EX_RECEIVE = 0x00200000, /* was a receive right */
    BITS_PINNED = 0x00400000,     /* the last send right must stay */
    BITS_IMMOVABLE = 0x00800000,  /* its send rights must stay */
    UREFS_MAX = 0xffff,
    SPACE_SIZE_MIN = 256, /* entries of a table, the first of which is never used */
    SPACE_SIZE_MAX = 65536,
};

/* Of the request for a notification that an entry carries (ie_request and its slot in the port's table). */
enum request_state {
    REQUEST_NONE,
    REQUEST_DEAD_NAME,
    REQUEST_SEND_POSSIBLE, /* and of the port's death */
    REQUEST_ARMED,         /* send-possible, after a send that found the queue full */
    REQUEST_SPENT,         /* the send-possible notification was sent: the slot stays in use */
};

struct entry {
    uint32_t bits;  /* as above; the generation in the top byte, as in the kernel's ie_bits */
    uint32_t index; /* of this entry */
    struct space *space;
    union {
        struct port *port;
        struct pset *set;
    };
    struct port *request; /* send-once right to notify, or NULL: none was asked for, or it was notified */
    enum request_state request_state;
    uint32_t request_slot; /* in the port's table; 0: none */
    struct list in_port;   /* or in the list of free entries */
};

struct space {
    struct task *task;
    struct entry **chunks;
    uint32_t chunk_count;
    uint32_t used; /* entries */
    bool full;     /* it was asked for more than the largest table holds */
    bool full_handled;
    struct list free;
};

struct space *space_new(struct task *task);
uint32_t space_size(const struct space *space); /* of the table: how many names it has room for */
void space_destroy(struct space *space);
mach_port_name_t entry_name(const struct entry *entry);
static inline uint32_t entry_type(const struct entry *entry) {
    return entry->bits & BITS_TYPE;
}
/* Whether a dead-name notification of it is due or was sent, and so its user reference. */
static inline bool entry_asks_for_dead_name(const struct entry *entry) {
    return entry->request_state != REQUEST_NONE && entry->request_state != REQUEST_SPENT;
}
static inline uint32_t entry_request_type(const struct entry *entry) { /* ipc_port_request_type */
    bool send_possible =
        entry->request_state == REQUEST_SEND_POSSIBLE || entry->request_state == REQUEST_ARMED;
    return (entry_asks_for_dead_name(entry) ? MACH_PORT_TYPE_DNREQUEST : 0) |
           (send_possible ? MACH_PORT_TYPE_SPREQUEST : 0) |
           (entry->request_state == REQUEST_SEND_POSSIBLE ? MACH_PORT_TYPE_SPREQUEST_DELAYED : 0);
}
static inline uint32_t entry_urefs(const struct entry *entry) {
    return entry->bits & BITS_UREFS;
}
struct entry *space_lookup(struct space *space, mach_port_name_t name);
/* The entry at an index, or NULL when it is unused or there is none. */
struct entry *space_at(struct space *space, uint32_t index);
/*
 * A free entry, typed MACH_PORT_TYPE_NONE; NULL: the space is full.
 */
struct entry *space_allocate(struct space *space);
/*
 * The entry of a name: a free one (MACH_PORT_TYPE_NONE), which becomes the name's own, or the one that has
 * that name already. KERN_NO_SPACE, KERN_INVALID_VALUE, KERN_FAILURE: there can be none
 * (ipc_entry_alloc_name, osfmk/ipc/ipc_entry.c).
 */
kern_return_t space_allocate_name(struct space *space, mach_port_name_t name, struct entry **entry);
/* Whether the task is to be ended because its space is full; true only the first time. */
bool space_take_full(struct space *space);
void space_free(struct entry *entry); /* the rights are gone already */
/* BITS_IMMOVABLE if send rights to the port that come to the entry's task stay there; 0 else. */
uint32_t entry_immovable_bit(const struct entry *entry, const struct port *port);
/* The entry that holds send or receive rights to the port. */
struct entry *space_find(struct space *space, struct port *port);
/* Ties an entry to a port, and unties it. */
void entry_attach(struct entry *entry, struct port *port, uint32_t type);
void entry_detach(struct entry *entry);
/* Takes the dead-name request off; returns its send-once right or NULL. */
struct port *entry_cancel_request(struct entry *entry);
void entry_end(struct entry *entry); /* it, its rights, and then a request on it */
/* Turns an entry whose port died into a dead name; true if it was so. */
bool entry_check(struct entry *entry, bool allow_dead_once);

/*
 * Puts a right (consumed) into a space; 0: the space is full; MACH_PORT_DEAD: the port is dead. The right is
 * released then.
 */
mach_port_name_t space_copyout(struct space *space, struct port *port, mach_msg_type_name_t kind);
/* The same under a chosen name. */
kern_return_t space_copyout_name(struct space *space, struct port *port, mach_msg_type_name_t kind,
                                 mach_port_name_t name);
void space_census(struct space *space, struct excsim_space_census *census);

/* ---- rights in name spaces (right.c) ---- */

kern_return_t right_deallocate(struct entry *entry);
kern_return_t right_destroy(struct entry *entry);
kern_return_t right_delta(struct entry *entry, mach_port_right_t right, int32_t delta);
kern_return_t right_destruct(struct entry *entry, int32_t srdelta, uint64_t guard);

/* Where a right is taken to. The numbers show in payloads (ipc_copyin_op_t, xnu-12377). */
enum copyin_place {
    COPYIN_DESTINATION = 1, /* of a message */
    COPYIN_REPLY_PORT = 2,  /* the local port of a message */
    COPYIN_PORT_DESCRIPTOR = 4,
    COPYIN_GUARDED = 5, /* port descriptor */
    COPYIN_ARRAY = 6,   /* of ports, out of line */
    COPYIN_CALL = 7,    /* the port argument of a kernel call */
};
enum copyin_flags {
    COPYIN_DEAD_OK = 1,      /* a dead name gives PORT_DEAD */
    COPYIN_IMMOVABLE_OK = 2, /* the right goes to the kernel, or is only used */
    COPYIN_MOVES_TWO = 4,    /* of send rights, and one reference more */
};
/* What a guarded port descriptor says of its port. */
struct guarded_send {
    uint64_t context;
    uint32_t flags; /* MACH_MSG_GUARD_FLAGS_ */
};
/* Takes a right out of a space as a message would; *port may become PORT_DEAD. */
kern_return_t right_copyin(struct entry *entry, mach_msg_type_name_t disposition, enum copyin_place place,
                           int flags, const struct guarded_send *guarded, struct port **port);
/* Whether right_copyin of a message's local port would work; may raise guards. */
bool right_check_reply(struct entry *entry, mach_msg_type_name_t disposition,
                       const struct entry *destination);
/* Whether an entry has a dead port behind it, or none. */
bool right_is_dead(const struct entry *entry);
/* What a disposition becomes on its way; 0 if it is none. */
mach_msg_type_name_t right_received_kind(mach_msg_type_name_t disposition);
/* A receive right of the space, without a guard when it is none. */
kern_return_t right_translate_receive(struct space *space, mach_port_name_t name, struct port **port);

/* ---- messages (message.c, receive.c, notify.c) ---- */

/* A right, or what stands in the place of one: NULL, PORT_DEAD. */
struct carried {
    struct port *port;
    mach_msg_type_name_t kind; /* MACH_MSG_TYPE_PORT_; 0: the disposition was none */
};

struct descriptor {
    uint32_t type;             /* MACH_MSG_*_DESCRIPTOR */
    uint32_t offset;           /* in the message */
    struct carried right;      /* of a port or guarded port descriptor */
    struct guarded_send guard; /* of a guarded one */
    struct carried *array;     /* of an array of ports, `count` of them */
    uint8_t *memory;           /* out of line, `count` bytes */
    uint32_t count;
};

struct message {
    struct list link; /* in a port's queue, or among the dead */
    struct port *destination;
    struct port *reply;
    mach_msg_type_name_t destination_kind, reply_kind;
    struct task *charged; /* whose queued bytes these are; NULL: the kernel's */
    security_token_t security;
    audit_token_t audit;
    uint32_t size;
    uint32_t out_of_line; /* bytes of arrays and memory, as the receiver gets them */
    uint32_t descriptor_count;
    struct descriptor *descriptors;
    uint8_t *bytes; /* as the user sees them; ports are filled in at receipt */
};

struct message *message_allocate(uint32_t size, uint32_t descriptor_count);
/*
 * A message of the kernel with room for `size` bytes, zeroed but for the header's size, id and complex bit.
 */
struct message *message_new(uint32_t size, uint32_t descriptor_count, int32_t id);
void message_set_destination(struct message *message, struct port *port,
                             mach_msg_type_name_t kind);                                       /* consumes */
void message_set_reply(struct message *message, struct port *port, mach_msg_type_name_t kind); /* consumes */
void message_set_descriptor(struct message *message, uint32_t index, uint32_t offset, struct port *port,
                            mach_msg_type_name_t kind);
/*
 * A message from the bytes of a thread's request, its rights taken out of the sender's space (copyin.c). NULL
 * in *result without a failure: it is swallowed.
 */
mach_msg_return_t message_copyin(struct thread *thread, uint64_t options, const uint8_t *bytes, uint32_t size,
                                 const uint8_t *out_of_line, uint32_t out_of_line_size,
                                 struct message **result);
/* Releases the message and all its rights, at once or, when that is going on already, soon. */
void message_destroy(struct message *message);
/* Releases the ports of an array alone. */
void message_release_array(struct descriptor *descriptor);
/* Gives the message to its destination: a waiting receiver, the queue, or a kernel object. Consumes it. */
void message_deliver(struct message *message);
void message_dequeue(struct port *port, struct message *message);
/* Whether the queue of the destination has no room for it. */
bool message_is_blocked(const struct message *message);
/* The queued message of that sequence number, or the first for 0; NULL: there is none. */
const struct message *message_at(const struct port *port, uint32_t seqno);
/* mach_msg(2); true: the thread waits. */
bool message_trap(struct thread *thread, const struct wire_request *request, const uint8_t *payload);
/* The wait of a thread in mach_msg(2) ends. */
void message_timed_out(struct thread *thread);
void message_interrupt(struct thread *thread);
void message_sender_resume(struct thread *thread); /* there is room, or the port died */
void message_queue_moved(struct port *port);       /* a message was taken, the limit raised, the port died */

/* As many bytes of a trailer as the options ask for. */
void receive_write_trailer(uint8_t *at, uint32_t option, const struct message *message, uint32_t seqno,
                           uint64_t context);
/* Receives for the thread in its current mach_msg(2); true: it waits. */
bool receive_start(struct thread *thread);
/*
 * Hands the message to a waiting thread; false: the thread's buffer is too small and it gets an error, the
 * message stays.
 */
bool receive_take(struct thread *thread, struct port *port, struct message *message);
/* Puts a message that could not be sent back into the sender's hands. */
void receive_back(struct thread *thread, struct message *message);
void receive_fail(struct thread *thread, mach_msg_return_t result); /* ends a wait */

/* Notifications: each consumes the send-once right. */
void notify_no_senders(struct port *once, uint32_t mscount);
void notify_dead_name(struct port *once, mach_port_name_t name);
void notify_port_deleted(struct port *once, mach_port_name_t name);
void notify_send_possible(struct port *once, mach_port_name_t name);
void notify_port_destroyed(struct port *once, struct port *receive_right); /* consumes both */
void notify_send_once(struct port *once);

/* ---- tasks and threads (task.c) ---- */

struct action {
    struct port *port; /* a send right or NULL */
    uint32_t behavior;
    uint32_t flavor;
};

struct task {
    struct list link;
    uint32_t refs;
    bool alive;
    bool killed; /* by this kernel; its end has not been seen yet */
    pid_t pid;
    int pidfd;
    uid_t uid;
    gid_t gid;
    uint32_t pid_version;
    uint64_t image[2];               /* of the program that runs, {0, 0} until it spoke */
    char name[16];                   /* of that program, "" until it was asked for: task_name() */
    struct wire_signature signature; /* of that program */
    int hardened;                    /* level */
    uint32_t policy;                 /* enum excsim_policy */
    bool one_exception_port; /* and no other than task_register_hardened_exception_handler() registers */
    uint32_t exc_guard;
    bool made_weak_reply_port, moved_weak_reply_port; /* reported once a task */
    struct space *space;
    struct action actions[EXC_TYPES_COUNT];
    struct port *ports[4];  /* by TASK_FLAVOR_; receive rights of the kernel */
    struct port *movable;   /* another control port, which may leave the task; likewise */
    struct port *bootstrap; /* a send right or NULL */
    struct list threads;
    uint64_t queued_bytes; /* of its messages that were not yet received */
    struct list spawns;    /* struct spawn */
};

/* An EXC_GUARD that a thread will raise on its way out of the kernel. */
struct pending_guard {
    uint64_t code, subcode;
    bool sticky; /* may not be replaced */
};

enum raise_purpose { RAISE_GUARD, RAISE_OTHER, RAISE_CRASH };

/* An exception that a thread is raising. */
struct raising {
    enum raise_purpose purpose;
    exception_type_t exception;
    uint64_t code, subcode;
    bool fatal;
    exception_type_t cause; /* of a RAISE_CRASH: the unhandled exception, its code, the signal it ends in */
    uint64_t cause_code;
    int signal;
    uint32_t expected_id; /* of the reply */
    uint32_t state_flavor, state_count;
    bool at_task;    /* the thread's own handler has had it */
    bool in_message; /* waits for the reply */
};

enum thread_wait { WAIT_NONE, WAIT_SEND, WAIT_RECEIVE };

struct thread {
    struct list link;  /* in its task, or among the dead */
    struct list wait;  /* in a port's or a set's waiters */
    struct list timer; /* among those that wait with a deadline */
    int fd;
    struct task *task; /* NULL before the first word */
    uint64_t id;
    bool alive;
    struct port *control, *read; /* receive rights of the kernel */
    struct port *reply_port;     /* for the answers to its exceptions; a receive right of the kernel */

    bool busy;                   /* a request has no reply yet */
    struct wire_request request; /* the current one */
    uint64_t received_to;        /* the buffer of its last receive (ith_msg_addr) */
    enum thread_wait waiting;
    uint64_t deadline; /* of the wait, in ns */
    struct message *sending;
    struct port *waiting_port; /* a reference, while it waits */
    struct pset *waiting_set;

    struct action *actions; /* EXC_TYPES_COUNT of them, before the task's; NULL: none were set */
    struct pending_guard guard;
    struct raising raising;
    uint64_t repeat; /* how many times more to raise repeat_* */
    exception_type_t repeat_exception;
    uint64_t repeat_code, repeat_subcode;

    struct wire_reply reply;
    uint8_t *reply_payload; /* grows; of reply.size bytes */
    size_t reply_room;
};

extern struct thread *current; /* whose request is being served */
extern struct list all_tasks;
extern struct excsim_kernel_census counts;

void task_exit(void); /* after the last task */
struct task *task_find(pid_t pid);
/* The task of a living process of the same user, made if it was unknown; NULL if there is none. */
struct task *task_of_pid(pid_t pid);
void task_reference(struct task *task);
void task_release(struct task *task);
void task_die(struct task *task); /* its process has ended */
void task_kill(struct task *task, int signal);
void task_set_policy(struct task *task, uint32_t policy); /* enum excsim_policy */
/*
 * Whether the rules of an enhanced security level apply to the task: 0 the hardened runtime, 1, 2
 * (ipc_should_apply_policy, ipc_policy.c of xnu-12377).
 */
bool task_restricted(const struct task *task, int level);
/* The task's ipc_space_policy_t, as macOS 26.0 numbers it. */
uint32_t task_space_policy(const struct task *task);
void task_harden(struct task *task, int level, bool one_exception_port);
const char *task_name(struct task *task); /* of the program that it runs */
/* A send right to the task's port of that flavor. */
struct port *task_port(struct task *task, mach_task_flavor_t flavor);
struct port *thread_port(struct thread *thread, bool control);
/* A send right to a control port of a hardened task that may leave it. */
struct port *task_movable_port(struct task *task);
struct port *task_token(struct task *task);
struct port *task_host_port(void);
/* The living task that a port stands for with at least that much power; NULL if none. */
struct task *task_from_port(const struct port *port, mach_task_flavor_t weakest);
void task_set_action(struct action *action, struct port *port, uint32_t behavior,
                     uint32_t flavor); /* consumes port */

struct thread *thread_new(int fd);
/* The connection is a thread of this process from now on; false: refuse it. */
bool thread_hello(struct thread *thread, pid_t pid, uid_t uid, gid_t gid);
/* The thread's exception actions, by exception; all empty at first. */
struct action *thread_actions(struct thread *thread);
void thread_destroy(struct thread *thread);
void thread_payload(struct thread *thread, const void *bytes, size_t size); /* of the reply */
/* The request is done: raises what waits to be raised, then replies. */
void thread_return(struct thread *thread);
void thread_cancel_wait(struct thread *thread);

kern_return_t spawn_prepare(struct thread *thread, mach_port_name_t bootstrap,
                            const struct wire_action *actions, uint32_t count);
kern_return_t spawn_commit(struct task *parent, uint64_t token, pid_t pid);
void spawn_cancel(struct task *parent, uint64_t token);

/* ---- exceptions (exception.c) ---- */

void exception_set_ports(struct action *actions, uint32_t mask, struct port *port, uint32_t behavior,
                         uint32_t flavor); /* of valid arguments; consumes port */
kern_return_t exception_validate(struct task *task, uint32_t mask, struct port *port, uint32_t behavior,
                                 uint32_t flavor);
kern_return_t exception_get_ports(struct thread *thread, const struct action *actions, uint32_t mask,
                                  uint32_t count);
/* Raises what waits, one after the other, until one has to wait for its handler; true: nothing waits. */
bool exception_run(struct thread *thread);
/*
 * A message came to a thread's exception reply port, or (NULL) the right to it was lost. Consumes the
 * message.
 */
void exception_reply(struct thread *thread, struct message *message);
bool exception_crash_report(uint64_t index, struct excsim_crash_report *report);
/* EXCSIM_LOG_LINE bytes, or NULL: it is not kept any more. */
const char *exception_log_line(uint64_t index);

/* ---- launchd's name space (bootstrap.c) ---- */

void bootstrap_init(void);
struct port *bootstrap_send_right(void);
kern_return_t bootstrap_call(struct thread *thread, const struct wire_request *request, const char *name);
void bootstrap_exit(void);

/* ---- calls (call.c) and the loop (main.c) ---- */

/* Serves a request; true: its reply comes later. `false` in *sane: the client broke the protocol. */
bool call_dispatch(struct thread *thread, const struct wire_request *request, const uint8_t *payload,
                   bool *sane);

uint64_t loop_now(void); /* monotonic, ns */
void loop_watch(int fd, void *source);
void loop_forget(const void *source); /* before it is freed */
void loop_start_timer(struct thread *thread);
void loop_send(struct thread *thread); /* the reply */
void loop_drop(struct thread *thread); /* disconnects the client soon */

void *kernel_alloc(size_t size); /* zeroed; ends the process when there is none */

#endif
