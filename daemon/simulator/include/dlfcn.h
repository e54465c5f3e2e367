/*
 * dlopen(3) over libc's own: two of macOS's frameworks are found at their paths there, CoreFoundation and
 * Security, as far as code signing requirements need them (client/security.c). Everything else is left to
 * libc.
 */
#ifndef _EXCSIM_DLFCN_H_
#define _EXCSIM_DLFCN_H_

#include_next <dlfcn.h>

#ifdef __cplusplus
extern "C" {
#endif

extern void *excsim_dlopen(const char *path, int mode);
extern void *excsim_dlsym(void *handle, const char *symbol);

#ifdef __cplusplus
}
#endif

#ifndef EXCSIM_LIBC_DLFCN
#define dlopen excsim_dlopen
#define dlsym excsim_dlsym
#endif

#endif
