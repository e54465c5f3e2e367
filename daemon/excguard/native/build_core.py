"""Writes the C source of excguard.native._core: `python build_core.py core.cdef PRELUDE.h OUT.c`.

CMake runs it. cffi is used in API mode: the C compiler checks every declaration of core.cdef against the
real headers, which the prelude includes.
"""

import sys
from pathlib import Path

from cffi import FFI


def main(cdef: Path, prelude: Path, out: Path) -> None:
    """Generate ``out`` from the declarations in ``cdef``, to be compiled with ``prelude``."""
    builder = FFI()
    builder.cdef(cdef.read_text(encoding="utf-8"))
    builder.set_source("excguard.native._core", f'#include "{prelude.name}"', py_limited_api=True)
    builder.emit_c_code(str(out))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python build_core.py core.cdef PRELUDE.h OUT.c")
    main(*map(Path, sys.argv[1:]))
