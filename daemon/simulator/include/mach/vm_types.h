/* Addresses and sizes of memory: osfmk/mach/i386/vm_types.h, osfmk/mach/arm/vm_types.h, macOS 26.4 SDK. */
#ifndef _MACH_VM_TYPES_H_
#define _MACH_VM_TYPES_H_

#include <stdint.h>

#include <mach/port.h>

typedef uintptr_t vm_address_t;
typedef uintptr_t vm_size_t;
typedef uint64_t mach_vm_address_t;
typedef mach_port_t vm_map_t;

#endif
