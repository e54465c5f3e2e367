/*
 * lives MODE PROGRAM ARGUMENT...: a program that has spoken to the kernel becomes, or starts, another one.
 * exec: it becomes that. fork: its child becomes that. copy: its child misuses a port itself. spawn: a child
 * without attributes. grandchild: a shell's child.
 */
#include <mach/mach.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int finish(pid_t pid) {
    int status;
    printf("{\"child\": %d}\n", (int)pid);
    fflush(stdout);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv) {
    mach_port_t port;
    pid_t pid;
    if (argc < 3 || mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &port)) {
        return 2;
    }
    task_set_exc_guard_behavior(mach_task_self(), TASK_EXC_GUARD_MP_DELIVER);
    if (!strcmp(argv[1], "exec")) {
        execv(argv[2], argv + 2);
        return 127;
    }
    if (!strcmp(argv[1], "spawn")) {
        return posix_spawn(&pid, argv[2], NULL, NULL, argv + 2, environ) ? 126 : finish(pid);
    }
    if (!strcmp(argv[1], "grandchild")) {
        char *shell[] = {"sh", "-c", "\"$0\" \"$@\"; exit $?", argv[2], argv[3], NULL};
        return posix_spawnp(&pid, "sh", NULL, NULL, shell, environ) ? 126 : finish(pid);
    }
    pid = fork();
    if (pid) {
        return finish(pid);
    }
    if (!strcmp(argv[1], "fork")) {
        execv(argv[2], argv + 2);
        _exit(127);
    }
    _exit(mach_port_deallocate(mach_task_self(), port) == KERN_INVALID_NAME ? 0 : 1);
}
