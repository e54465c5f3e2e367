/*
 * spawn.h: libc's own posix_spawn with macOS's attributes around it. A spawn is registered with the kernel
 * before (exception ports, special port) and after (the pid); in between a token in the child's environment
 * identifies it.
 *
 * libc has no POSIX_SPAWN_START_SUSPENDED, and only a tracer can stop a child between exec and its first
 * instruction. So such a child is forked and traced here, until it has the program; then it is left stopped,
 * as by SIGSTOP. Where tracing is forbidden (some containers do) it is stopped as soon as possible: it may
 * have started by then.
 */
#define EXCSIM_LIBC_SPAWN
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spawn.h"

#include "connection.h"
#include "mach/mach.h"

/* macOS's flags; libc shares the first four. */
enum {
    FLAG_SETEXEC = 0x40,
    FLAG_START_SUSPENDED = 0x80,
    FLAG_SETSID = 0x400,
    FLAG_CLOEXEC_DEFAULT = 0x4000,
    FLAGS_SHARED = 0xf
};

extern char **environ;

struct attributes {
    posix_spawnattr_t libc;
    short flags;
    uint32_t bootstrap;
    uint32_t count;
    struct wire_action actions[WIRE_ACTIONS_MAX];
};

struct file_action {
    enum { ACTION_CLOSE, ACTION_DUP, ACTION_OPEN, ACTION_CHDIR } kind;
    int fd, to; /* to: ACTION_DUP */
    char *path; /* ACTION_OPEN, ACTION_CHDIR */
    int oflag;
    mode_t mode;
};

struct file_actions {
    size_t count;
    struct file_action *list;
};

/* ---- attributes ---- */

int excsim_posix_spawnattr_init(void **attr) {
    struct attributes *attributes = calloc(1, sizeof *attributes);
    if (!attributes) {
        return ENOMEM;
    }
    int error = posix_spawnattr_init(&attributes->libc);
    if (error) {
        free(attributes);
    } else {
        *attr = attributes;
    }
    return error;
}

int excsim_posix_spawnattr_destroy(void **attr) {
    struct attributes *attributes = *attr;
    if (!attributes) {
        return EINVAL;
    }
    posix_spawnattr_destroy(&attributes->libc);
    free(attributes);
    *attr = NULL;
    return 0;
}

int excsim_posix_spawnattr_getflags(void *const *attr, short *flags) {
    *flags = ((const struct attributes *)*attr)->flags;
    return 0;
}

int excsim_posix_spawnattr_setflags(void **attr, short flags) {
    ((struct attributes *)*attr)->flags = flags;
    return 0;
}

int excsim_posix_spawnattr_getpgroup(void *const *attr, pid_t *pgroup) {
    return posix_spawnattr_getpgroup(&((struct attributes *)*attr)->libc, pgroup);
}

int excsim_posix_spawnattr_setpgroup(void **attr, pid_t pgroup) {
    return posix_spawnattr_setpgroup(&((struct attributes *)*attr)->libc, pgroup);
}

int excsim_posix_spawnattr_getsigdefault(void *const *attr, sigset_t *set) {
    return posix_spawnattr_getsigdefault(&((struct attributes *)*attr)->libc, set);
}

int excsim_posix_spawnattr_setsigdefault(void **attr, const sigset_t *set) {
    return posix_spawnattr_setsigdefault(&((struct attributes *)*attr)->libc, set);
}

int excsim_posix_spawnattr_getsigmask(void *const *attr, sigset_t *set) {
    return posix_spawnattr_getsigmask(&((struct attributes *)*attr)->libc, set);
}

int excsim_posix_spawnattr_setsigmask(void **attr, const sigset_t *set) {
    return posix_spawnattr_setsigmask(&((struct attributes *)*attr)->libc, set);
}

int posix_spawnattr_setexceptionports_np(void **attr, exception_mask_t mask, mach_port_t port,
                                         exception_behavior_t behavior, thread_state_flavor_t flavor) {
    struct attributes *attributes = *attr;
    if (attributes->count == WIRE_ACTIONS_MAX) {
        return ENOMEM;
    }
    attributes->actions[attributes->count++] =
        (struct wire_action){mask, port, (uint32_t)behavior, (uint32_t)flavor};
    return 0;
}

int posix_spawnattr_setspecialport_np(void **attr, mach_port_t port, int which) {
    if (which != TASK_BOOTSTRAP_PORT) {
        return EINVAL;
    }
    ((struct attributes *)*attr)->bootstrap = port;
    return 0;
}

/* ---- file actions ---- */

int excsim_posix_spawn_file_actions_init(void **actions) {
    *actions = calloc(1, sizeof(struct file_actions));
    return *actions ? 0 : ENOMEM;
}

