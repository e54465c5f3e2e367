/*
 * The simulated kernel's process: its options, its loop over clients, processes and deadlines, and its end.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kernel.h"

enum { THREADS_MAX = 4096 };

static int epoll_fd, listen_fd = -1, starter_fd = -1, signal_fd;
static char *socket_path;                             /* NULL: it is not ours to remove */
static struct list timers = {&timers, &timers};       /* struct thread, nearest deadline first */
static struct list dropped = {&dropped, &dropped};    /* struct thread: to be destroyed */
static struct list greeters = {&greeters, &greeters}; /* struct thread without a task yet */
static uint8_t packet[WIRE_REQUEST_MAX + 1];

void *kernel_alloc(size_t size) {
    void *memory = calloc(1, size);
    if (!memory) {
        fputs("excsim-kernel: out of memory\n", stderr);
        abort();
    }
    return memory;
}

uint64_t loop_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/*
 * What epoll gives back: a thread, a task with the lowest bit set, or the address of one of the loop's own
 * descriptors.
 */
void loop_watch(int fd, void *source) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
        perror("excsim-kernel: epoll_ctl");
        abort();
    }
}

void loop_start_timer(struct thread *thread) {
    struct list *before = &timers;
    LIST_EACH(&timers, node) {
        if (LIST_MEMBER(node, struct thread, timer)->deadline > thread->deadline) {
            before = node;
            break;
        }
    }
    list_insert(before, &thread->timer);
}

void loop_drop(struct thread *thread) {
    list_remove(&thread->link);
    thread_cancel_wait(thread);
    list_insert(&dropped, &thread->link);
}

void loop_send(struct thread *thread) {
    thread->busy = false;
    struct iovec parts[] = {{&thread->reply, sizeof thread->reply},
                            {thread->reply_payload, thread->reply.size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = thread->reply.size ? 2 : 1};
    if (sendmsg(thread->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        loop_drop(thread); /* it is gone, or does not read its replies */
    }
}

/* ---- clients ---- */

static void accept_client(void) {
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        return;
    }
    if (counts.threads >= THREADS_MAX) {
        close(fd);
        return;
    }
    struct thread *thread = thread_new(fd);
    list_insert(&greeters, &thread->link);
    loop_watch(fd, thread);
}

static bool greet(struct thread *thread) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (thread->request.op != WIRE_HELLO || getsockopt(thread->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size)) {
        return false;
    }
    list_remove(&thread->link);
    if (!thread_hello(thread, peer.pid, peer.uid, peer.gid)) {
        return false;
    }
    loop_send(thread);
    return true;
}

