/* Reply ports of the calling thread: libsyscall/mach/mach/mig.h. */
#ifndef _MACH_MIG_H_
#define _MACH_MIG_H_

#include <mach/mach_types.h>

#ifdef __cplusplus
extern "C" {
#endif

extern mach_port_t mig_get_reply_port(void);
extern void mig_dealloc_reply_port(mach_port_t reply_port);
extern void mig_put_reply_port(mach_port_t reply_port);
extern mach_port_t mach_reply_port(void);

#ifdef __cplusplus
}
#endif

#endif
