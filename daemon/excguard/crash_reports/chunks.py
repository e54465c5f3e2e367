"""Regular expressions over large texts, a part at a time.

`re.sub` keeps a slice of the text for each match until it is done, which takes ten times the memory of a text
that is full of matches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SIZE = 1 << 16


def mapped(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The text with `change` made to each part of it; parts end with lines, where lines are not very long."""
    if len(data) <= _SIZE:
        return change(data)
    changed = bytearray()
    at = 0
    while at < len(data):
        end = at + _SIZE
        line = data.find(b"\n", end, end + _SIZE) + 1 or end
        changed += change(data[at:line])
        at = line
    return bytes(changed)
