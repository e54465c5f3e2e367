/*
 * One connection a thread, made at its first call: the kernel identifies threads by their connections and
 * sees them end when these close. A child of fork reconnects at once, and its parent waits for that, so that
 * the kernel registers it while its parent is known. The image id distinguishes a program started by exec
 * from the one that called before; all copies of this library in one process agree on it.
 */
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "excsim.h"
#include "mach/message.h"
#include "mach/mig_errors.h"

enum { REGISTRATION_MS = 1000 }; /* that a parent waits for its child at most */

struct connection {
    int fd;
    unsigned forks; /* how many forks this process is the child of, when it was made */
    uint64_t thread_id;
    uint32_t reply_port;
    uint8_t packet[WIRE_REPLY_MAX];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static unsigned forks;
static __thread struct connection *own;

static void disconnect(void *value) {
    struct connection *connection = value;
    if (connection->fd >= 0) {
        close(connection->fd);
    }
    own = NULL;
    free(connection);
}

static struct connection *connection_get(void);

/* A pipe of the thread that forks: the child closes its ends when the kernel has registered it. */
static _Thread_local int registered[2] = {-1, -1};

static void close_registered(void) {
    for (int end = 0; end < 2; end++) {
        if (registered[end] >= 0) {
            close(registered[end]);
            registered[end] = -1;
        }
    }
}

static void before_fork(void) {
    int error = errno;
    if (own && pipe2(registered, O_CLOEXEC) != 0) {
        registered[0] = registered[1] = -1;
    }
    errno = error;
}

/* A kernel has a child of fork as soon as there is one; this one only when the child has called it. */
static void wait_for_child(void) {
    int error = errno;
    if (registered[0] >= 0) {
        close(registered[1]);
        registered[1] = -1;
        poll(&(struct pollfd){.fd = registered[0]}, 1, REGISTRATION_MS);
        close_registered();
    }
    errno = error;
}

static void start_child(void) {
    int error = errno;
    forks++;
    if (own) {
        connection_get();
    }
    close_registered();
    errno = error;
}

static void initialize(void) {
    pthread_key_create(&key, disconnect);
    pthread_atfork(before_fork, wait_for_child, start_child);
}

int connection_is_configured(void) {
    const char *path = getenv(EXCSIM_SOCKET);
    return path && *path;
}

static void complain(const char *path, const char *what) {
    static int said;
    if (!__atomic_exchange_n(&said, 1, __ATOMIC_RELAXED)) {
        fprintf(stderr, "excsim: no simulated kernel at %s=%s: %s\n", EXCSIM_SOCKET, path, what);
    }
}

static int connect_to_kernel(void) {
    const char *path = getenv(EXCSIM_SOCKET);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!path || !*path) {
        complain("", "the variable is not set (start one with `python -m excsim -- COMMAND`)");
        return -1;
    }
    if (strlen(path) >= sizeof address.sun_path) {
        complain(path, "the path is too long for a socket");
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address)) {
        close(fd);
        fd = -1;
    }
    if (fd < 0) {
        complain(path, strerror(errno));
    }
    return fd;
}

/*
 * The 16 random bytes that the kernel of the machine gives each program at exec, mixed so that they give
 * nothing away.
 */
static void image_id(uint64_t id[2]) {
    uint64_t random[2] = {0, 0};
    const void *bytes = (const void *)getauxval(AT_RANDOM);
    if (bytes) {
        memcpy(random, bytes, sizeof random);
    }
    for (int at = 0; at < 2; at++) {
        uint64_t mixed = random[0] ^ (random[1] + 0x9e3779b97f4a7c15u * (uint64_t)(at + 1));
        mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
        mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
        id[at] = (mixed ^ mixed >> 31) | 1;
    }
}

