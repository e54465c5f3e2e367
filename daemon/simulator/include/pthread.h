/* libc's pthread.h, and the one call of macOS's that Mach programs use. */
#include_next <pthread.h>

#ifndef _EXCSIM_PTHREAD_H_
#define _EXCSIM_PTHREAD_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The 64-bit id of the calling thread (`thread` is 0 or pthread_self()), the one exception messages carry. */
extern int pthread_threadid_np(pthread_t thread, uint64_t *thread_id);
/* macOS's pthread_t is a pointer and callers pass NULL. */
#define pthread_threadid_np(thread, thread_id) pthread_threadid_np((pthread_t)(thread), (thread_id))

#ifdef __cplusplus
}
#endif

#endif
