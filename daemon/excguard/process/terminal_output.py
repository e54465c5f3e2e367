"""What the terminal on a descriptor can show: how wide lines can be, and colours."""

import os

_WIDEST = 120


def wants_color(fd: int) -> bool:
    """Whether to write colours to ``fd``: a terminal, unless NO_COLOR is set (https://no-color.org)."""
    return os.isatty(fd) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_width(fd: int) -> int:
    """The columns to use on ``fd``, 120 at most: COLUMNS (POSIX), else the terminal's, else 100."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns[:6]):
        return min(int(columns[:6]), _WIDEST)
    try:
        return min(os.get_terminal_size(fd).columns, _WIDEST) or 100
    except OSError:
        return 100