/* Sends a request and waits for its reply; -1 when the connection broke. */
static ssize_t exchange(struct connection *connection, const struct wire_request *request,
                        const void *payload, int interruptible) {
    struct iovec parts[] = {{(void *)(uintptr_t)request, sizeof *request},
                            {(void *)(uintptr_t)payload, request->size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = request->size ? 2 : 1};
    ssize_t size;
    while ((size = sendmsg(connection->fd, &message, MSG_NOSIGNAL)) < 0 && errno == EINTR) {
    }
    if (size < 0) {
        return -1;
    }
    while ((size = recv(connection->fd, connection->packet, sizeof connection->packet, 0)) < 0 &&
           errno == EINTR) {
        if (interruptible) { /* the one reply comes all the same, early */
            struct wire_request abort_request = {.op = WIRE_ABORT};
            interruptible = 0;
            send(connection->fd, &abort_request, sizeof abort_request, MSG_NOSIGNAL);
        }
    }
    return size;
}

/* In place of entitlements, which are what hardens a program of macOS, and of the kernel's boot arguments. */
static void apply_settings(struct connection *connection) {
    const char *level = getenv(EXCSIM_HARDENED), *pinned = getenv(EXCSIM_PINNED);
    if (level && *level) {
        struct wire_request request = {
            .op = WIRE_HARDEN, .arg = {strtoull(level, NULL, 10), getenv(EXCSIM_ONE_EXCEPTION_PORT) != NULL}};
        exchange(connection, &request, NULL, 0);
    }
    if (pinned && *pinned) {
        struct wire_request request = {.op = WIRE_PIN, .arg = {WIRE_TASK_SELF_NAME}};
        exchange(connection, &request, NULL, 0);
    }
}

static int greet(struct connection *connection) {
    struct wire_request hello = {.op = WIRE_HELLO};
    const char *token = getenv(EXCSIM_SPAWN);
    struct wire_reply reply;
    image_id(hello.arg);
    hello.arg[2] = token ? strtoull(token, NULL, 16) : 0;
    if (exchange(connection, &hello, NULL, 0) < (ssize_t)sizeof reply) {
        return 0;
    }
    memcpy(&reply, connection->packet, sizeof reply);
    connection->thread_id = reply.value[0];
    apply_settings(connection);
    return reply.result == KERN_SUCCESS;
}

static struct connection *connection_get(void) {
    struct connection *connection = own;
    if (connection && connection->forks == forks && connection->fd >= 0) {
        return connection;
    }
    pthread_once(&once, initialize);
    if (!connection) {
        connection = malloc(sizeof *connection);
        if (!connection) {
            return NULL;
        }
        connection->fd = -1;
        connection->forks = forks;
        connection->thread_id = 0;
        connection->reply_port = MACH_PORT_NULL;
        if (pthread_setspecific(key, connection)) {
            free(connection);
            return NULL;
        }
        own = connection;
    } else if (connection->forks != forks) {
        if (connection->fd >= 0) {
            close(connection->fd);
        }
        connection->fd = -1;
        connection->forks = forks;
        connection->reply_port = MACH_PORT_NULL;
    } else {
        return NULL; /* the kernel has ended */
    }
    connection->fd = connect_to_kernel();
    if (connection->fd >= 0 && !greet(connection)) {
        complain(getenv(EXCSIM_SOCKET), "it does not talk to this process");
        close(connection->fd);
        connection->fd = -1;
    }
    if (connection->fd >= 0) {
        return connection;
    }
    connection->forks = forks - 1; /* the next call may find one */
    return NULL;
}

struct answer connection_call(struct call_site site, enum wire_op op, const uint64_t arg[8],
                              const void *payload, size_t size, int interruptible) {
    struct answer answer = {.result = MIG_SERVER_DIED};
    int error = errno;
    if (excsim_will_call != NULL) {
        excsim_will_call(site.pc);
    }
    struct connection *connection = connection_get();
    struct wire_request request = {
        .op = op, .size = (uint32_t)size, .pc = site.pc, .sp = site.sp, .fp = site.fp};
    struct wire_reply reply;
    memcpy(request.arg, arg, sizeof request.arg);
    ssize_t received = connection ? exchange(connection, &request, payload, interruptible) : -1;
    if (received >= (ssize_t)sizeof reply) {
        memcpy(&reply, connection->packet, sizeof reply);
        answer = (struct answer){reply.result,
                                 reply.flags,
                                 {reply.value[0], reply.value[1]},
                                 reply.size,
                                 connection->packet + sizeof reply};
    } else if (connection) {
        close(connection->fd);
        connection->fd = -1;
    }
    errno = error;
    return answer;
}

uint64_t connection_thread_id(void) {
    struct connection *connection = connection_get();
    return connection ? connection->thread_id : 0;
}

uint32_t *connection_reply_port(void) {
    struct connection *connection = connection_get();
    return connection ? &connection->reply_port : NULL;
}

/* A program whose environment names a kernel belongs to it from its first instruction on. */
__attribute__((constructor)) static void join(void) {
    if (connection_is_configured()) {
        connection_get();
    }
}
