"""What is in every text with a guard violation, so that text without it need not be read."""

from __future__ import annotations

_WORDS = (
    b"GUARD",
    b"EXC_",
    b"Exception Type",
    b"on mach port",
    b"on file descriptor",
    b"guarded with",
    b"guard(23)",
    b"namespace 23",
)
_KEYS = (
    *(b'"exception"', b'"exceptionType"', b'"bug_type"', b'"termination"'),
    *(b"guardId", b"namespc", b"code0", b"ception 12,"),
)
MARKS = _WORDS + _KEYS
"""A text without any of them holds no guard violation, but for a bare number."""


def may_have_guard(data: bytes) -> bool:
    """Whether a text can hold a document at all."""
    return any(mark in data for mark in MARKS)


def may_have_guard_within(data: bytes, start: int, end: int) -> bool:
    """Whether a part of a text can; the part is not copied."""
    return any(data.find(mark, start, end) >= 0 for mark in MARKS)
