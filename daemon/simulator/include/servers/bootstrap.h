/* The bootstrap name space: liblaunch's servers/bootstrap.h, macOS 26.4 SDK. */
#ifndef _BOOTSTRAP_H_
#define _BOOTSTRAP_H_

#include <mach/mach.h>

#define BOOTSTRAP_MAX_NAME_LEN 128
typedef char name_t[BOOTSTRAP_MAX_NAME_LEN];

#define BOOTSTRAP_SUCCESS 0
#define BOOTSTRAP_NOT_PRIVILEGED 1100
#define BOOTSTRAP_NAME_IN_USE 1101
#define BOOTSTRAP_UNKNOWN_SERVICE 1102
#define BOOTSTRAP_SERVICE_ACTIVE 1103
#define BOOTSTRAP_BAD_COUNT 1104
#define BOOTSTRAP_NO_MEMORY 1105
#define BOOTSTRAP_NO_CHILDREN 1106

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Apple writes the parameter as name_t, which is the same type; gcc would ask for 128 readable bytes.
 */
/* Publishes a send right under a name of at most 127 bytes. Deprecated on macOS, and still there. */
extern kern_return_t bootstrap_register(mach_port_t bp, char *service_name, mach_port_t sp);
/* A send right to the service of that name. */
extern kern_return_t bootstrap_look_up(mach_port_t bp, const char *service_name, mach_port_t *sp);
/* The receive right of the service of that name, once. */
extern kern_return_t bootstrap_check_in(mach_port_t bp, const char *service_name, mach_port_t *sp);
extern const char *bootstrap_strerror(kern_return_t r);

#ifdef __cplusplus
}
#endif

#endif
