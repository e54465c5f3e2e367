/* The fields of an audit token: OpenBSM's libbsm.h. */
#ifndef _LIBBSM_H_
#define _LIBBSM_H_

#include <sys/types.h>

#include <mach/message.h>

#ifdef __cplusplus
extern "C" {
#endif

extern pid_t audit_token_to_pid(audit_token_t atoken);
extern uid_t audit_token_to_euid(audit_token_t atoken);
extern uid_t audit_token_to_ruid(audit_token_t atoken);
extern int audit_token_to_pidversion(audit_token_t atoken);

#ifdef __cplusplus
}
#endif

#endif
