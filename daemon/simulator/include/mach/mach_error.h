/* libsyscall/mach/mach/mach_error.h */
#ifndef _MACH_ERROR_
#define _MACH_ERROR_ 1

#include <mach/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The sentence that macOS has for a result of a Mach call; constant storage, never NULL. */
extern char *mach_error_string(mach_error_t error_value);

#ifdef __cplusplus
}
#endif

#endif
