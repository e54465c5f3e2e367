"""The simulated kernel, which a Mac does not have: there `Kernel` is None."""

import sys

try:
    from excsim import INCLUDE, LIBRARY, SOCKET_VARIABLE, Kernel
except ModuleNotFoundError:
    if sys.platform != "darwin":
        raise
    INCLUDE = LIBRARY = SOCKET_VARIABLE = Kernel = None

HEADERS = [] if Kernel is None else [f"-I{INCLUDE}", "-D_GNU_SOURCE"]
"""Options for compiling C that calls Mach: on a Mac the SDK has its headers."""

LIBRARIES = [] if Kernel is None else [str(LIBRARY), "-pthread", "-ldl"]
"""And for linking it: on a Mac it is in libSystem."""
