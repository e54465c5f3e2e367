"""Where the JSON values of a text begin and end, whole or cut off.

A scanner of JSON's grammar, for text that holds JSON among other things: it finds each outermost object and
array, and for one that is cut off or followed by something else the place up to which it is valid, with the
brackets that would close it there. Runs of members with plain values, and with objects and arrays of those,
are consumed by one possessive regular expression, so the cost is linear in the text and no memory is used for
what is skipped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from excguard.crash_reports.limits import MAX_STEPS
from excguard.crash_reports.marks import may_have_guard_within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from excguard.crash_reports.limits import Limits

MAX_DEPTH = 512
"""Brackets in brackets that are followed; a value of more is treated as cut off there."""
MAX_BROKEN = 10_000
"""Values that are not whole; a text with more of them is not read for JSON any further."""

# A string does not go on beyond its line: in JSON a line end within a string is escaped.
_CLOSED = rb'"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+"'
_STRING = re.compile(rb'"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+"?')
_SCALAR = rb"(?:" + _CLOSED + rb"|(?:true|false|null|-?[0-9][-+.0-9eE]*+))"
_PLAIN = _SCALAR + rb"(?=[\s,}\]]|\Z)"
_NAME = rb"[\s,]*+" + _CLOSED + rb"\s*+:\s*+"
# An object that begins a line can be the header of another report, for which `_scan` looks.
_FLAT = rb"(?:(?<!\n)\{(?:" + _NAME + _PLAIN + rb")*+[\s,]*+\}|\[(?:[\s,]*+" + _PLAIN + rb")*+[\s,]*+\])"
_MEMBERS = re.compile(rb"(?:" + _NAME + rb"(?:" + _PLAIN + rb"|" + _FLAT + rb"))*+")
_ELEMENTS = re.compile(rb"(?:[\s,]*+(?:" + _PLAIN + rb"|" + _FLAT + rb"))*+")
_SPACE = re.compile(rb"[\s,]*+")
_KEY = re.compile(rb"(" + _CLOSED + rb")\s*+:\s*+")
_START = re.compile(rb'[{](?=\s*+["}])|\[(?=\s*+[{\["])')
_REOPENED = re.compile(rb"[{]\s*+$")
_HEADER = re.compile(rb'[{][^{}\n]{0,4096}?"bug_type"')


class Span(NamedTuple):
    """An outermost JSON value in a text.

    Attributes:
        start: Where its bracket opens.
        end: Behind its last bracket; for one that is not whole behind the last token that is valid.
        whole: Whether its brackets are closed.
        valid: Up to where members are complete, and `closers` would make it whole.
        closers: The closing brackets that are missing at `valid`.
        rest: Where reading goes on: behind what is left of a token that was cut.
    """

    start: int
    end: int
    whole: bool
    valid: int
    closers: bytes
    rest: int


def spans(data: bytes, start: int, end: int, limits: Limits) -> Iterator[Span]:
    """Every outermost object and array of a part of `data`, in order; what begins like one counts too."""
    at = start
    broken = 0
    while opening := _START.search(data, at, end):
        if broken == MAX_BROKEN:
            if may_have_guard_within(data, at, end):
                limits.reach(f"only the first {MAX_BROKEN} incomplete values of JSON in it are read")
            return
        span, steps = _scan(data, opening.start(), end, limits.steps)
        limits.steps -= steps
        yield span
        if limits.steps <= 0:
            if may_have_guard_within(data, span.rest, end):
                limits.reach(f"only the first {MAX_STEPS} nested values of JSON in it are read")
            return
        at = max(span.rest, opening.end())
        broken += not span.whole


def _scan(data: bytes, start: int, end: int, most: int) -> tuple[Span, int]:
    """The span of the value at `start`, and in how many steps it was found; at most so many are made."""
    steps = 0
    stack = bytearray(data[start : start + 1])
    at = valid = start + 1
    while True:
        steps += 1
        in_object = stack[-1] == 0x7B  # {
        at = (_MEMBERS if in_object else _ELEMENTS).match(data, at, end).end()  # type: ignore[union-attr]
        valid = max(valid, at)
        at = _SPACE.match(data, at, end).end()  # type: ignore[union-attr]
        byte = data[at : at + 1] if at < end else b""
        if byte in {b"}", b"]"} and byte:
            if (byte == b"}") != in_object:
                return _broken(data, start, at, valid, stack), steps
            stack.pop()
            at += 1
            if not stack:
                return Span(start, at, whole=True, valid=at, closers=b"", rest=at), steps
            valid = at
            continue
        if in_object:
            key = _KEY.match(data, at, end)
            if key is None:
                return _broken(data, start, at, valid, stack), steps
            at = key.end()
            byte = data[at : at + 1] if at < end else b""
        if byte not in {b"{", b"["} or not byte or len(stack) >= MAX_DEPTH or steps >= most:
            return _broken(data, start, at, valid, stack), steps
        if (
            byte == b"{" and data[at - 1 : at] == b"\n" and _HEADER.match(data, at, end)
        ):  # another report begins: this one was cut off
            return _broken(data, start, at, valid, stack), steps
        stack += byte
        at += 1
        valid = at


def _broken(data: bytes, start: int, at: int, valid: int, stack: bytearray) -> Span:
    """The span of a value that is not valid at `at`, with the brackets of `stack` open."""
    closers = bytes(0x7D if opening == 0x7B else 0x5D for opening in reversed(stack))
    token = _STRING.match(data, at)
    rest = token.end() if token else at
    if token and (reopened := _REOPENED.search(data, max(at, rest - 64), rest - 1)):
        rest = reopened.start()  # the string's closing quote is another value's first
    return Span(start, max(valid, at), whole=False, valid=valid, closers=closers, rest=max(rest, start + 1))


def repaired(data: bytes, span: Span) -> bytes:
    """The value of a span as valid JSON: what is incomplete at its end is left out, brackets are closed."""
    return data[span.start : span.valid].rstrip(b" \t\r\n,") + span.closers
