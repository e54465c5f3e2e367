"""Where the JSON values of a text begin and end, whole or cut off.

A scanner of JSON's grammar, for text that holds JSON among other things: it finds each outermost object and
array, and for one that is cut off or followed by something else the place up to which it is valid, with the
brackets that would close it there. Runs of members with plain values are consumed by one possessive regular
expression, so the cost is linear in the text and no memory is used for what is skipped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

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
_MEMBERS = re.compile(rb"(?:[\s,]*+" + _CLOSED + rb"\s*+:\s*+" + _SCALAR + rb"(?=[\s,}\]]|\Z))*+")
_ELEMENTS = re.compile(rb"(?:[\s,]*+" + _SCALAR + rb"(?=[\s,}\]]|\Z))*+")
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
        span = _scan(data, opening.start(), end)
        yield span
        at = max(span.rest, opening.end())
        broken += not span.whole


def _scan(data: bytes, start: int, end: int) -> Span:
    stack = bytearray(data[start : start + 1])
    at = valid = start + 1
    while True:
        in_object = stack[-1] == 0x7B  # {
        at = (_MEMBERS if in_object else _ELEMENTS).match(data, at, end).end()  # type: ignore[union-attr]
        valid = max(valid, at)
        at = _SPACE.match(data, at, end).end()  # type: ignore[union-attr]
        byte = data[at : at + 1] if at < end else b""
        if byte in {b"}", b"]"} and byte:
            if (byte == b"}") != in_object:
                return _broken(data, start, at, valid, stack)
            stack.pop()
            at += 1
            if not stack:
                return Span(start, at, whole=True, valid=at, closers=b"", rest=at)
            valid = at
            continue
        if in_object:
            key = _KEY.match(data, at, end)
            if key is None:
                return _broken(data, start, at, valid, stack)
            at = key.end()
            byte = data[at : at + 1] if at < end else b""
        if byte not in {b"{", b"["} or not byte or len(stack) >= MAX_DEPTH:
            return _broken(data, start, at, valid, stack)
        if (
            byte == b"{" and data[at - 1 : at] == b"\n" and _HEADER.match(data, at, end)
        ):  # another report begins: this one was cut off
            return _broken(data, start, at, valid, stack)
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
