/* What every process has from its start: libsyscall/mach/mach/mach_init.h. */
#ifndef _MACH_INIT_
#define _MACH_INIT_ 1

#include <mach/mach_types.h>

#ifdef __cplusplus
extern "C" {
#endif

extern mach_port_t mach_task_self_;
#define mach_task_self() mach_task_self_
#define current_task() mach_task_self()
extern mach_port_t bootstrap_port;

extern mach_port_t mach_host_self(void);
extern mach_port_t mach_thread_self(void);
extern boolean_t mach_task_is_self(task_name_t task);

#ifdef __cplusplus
}
#endif

#include <mach/mach_traps.h>

#endif
