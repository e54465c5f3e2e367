/* What debuggers read of port name spaces: osfmk/mach_debug/ipc_info.h, macOS 26.4 SDK. */
#ifndef _MACH_DEBUG_IPC_INFO_H_
#define _MACH_DEBUG_IPC_INFO_H_

#include <mach/port.h>

/* The kernel objects that a port stands for, as far as the simulator has them. */
typedef enum {
    IPC_OTYPE_NONE = 0,
    IPC_OTYPE_THREAD_CONTROL = 1,
    IPC_OTYPE_TASK_CONTROL = 2,
    IPC_OTYPE_HOST = 3,
    IPC_OTYPE_TASK_NAME = 20,
    IPC_OTYPE_TASK_INSPECT = 44,
    IPC_OTYPE_TASK_READ = 45,
    IPC_OTYPE_THREAD_READ = 47,
    IPC_OTYPE_TASK_ID_TOKEN = 50,
    IPC_OTYPE_UNKNOWN = ~0u,
} ipc_info_object_type_t;

typedef struct ipc_info_space {
    natural_t iis_genno_mask;
    natural_t iis_table_size;
    natural_t iis_table_next;
    natural_t iis_tree_size;
    natural_t iis_tree_small;
    natural_t iis_tree_hash;
} ipc_info_space_t;

typedef struct ipc_info_name {
    mach_port_name_t iin_name;
    integer_t iin_collision;
    mach_port_type_t iin_type;
    mach_port_urefs_t iin_urefs;
    natural_t iin_object;
    natural_t iin_next;
    natural_t iin_hash;
} ipc_info_name_t;
typedef ipc_info_name_t *ipc_info_name_array_t;

typedef struct ipc_info_tree_name {
    ipc_info_name_t iitn_name;
    mach_port_name_t iitn_lchild;
    mach_port_name_t iitn_rchild;
} ipc_info_tree_name_t;
typedef ipc_info_tree_name_t *ipc_info_tree_name_array_t;

#endif
