"""The C core and Apple's Mach functions, by cffi: `lib` has the functions, `ffi` makes their arguments.

core.cdef lists both; the headers beside it say what the functions of the core do.
"""

from excguard.native._core import ffi, lib

__all__ = ["ffi", "lib"]
