"""Which symbolizer serves on this system."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from excguard.crash_reports.symbols.atos import Atos
from excguard.crash_reports.symbols.debug_files import DebugFiles, SymbolicMissingError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from excguard.crash_reports.symbols.symbol import Symbolizer


_TIMEOUT = 10.0  # seconds for xcode-select


class SymbolizerError(RuntimeError):
    """No symbolizer serves here; the text says what to install."""


def open_symbolizer(directories: Sequence[Path]) -> Symbolizer:
    """The symbolizer of this system for the debug files in ``directories``.

    On macOS it is Apple's atos of Xcode's command line tools, which also reads dSYMs that Spotlight has
    indexed. Elsewhere, and where atos is missing, it is the package ``symbolic`` (``excguard[symbols]``).

    Raises:
        SymbolizerError: neither is installed, or a directory does not exist.
    """
    for directory in directories:
        if not directory.is_dir():
            raise SymbolizerError(
                f"{directory}: not a directory: --dsym takes one with dSYMs or Breakpad files"
            )
    if sys.platform == "darwin" and (atos := _atos()):
        return Atos(atos, directories)
    try:
        return DebugFiles(directories)
    except SymbolicMissingError:
        raise SymbolizerError(
            "symbols need the package symbolic (the extra excguard[symbols])"
            + (", or Xcode's command line tools: xcode-select --install" if sys.platform == "darwin" else "")
        ) from None


def _atos() -> str | None:
    """The path of atos; None without developer tools: /usr/bin/atos would open a window that offers them."""
    atos = shutil.which("atos")
    if atos is None:
        return None
    try:
        command = ["xcode-select", "--print-path"]
        subprocess.run(command, capture_output=True, timeout=_TIMEOUT, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return atos
