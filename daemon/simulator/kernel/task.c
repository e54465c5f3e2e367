/*
 * Tasks and threads: a task is a process that talks to this kernel or was spawned through it, a thread is a
 * connection. A process is known by its pidfd, so a pid that is used again is never mistaken for it. fork
 * gives a task that inherits exception ports and guard behavior from the nearest known ancestor, exec keeps
 * the exception ports and clears the rest.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel.h"

struct list all_tasks = {&all_tasks, &all_tasks};
struct thread *current;
struct excsim_kernel_census counts;

static uint64_t next_thread_id = 0x1000;
static uint32_t next_pid_version = 1;

/*
 * A child between posix_spawn's preparation and the moment its pid is known; known by a token in its
 * environment.
 */
struct spawn {
    struct list link; /* in the parent */
    uint64_t token;
    struct task *child; /* a reference, once it has spoken before its parent */
    struct port *bootstrap;
    uint32_t count;
    struct wire_action actions[WIRE_ACTIONS_MAX];
    struct port *ports[WIRE_ACTIONS_MAX]; /* send rights or NULL */
};

/* ---- processes ---- */

static bool process_ended(int pidfd) {
    struct pollfd poll_pidfd = {.fd = pidfd, .events = POLLIN};
    return poll(&poll_pidfd, 1, 0) > 0;
}

struct task *task_find(pid_t pid) {
    LIST_EACH_SAFE(&all_tasks, node) {
        struct task *task = LIST_MEMBER(node, struct task, link);
        if (task->pid != pid) {
            continue;
        }
        if ((current && current->task == task) || !process_ended(task->pidfd)) {
            return task;
        }
        task_die(task); /* its end is not yet seen, and the pid may be used again */
        break;
    }
    return NULL;
}

static pid_t parent_of(pid_t pid) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file) {
        return 0;
    }
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = '\0';
    char *end = strrchr(text, ')'); /* the name of the program may hold anything */
    int parent = 0;
    if (!end || sscanf(end, ") %*c %d", &parent) != 1) {
        return 0;
    }
    return parent;
}

static struct task *nearest_ancestor(pid_t pid) {
    for (int depth = 0; depth < 64 && (pid = parent_of(pid)) > 1; depth++) {
        struct task *task = task_find(pid);
        if (task) {
            return task;
        }
    }
    return NULL;
}

/* ---- tasks ---- */

void task_reference(struct task *task) {
    task->refs++;
}

void task_release(struct task *task) {
    if (!--task->refs) {
        free(task);
    }
}

void task_set_action(struct action *action, struct port *port, uint32_t behavior, uint32_t flavor) {
    struct port *old = action->port;
    *action = (struct action){port, behavior, flavor};
    if (old) {
        port_release_send(old);
    }
}

static void clear_actions(struct action *actions) {
    for (int at = 0; at < EXC_TYPES_COUNT; at++) {
        task_set_action(&actions[at], NULL, 0, 0);
    }
}

struct port *task_port(struct task *task, mach_task_flavor_t flavor) {
    static const enum port_type types[] = {PORT_TASK_CONTROL, PORT_TASK_READ, PORT_TASK_INSPECT,
                                           PORT_TASK_NAME};
    if (!task->ports[flavor]) {
        task->ports[flavor] = port_new_kernel(types[flavor], task);
    }
    return port_make_send(task->ports[flavor]);
}

struct port *task_movable_port(struct task *task) {
    if (!task->movable) {
        task->movable = port_new_kernel(PORT_TASK_CONTROL, task);
    }
    return port_make_send(task->movable);
}

struct task *task_from_port(const struct port *port, mach_task_flavor_t weakest) {
    mach_task_flavor_t flavor;
    switch (port->type) {
    case PORT_TASK_CONTROL:
        flavor = TASK_FLAVOR_CONTROL;
        break;
    case PORT_TASK_READ:
        flavor = TASK_FLAVOR_READ;
        break;
    case PORT_TASK_INSPECT:
        flavor = TASK_FLAVOR_INSPECT;
        break;
    case PORT_TASK_NAME:
        flavor = TASK_FLAVOR_NAME;
        break;
    default:
        return NULL;
    }
    return port->active && flavor <= weakest ? port->kobject : NULL;
}

