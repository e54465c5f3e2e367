/*
 * posix_spawn(2) of macOS: its types (opaque pointers), flags and exception ports, over libc's own
 * posix_spawn. Only Apple's names are visible; they stand for functions of the simulator, so that a libc with
 * the same names and other types is never called by mistake. Values: sys/spawn.h and spawn.h, macOS 26.4 SDK.
 */
#ifdef EXCSIM_LIBC_SPAWN
#include_next <spawn.h>
#else
#ifndef _SPAWN_H_
#define _SPAWN_H_

#include <signal.h>
#include <sys/types.h>

#include <mach/exception_types.h>
#include <mach/port.h>

typedef void *posix_spawnattr_t;
typedef void *posix_spawn_file_actions_t;

#define POSIX_SPAWN_RESETIDS 0x0001
#define POSIX_SPAWN_SETPGROUP 0x0002
#define POSIX_SPAWN_SETSIGDEF 0x0004
#define POSIX_SPAWN_SETSIGMASK 0x0008
#define POSIX_SPAWN_SETEXEC 0x0040
#define POSIX_SPAWN_START_SUSPENDED 0x0080
#define POSIX_SPAWN_SETSID 0x0400
#define POSIX_SPAWN_CLOEXEC_DEFAULT 0x4000

#define posix_spawn excsim_posix_spawn
#define posix_spawnp excsim_posix_spawnp
#define posix_spawnattr_init excsim_posix_spawnattr_init
#define posix_spawnattr_destroy excsim_posix_spawnattr_destroy
#define posix_spawnattr_getflags excsim_posix_spawnattr_getflags
#define posix_spawnattr_setflags excsim_posix_spawnattr_setflags
#define posix_spawnattr_getpgroup excsim_posix_spawnattr_getpgroup
#define posix_spawnattr_setpgroup excsim_posix_spawnattr_setpgroup
#define posix_spawnattr_getsigdefault excsim_posix_spawnattr_getsigdefault
#define posix_spawnattr_setsigdefault excsim_posix_spawnattr_setsigdefault
#define posix_spawnattr_getsigmask excsim_posix_spawnattr_getsigmask
#define posix_spawnattr_setsigmask excsim_posix_spawnattr_setsigmask
#define posix_spawn_file_actions_init excsim_posix_spawn_file_actions_init
#define posix_spawn_file_actions_destroy excsim_posix_spawn_file_actions_destroy
#define posix_spawn_file_actions_addclose excsim_posix_spawn_file_actions_addclose
#define posix_spawn_file_actions_adddup2 excsim_posix_spawn_file_actions_adddup2
#define posix_spawn_file_actions_addopen excsim_posix_spawn_file_actions_addopen
#define posix_spawn_file_actions_addinherit_np excsim_posix_spawn_file_actions_addinherit_np
#define posix_spawn_file_actions_addchdir_np excsim_posix_spawn_file_actions_addchdir_np

#ifdef __cplusplus
extern "C" {
#endif

/* Each returns 0 or an errno value. */
extern int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attr, char *const argv[], char *const envp[]);
extern int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                        const posix_spawnattr_t *attr, char *const argv[], char *const envp[]);

extern int posix_spawnattr_init(posix_spawnattr_t *attr);
extern int posix_spawnattr_destroy(posix_spawnattr_t *attr);
extern int posix_spawnattr_getflags(const posix_spawnattr_t *attr, short *flags);
extern int posix_spawnattr_setflags(posix_spawnattr_t *attr, short flags);
extern int posix_spawnattr_getpgroup(const posix_spawnattr_t *attr, pid_t *pgroup);
extern int posix_spawnattr_setpgroup(posix_spawnattr_t *attr, pid_t pgroup);
extern int posix_spawnattr_getsigdefault(const posix_spawnattr_t *attr, sigset_t *set);
extern int posix_spawnattr_setsigdefault(posix_spawnattr_t *attr, const sigset_t *set);
extern int posix_spawnattr_getsigmask(const posix_spawnattr_t *attr, sigset_t *set);
extern int posix_spawnattr_setsigmask(posix_spawnattr_t *attr, const sigset_t *set);

/* The child starts with this exception port for the exceptions of `mask`; the caller keeps its right. */
extern int posix_spawnattr_setexceptionports_np(posix_spawnattr_t *attr, exception_mask_t mask,
                                                mach_port_t port, exception_behavior_t behavior,
                                                thread_state_flavor_t flavor);
/* The child's special port `which` (TASK_BOOTSTRAP_PORT); the caller keeps its right. */
extern int posix_spawnattr_setspecialport_np(posix_spawnattr_t *attr, mach_port_t port, int which);

extern int posix_spawn_file_actions_init(posix_spawn_file_actions_t *actions);
extern int posix_spawn_file_actions_destroy(posix_spawn_file_actions_t *actions);
extern int posix_spawn_file_actions_addclose(posix_spawn_file_actions_t *actions, int fd);
extern int posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int fd, int newfd);
extern int posix_spawn_file_actions_addopen(posix_spawn_file_actions_t *actions, int fd, const char *path,
                                            int oflag, mode_t mode);
/* With POSIX_SPAWN_CLOEXEC_DEFAULT: this descriptor stays open in the child. */
extern int posix_spawn_file_actions_addinherit_np(posix_spawn_file_actions_t *actions, int fd);
extern int posix_spawn_file_actions_addchdir_np(posix_spawn_file_actions_t *actions, const char *path);

#ifdef __cplusplus
}
#endif

#endif
#endif