static void serve(struct thread *thread) {
    ssize_t size = recv(thread->fd, packet, sizeof packet, MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    struct wire_request request;
    bool sane = size >= (ssize_t)sizeof request;
    if (sane) {
        memcpy(&request, packet, sizeof request);
        sane = request.size == (size_t)size - sizeof request && request.size <= WIRE_MESSAGE_MAX;
    }
    if (!sane) { /* nothing was read: the thread has ended */
        loop_drop(thread);
        return;
    }
    current = thread;
    if (request.op == WIRE_ABORT && thread->task) {
        message_interrupt(thread);
    } else if (thread->busy) {
        sane = false;
    } else {
        thread->busy = true;
        thread->request = request;
        memset(&thread->reply, 0, sizeof thread->reply);
        if (!thread->task) {
            sane = greet(thread);
        } else if (!call_dispatch(thread, &thread->request, packet + sizeof request, &sane)) {
            thread_return(thread);
        }
    }
    current = NULL;
    if (!sane) {
        loop_drop(thread);
    }
}

/* ---- the loop ---- */

static int next_timeout(void) {
    if (list_empty(&timers)) {
        return -1;
    }
    uint64_t deadline = LIST_MEMBER(timers.next, struct thread, timer)->deadline, now = loop_now();
    if (deadline <= now) {
        return 0;
    }
    uint64_t wait = (deadline - now + 999999) / 1000000;
    return wait > 3600000 ? 3600000 : (int)wait;
}

static void run_timers(void) {
    uint64_t now = list_empty(&timers) ? 0 : loop_now();
    while (!list_empty(&timers)) {
        struct thread *thread = LIST_MEMBER(timers.next, struct thread, timer);
        if (thread->deadline > now) {
            return;
        }
        message_timed_out(thread);
    }
}

static void end_dropped(void) {
    while (!list_empty(&dropped)) {
        thread_destroy(LIST_MEMBER(dropped.next, struct thread, link));
    }
}

static struct epoll_event events[64];
static int event_count;

void loop_forget(const void *source) {
    for (int at = 0; at < event_count; at++) {
        if (events[at].data.ptr == source) {
            events[at].data.ptr = NULL;
        }
    }
}

/* Deaths come first: who has waited for the end of a process finds its ports dead. */
static void bury(void) {
    for (int at = 0; at < event_count; at++) {
        if ((uintptr_t)events[at].data.ptr & 1) {
            task_die((struct task *)((uintptr_t)events[at].data.ptr & ~(uintptr_t)1));
        }
    }
}

static void run(void) {
    for (;;) {
        event_count = epoll_wait(epoll_fd, events, sizeof events / sizeof *events, next_timeout());
        if (event_count < 0 && errno != EINTR) {
            return;
        }
        bury();
        for (int at = 0; at < event_count; at++) {
            void *source = events[at].data.ptr;
            if (source == &listen_fd) {
                accept_client();
            } else if (source == &starter_fd || source == &signal_fd) {
                return;
            } else if (source) {
                serve(source);
            }
            end_dropped();
        }
        run_timers();
        end_dropped();
    }
}

static void release_everything(void) {
    while (!list_empty(&greeters)) {
        thread_destroy(LIST_MEMBER(greeters.next, struct thread, link));
    }
    while (!list_empty(&all_tasks)) {
        task_die(LIST_MEMBER(all_tasks.next, struct task, link));
    }
    end_dropped();
    task_exit();
    bootstrap_exit();
    close(epoll_fd);
}

/* Its directory is the starter's, which may have been killed and so leaves that to us. */
static void remove_socket(void) {
    if (socket_path != NULL) {
        (void)unlink(socket_path);
        char *slash = strrchr(socket_path, '/');
        if (slash != NULL) {
            *slash = '\0';
            (void)rmdir(socket_path);
        }
    }
}

static const char help[] =
    "Usage: excsim-kernel --listen-fd FD [OPTION]...\n"
    "\n"
    "Stands in for the Mach kernel on machines that have none: owns the port name spaces, messages and "
    "exceptions of\n"
    "the processes that connect to it. It is a simulation for tests; it runs no Mach code and protects "
    "nothing.\n"
    "`python -m excsim` starts it.\n"
    "\n"
    "  --listen-fd FD           a listening SOCK_SEQPACKET socket\n"
    "  --socket PATH            remove this socket and its directory at the end\n"
    "  --starter PID            end when this process ends\n"
    "  --release R              the macOS that is simulated, from 10.9 on (26.4)\n"
    "  --arch x86_64|arm64      its processor (this machine's)\n"
    "  --no-developer-mode      fatal guards reach no handler (14.1 and later)\n"
    "  --task-exc-guard FLAGS   what new tasks start with (0x11: MP_DELIVER | VM_DELIVER)\n"
    "  --port-table-size N      how many port names a task has room for, 256 to 65536 (65536); on macOS 12\n"
    "                           and later a task that needs more is ended\n"
    "  --help\n";

static bool parse_options(int argc, char **argv) {
    static const struct option options[] = {
        {"listen-fd", required_argument, NULL, 'l'},
        {"socket", required_argument, NULL, 'p'},
        {"starter", required_argument, NULL, 's'},
        {"release", required_argument, NULL, 'r'},
        {"arch", required_argument, NULL, 'a'},
        {"no-developer-mode", no_argument, NULL, 'd'},
        {"task-exc-guard", required_argument, NULL, 'g'},
        {"port-table-size", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    release_parse("26.4");
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        char *end = NULL;
        unsigned long number = optarg ? strtoul(optarg, &end, 0) : 0;
        bool is_number = optarg && *optarg && !*end;
        bool good = true;
        switch (option) {
        case 'l':
            listen_fd = (int)number;
            good = is_number;
            break;
        case 'p':
            socket_path = optarg;
            break;
        case 's':
            starter_fd = (int)syscall(SYS_pidfd_open, (pid_t)number, 0);
            if (is_number && starter_fd < 0) {
                remove_socket();
                exit(EXIT_SUCCESS); /* it has ended already */
            }
            good = is_number;
            break;
        case 'r':
            good = release_parse(optarg);
            break;
        case 'a':
            good = !strcmp(optarg, "x86_64") || !strcmp(optarg, "arm64");
            settings.arch = strcmp(optarg, "arm64") ? ARCH_X86_64 : ARCH_ARM64;
            break;
        case 'd':
            settings.developer_mode = false;
            break;
        case 'g':
            settings.guard_default = (uint32_t)number;
            good = is_number && number <= TASK_EXC_GUARD_ALL;
            break;
        case 't':
            settings.port_table_size = (uint32_t)number;
            good = is_number && number >= SPACE_SIZE_MIN && number <= SPACE_SIZE_MAX;
            break;
        case 'h':
            fputs(help, stdout);
            exit(EXIT_SUCCESS);
        default:
            return false;
        }
        if (!good) {
            fprintf(stderr, "excsim-kernel: invalid value %s for --%s\n", optarg,
                    option == 'l'   ? "listen-fd"
                    : option == 's' ? "starter"
                    : option == 'r' ? "release (10.9 or later)"
                    : option == 'a' ? "arch (x86_64, arm64)"
                    : option == 't' ? "port-table-size (256 to 65536)"
                                    : "task-exc-guard (0 to 0xff)");
            return false;
        }
    }
    if (listen_fd < 0 || optind != argc) {
        fputs("excsim-kernel: needs --listen-fd FD and no other arguments; see --help\n", stderr);
        return false;
    }
    return true;
}

int main(int argc, char **argv) {
    if (!parse_options(argc, argv)) {
        return 2;
    }
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGHUP);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    struct rlimit files;
    if (!getrlimit(RLIMIT_NOFILE, &files)) { /* a descriptor for each thread and each process */
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    signal_fd = signalfd(-1, &ends, SFD_CLOEXEC);
    if (epoll_fd < 0 || signal_fd < 0) {
        perror("excsim-kernel");
        return 1;
    }
    loop_watch(listen_fd, &listen_fd);
    loop_watch(signal_fd, &signal_fd);
    if (starter_fd >= 0) {
        loop_watch(starter_fd, &starter_fd);
    }
    rules_init();
    guard_init();
    bootstrap_init();
    run();
    remove_socket();
    release_everything();
    return 0;
}
