/*
 * posix_spawn(): what its attributes and file actions do to the child. posix_spawn(2), posix_spawnattr_*(3)
 * and posix_spawn_file_actions_*(3) of macOS; bsd/kern/kern_exec.c (posix_spawn,
 * exec_spawnattr_getmacpolicyinfo and neighbors), xnu-11417.121.6.
 */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "check.h"

extern char **environ;

static char *self;
/* Both systems hand the arguments of main to constructors. */
__attribute__((constructor)) static void remember(int argc, char **argv) {
    self = argc ? argv[0] : NULL;
}

static int status_of_child(pid_t pid) {
    int status = -1;
    EXPECT(pid, waitpid(pid, &status, 0));
    return status;
}

/* Runs a line of shell with these actions and attributes; how it ended. */
static int shell(const char *line, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes) {
    char *arguments[] = {"sh", "-c", (char *)line, NULL};
    pid_t pid;
    EXPECT(0, posix_spawn(&pid, "/bin/sh", actions, attributes, arguments, environ));
    return status_of_child(pid);
}

/* posix_spawnattr_getflags(3), posix_spawnattr_getpgroup(3) and neighbors */
CHECK(attributes_keep_what_is_set) {
    posix_spawnattr_t attributes;
    sigset_t set, seen;
    short flags = -1;
    pid_t group = -1;
    EXPECT(0, posix_spawnattr_init(&attributes));
    EXPECT(0, posix_spawnattr_getflags(&attributes, &flags));
    EXPECT(0, flags);
    EXPECT(0, posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK));
    EXPECT(0, posix_spawnattr_getflags(&attributes, &flags));
    EXPECT(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK, flags);
    EXPECT(0, posix_spawnattr_setpgroup(&attributes, 4321));
    EXPECT(0, posix_spawnattr_getpgroup(&attributes, &group));
    EXPECT(4321, group);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    EXPECT(0, posix_spawnattr_setsigdefault(&attributes, &set));
    EXPECT(0, posix_spawnattr_getsigdefault(&attributes, &seen));
    EXPECT(1, sigismember(&seen, SIGTERM));
    EXPECT(0, sigismember(&seen, SIGUSR1));
    EXPECT(0, posix_spawnattr_setsigmask(&attributes, &set));
    EXPECT(0, posix_spawnattr_getsigmask(&attributes, &seen));
    EXPECT(1, sigismember(&seen, SIGTERM));
    EXPECT(0, sigismember(&seen, SIGUSR1));
    EXPECT(0, posix_spawnattr_destroy(&attributes));
}

/* posix_spawn_file_actions_addclose(3); exec_handle_file_actions, bsd/kern/kern_exec.c */
CHECK(file_actions_happen_in_order) {
    posix_spawn_file_actions_t actions;
    int ends[2];
    MUST(pipe(ends));
    EXPECT(6, write(ends[1], "hello\n", 6));
    close(ends[1]);
    EXPECT(0, posix_spawn_file_actions_init(&actions));
    EXPECT(0, posix_spawn_file_actions_adddup2(&actions, ends[0], 7));
    EXPECT(0, posix_spawn_file_actions_addclose(&actions, ends[0]));
    EXPECT(0, posix_spawn_file_actions_addopen(&actions, 8, "/dev/null", O_RDONLY, 0));
    EXPECT(0, posix_spawn_file_actions_adddup2(&actions, 8, 9));
    EXPECT(0, posix_spawn_file_actions_addclose(&actions, 8));
    EXPECT(0, posix_spawn_file_actions_addchdir_np(&actions, "/"));
    EXPECT(0, shell("read word <&7 && test \"$word\" = hello", &actions, NULL));
    EXPECT(0, shell("! read word <&9", &actions, NULL)); /* /dev/null is open, and empty */
    EXPECT(0, shell("! (: <&8) 2>/dev/null", &actions, NULL));
    EXPECT(0, shell("test \"$(pwd)\" = /", &actions, NULL));
    EXPECT(0, posix_spawn_file_actions_destroy(&actions));
    close(ends[0]);
}

