/* Operations on threads: routines of osfmk/mach/thread_act.defs, macOS 26.4 SDK. */
#ifndef _thread_act_user_
#define _thread_act_user_

#include <mach/kern_return.h>
#include <mach/mach_types.h>
#include <mach/message.h>
#include <mach/mig.h>
#include <mach/mig_errors.h>
#include <mach/ndr.h>
#include <mach/notify.h>
#include <mach/port.h>

#ifdef __cplusplus
extern "C" {
#endif

extern kern_return_t thread_set_exception_ports(thread_act_t thread, exception_mask_t exception_mask,
                                                mach_port_t new_port, exception_behavior_t behavior,
                                                thread_state_flavor_t new_flavor);
extern kern_return_t
thread_get_exception_ports(thread_act_t thread, exception_mask_t exception_mask, exception_mask_array_t masks,
                           mach_msg_type_number_t *masksCnt, exception_handler_array_t old_handlers,
                           exception_behavior_array_t old_behaviors, exception_flavor_array_t old_flavors);
extern kern_return_t
thread_swap_exception_ports(thread_act_t thread, exception_mask_t exception_mask, mach_port_t new_port,
                            exception_behavior_t behavior, thread_state_flavor_t new_flavor,
                            exception_mask_array_t masks, mach_msg_type_number_t *masksCnt,
                            exception_handler_array_t old_handlers, exception_behavior_array_t old_behaviors,
                            exception_flavor_array_t old_flavors);

#ifdef __cplusplus
}
#endif

#endif
