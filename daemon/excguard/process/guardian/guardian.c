/*
 * excguard-guardian GRACE: leads the process group of one watched program, and ends the group when the
 * supervisor releases it.
 *
 * Standard input is a pipe whose other end only the supervisor holds. Through it comes the program's process
 * id (a pid_t), and 0 when that stands for nothing any more. While the pipe is open the guardian does
 * nothing. When it closes, because the supervisor closed it or died, every process in the group gets SIGTERM,
 * and those that are left after GRACE milliseconds get SIGKILL. The same holds for the group that the program
 * leads if it has made one of its own, as shells and timeout(1) do.
 *
 * The number of that group can go to another program when the first one has been reaped and its group is
 * empty. A supervisor that lives prevents that: it reaps the program after the guardian, or withdraws the
 * number before. For the time after its death the guardian watches the program from the beginning (`struct
 * program`), and gives the group up for good as soon as it was empty.
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
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __APPLE__
#include <sys/event.h>
#else
#include <sys/syscall.h>
#endif
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* How long SIGKILL may take: only a process that waits for a device in the kernel needs any time. */
#define KILL_MILLISECONDS 2000L

/* PIDFD_SIGNAL_PROCESS_GROUP of linux/pidfd.h since Linux 6.9: for the whole group that the process leads. */
#define PIDFD_GROUP (1U << 2)

/*
 * The program, as the supervisor has started it.
 *
 * number: its process id, and the number of the group that it leads if it has made one; 0: there is none.
 * watch: a descriptor that stands for this process and for no later one of the same number, and can be read
 * from when it has ended: a pidfd on Linux, on macOS a kqueue; -1: none is to be had.
 */
struct program {
    pid_t number;
    int watch;
};

static int has_ended(const struct program *program) {
    struct pollfd watched = {.fd = program->watch, .events = POLLIN};

    return program->watch == -1 || poll(&watched, 1, 0) == 1;
}

#ifdef __APPLE__

static int watch_process(pid_t number) {
    struct kevent end;
    int queue = kqueue();

    EV_SET(&end, (uintptr_t)number, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, NULL);
    if (queue != -1 && kevent(queue, &end, 1, NULL, 0, NULL) == -1) {
        (void)close(queue);
        return -1;
    }
    return queue;
}

/*
 * Once the program has ended, a living process of its number is another one, and so is its group. getpgid
 * finds living ones only (sys_getpgid in bsd/kern/kern_prot.c, xnu-11417.121.6).
 */
static int signal_program_group(const struct program *program, int number) {
    if (program->watch != -1 && has_ended(program) && getpgid(program->number) != -1) {
        errno = ESRCH;
        return -1;
    }
    return kill(-program->number, number);
}

#else

static int watch_process(pid_t number) {
    return (int)syscall(SYS_pidfd_open, number, 0);
}

/* With a pidfd the kernel goes by the process, whatever has its number now. Before Linux 6.9: EINVAL. */
static int signal_program_group(const struct program *program, int number) {
    if (program->watch != -1) {
        if (syscall(SYS_pidfd_send_signal, program->watch, number, NULL, PIDFD_GROUP) == 0) {
            return 0;
        }
        if (errno != EINVAL) {
            return -1;
        }
    }
    return kill(-program->number, number);
}

#endif

/* Returns at the end of the pipe, with the last process id that came through it. */
static struct program wait_for_end(int fd) {
    struct program program = {0, -1};
    pid_t next;
    ssize_t got;

    do {
        got = read(fd, &next, sizeof(next));
        if (got == (ssize_t)sizeof(next)) {
            if (program.watch != -1) {
                (void)close(program.watch);
            }
            program.number = next;
            program.watch = next > 1 ? watch_process(next) : -1;
        }
    } while (got > 0 || (got == -1 && errno == EINTR));
    return program;
}

static void sleep_milliseconds(long milliseconds) {
    struct timespec left = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000L};

    while (nanosleep(&left, &left) == -1 && errno == EINTR) {
    }
}

/* Both groups that are to end. own: the one that this process has led from the start; 0: not that one. */
struct groups {
    pid_t own;
    struct program program;
};

/*
 * Sends a signal to the groups. Returns 0 when they are empty. Any error means so: EPERM means that a group
 * has no member that we may signal (on macOS: only zombies). The program's group is given up then, if the
 * program has ended: from now on its number can stand for another.
 */
static int signal_groups(struct groups *groups, int number) {
    int reached = groups->own > 1 && kill(-groups->own, number) == 0;

    if (groups->program.number > 1) {
        if (signal_program_group(&groups->program, number) == 0) {
            reached = 1;
        } else if (has_ended(&groups->program)) {
            groups->program.number = 0;
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
static int only_zombies(const struct groups *groups) {
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
                 state != 'Z' && group > 1 && (group == groups->own || group == groups->program.number);
    }
    if (processes != NULL) {
        (void)closedir(processes);
    }
    return !living;
}

/* Waits until no member of the groups is alive, at most `milliseconds`. Returns 1 when that is so. */
static int wait_until_empty(struct groups *groups, long milliseconds) {
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
static int end_groups(struct groups *groups, long grace) {
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
    struct groups groups = {.own = getpid()};
    int lifeline;
    int status;

    if (grace < 0 || end == argv[1] || *end != '\0' || getpgrp() != getpid()) {
        (void)fprintf(stderr, "usage: excguard-guardian MILLISECONDS, as the leader of a process group\n");
        return 2;
    }
    groups.program = wait_for_end(STDIN_FILENO);
    lifeline = leave_group();
    if (lifeline == -1) {
        /* Out of processes or descriptors. Stay, and end with the others. */
        (void)signal_groups(&groups, SIGTERM);
        (void)signal_groups(&groups, SIGCONT);
        sleep_milliseconds(grace);
        groups.own = 0;
        (void)signal_groups(&groups, SIGKILL);
        (void)kill(0, SIGKILL);
    }
    status = end_groups(&groups, grace);
    (void)close(lifeline);
    (void)wait(NULL);
    return status;
}
