/* libproc.h: what macOS answers from the kernel is read from /proc. */
#include <dirent.h>
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

int proc_listchildpids(pid_t ppid, void *buffer, int size) {
    return list(ppid, 0, buffer, size);
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
