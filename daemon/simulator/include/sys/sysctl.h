/* sysctlbyname(3) of macOS, answered by the simulated kernel; Linux has none. */
#ifndef _SYS_SYSCTL_H_
#define _SYS_SYSCTL_H_

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Copies the value of `name` to `oldp`, at most *oldlenp bytes, and its size to *oldlenp; `oldp` may be NULL
 * to ask for the size. 0, or -1 with errno ENOENT (no such name), ENOMEM (too small a buffer), EPERM (`newp`:
 * nothing can be set).
 */
extern int sysctlbyname(const char *name, void *oldp, size_t *oldlenp, void *newp, size_t newlen);

#ifdef __cplusplus
}
#endif

#endif
