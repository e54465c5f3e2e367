/* The memory of arrays that calls return: osfmk/mach/vm_map.defs. */
#ifndef _vm_map_user_
#define _vm_map_user_

#include <mach/kern_return.h>
#include <mach/message.h>
#include <mach/vm_types.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Gives back memory, which is meant to be what mach_port_names() or mach_port_get_set_status() allocated. A
 * page that is not there is a misuse: kGUARD_EXC_DEALLOC_GAP.
 */
/* mach/vm_statistics.h */
#define VM_FLAGS_FIXED 0x00000000
#define VM_FLAGS_ANYWHERE 0x00000001

extern kern_return_t vm_allocate(vm_map_t target_task, vm_address_t *address, vm_size_t size, int flags);
extern kern_return_t vm_deallocate(vm_map_t target_task, vm_address_t address, vm_size_t size);

#ifdef __cplusplus
}
#endif

#endif
