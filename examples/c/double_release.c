/*
 * Releases a port's receive right twice. The second call names a port that the task does not have any more:
 * INVALID_NAME.
 *
 * The fix is in release(): set the variable to MACH_PORT_NULL where the right is given up.
 */
#include <stdio.h>

#include <mach/mach.h>

static mach_port_t port = MACH_PORT_NULL;

static void release(void) {
    kern_return_t result = mach_port_mod_refs(mach_task_self(), port, MACH_PORT_RIGHT_RECEIVE, -1);
    printf("release: %d\n", result);
}

int main(void) {
    if (mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &port) != KERN_SUCCESS) {
        return 1;
    }
    release();
    release();
    return 0;
}
