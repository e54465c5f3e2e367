/*
 * What Python's limited API asks of pyconfig.h, for macOS: sizes, by the compiler's own word, so that one
 * file serves both architectures (python.org's build does the same with pymacconfig.h). It takes the place of
 * the build machine's.
 */
#ifndef Py_PYCONFIG_H
#define Py_PYCONFIG_H

#define SIZEOF_INT __SIZEOF_INT__
#define SIZEOF_LONG __SIZEOF_LONG__
#define SIZEOF_LONG_LONG __SIZEOF_LONG_LONG__
#define SIZEOF_SIZE_T __SIZEOF_SIZE_T__
#define SIZEOF_VOID_P __SIZEOF_POINTER__
#define SIZEOF_UINTPTR_T __SIZEOF_POINTER__
#define SIZEOF_WCHAR_T __SIZEOF_WCHAR_T__
#define SIZEOF_PID_T 4  /* sys/_types/_pid_t.h: __darwin_pid_t is __int32_t */
#define SIZEOF_TIME_T 8 /* sys/_types/_time_t.h: __darwin_time_t is long */

#define HAVE_LONG_LONG 1
#define HAVE_STDDEF_H 1
#define HAVE_SYS_SELECT_H 1
#define HAVE_SYS_STAT_H 1
#define HAVE_SYS_TIME_H 1
#define HAVE_WCHAR_H 1
#define WITH_THREAD 1

#endif
