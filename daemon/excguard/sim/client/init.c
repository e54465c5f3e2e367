/* What a process has from its start (mach/mach_init.h). */
#include <mach/mach.h>

mach_port_t mach_task_self_ = 0x203;
mach_port_t bootstrap_port = 0x307;
