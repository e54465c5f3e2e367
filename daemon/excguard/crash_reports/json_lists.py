"""The objects of a JSON list, found by their brackets without being decoded.

Threads and images are most of a report, and a reader needs a few of them. `native.json_objects` does the same
in C, for who reads many reports.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

Objects: TypeAlias = Callable[[bytes | memoryview, int], Sequence[int] | None]
"""A function like `objects`."""

MAX_OBJECTS = 4095
"""Objects of a list; of a longer one none is found. Real reports have some hundreds of threads and images."""

_FIRST = re.compile(rb"\[[ \t\r\n]*+(?=\{)")
_NEXT = re.compile(rb"[ \t\r\n]*+,[ \t\r\n]*+(?=\{)")
_LAST = re.compile(rb"[ \t\r\n]*+\]")
_EMPTY = re.compile(rb"\[[ \t\r\n]*+\]")
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|\\.|["[\]{}]', re.DOTALL)


def objects(text: bytes | memoryview, start: int) -> Sequence[int] | None:
    """Where each object of the list at ``start`` begins and ends, by turns, and then where the list ends.

    Positions count from ``start``. None for a list that is not closed, has elements that are not objects, or
    has more than `MAX_OBJECTS`. Within the objects only brackets and strings are checked.
    """
    if empty := _EMPTY.match(text, start):
        return [empty.end() - start]
    positions: list[int] = []
    separator, end = _FIRST.match(text, start), start
    while separator:
        opening, closed = separator.end(), _closed(text, separator.end())
        if closed is None or len(positions) == 2 * MAX_OBJECTS:
            return None
        end = closed
        positions += (opening - start, end - start)
        separator = _NEXT.match(text, end)
    last = _LAST.match(text, end)
    return [*positions, last.end() - start] if positions and last else None


def _closed(text: bytes | memoryview, start: int) -> int | None:
    """Behind the bracket that closes the object at ``start``."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        if token[0] in {b"{", b"["}:
            depth += 1
        elif token[0] in {b"}", b"]"}:
            depth -= 1
            if depth == 0:
                return token.end() if token[0] == b"}" else None
        elif token[0] == b'"':  # of a string that is not closed
            return None
    return None