static void empty(struct file_actions *actions) {
    for (size_t at = 0; at < actions->count; at++) {
        free(actions->list[at].path);
    }
    free(actions->list);
}

int excsim_posix_spawn_file_actions_destroy(void **actions) {
    if (!*actions) {
        return EINVAL;
    }
    empty(*actions);
    free(*actions);
    *actions = NULL;
    return 0;
}

static int add(struct file_actions *actions, struct file_action action, const char *path) {
    if (action.fd < 0 || action.to < 0) {
        return EBADF;
    }
    struct file_action *list = realloc(actions->list, (actions->count + 1) * sizeof *list);
    if (!list) {
        return ENOMEM;
    }
    actions->list = list;
    action.path = path ? strdup(path) : NULL;
    if (path && !action.path) {
        return ENOMEM;
    }
    list[actions->count++] = action;
    return 0;
}

int excsim_posix_spawn_file_actions_addclose(void **actions, int fd) {
    return add(*actions, (struct file_action){.kind = ACTION_CLOSE, .fd = fd}, NULL);
}

int excsim_posix_spawn_file_actions_adddup2(void **actions, int fd, int newfd) {
    return add(*actions, (struct file_action){.kind = ACTION_DUP, .fd = fd, .to = newfd}, NULL);
}

int excsim_posix_spawn_file_actions_addopen(void **actions, int fd, const char *path, int oflag,
                                            mode_t mode) {
    return add(*actions, (struct file_action){.kind = ACTION_OPEN, .fd = fd, .oflag = oflag, .mode = mode},
               path);
}

int excsim_posix_spawn_file_actions_addinherit_np(void **actions, int fd) {
    return excsim_posix_spawn_file_actions_adddup2(actions, fd, fd); /* clears close-on-exec */
}

int excsim_posix_spawn_file_actions_addchdir_np(void **actions, const char *path) {
    return add(*actions, (struct file_action){.kind = ACTION_CHDIR}, path);
}

/* Whether an action of the caller's makes or keeps a descriptor. */
static int is_kept(const struct file_actions *actions, int fd) {
    for (size_t at = 0; actions && at < actions->count; at++) {
        const struct file_action *action = &actions->list[at];
        if ((action->kind == ACTION_DUP && action->to == fd) ||
            (action->kind == ACTION_OPEN && action->fd == fd)) {
            return 1;
        }
    }
    return 0;
}

/* POSIX_SPAWN_CLOEXEC_DEFAULT: closes what is open now and no action of the caller's made or kept. */
static int close_others(const struct file_actions *actions, struct file_actions *closing) {
    DIR *directory = opendir("/proc/self/fd");
    int error = directory ? 0 : errno;
    for (struct dirent *entry; !error && (entry = readdir(directory));) {
        int fd = entry->d_name[0] == '.' ? -1 : atoi(entry->d_name);
        if (fd >= 0 && fd != dirfd(directory) && !is_kept(actions, fd)) {
            error = add(closing, (struct file_action){.kind = ACTION_CLOSE, .fd = fd}, NULL);
        }
    }
    if (directory) {
        closedir(directory);
    }
    return error;
}

/* ---- spawn ---- */

static char **environment_with(char *const envp[], char *setting) {
    size_t count = 0, kept = 0, length = strlen(EXCSIM_SPAWN "=");
    while (envp && envp[count]) {
        count++;
    }
    char **environment = malloc((count + 2) * sizeof *environment);
    if (!environment) {
        return NULL;
    }
    for (size_t at = 0; at < count; at++) {
        if (strncmp(envp[at], EXCSIM_SPAWN "=", length)) {
            environment[kept++] = envp[at];
        }
    }
    environment[kept++] = setting;
    environment[kept] = NULL;
    return environment;
}

typedef int libc_spawn(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                       char *const[], char *const[]);
typedef int libc_exec(const char *, char *const[], char *const[]);

/* A way to start a program: libc's spawn for what libc can do, its exec for what is done here. */
struct way {
    libc_spawn *spawn;
    libc_exec *exec;
};

static int add_to_libc(posix_spawn_file_actions_t *libc, const struct file_action *action) {
    switch (action->kind) {
    case ACTION_CLOSE:
        return posix_spawn_file_actions_addclose(libc, action->fd);
    case ACTION_DUP:
        return posix_spawn_file_actions_adddup2(libc, action->fd, action->to);
    case ACTION_OPEN:
        return posix_spawn_file_actions_addopen(libc, action->fd, action->path, action->oflag, action->mode);
    case ACTION_CHDIR:
        return posix_spawn_file_actions_addchdir_np(libc, action->path);
    }
    return EINVAL;
}

