/*
 * How a client thread talks to the simulated kernel: one request, one reply, each a packet of a
 * SOCK_SEQPACKET socket. A connection is a thread, the process behind it (SO_PEERCRED) a task. Both ends are
 * of one build on one machine.
 */
#ifndef EXCSIM_WIRE_H
#define EXCSIM_WIRE_H

#include <stdint.h>

enum {
    WIRE_MESSAGE_MAX = 65536, /* bytes of a Mach message with its trailer */
    WIRE_NAME_MAX = 128,      /* bytes of a service or sysctl name, its NUL included */
    WIRE_ACTIONS_MAX = 16,    /* exception port actions of one spawn, or exception types of one task */
};

enum wire_op {
    WIRE_HELLO = 1, /* image id, spawn token -> thread id */
    WIRE_ABORT,     /* no reply of its own: a mach_msg that waits returns interrupted */
    WIRE_MSG, /* 64-bit options, send size, receive size, receive name, timeout, notify, buffers; -> message
               */

    WIRE_PORT_ALLOCATE,  /* task, right, name or 0 -> name */
    WIRE_PORT_CONSTRUCT, /* task, flags, queue limit, context, service port's name or its information's
                            address; mach_service_port_info_data_t, if that can be read -> name */
    WIRE_PORT_DESTRUCT,  /* task, name, send right delta, guard */
    WIRE_PORT_DESTROY,   /* task, name */
    WIRE_PORT_DEALLOCATE,
    WIRE_PORT_GET_REFS,             /* task, name, right -> user references */
    WIRE_PORT_MOD_REFS,             /* task, name, right, delta */
    WIRE_PORT_TYPE,                 /* task, name -> type */
    WIRE_PORT_NAMES,                /* task, first index -> next index or 0; pairs of name and type */
    WIRE_PORT_SET_MSCOUNT,          /* task, name, count */
    WIRE_PORT_GET_SET_STATUS,       /* task, name -> names */
    WIRE_PORT_MOVE_MEMBER,          /* task, member, set or 0 */
    WIRE_PORT_INSERT_MEMBER,        /* task, member, set */
    WIRE_PORT_EXTRACT_MEMBER,       /* task, member, set */
    WIRE_PORT_REQUEST_NOTIFICATION, /* task, name, id, sync, notify, disposition -> previous */
    WIRE_PORT_INSERT_RIGHT,         /* task, name, right's name in the caller, disposition */
    WIRE_PORT_EXTRACT_RIGHT,        /* task, name, disposition -> name in the caller, disposition */
    WIRE_PORT_GET_ATTRIBUTES,       /* task, name, flavor, count -> words */
    WIRE_PORT_SET_ATTRIBUTES,       /* task, name, flavor; words */
    WIRE_PORT_GET_SRIGHTS,          /* task, name -> send rights */
    WIRE_PORT_GET_CONTEXT,          /* task, name -> context */
    WIRE_PORT_SET_CONTEXT,          /* task, name, context */
    WIRE_PORT_GUARD,                /* task, name, guard, MPG_ flags */
    WIRE_PORT_UNGUARD,              /* task, name, guard */
    WIRE_PORT_SWAP_GUARD,           /* task, name, old guard, new guard */
    WIRE_PORT_PEEK,   /* task, name, trailer type, sequence number, room -> id; seqno, size, trailer */
    WIRE_PORT_ASSERT, /* task, name, flavor, count; words */
    WIRE_PORT_DEALLOCATE_KERNEL, /* task, name, port type */
    WIRE_PORT_GET_SERVICE_INFO,  /* task, name -> mach_service_port_info_data_t */
    WIRE_PORT_KOBJECT,           /* task, name -> type of the kernel object; its description */
    WIRE_PORT_IS_CONNECTION,     /* task, connection, service -> filter policy */
    WIRE_PORT_SPACE_INFO,    /* task, first index -> next index or 0, size of the table; ipc_info_name_t[] */
    WIRE_REPLY_PORT,         /* -> name */
    WIRE_SPECIAL_REPLY_PORT, /* -> name */

