"""Writes the C source of excguard.native._core: `python build_core.py core.cdef OUT.c`. Run by CMake.

cffi in API mode: every declaration of core.cdef is checked by the C compiler against the real headers.
"""

import sys
from pathlib import Path

from cffi import FFI

# Apple's headers (or the simulator's, which have the same names), then ours.
_INCLUDES = """
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

#include "excguard_client.h"
#include "guard.h"
#include "journal.h"
#include "newer_constants.h"
#include "parser.h"
#include "receiver.h"

/* A macro with arguments has no place among the declarations. */
#define EXCGUARD_RCV_AUDIT_TRAILER \\
    (MACH_RCV_TRAILER_TYPE(MACH_MSG_TRAILER_FORMAT_0) | MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT))
"""


def main(cdef: Path, out: Path) -> None:
    """Generate ``out`` from the declarations in ``cdef``."""
    builder = FFI()
    builder.cdef(cdef.read_text(encoding="utf-8"))
    builder.set_source("excguard.native._core", _INCLUDES, py_limited_api=True)
    builder.emit_c_code(str(out))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python build_core.py core.cdef OUT.c")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