struct port *task_token(struct task *task) {
    struct port *port = port_new_kernel(PORT_TASK_ID_TOKEN, task);
    task_reference(task);
    port_make_send(port);
    return port; /* its receive right goes with its last send right */
}

static struct port *host;

struct port *task_host_port(void) {
    if (!host) {
        host = port_new_kernel(PORT_HOST, NULL);
    }
    return port_make_send(host);
}

void task_exit(void) {
    if (host) {
        port_destroy(host);
    }
}

static void mark_own_port(struct task *task, mach_port_name_t name, struct port *port) {
    struct entry *entry = space_lookup(task->space, name);
    if (entry && entry->port == port && entry->bits & MACH_PORT_TYPE_SEND) {
        entry->bits |= task->hardened                 ? BITS_PINNED | BITS_IMMOVABLE
                       : rule(RULE_PINNED_TASK_PORTS) ? BITS_PINNED
                                                      : 0;
    }
}

/* A program's first names: its own task, and launchd. */
static void open_space(struct task *task) {
    task->space = space_new(task);
    space_copyout_name(task->space, task_port(task, TASK_FLAVOR_CONTROL), MACH_MSG_TYPE_PORT_SEND,
                       WIRE_TASK_SELF_NAME);
    mark_own_port(task, WIRE_TASK_SELF_NAME, task->ports[TASK_FLAVOR_CONTROL]);
    if (rule(RULE_PINNED_TASK_PORTS)) {
        space_copyout(task->space, task_port(task, TASK_FLAVOR_CONTROL), MACH_MSG_TYPE_PORT_SEND);
    }
    if (task->bootstrap) {
        space_copyout_name(task->space, port_copy_send(task->bootstrap), MACH_MSG_TYPE_PORT_SEND,
                           WIRE_BOOTSTRAP_NAME);
    }
}

static void close_space(struct task *task) {
    struct space *space = task->space;
    for (int flavor = 0; flavor <= (int)TASK_FLAVOR_MAX; flavor++) {
        struct port *port = task->ports[flavor];
        task->ports[flavor] = NULL;
        if (port) {
            port_destroy(port);
        }
    }
    if (task->movable) {
        port_destroy(task->movable);
        task->movable = NULL;
    }
    space_destroy(space);
    task->space = NULL;
}

static uint32_t default_guard_behavior(const struct task *task) {
    return task->hardened ? HARDENED_FLAGS : settings.guard_default;
}

static struct task *task_new(pid_t pid, int pidfd, uid_t uid, gid_t gid, struct task *parent) {
    struct task *task = kernel_alloc(sizeof *task);
    task->refs = 1;
    task->alive = true;
    task->pid = pid;
    task->pidfd = pidfd;
    task->uid = uid;
    task->gid = gid;
    task->pid_version = next_pid_version++;
    list_init(&task->threads);
    list_init(&task->spawns);
    if (parent) {
        task->hardened = parent->hardened;
        task->one_exception_port = parent->one_exception_port;
        task->policy = parent->policy;
        for (int at = 0; at < EXC_TYPES_COUNT; at++) {
            const struct action *action = &parent->actions[at];
            task->actions[at] = *action;
            if (action->port) {
                port_copy_send(action->port);
            }
        }
    }
    task->bootstrap = parent && parent->bootstrap ? port_copy_send(parent->bootstrap)
                      : parent                    ? NULL
                                                  : bootstrap_send_right();
    task->exc_guard = default_guard_behavior(task);
    open_space(task);
    list_insert(&all_tasks, &task->link);
    counts.tasks++;
    loop_watch(pidfd, (void *)((uintptr_t)task | 1));
    return task;
}

struct task *task_of_pid(pid_t pid) {
    struct task *task = task_find(pid);
    if (task || pid <= 0 || pid == getpid()) {
        return task;
    }
    char path[64];
    struct stat status;
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    if (pidfd < 0 || stat(path, &status) || status.st_uid != getuid() || process_ended(pidfd)) {
        if (pidfd >= 0) {
            close(pidfd);
        }
        return NULL;
    }
    return task_new(pid, pidfd, status.st_uid, status.st_gid, nearest_ancestor(pid));
}

void task_harden(struct task *task, int level, bool one_exception_port) {
    task->hardened = level;
    task->one_exception_port |= one_exception_port;
    task->exc_guard |= HARDENED_FLAGS;
    mark_own_port(task, WIRE_TASK_SELF_NAME, task->ports[TASK_FLAVOR_CONTROL]);
}