static int call_libc(libc_spawn *spawn, pid_t *pid, const char *path, const struct file_actions *actions,
                     const struct attributes *attributes, char *const argv[], char *const envp[]) {
    posix_spawn_file_actions_t libc;
    int error = posix_spawn_file_actions_init(&libc);
    if (error) {
        return error;
    }
    for (size_t at = 0; !error && at < actions->count; at++) {
        error = add_to_libc(&libc, &actions->list[at]);
    }
    if (!error) {
        error = spawn(pid, path, &libc, attributes ? &attributes->libc : NULL, argv, envp);
    }
    posix_spawn_file_actions_destroy(&libc);
    return error;
}

/* The same in the child itself. Returns 0 or an errno value. */
static int act(const struct file_action *action) {
    int fd;
    switch (action->kind) {
    case ACTION_CLOSE:
        (void)close(action->fd);
        return 0;
    case ACTION_DUP:
        if (action->fd == action->to) {
            return fcntl(action->fd, F_SETFD, 0) ? errno : 0;
        }
        return dup2(action->fd, action->to) < 0 ? errno : 0;
    case ACTION_OPEN:
        (void)close(action->fd);
        fd = open(action->path, action->oflag, action->mode);
        if (fd < 0 || fd == action->fd) {
            return fd < 0 ? errno : 0;
        }
        if (dup2(fd, action->fd) < 0) {
            return errno;
        }
        return close(fd) ? errno : 0;
    case ACTION_CHDIR:
        return chdir(action->path) ? errno : 0;
    }
    return EINVAL;
}

static int become(const struct attributes *attributes) {
    short flags;
    pid_t group;
    sigset_t defaults;
    posix_spawnattr_getflags(&attributes->libc, &flags);
    if (!(flags & POSIX_SPAWN_SETSIGDEF) || posix_spawnattr_getsigdefault(&attributes->libc, &defaults)) {
        sigemptyset(&defaults);
    }
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        if (sigismember(&defaults, number) == 1 ||
            (!sigaction(number, NULL, &action) && action.sa_handler != SIG_IGN)) {
            (void)signal(number, SIG_DFL);
        }
    }
    if (flags & POSIX_SPAWN_SETSID && setsid() < 0) {
        return errno;
    }
    if (flags & POSIX_SPAWN_SETPGROUP && !posix_spawnattr_getpgroup(&attributes->libc, &group) &&
        setpgid(0, group)) {
        return errno;
    }
    if (flags & POSIX_SPAWN_RESETIDS && (setegid(getgid()) || seteuid(getuid()))) {
        return errno;
    }
    return 0;
}

/*
 * The child between fork and exec. It dies with the process that started it: by PR_SET_PDEATHSIG until it is
 * traced, then by PTRACE_O_EXITKILL. Ends with the errno value as its status when it cannot become the
 * program.
 */
static _Noreturn void become_program(pid_t starter, libc_exec *exec, const char *path,
                                     const struct file_actions *actions, const struct attributes *attributes,
                                     const sigset_t *inherited, char *const argv[], char *const envp[]) {
    sigset_t mask = *inherited;
    short flags;
    int error = prctl(PR_SET_PDEATHSIG, SIGKILL) || ptrace(PTRACE_TRACEME, 0, NULL, NULL) ? errno : 0;
    if (getppid() != starter) {
        _exit(0);
    }
    if (!error) {
        error = kill(getpid(), SIGSTOP) || prctl(PR_SET_PDEATHSIG, 0) ? errno : become(attributes);
    }
    for (size_t at = 0; !error && at < actions->count; at++) {
        error = act(&actions->list[at]);
    }
    if (!error) {
        posix_spawnattr_getflags(&attributes->libc, &flags);
        if (flags & POSIX_SPAWN_SETSIGMASK) {
            posix_spawnattr_getsigmask(&attributes->libc, &mask);
        }
        pthread_sigmask(SIG_SETMASK, &mask, NULL);
        exec(path, argv, envp);
        error = errno;
    }
    _exit(error);
}

/*
 * Waits until a child that asked to be traced has its program, and leaves it stopped. Returns 0 or an errno
 * value.
 */
static int stop_at_first_instruction(pid_t child) {
    int status, is_begin = 1;
    for (;;) {
        if (waitpid(child, &status, 0) < 0) {
            if (errno != EINTR) {
                return errno;
            }
        } else if (WIFEXITED(status)) {
            return WEXITSTATUS(status);
        } else if (WIFSIGNALED(status)) {
            return EINTR; /* it was killed before it was one */
        } else if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8)) {
            break;
        } else if (is_begin) {
            is_begin = 0;
            ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)(PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL));
            ptrace(PTRACE_CONT, child, NULL, NULL);
        } else {
            ptrace(PTRACE_CONT, child, NULL, (void *)(intptr_t)WSTOPSIG(status));
        }
    }
    kill(child, SIGSTOP); /* it takes effect when the tracer lets go; SIGCONT takes it back even before */
    ptrace(PTRACE_DETACH, child, NULL, NULL);
    return 0;
}

