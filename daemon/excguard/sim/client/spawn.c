/*
 * spawn.h: libc's own posix_spawn with macOS's attributes around it. The kernel is told before (exception ports, special
 * port) and after (the pid) of a child; in between the child is known by a token in its environment.
 */
#define EXCSIM_LIBC_SPAWN
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spawn.h"

#include "connection.h"
#include "mach/mach.h"

/* macOS's flags; libc shares the first four. */
enum { FLAG_SETEXEC = 0x40, FLAG_START_SUSPENDED = 0x80, FLAG_SETSID = 0x400, FLAG_CLOEXEC_DEFAULT = 0x4000, FLAGS_SHARED = 0xf };

extern char **environ;

struct attributes {
    posix_spawnattr_t libc;
    short flags;
    uint32_t bootstrap;
    uint32_t count;
    struct wire_action actions[WIRE_ACTIONS_MAX];
};

struct file_actions {
    posix_spawn_file_actions_t libc;
    int *kept; /* descriptors that the actions make or keep */
    size_t kept_count;
};

/* ---- attributes ---- */

int excsim_posix_spawnattr_init(void **attr) {
    struct attributes *attributes = calloc(1, sizeof *attributes);
    if (!attributes)
        return ENOMEM;
    int error = posix_spawnattr_init(&attributes->libc);
    if (error)
        free(attributes);
    else
        *attr = attributes;
    return error;
}