    WIRE_TASK_SET_EXCEPTION_PORTS,    /* task, mask, port, behavior, flavor */
    WIRE_TASK_GET_EXCEPTION_PORTS,    /* task, mask, count -> wire_action[] */
    WIRE_TASK_SWAP_EXCEPTION_PORTS,   /* task, mask, port, behavior, flavor, count -> wire_action[] */
    WIRE_THREAD_SET_EXCEPTION_PORTS,  /* thread; the rest as a task's */
    WIRE_THREAD_GET_EXCEPTION_PORTS,  /* likewise */
    WIRE_THREAD_SWAP_EXCEPTION_PORTS, /* likewise */
    WIRE_TASK_IS_SELF,                /* task -> whether it is the caller's */
    WIRE_TASK_GET_GUARD_BEHAVIOR,     /* task -> flags */
    WIRE_TASK_SET_GUARD_BEHAVIOR,     /* task, flags */
    WIRE_TASK_CREATE_TOKEN,           /* task -> token */
    WIRE_TOKEN_GET_TASK_PORT,         /* token, flavor -> port */
    WIRE_TASK_GET_SPECIAL_PORT,       /* task, which -> port */
    WIRE_TASK_SET_SPECIAL_PORT,       /* task, which, port */
    WIRE_TASK_FOR_PID,                /* task, pid, flavor -> port */
    WIRE_PID_FOR_TASK,                /* task port -> pid */
    WIRE_HOST_SELF,                   /* -> port */
    WIRE_THREAD_SELF,                 /* -> port */
    WIRE_VM_GAP,                      /* address that vm_deallocate() found nothing at */

    WIRE_BOOTSTRAP_REGISTER, /* bootstrap port, port; name */
    WIRE_BOOTSTRAP_LOOK_UP,  /* bootstrap port; name -> port */
    WIRE_BOOTSTRAP_CHECK_IN, /* bootstrap port; name -> port */

    WIRE_SYSCTL,        /* name -> bytes; the result is 0 or an errno */
    WIRE_SPAWN_PREPARE, /* special bootstrap port or 0; wire_action[] -> token */
    WIRE_SPAWN_COMMIT,  /* token, pid */
    WIRE_SPAWN_CANCEL,  /* token */

    WIRE_RAISE,         /* exception, code, subcode, count */
    WIRE_HARDEN,        /* level, whether it has but one exception port */
    WIRE_POLICY,        /* enum excsim_policy */
    WIRE_SPACE_CENSUS,  /* -> struct excsim_space_census */
    WIRE_KERNEL_CENSUS, /* -> struct excsim_kernel_census */
    WIRE_CRASH_REPORT,  /* index -> struct excsim_crash_report */
    WIRE_LOG_LINE,      /* index -> char[EXCSIM_LOG_LINE] */
    WIRE_PIN,           /* name */
    WIRE_SIGN,          /* struct wire_signature */
    WIRE_SIGNATURE,     /* pid, pid version -> struct wire_signature */
    WIRE_OP_COUNT,
};

/* One exception port: for spawn, and as answer of task_get_exception_ports. */
struct wire_action {
    uint32_t mask;
    uint32_t port;
    uint32_t behavior;
    uint32_t flavor;
};

/* A code signature, as far as requirements ask about it. All zeros: unsigned. */
struct wire_signature {
    char identifier[WIRE_NAME_MAX];
    char team[32];
    uint32_t certificate; /* enum excsim_certificate */
};

struct wire_request {
    uint32_t op;
    uint32_t size;       /* of the payload behind this header */
    uint64_t pc, sp, fp; /* of the call site: the thread state that a guard exception shows */
    uint64_t arg[8];
};

enum {
    WIRE_TO_SEND_BUFFER = 1, /* the payload is a message that could not be sent, with its rights' names */
};

struct wire_reply {
    int32_t result;
    uint32_t size; /* of the payload behind this header */
    uint32_t flags;
    uint32_t unused;
    uint64_t value[2];
};

enum {
    WIRE_REQUEST_MAX = sizeof(struct wire_request) + WIRE_MESSAGE_MAX,
    WIRE_REPLY_MAX = sizeof(struct wire_reply) + WIRE_MESSAGE_MAX,
};

/*
 * What every task holds from its start, under names that never change, as programs expect of mach_task_self_.
 */
enum {
    WIRE_TASK_SELF_NAME = 0x203,
    WIRE_BOOTSTRAP_NAME = 0x307,
};

/*
 * The environment: where the kernel listens, and what a child is known by until it speaks for the first time.
 */
#define EXCSIM_SOCKET "EXCSIM_SOCKET"
#define EXCSIM_SPAWN "EXCSIM_SPAWN"
#define EXCSIM_HARDENED "EXCSIM_HARDENED"
#define EXCSIM_PINNED "EXCSIM_PINNED"
#define EXCSIM_ONE_EXCEPTION_PORT "EXCSIM_ONE_EXCEPTION_PORT"

#endif