void task_set_policy(struct task *task, uint32_t policy) {
    task->policy |= policy;
    if (policy & (EXCSIM_ENHANCED_2 | EXCSIM_PLATFORM)) {
        task_harden(task, 2, false);
    } else if (policy & EXCSIM_ENHANCED_1 && task->hardened < 2) {
        task_harden(task, 1, false);
    }
}

static int security_level(const struct task *task) {
    return task->hardened ? task->hardened : task->policy & EXCSIM_HARDENED_RUNTIME ? 0 : -1;
}

bool task_restricted(const struct task *task, int level) {
    return !(task->policy & (EXCSIM_OF_SIMULATOR | EXCSIM_OPTED_OUT)) && security_level(task) >= level;
}

uint32_t task_space_policy(const struct task *task) {
    enum {
        DEFAULT = 0x1,
        ENHANCED = 0x2,
        PLATFORM = 0x4,
        SIMULATED = 0x20,
        OPTED_OUT = 0x80,
        VERSION_0 = 0x100
    };
    int level = security_level(task);
    return DEFAULT | (level >= 0 ? ENHANCED | VERSION_0 << level : 0) |
           (task->policy & EXCSIM_PLATFORM ? PLATFORM : 0) |
           (task->policy & EXCSIM_OF_SIMULATOR ? SIMULATED : 0) |
           (task->policy & EXCSIM_OPTED_OUT ? OPTED_OUT : 0);
}

static void spawn_free(struct spawn *spawn) {
    list_remove(&spawn->link);
    for (uint32_t at = 0; at < spawn->count; at++) {
        if (spawn->ports[at]) {
            port_release_send(spawn->ports[at]);
        }
    }
    if (spawn->bootstrap) {
        port_release_send(spawn->bootstrap);
    }
    if (spawn->child) {
        task_release(spawn->child);
    }
    free(spawn);
}

static void end_threads(struct task *task) {
    while (!list_empty(&task->threads)) {
        thread_destroy(LIST_MEMBER(task->threads.next, struct thread, link));
    }
}

void task_die(struct task *task) {
    loop_forget((void *)((uintptr_t)task | 1));
    task->alive = false;
    list_remove(&task->link);
    counts.tasks--;
    end_threads(task);
    while (!list_empty(&task->spawns)) {
        spawn_free(LIST_MEMBER(task->spawns.next, struct spawn, link));
    }
    clear_actions(task->actions);
    close_space(task);
    if (task->bootstrap) {
        port_release_send(task->bootstrap);
    }
    close(task->pidfd);
    task_release(task);
}

const char *task_name(struct task *task) {
    if (!task->name[0]) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/comm", (int)task->pid);
        FILE *file = fopen(path, "re");
        if (!file || !fgets(task->name, sizeof task->name, file)) {
            strcpy(task->name, "?"); /* it is gone */
        }
        task->name[strcspn(task->name, "\n")] = '\0';
        if (file) {
            fclose(file);
        }
    }
    return task->name;
}

void task_kill(struct task *task, int signal) {
    task->killed = true;
    syscall(SYS_pidfd_send_signal, task->pidfd, signal, NULL, 0);
}

/*
 * The process runs another program now: new names, new ports, the same exception ports
 * (task_set_exc_guard_ctrl_port_default).
 */
static void task_exec(struct task *task, struct thread *by) {
    LIST_EACH_SAFE(&task->threads, node) {
        struct thread *thread = LIST_MEMBER(node, struct thread, link);
        if (thread != by) {
            thread_destroy(thread);
        }
    }
    close_space(task);
    task->pid_version = next_pid_version++;
    memset(&task->signature, 0, sizeof task->signature);
    task->name[0] = '\0';
    task->exc_guard = default_guard_behavior(task);
    open_space(task);
}

/* ---- children ---- */

static struct spawn *find_spawn(struct task *parent, uint64_t token) {
    LIST_EACH(&parent->spawns, node) {
        struct spawn *spawn = LIST_MEMBER(node, struct spawn, link);
        if (spawn->token == token) {
            return spawn;
        }
    }
    return NULL;
}

