/*
 * excguard-guardian GRACE: leads the process group of one watched program, and ends the group when the
 * supervisor releases it.
 *
 * Standard input is a pipe whose other end only the supervisor holds. Through it comes the program's process
 * id (a pid_t). While the pipe is open the guardian does nothing. When it closes, because the supervisor
 * closed it or died, every process in the group gets SIGTERM, and those that are left after GRACE
 * milliseconds get SIGKILL. The same holds for the group that the program leads if it has made one of its
 * own, as shells and timeout(1) do.
 *
 * Why a process: macOS has no way to end a child with its parent, and a killed supervisor cannot act. Why the
 * leader of the group: the group is there before the program is started into it, so the program never runs
 * unsupervised; and while the guardian lives, no other process can get its number, so the number means this
 * group and nothing else.
 *
 * It must be started as the leader of a new process group and with all signals blocked, which exec keeps so:
 * signals to the group are for the others.
 *
 * Exit status: 0: the group ended by itself or after SIGTERM; 1: it took SIGKILL; 2: misuse.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* How long SIGKILL may take: only a process that waits for a device in the kernel needs any time. */
#define KILL_MILLISECONDS 2000L

/* Returns at the end of the pipe, with the last process id that came through it; 0: none came. */
static pid_t wait_for_end(int fd) {
    pid_t program = 0;
    pid_t next;
    ssize_t got;

    do {
        got = read(fd, &next, sizeof(next));
        if (got == (ssize_t)sizeof(next)) {
            program = next;
        }
    } while (got > 0 || (got == -1 && errno == EINTR));
    return program;
}

static void sleep_milliseconds(long milliseconds) {
    struct timespec left = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000L};

    while (nanosleep(&left, &left) == -1 && errno == EINTR) {
    }
}

/*
 * Sends a signal to the groups. Returns 0 when they are empty. Any error means so: EPERM means
 * that a group has no member that we may signal (on macOS: only zombies).
 */
static int signal_groups(const pid_t groups[2], int number) {
    int reached = 0;

    for (int i = 0; i < 2; i++) {
        if (groups[i] > 1 && kill(-groups[i], number) == 0) {
            reached = 1;
        }
    }
    return reached;
}

/*
 * Whether all members of the groups are zombies, which cannot be ended. Linux counts them until the init
 * process has reaped them, which that of a container does late or never, and shows the difference in
 * /proc. macOS has no /proc, and does not count them in the first place (killpg1 in bsd/kern/kern_sig.c,
 * xnu-11417.121.6).
 */
static int only_zombies(const pid_t groups[2]) {
    DIR *processes = opendir("/proc");
    const struct dirent *entry;
    int living = processes == NULL;

    while (!living && (entry = readdir(processes)) != NULL) {
        char path[sizeof("/proc//stat") + sizeof(entry->d_name)];
        char stat[512];
        const char *after_name;
        char state;
        int group;
        size_t size;
        FILE *file;

        if (entry->d_name[0] < '1' || entry->d_name[0] > '9') {
            continue;
        }
        (void)snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
        file = fopen(path, "r");
        if (file == NULL) {
            continue;
        }
        size = fread(stat, 1, sizeof(stat) - 1, file);
        (void)fclose(file);
        stat[size] = '\0';
        /* pid (name) state ppid pgrp ...; a name may hold anything, parentheses as well. */
        after_name = strrchr(stat, ')');
        living = after_name != NULL && sscanf(after_name, ") %c %*d %d", &state, &group) == 2 &&
                 state != 'Z' && group > 1 && (group == groups[0] || group == groups[1]);
    }
    if (processes != NULL) {
        (void)closedir(processes);
    }
    return !living;
}

/* Waits until no member of the groups is alive, at most `milliseconds`. Returns 1 when that is so. */
static int wait_until_empty(const pid_t groups[2], long milliseconds) {
    long step = 1;

    while (signal_groups(groups, 0) && !only_zombies(groups)) {
        if (milliseconds <= 0) {
            return 0;
        }
        if (step > milliseconds) {
            step = milliseconds;
        }
        sleep_milliseconds(step);
        milliseconds -= step;
        step = step < 64 ? step * 2 : step;
    }
    return 1;
}

/*
 * Leaves the group, whose number stays taken for as long as this process lives: only from outside can one see
 * when a group is empty. The only group that is sure to be there to move to is that of a child made for the
 * purpose, the lodging. It ends when the descriptor that is returned is closed. -1: there is none to be had.
 */
static int leave_group(void) {
    int lifeline[2];
    pid_t lodging;

    if (pipe(lifeline) == -1) {
        return -1;
    }
    lodging = fork();
    if (lodging == -1) {
        return -1;
    }
    if (lodging == 0) {
        (void)close(lifeline[1]);
        (void)wait_for_end(lifeline[0]);
        _exit(0);
    }
    (void)close(lifeline[0]);
    return setpgid(lodging, lodging) == 0 && setpgid(0, lodging) == 0 ? lifeline[1] : -1;
}

/* Ends all members of the groups; this process is in neither. Returns the exit status. */
static int end_groups(const pid_t groups[2], long grace) {
    if (!signal_groups(groups, SIGTERM)) {
        return 0;
    }
    /* Stopped processes do not receive SIGTERM. */
    (void)signal_groups(groups, SIGCONT);
    if (wait_until_empty(groups, grace)) {
        return 0;
    }
    (void)signal_groups(groups, SIGKILL);
    (void)wait_until_empty(groups, KILL_MILLISECONDS);
    return 1;
}

int main(int argc, char **argv) {
    char *end = NULL;
    long grace = argc == 2 ? strtol(argv[1], &end, 10) : -1;
    pid_t groups[2] = {getpid(), 0};
    int lifeline;
    int status;

    if (grace < 0 || end == argv[1] || *end != '\0' || getpgrp() != getpid()) {
        (void)fprintf(stderr, "usage: excguard-guardian MILLISECONDS, as the leader of a process group\n");
        return 2;
    }
    groups[1] = wait_for_end(STDIN_FILENO);
    lifeline = leave_group();
    if (lifeline == -1) {
        /* Out of processes or descriptors. Stay, and end with the others. */
        (void)signal_groups(groups, SIGTERM);
        (void)signal_groups(groups, SIGCONT);
        sleep_milliseconds(grace);
        groups[0] = groups[1];
        (void)signal_groups(groups, SIGKILL);
        (void)kill(0, SIGKILL);
    }
    status = end_groups(groups, grace);
    (void)close(lifeline);
    (void)wait(NULL);
    return status;
}