/* exec_handle_file_actions and posix_spawn, bsd/kern/kern_exec.c: an error of the call, not of a child */
CHECK(what_cannot_be_opened_is_an_error) {
    posix_spawn_file_actions_t actions;
    char *arguments[] = {"sh", "-c", "exit 0", NULL};
    pid_t pid;
    EXPECT(0, posix_spawn_file_actions_init(&actions));
    EXPECT(0, posix_spawn_file_actions_addopen(&actions, 8, "/nonexistent/file", O_RDONLY, 0));
    EXPECT(2 /* ENOENT */, posix_spawn(&pid, "/bin/sh", &actions, NULL, arguments, environ));
    EXPECT(0, posix_spawn_file_actions_destroy(&actions));
    EXPECT(2, posix_spawn(&pid, "/nonexistent/program", NULL, NULL, arguments, environ));
}

/* POSIX_SPAWN_SETSIGMASK and POSIX_SPAWN_SETSIGDEF in posix_spawn, bsd/kern/kern_exec.c */
CHECK(signals_start_as_asked) {
    posix_spawnattr_t attributes;
    sigset_t usr1, none, blocked;
    sigemptyset(&none);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    signal(SIGUSR1, SIG_IGN);
    sigprocmask(SIG_BLOCK, &usr1, &blocked);
    EXPECT(0, shell("kill -USR1 $$; exit 0", NULL, NULL)); /* inherited: ignored and blocked */
    EXPECT(0, posix_spawnattr_init(&attributes));
    EXPECT(0, posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK));
    EXPECT(0, posix_spawnattr_setsigdefault(&attributes, &usr1));
    EXPECT(0, posix_spawnattr_setsigmask(&attributes, &none));
    int status = shell("kill -USR1 $$; exit 0", NULL, &attributes);
    EXPECT(1, WIFSIGNALED(status));
    EXPECT(SIGUSR1, WTERMSIG(status));
    EXPECT(0, posix_spawnattr_destroy(&attributes));
}

/* POSIX_SPAWN_SETPGROUP in posix_spawn, bsd/kern/kern_exec.c */
CHECK(process_group_is_joined) {
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    char *arguments[] = {"cat", NULL};
    int ends[2];
    pid_t pid;
    MUST(pipe(ends));
    EXPECT(0, posix_spawnattr_init(&attributes));
    EXPECT(0, posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP));
    EXPECT(0, posix_spawnattr_setpgroup(&attributes, 0)); /* one of its own */
    EXPECT(0, posix_spawn_file_actions_init(&actions));
    EXPECT(0, posix_spawn_file_actions_adddup2(&actions, ends[0], 0));
    EXPECT(0, posix_spawn_file_actions_addclose(&actions, ends[1]));
    EXPECT(0, posix_spawnp(&pid, "cat", &actions, &attributes, arguments, environ));
    EXPECT(pid, getpgid(pid));
    close(ends[1]);
    EXPECT(0, status_of_child(pid));
    EXPECT(0, posix_spawnattr_destroy(&attributes));
    EXPECT(0, posix_spawn_file_actions_destroy(&actions));
}

/*
 * The part of the next check that runs in the child: a message to whatever bootstrap port it was given
 * (launchd's, mach/mach_init.h).
 */
CHECK(greet_bootstrap_port) {
    if (bootstrap_port == MACH_PORT_NULL) {
        return;
    }
    send_letter(bootstrap_port, MACH_MSG_TYPE_COPY_SEND, 4711, MACH_SEND_TIMEOUT);
}

/* exec_handle_port_actions, bsd/kern/kern_exec.c */
CHECK(special_port_is_given_to_the_child) {
    mach_port_t port = receive_right(MPO_INSERT_SEND_RIGHT, 0);
    char *arguments[] = {self, "greet_bootstrap_port", NULL};
    posix_spawnattr_t attributes;
    struct letter letter;
    pid_t pid;
    EXPECT(0, posix_spawnattr_init(&attributes));
    EXPECT(0, posix_spawnattr_setspecialport_np(&attributes, port, TASK_BOOTSTRAP_PORT));
    EXPECT(0, posix_spawn(&pid, self, NULL, &attributes, arguments, environ));
    EXPECT(0, status_of_child(pid));
    EXPECT(MACH_MSG_SUCCESS, receive_letter(port, &letter, 0));
    EXPECT(4711, letter.header.msgh_id);
    EXPECT(1, refs_of(port, MACH_PORT_RIGHT_SEND)); /* the child had its own */
    EXPECT(0, posix_spawnattr_destroy(&attributes));
}
