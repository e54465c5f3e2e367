/* What most Mach programs include: libsyscall/mach/mach/mach.h. */
#ifndef _MACH_H_
#define _MACH_H_

#include <mach/mach_error.h>
#include <mach/mach_init.h>
#include <mach/mach_port.h>
#include <mach/mach_types.h>
#include <mach/mig.h>
#include <mach/mig_errors.h>
#include <mach/task.h>
#include <mach/thread_act.h>
#include <mach/vm_map.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Releases every right that a received message carries: reply port and port descriptors. */
extern void mach_msg_destroy(mach_msg_header_t *msg);
extern mach_msg_return_t mach_msg_send(mach_msg_header_t *msg);
extern mach_msg_return_t mach_msg_receive(mach_msg_header_t *msg);

#ifdef __cplusplus
}
#endif

#endif
