/*
 * full: prints, as JSON, how many port names this task has room for, if the kernel says so, and takes names
 * until there are no more; then, if it still lives, how many it got and the result of the last call.
 */
#include <sys/sysctl.h>

#include "scenario.h"

int main(void) {
    int size = 0;
    unsigned names = 0;
    size_t room = sizeof size;
    mach_port_t port;
    kern_return_t result;
    if (sysctlbyname("machdep.max_port_table_size", &size, &room, NULL, 0)) {
        size = 0;
    }
    printf("{\"size\": %d}\n", size);
    fflush(stdout);
    while ((result = mach_port_allocate(SELF, MACH_PORT_RIGHT_PORT_SET, &port)) == KERN_SUCCESS) {
        names++;
    }
    printf("{\"names\": %u, \"result\": %d}\n", names, result);
    return 0;
}
