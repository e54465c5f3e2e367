"""The size of a crash report and whether it is complete, for its watcher and its reader."""

from typing import Final

MAX_SIZE: Final = 64 << 20
"""Bytes of a report; real ones have some megabytes at most."""


class IncompleteReportError(ValueError):
    """The report is not complete, or not yet."""