kern_return_t spawn_prepare(struct thread *thread, mach_port_name_t bootstrap,
                            const struct wire_action *actions, uint32_t count) {
    struct task *task = thread->task;
    struct entry *bootstrap_entry = bootstrap ? space_lookup(task->space, bootstrap) : NULL;
    if (bootstrap && (!bootstrap_entry || entry_check(bootstrap_entry, false) ||
                      !(bootstrap_entry->bits & MACH_PORT_TYPE_SEND))) {
        return KERN_INVALID_CAPABILITY;
    }
    struct spawn *spawn = kernel_alloc(sizeof *spawn);
    list_insert(&task->spawns, &spawn->link);
    if (bootstrap_entry) {
        spawn->bootstrap = port_copy_send(bootstrap_entry->port);
    }
    for (; spawn->count < count; spawn->count++) {
        const struct wire_action *action = &actions[spawn->count];
        struct port *port = NULL;
        if (MACH_PORT_VALID(action->port)) {
            struct entry *entry = space_lookup(task->space, action->port);
            kern_return_t result = entry ? right_copyin(entry, MACH_MSG_TYPE_COPY_SEND, COPYIN_CALL,
                                                        COPYIN_IMMOVABLE_OK, NULL, &port)
                                         : KERN_INVALID_NAME;
            if (result != KERN_SUCCESS) {
                spawn_free(spawn);
                return KERN_INVALID_CAPABILITY;
            }
        }
        spawn->actions[spawn->count] = *action;
        spawn->ports[spawn->count] = port;
        kern_return_t result = exception_validate(task, action->mask, port, action->behavior, action->flavor);
        if (result != KERN_SUCCESS) {
            spawn->count++;
            spawn_free(spawn);
            return result;
        }
    }
    if (getrandom(&spawn->token, sizeof spawn->token, 0) != sizeof spawn->token) {
        abort();
    }
    thread->reply.value[0] = spawn->token;
    return KERN_SUCCESS;
}

/* The child takes over what was prepared for it. */
static void spawn_adopt(struct spawn *spawn, struct task *child) {
    for (uint32_t at = 0; at < spawn->count; at++) {
        struct port *port = spawn->ports[at];
        const struct wire_action *action = &spawn->actions[at];
        for (int exception = FIRST_EXCEPTION; exception < EXC_TYPES_COUNT; exception++) {
            if (action->mask >> exception & 1) {
                task_set_action(&child->actions[exception], port ? port_copy_send(port) : NULL,
                                action->behavior, action->flavor);
            }
        }
    }
    if (spawn->bootstrap) {
        if (child->bootstrap) {
            port_release_send(child->bootstrap);
        }
        child->bootstrap = port_copy_send(spawn->bootstrap);
        struct entry *entry = space_lookup(child->space, WIRE_BOOTSTRAP_NAME);
        if (entry) {
            right_destroy(entry);
        }
        space_copyout_name(child->space, port_copy_send(child->bootstrap), MACH_MSG_TYPE_PORT_SEND,
                           WIRE_BOOTSTRAP_NAME);
    }
}

kern_return_t spawn_commit(struct task *parent, uint64_t token, pid_t pid) {
    struct spawn *spawn = find_spawn(parent, token);
    if (!spawn) {
        return KERN_INVALID_ARGUMENT;
    }
    if (!spawn->child && !task_find(pid) && parent_of(pid) == parent->pid) {
        int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (pidfd >= 0) {
            spawn_adopt(spawn, task_new(pid, pidfd, parent->uid, parent->gid, parent));
        }
    }
    spawn_free(spawn);
    return KERN_SUCCESS;
}

void spawn_cancel(struct task *parent, uint64_t token) {
    struct spawn *spawn = find_spawn(parent, token);
    if (spawn) {
        spawn_free(spawn);
    }
}

/*
 * The spawn whose child connects for the first time, if it was spawned through this kernel and its parent
 * has not yet reported its pid.
 */
static struct spawn *spawn_of_child(uint64_t token, struct task **parent) {
    if (!token) {
        return NULL;
    }
    LIST_EACH(&all_tasks, node) {
        struct task *task = LIST_MEMBER(node, struct task, link);
        struct spawn *spawn = find_spawn(task, token);
        if (spawn && !spawn->child) {
            *parent = task;
            return spawn;
        }
    }
    return NULL;
}

/* ---- threads ---- */

