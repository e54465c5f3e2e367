/* Operations on tasks: routines of osfmk/mach/task.defs, macOS 26.4 SDK. */
#ifndef _task_user_
#define _task_user_

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

extern kern_return_t task_get_special_port(task_inspect_t task, int which_port, mach_port_t *special_port);
extern kern_return_t task_set_special_port(task_t task, int which_port, mach_port_t special_port);
extern kern_return_t task_set_exception_ports(task_t task, exception_mask_t exception_mask,
                                              mach_port_t new_port, exception_behavior_t behavior,
                                              thread_state_flavor_t new_flavor);
extern kern_return_t task_get_exception_ports(task_t task, exception_mask_t exception_mask,
                                              exception_mask_array_t masks, mach_msg_type_number_t *masksCnt,
                                              exception_handler_array_t old_handlers,
                                              exception_behavior_array_t old_behaviors,
                                              exception_flavor_array_t old_flavors);
extern kern_return_t task_swap_exception_ports(task_t task, exception_mask_t exception_mask,
                                               mach_port_t new_port, exception_behavior_t behavior,
                                               thread_state_flavor_t new_flavor, exception_mask_array_t masks,
                                               mach_msg_type_number_t *masksCnt,
                                               exception_handler_array_t old_handlers,
                                               exception_behavior_array_t old_behaviors,
                                               exception_flavor_array_t old_flavors);
extern kern_return_t task_get_exc_guard_behavior(task_inspect_t task, task_exc_guard_behavior_t *behavior);
extern kern_return_t task_set_exc_guard_behavior(task_t task, task_exc_guard_behavior_t behavior);
extern kern_return_t task_create_identity_token(task_t task, task_id_token_t *token);
extern kern_return_t task_identity_token_get_task_port(task_id_token_t token, task_flavor_t flavor,
                                                       mach_port_t *task_port);

#ifdef __cplusplus
}
#endif

#endif
