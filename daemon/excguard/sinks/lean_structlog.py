"""structlog, imported without the optional packages that only its development console uses.

``import structlog`` imports rich and greenlet where they are installed: 6 MB and most of its time (structlog
26.1, structlog/dev.py, tracebacks.py, contextvars.py). All of them are used there only if the import works.
"""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """Let imports of packages that are not imported yet fail."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: an ImportError
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


with _hidden("rich", "greenlet"):
    import structlog

__all__ = ["structlog"]
