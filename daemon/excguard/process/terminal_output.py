"""What the terminal on a descriptor can show: how wide lines can be, and colors."""

import os

_WIDEST = 120
_WITHOUT = 100


def wants_color(fd: int) -> bool:
    """Whether to write colors to ``fd``: a terminal, unless NO_COLOR is set (https://no-color.org)."""
    return os.isatty(fd) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_width(fd: int) -> int:
    """The columns to use on the terminal on ``fd``: COLUMNS (POSIX), else its own, 120 at most.

    100 where there is no terminal: what is written to a file does not depend on the window it was written in.
    """
    if not os.isatty(fd):
        return _WITHOUT
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns[:6]):
        return min(int(columns[:6]), _WIDEST)
    try:
        return min(os.get_terminal_size(fd).columns, _WIDEST) or _WITHOUT
    except OSError:
        return _WITHOUT