struct thread *thread_new(int fd) {
    struct thread *thread = kernel_alloc(sizeof *thread);
    thread->fd = fd;
    thread->alive = true;
    thread->id = next_thread_id++;
    list_init(&thread->link);
    list_init(&thread->wait);
    list_init(&thread->timer);
    counts.threads++;
    return thread;
}

bool thread_hello(struct thread *thread, pid_t pid, uid_t uid, gid_t gid) {
    const struct wire_request *hello = &thread->request;
    if (uid != getuid()) {
        return false;
    }
    struct task *task = task_find(pid);
    if (!task) {
        int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (pidfd < 0) {
            return false;
        }
        struct task *parent = NULL;
        struct spawn *spawn = spawn_of_child(hello->arg[2], &parent);
        if (!spawn) {
            parent = nearest_ancestor(pid);
        }
        task = task_new(pid, pidfd, uid, gid, parent);
        if (spawn) {
            spawn_adopt(spawn, task);
            spawn->child = task;
            task_reference(task);
        } else if (parent && !memcmp(parent->image, hello->arg, sizeof parent->image)) {
            task->exc_guard = parent->exc_guard; /* forked, and still the same program */
            task->signature = parent->signature;
        }
    } else if ((task->image[0] || task->image[1]) && memcmp(task->image, hello->arg, sizeof task->image)) {
        task_exec(task, thread);
    }
    memcpy(task->image, hello->arg, sizeof task->image);
    thread->task = task;
    list_insert(&task->threads, &thread->link);
    thread->reply.value[0] = thread->id;
    return true;
}

struct port *thread_port(struct thread *thread, bool control) {
    struct port **port = control ? &thread->control : &thread->read;
    if (!*port) {
        *port = port_new_kernel(control ? PORT_THREAD_CONTROL : PORT_THREAD_READ, thread);
    }
    return port_make_send(*port);
}

void thread_cancel_wait(struct thread *thread) {
    list_remove(&thread->wait);
    list_remove(&thread->timer);
    thread->waiting = WAIT_NONE;
    if (thread->waiting_port) {
        struct port *port = thread->waiting_port;
        thread->waiting_port = NULL;
        port_release(port);
    }
}

struct action *thread_actions(struct thread *thread) {
    if (!thread->actions) {
        thread->actions = kernel_alloc(EXC_TYPES_COUNT * sizeof *thread->actions);
    }
    return thread->actions;
}

/* libpthread's reference to the thread's port, pinned in hardened tasks, ends with the thread. */
static void drop_own_reference(struct thread *thread) {
    bool pinned = thread->control && thread->task && thread->task->space && thread->task->hardened;
    struct entry *entry = pinned ? space_find(thread->task->space, thread->control) : NULL;
    if (entry) {
        entry->bits &= ~BITS_PINNED;
        right_deallocate(entry);
    }
}

void thread_destroy(struct thread *thread) {
    struct port *ports[] = {thread->control, thread->read, thread->reply_port};
    loop_forget(thread);
    drop_own_reference(thread);
    thread->alive = false;
    list_remove(&thread->link);
    thread_cancel_wait(thread);
    if (thread->sending) {
        message_destroy(thread->sending);
    }
    for (size_t at = 0; at < sizeof ports / sizeof *ports; at++) {
        if (ports[at]) {
            port_destroy(ports[at]);
        }
    }
    if (thread->actions) {
        clear_actions(thread->actions);
        free(thread->actions);
    }
    if (current == thread) {
        current = NULL;
    }
    counts.threads--;
    close(thread->fd);
    free(thread->reply_payload);
    free(thread);
}

void thread_payload(struct thread *thread, const void *bytes, size_t size) {
    size_t needed = thread->reply.size + size;
    if (!size) {
        return;
    }
    if (needed > thread->reply_room) {
        uint8_t *payload = realloc(thread->reply_payload, needed * 2);
        if (!payload) {
            abort();
        }
        thread->reply_payload = payload;
        thread->reply_room = needed * 2;
    }
    if (bytes) {
        memcpy(thread->reply_payload + thread->reply.size, bytes, size);
    } else {
        memset(thread->reply_payload + thread->reply.size, 0, size);
    }
    thread->reply.size = (uint32_t)needed;
}

void thread_return(struct thread *thread) {
    if (exception_run(thread)) {
        loop_send(thread);
    }
}
