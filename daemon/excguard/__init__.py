"""excguard: sees every EXC_GUARD the kernel raises in a watched macOS app, and says what it means.

What the numbers mean, without the daemon::

    >>> import excguard
    >>> excguard.decode(0x2000020000002703, 0, "macOS 15.5").flavor_name
    'INVALID_NAME'
    >>> import array
    >>> codes = array.array("Q", [0x2000020000002703, 0x4000000100000007])
    >>> excguard.decode_columns(codes).flavor.tolist()
    [512, 1]
    >>> report = excguard.reports.read("Termination Reason: Namespace GUARD, Code 2305845208236959491")
    >>> [violation.flavor_name for violation in report.violations]
    ['INVALID_NAME']
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as in typing, which takes longer to import than all that is here
if TYPE_CHECKING:
    from typing import Any

    from excguard import crash_reports as reports
    from excguard.decoding.code import DecodeError as DecodeError
    from excguard.decoding.decode import decode as decode
    from excguard.decoding.violation import Violation as Violation
    from excguard.native.columns import Columns as Columns
    from excguard.native.columns import decode_columns as decode_columns

__version__ = "0.1.0"
__all__ = ["Columns", "DecodeError", "Violation", "__version__", "decode", "decode_columns", "reports"]


_PUBLIC = {
    "DecodeError": ("excguard.decoding.code", "DecodeError"),
    "Violation": ("excguard.decoding.violation", "Violation"),
    "decode": ("excguard.decoding.decode", "decode"),
    "Columns": ("excguard.native.columns", "Columns"),
    "decode_columns": ("excguard.native.columns", "decode_columns"),
    "reports": ("excguard.crash_reports", None),
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name is bound to
    """Import the public names on first use: the command line starts without what it does not need."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'excguard' has no attribute {name!r}")
    module_name, attribute = _PUBLIC[name]
    module = import_module(module_name)
    return module if attribute is None else getattr(module, attribute)