/*
 * fork, but none of its handlers (see connection.c), and with all signals blocked: no handler of this
 * program's is for the child.
 */
static pid_t fork_in_silence(sigset_t *before) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, before);
    pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (child != 0) {
        pthread_sigmask(SIG_SETMASK, before, NULL);
    }
    return child;
}

/* Does this machine let a process be traced? Asked once. */
static int may_trace(void) {
    static _Atomic int known; /* 1: yes, -1: no */
    if (!known) {
        int status = 1;
        sigset_t before;
        pid_t child = fork_in_silence(&before);
        if (child == 0) {
            _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0);
        }
        while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
        if (child < 0) {
            return 0; /* the next one may be able to ask */
        }
        known = status == 0 ? 1 : -1;
    }
    return known > 0;
}

static int start_suspended(libc_exec *exec, pid_t *pid, const char *path, const struct file_actions *actions,
                           const struct attributes *attributes, char *const argv[], char *const envp[]) {
    sigset_t before;
    pid_t starter = getpid();
    *pid = fork_in_silence(&before);
    if (*pid == 0) {
        become_program(starter, exec, path, actions, attributes, &before, argv, envp);
    }
    return *pid < 0 ? errno : stop_at_first_instruction(*pid);
}

static int start(const struct way *way, pid_t *pid, const char *path, const struct file_actions *actions,
                 struct attributes *attributes, char *const argv[], char *const envp[]) {
    short flags = attributes ? attributes->flags : 0;
    if (flags & FLAG_SETEXEC) {
        return ENOTSUP;
    }
    if (attributes) {
        posix_spawnattr_setflags(&attributes->libc, (short)((flags & FLAGS_SHARED) |
                                                            (flags & FLAG_SETSID ? POSIX_SPAWN_SETSID : 0)));
    }
    struct file_actions all = {0};
    int error = 0;
    for (size_t at = 0; !error && actions && at < actions->count; at++) {
        error = add(&all, actions->list[at], actions->list[at].path);
    }
    if (!error && flags & FLAG_CLOEXEC_DEFAULT) {
        error = close_others(actions, &all);
    }
    if (!error && flags & FLAG_START_SUSPENDED && may_trace()) {
        error = start_suspended(way->exec, pid, path, &all, attributes, argv, envp);
    } else if (!error) {
        error = call_libc(way->spawn, pid, path, &all, attributes, argv, envp);
        if (!error && flags & FLAG_START_SUSPENDED) {
            kill(*pid, SIGSTOP);
        }
    }
    empty(&all);
    return error;
}

static int spawn_child(const struct way *way, pid_t *pid, const char *path, void *const *actions,
                       void *const *attr, char *const argv[], char *const envp[], struct call_site site) {
    struct attributes *attributes = attr ? *attr : NULL;
    struct file_actions *file_actions = actions ? *actions : NULL;
    uint32_t count = attributes ? attributes->count : 0;
    pid_t child = 0;
    if (!connection_is_configured()) {
        if (count || (attributes && attributes->bootstrap)) {
            return EINVAL; /* no kernel, no ports */
        }
        return start(way, pid ? pid : &child, path, file_actions, attributes, argv, envp);
    }
    struct answer prepared =
        connection_call(site, WIRE_SPAWN_PREPARE, ARGS(attributes ? attributes->bootstrap : 0),
                        attributes ? attributes->actions : NULL, count * sizeof(struct wire_action), 0);
    if (prepared.result != KERN_SUCCESS) {
        return EINVAL;
    }
    uint64_t token = prepared.value[0];
    char setting[sizeof EXCSIM_SPAWN + 24];
    snprintf(setting, sizeof setting, "%s=%" PRIx64, EXCSIM_SPAWN, token);
    char **environment = environment_with(envp, setting);
    int error = environment ? start(way, &child, path, file_actions, attributes, argv, environment) : ENOMEM;
    free(environment);
    if (error) {
        connection_call(site, WIRE_SPAWN_CANCEL, ARGS(token), NULL, 0, 0);
    } else {
        connection_call(site, WIRE_SPAWN_COMMIT, ARGS(token, (uint64_t)child), NULL, 0, 0);
    }
    if (!error && pid) {
        *pid = child;
    }
    return error;
}

int excsim_posix_spawn(pid_t *pid, const char *path, void *const *actions, void *const *attr,
                       char *const argv[], char *const envp[]) {
    return spawn_child(&(struct way){posix_spawn, execve}, pid, path, actions, attr, argv, envp, CALL_SITE);
}

int excsim_posix_spawnp(pid_t *pid, const char *file, void *const *actions, void *const *attr,
                        char *const argv[], char *const envp[]) {
    return spawn_child(&(struct way){posix_spawnp, execvpe}, pid, file, actions, attr, argv, envp, CALL_SITE);
}
