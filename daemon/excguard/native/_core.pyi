# What cffi generates from core.cdef at build time; its types are the C compiler's business.
from typing import Any

ffi: Any
lib: Any
