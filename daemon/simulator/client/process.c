/* libproc.h: what macOS answers from the kernel is read from /proc. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libproc.h"

struct relations {
    pid_t parent, group; /* 0: there is no such process, or it has ended */
};

static struct relations relations_of(pid_t pid) {
    char path[32], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file) {
        return (struct relations){0, 0};
    }
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = '\0';
    /* pid (name) state ppid pgrp ...; the name may contain anything, parentheses too. */
    const char *after_name = strrchr(text, ')');
    char state;
    int parent, group;
    if (!after_name || sscanf(after_name, ") %c %d %d", &state, &parent, &group) != 3 || state == 'Z') {
        return (struct relations){0, 0};
    }
    return (struct relations){parent, group};
}

/* The processes of which one relation is `wanted`. */
static int list(pid_t wanted, int by_group, void *buffer, int size) {
    DIR *processes = opendir("/proc");
    if (!processes) {
        return -1;
    }
    pid_t *pids = buffer;
    int room = size / (int)sizeof *pids;
    int count = 0;
    for (struct dirent *entry; count < room && (entry = readdir(processes));) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        struct relations found = pid > 0 ? relations_of(pid) : (struct relations){0, 0};
        if (found.parent && (by_group ? found.group : found.parent) == wanted) {
            pids[count++] = pid;
        }
    }
    closedir(processes);
    return count;
}

/*
 * The children that one thread has started: /proc/PID/task/TID/children (proc(5); CONFIG_PROC_CHILDREN).
 * Returns how many there are now in `pids`, -1 when there is no such file.
 */
static int add_children(pid_t pid, const char *thread, pid_t *pids, int count, int room) {
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/task/%.20s/children", (int)pid, thread);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    if (size < 0 || size == sizeof text - 1) {
        return -1; /* more than fit */
    }
    text[size] = '\0';
    char *rest = text;
    for (pid_t child; count < room && (child = (pid_t)strtol(rest, &rest, 10)) > 0;) {
        if (relations_of(child).parent == pid) {
            pids[count++] = child;
        }
    }
    return count;
}

int proc_listchildpids(pid_t ppid, void *buffer, int size) {
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/task", (int)ppid);
    DIR *threads = opendir(path);
    int count = 0;
    if (!threads) {
        return 0; /* no such process */
    }
    for (struct dirent *entry; count >= 0 && (entry = readdir(threads));) {
        if (entry->d_name[0] != '.') {
            count = add_children(ppid, entry->d_name, buffer, count, size / (int)sizeof(pid_t));
        }
    }
    closedir(threads);
    return count >= 0 ? count : list(ppid, 0, buffer, size); /* by looking at every process */
}

int proc_listpgrppids(pid_t pgrpid, void *buffer, int size) {
    return list(pgrpid, 1, buffer, size);
}

int proc_pidpath(int pid, void *buffer, uint32_t size) {
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    ssize_t length = size ? readlink(path, buffer, size - 1) : -1;
    if (length < 0) {
        return 0;
    }
    ((char *)buffer)[length] = '\0';
    return (int)length;
}
