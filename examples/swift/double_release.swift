// Releases a port's receive right twice. The second call names a port that the task does not have any more:
// INVALID_NAME.
//
// The fix is in `release`: set the variable to MACH_PORT_NULL where the right is given up.

import Darwin

var port = mach_port_name_t(MACH_PORT_NULL)

func release() {
    let result = mach_port_mod_refs(mach_task_self_, port, MACH_PORT_RIGHT_RECEIVE, -1)
    print("release: \(result)")
}

guard mach_port_allocate(mach_task_self_, MACH_PORT_RIGHT_RECEIVE, &port) == KERN_SUCCESS else {
    exit(1)
}
release()
release()
