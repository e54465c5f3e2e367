/* libproc.h of macOS, as far as it is used: processes, by /proc. */
#ifndef EXCSIM_LIBPROC_H
#define EXCSIM_LIBPROC_H

#include <stdint.h>
#include <sys/types.h>

/* sys/proc_info.h */
#define PROC_PIDPATHINFO_MAXSIZE 4096

/* The number of children of a process whose ids were written, at most `size` bytes of them; -1: an error. */
extern int proc_listchildpids(pid_t ppid, void *buffer, int size);
/* The same of the processes in a process group. */
extern int proc_listpgrppids(pid_t pgrpid, void *buffer, int size);
/* The length of the path of a process's program, without its NUL; 0: there is no such process. */
extern int proc_pidpath(int pid, void *buffer, uint32_t size);

#endif
