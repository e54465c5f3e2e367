/*
 * osfmk/mach/boolean.h and osfmk/mach/i386/boolean.h: signed on arm64 macOS, unsigned on x86_64; same size.
 */
#ifndef _MACH_BOOLEAN_H_
#define _MACH_BOOLEAN_H_

#if defined(__x86_64__)
typedef unsigned int boolean_t;
#else
typedef int boolean_t;
#endif

#ifndef TRUE
#define TRUE 1
#endif
#ifndef FALSE
#define FALSE 0
#endif

#endif
