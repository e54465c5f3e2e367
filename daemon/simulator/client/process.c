/* libproc.h: what macOS answers from the kernel is read from /proc. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libproc.h"

/* The parent of a process; 0: there is no such process. */
static pid_t parent_of(pid_t pid) {
    char path[32], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file) {
        return 0;
    }
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = '\0';
    /* pid (name) state ppid ...; the name may contain anything, parentheses too. */
    const char *after_name = strrchr(text, ')');
    int parent = 0;
    return after_name && sscanf(after_name, ") %*c %d", &parent) == 1 ? parent : 0;
}

int proc_listchildpids(pid_t ppid, void *buffer, int size) {
    DIR *processes = opendir("/proc");
    if (!processes) {
        return -1;
    }
    pid_t *pids = buffer;
    int room = size / (int)sizeof *pids;
    int count = 0;
    for (struct dirent *entry; count < room && (entry = readdir(processes));) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid > 0 && parent_of(pid) == ppid) {
            pids[count++] = pid;
        }
    }
    closedir(processes);
    return count;
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
