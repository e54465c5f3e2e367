/*
 * What the generated C of excguard.native._core is compiled with: Apple's headers (elsewhere the simulator's,
 * which have the same names), then those of the core. core.cdef declares what Python sees of them.
 */
#include <libproc.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/sysctl.h>
#include <sys/wait.h>

#include <mach/mach.h>
#include <mach/mach_time.h>
#include <mach/notify.h>
#include <servers/bootstrap.h>

#include "columns.h"
#include "excguard_client.h"
#include "guard.h"
#include "hit_sums.h"
#include "insertion.h"
#include "journal.h"
#include "journal_watch.h"
#include "json_objects.h"
#include "newer_constants.h"
#include "parser.h"
#include "receiver.h"
#include "record_run.h"
#include "samples.h"

/* A macro with arguments cannot be declared to cffi; its value can. */
#define EXCGUARD_RCV_AUDIT_TRAILER \
    (MACH_RCV_TRAILER_TYPE(MACH_MSG_TRAILER_FORMAT_0) | MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT))
