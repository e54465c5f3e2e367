"""excguard: sees every EXC_GUARD the kernel raises in a watched macOS app, and says what it means.

What the numbers mean, without the daemon::

    >>> import excguard
    >>> excguard.decode(0x2000020000002703, 0).summary
    'INVALID_NAME: ...'
    >>> excguard.reports.read("Crash.ips").violations
    [...]
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as in typing, which takes longer to import than all that is here
if TYPE_CHECKING:
    from typing import Any

    import excguard.reports as reports  # noqa: PLR0402 - "from excguard" would ask this very module
    from excguard.decode import DecodeError as DecodeError
    from excguard.decode import Violation as Violation
    from excguard.decode import decode as decode

__version__ = "0.1.0"
__all__ = ["DecodeError", "Violation", "__version__", "decode", "reports"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name is bound to
    """Import the public names on first use: the command line starts without what it does not need."""
    if name in ("decode", "reports"):
        return import_module(f"excguard.{name}")
    if name in ("DecodeError", "Violation"):
        return getattr(import_module("excguard.decode"), name)
    raise AttributeError(f"module 'excguard' has no attribute {name!r}")
