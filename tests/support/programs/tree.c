/*
 * A tree of processes, each of which breaks one rule: a program is known by the name that it is started
 * under.
 *
 *     swift-test         as SwiftPM's: posix_spawn of the test bundle's program, which forks, and of a tool
 * by exec in a child of fork Electron           as Electron's: helpers for GPU, network and renderers by
 * posix_spawn with SETPGROUP or SETSID, one of which starts another; a crash handler that leaves by setsid
 * and two forks Electron --clear   starts one helper with an empty environment, which stays for a second any
 * other name     breaks its rule and ends
 *
 * Helpers are links to the program, beside it. Each violation is of a port name that says who: 0xdead00 and
 * the number that the process was started with.
 */
#include <libgen.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mach/mach.h>

extern char **environ;

static char directory[1024];

__attribute__((noinline)) static void violate(unsigned number) {
    mach_port_deallocate(mach_task_self(), 0xdead00u | number);
}

static char *beside(const char *name) {
    static char path[1200];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static pid_t start(const char *name, const char *number, short flags, char **variables) {
    posix_spawnattr_t attributes;
    pid_t pid = 0;
    char *const arguments[] = {beside(name), (char *)(uintptr_t)number, NULL};
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, flags);
    if (posix_spawn(&pid, arguments[0], NULL, &attributes, arguments, variables) != 0) {
        exit(90);
    }
    posix_spawnattr_destroy(&attributes);
    return pid;
}

static void finish(pid_t pid) {
    int status = 0;
    if (waitpid(pid, &status, 0) != pid || status != 0) {
        exit(91);
    }
}

static void swift_test(void) {
    finish(start("PackageTests", "2", 0, environ));
    pid_t child = fork();
    if (child == 0) {
        char *const arguments[] = {beside("swift-tool"), "4", NULL};
        execv(arguments[0], arguments);
        _exit(92);
    }
    finish(child);
}

static void package_tests(void) {
    pid_t child = fork();
    if (child == 0) {
        violate(3);
        _exit(0);
    }
    finish(child);
}

/* It leaves session and group, and its parent ends before it. A pipe says when it has ended. */
static void crash_handler(void) {
    int done[2];
    if (pipe(done) != 0) {
        exit(93);
    }
    pid_t child = fork();
    if (child == 0) {
        setsid();
        if (fork() == 0) {
            char *const arguments[] = {beside("crashpad_handler"), "7", NULL};
            execv(arguments[0], arguments);
            _exit(92);
        }
        _exit(0);
    }
    finish(child);
    close(done[1]);
    char byte;
    if (read(done[0], &byte, 1) != 0) {
        exit(94);
    }
}

static void electron(void) {
    pid_t gpu = start("Helper (GPU)", "2", POSIX_SPAWN_SETPGROUP, environ);
#ifdef POSIX_SPAWN_SETSID
    pid_t network = start("Helper", "3", POSIX_SPAWN_SETSID, environ);
#else
    pid_t network = start("Helper", "3", 0, environ);
#endif
    pid_t renderer = start("Helper (Renderer)", "4", 0, environ);
    finish(gpu);
    finish(network);
    finish(renderer);
    crash_handler();
}

int main(int argc, char **argv) {
    char path[1024];
    snprintf(path, sizeof path, "%s", argv[0]);
    snprintf(directory, sizeof directory, "%s", dirname(path));
    const char *name = strrchr(argv[0], '/') + 1;
    unsigned number = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
    if (argc > 1 && strcmp(argv[1], "--clear") == 0) {
        char *nothing[] = {NULL};
        char *socket[] = {NULL, NULL};
        for (char **variable = environ; *variable != NULL; variable++) {
            if (strncmp(*variable, "EXCSIM_SOCKET=", 14) == 0) {
                socket[0] = *variable; /* it stays a program of the simulated kernel */
            }
        }
        finish(start("Helper (Plugin)", "9", 0, socket[0] != NULL ? socket : nothing));
        return 0;
    }
    violate(number);
    if (strcmp(name, "swift-test") == 0) {
        swift_test();
    } else if (strcmp(name, "PackageTests") == 0) {
        package_tests();
    } else if (strcmp(name, "Electron") == 0) {
        electron();
    } else if (strcmp(name, "Helper (Renderer)") == 0) {
        finish(start("Helper (Worker)", "5", 0, environ));
        finish(start("Helper (Utility)", "6", 0, environ));
    } else if (strcmp(name, "Helper (Plugin)") == 0) {
        sleep(1);
    }
    return 0;
}
