"""The text of an `OSError`, for error lines and log events."""

import os

from excguard.files.escaping import utf8


def reason(error: OSError) -> str:
    """What went wrong, without the file: ``no such file or directory``."""
    return (error.strerror or str(error) or type(error).__name__).lower()


def message(error: OSError, otherwise: str = "") -> str:
    """What went wrong, after the file that the error names: ``/tmp/log: no such file or directory``.

    A file name may be any bytes; those that are not UTF-8 are escaped.

    Args:
        error: The error.
        otherwise: What to name where the error names no file; "" for nothing.
    """
    name = otherwise if error.filename in {None, ""} else error.filename
    if name == "":
        return reason(error)
    if isinstance(name, int):  # a descriptor
        return f"descriptor {name}: {reason(error)}"
    return f"{utf8(os.fsdecode(name))}: {reason(error)}"