int excsim_posix_spawnattr_destroy(void **attr) {
    struct attributes *attributes = *attr;
    if (!attributes)
        return EINVAL;
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

int posix_spawnattr_setexceptionports_np(void **attr, exception_mask_t mask, mach_port_t port, exception_behavior_t behavior,
                                         thread_state_flavor_t flavor) {
    struct attributes *attributes = *attr;
    if (attributes->count == WIRE_ACTIONS_MAX)
        return ENOMEM;
    attributes->actions[attributes->count++] = (struct wire_action){mask, port, (uint32_t)behavior, (uint32_t)flavor};
    return 0;
}

int posix_spawnattr_setspecialport_np(void **attr, mach_port_t port, int which) {
    if (which != TASK_BOOTSTRAP_PORT)
        return EINVAL;
    ((struct attributes *)*attr)->bootstrap = port;
    return 0;
}

/* ---- file actions ---- */

int excsim_posix_spawn_file_actions_init(void **actions) {
    struct file_actions *own = calloc(1, sizeof *own);
    if (!own)
        return ENOMEM;
    int error = posix_spawn_file_actions_init(&own->libc);
    if (error)
        free(own);
    else
        *actions = own;
    return error;
}

int excsim_posix_spawn_file_actions_destroy(void **actions) {
    struct file_actions *own = *actions;
    if (!own)
        return EINVAL;
    posix_spawn_file_actions_destroy(&own->libc);
    free(own->kept);
    free(own);
    *actions = NULL;
    return 0;
}

static int keep(struct file_actions *actions, int fd) {
    int *kept = realloc(actions->kept, (actions->kept_count + 1) * sizeof *kept);
    if (!kept)
        return ENOMEM;
    actions->kept = kept;
    kept[actions->kept_count++] = fd;
    return 0;
}

int excsim_posix_spawn_file_actions_addclose(void **actions, int fd) {
    return posix_spawn_file_actions_addclose(&((struct file_actions *)*actions)->libc, fd);
}

int excsim_posix_spawn_file_actions_adddup2(void **actions, int fd, int newfd) {
    struct file_actions *own = *actions;
    int error = posix_spawn_file_actions_adddup2(&own->libc, fd, newfd);
    return error ? error : keep(own, newfd);
}

int excsim_posix_spawn_file_actions_addopen(void **actions, int fd, const char *path, int oflag, mode_t mode) {
    struct file_actions *own = *actions;
    int error = posix_spawn_file_actions_addopen(&own->libc, fd, path, oflag, mode);
    return error ? error : keep(own, fd);
}

int excsim_posix_spawn_file_actions_addinherit_np(void **actions, int fd) {
    return excsim_posix_spawn_file_actions_adddup2(actions, fd, fd); /* clears close-on-exec */
}

int excsim_posix_spawn_file_actions_addchdir_np(void **actions, const char *path) {
    return posix_spawn_file_actions_addchdir_np(&((struct file_actions *)*actions)->libc, path);
}

static int is_kept(const struct file_actions *actions, int fd) {
    for (size_t at = 0; at < actions->kept_count; at++)
        if (actions->kept[at] == fd)
            return 1;
    return 0;
}

/* POSIX_SPAWN_CLOEXEC_DEFAULT: closes what is open now and no action of the caller's made or kept. */
static int close_others(struct file_actions *actions) {
    DIR *directory = opendir("/proc/self/fd");
    int error = directory ? 0 : errno;
    for (struct dirent *entry; !error && (entry = readdir(directory));) {
        int fd = entry->d_name[0] == '.' ? -1 : atoi(entry->d_name);
        if (fd >= 0 && fd != dirfd(directory) && !is_kept(actions, fd))
            error = posix_spawn_file_actions_addclose(&actions->libc, fd);
    }
    if (directory)
        closedir(directory);
    return error;
}

/* ---- spawn ---- */

static char **environment_with(char *const envp[], char *setting) {
    size_t count = 0, kept = 0, length = strlen(EXCSIM_SPAWN "=");
    while (envp && envp[count])
        count++;
    char **environment = malloc((count + 2) * sizeof *environment);
    if (!environment)
        return NULL;
    for (size_t at = 0; at < count; at++)
        if (strncmp(envp[at], EXCSIM_SPAWN "=", length))
            environment[kept++] = envp[at];
    environment[kept++] = setting;
    environment[kept] = NULL;
    return environment;
}

typedef int libc_spawn(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const[], char *const[]);

static int call_libc(libc_spawn *spawn, pid_t *pid, const char *path, struct file_actions *actions, struct attributes *attributes,
                     char *const argv[], char *const envp[]) {
    short flags = attributes ? attributes->flags : 0;
    void *closing = NULL;
    int error = 0;
    if (flags & (FLAG_SETEXEC | FLAG_START_SUSPENDED))
        return ENOTSUP;
    if (attributes)
        posix_spawnattr_setflags(&attributes->libc, (short)((flags & FLAGS_SHARED) | (flags & FLAG_SETSID ? POSIX_SPAWN_SETSID : 0)));
    if (flags & FLAG_CLOEXEC_DEFAULT) {
        if (!actions) {
            error = excsim_posix_spawn_file_actions_init(&closing);
            actions = closing;
        }
        if (!error)
            error = close_others(actions);
    }
    if (!error)
        error = spawn(pid, path, actions ? &actions->libc : NULL, attributes ? &attributes->libc : NULL, argv, envp);
    if (closing)
        excsim_posix_spawn_file_actions_destroy(&closing);
    return error;
}

static int spawn_child(libc_spawn *spawn, pid_t *pid, const char *path, void *const *actions, void *const *attr, char *const argv[],
                       char *const envp[], struct call_site site) {
    struct attributes *attributes = attr ? *attr : NULL;
    struct file_actions *file_actions = actions ? *actions : NULL;
    uint32_t count = attributes ? attributes->count : 0;
    pid_t child = 0;
    if (!connection_is_configured()) {
        if (count || (attributes && attributes->bootstrap))
            return EINVAL; /* no kernel, no ports */
        return call_libc(spawn, pid, path, file_actions, attributes, argv, envp);
    }
    struct answer prepared = connection_call(site, WIRE_SPAWN_PREPARE, ARGS(attributes ? attributes->bootstrap : 0),
                                             attributes ? attributes->actions : NULL, count * sizeof(struct wire_action), 0);
    if (prepared.result != KERN_SUCCESS)
        return EINVAL;
    uint64_t token = prepared.value[0];
    char setting[sizeof EXCSIM_SPAWN + 24];
    snprintf(setting, sizeof setting, "%s=%" PRIx64, EXCSIM_SPAWN, token);
    char **environment = environment_with(envp, setting);
    int error = environment ? call_libc(spawn, &child, path, file_actions, attributes, argv, environment) : ENOMEM;
    free(environment);
    if (error)
        connection_call(site, WIRE_SPAWN_CANCEL, ARGS(token), NULL, 0, 0);
    else
        connection_call(site, WIRE_SPAWN_COMMIT, ARGS(token, (uint64_t)child), NULL, 0, 0);
    if (!error && pid)
        *pid = child;
    return error;
}

int excsim_posix_spawn(pid_t *pid, const char *path, void *const *actions, void *const *attr, char *const argv[], char *const envp[]) {
    return spawn_child(posix_spawn, pid, path, actions, attr, argv, envp, CALL_SITE);
}

int excsim_posix_spawnp(pid_t *pid, const char *file, void *const *actions, void *const *attr, char *const argv[], char *const envp[]) {
    return spawn_child(posix_spawnp, pid, file, actions, attr, argv, envp, CALL_SITE);
}
