"""A text as a sequence of segments: lines, JSON values, pieces of JSON, log records, strings.

Segments follow each other and do not overlap; together they are the text. Splitting is linear in its size.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from excguard.crash_reports import json_spans
from excguard.crash_reports.ips_body import UNREADABLE
from excguard.crash_reports.marks import MARKS, may_have_guard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from excguard.crash_reports.json_spans import Span
    from excguard.crash_reports.limits import Limits

_MAX_HEADER = 16384
_MAX_RECORD = 65536
_MAX_AROUND = 8192
_HEADER_KEYS = (b'"bug_type"', b'"os_version"', b'"app_name"')
_BODY_KEYS = frozenset({"exception", "termination", "threads", "crash", "procName"})
_BODY_MARKS = (b'"procName"', b'"exception"', b'"termination"')
_MAX_WORDS = 200
_BETWEEN = b" \t\r\n>|`,*#;"
"""What can stand between a header and its body."""
_KEY_BEFORE = re.compile(rb'"[\w ]{1,60}"\s*+:\s*+\Z')
_MEMBER_LINE = re.compile(rb'\s*+(?:"[\w ]{1,60}"\s*+:|[}\],]+\s*$)')
_STRING = re.compile(rb'"(?=[^"\\\n]*+\\)[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+"?')
_MESSAGE_KEYS = (
    "eventMessage",
    "message",
    "msg",
    "log",
    "line",
    "MESSAGE",
    "text",
    "content",
    "event",
    "body",
)
_MESSAGE = re.compile(rb'"(?:' + "|".join(_MESSAGE_KEYS).encode() + rb')"\s*+:\s*+"')


@dataclass(frozen=True)
class Lines:
    """Text from `start` to `end`."""

    start: int
    end: int


@dataclass(frozen=True)
class String:
    """An escaped string with line ends in it, from quote to quote."""

    start: int
    end: int


@dataclass(frozen=True)
class Value:
    """A JSON value, with the header line of the .ips report whose body it is."""

    span: Span
    header: dict[str, Any] | None = None


@dataclass(frozen=True)
class Header:
    """The header line of a report whose body is not JSON."""

    start: int
    end: int
    value: dict[str, Any]


@dataclass(frozen=True)
class Pieces:
    """Members of a JSON object whose braces are not there."""

    start: int
    end: int


@dataclass(frozen=True)
class Records:
    """The messages of log records of JSON that follow each other, one a line."""

    text: bytes


Segment = Lines | String | Value | Header | Pieces | Records


def segments(data: bytes, limits: Limits) -> Iterator[Segment]:
    """The segments of a text; where the limits allow no more JSON the rest is lines."""
    at = 0
    values = _values(data, limits)
    for segment, start, end in values:
        yield from text_segments(data, at, start)
        yield segment
        at = end
    yield from text_segments(data, at, len(data))


def text_segments(data: bytes, start: int, end: int) -> Iterator[Lines | String]:
    """Lines between JSON values, cut where a string has a text in it."""
    at = start
    while at < end and (match := _STRING.search(data, at, end)):
        if match[0].endswith(b'"') and len(match[0]) > 16 and may_have_guard(match[0]):
            if at < match.start():
                yield Lines(at, match.start())
            yield String(match.start(), match.end())
        else:
            yield Lines(at, match.end())
        at = match.end()
    if at < end:
        yield Lines(at, end)


def _values(data: bytes, limits: Limits) -> Iterator[tuple[Segment, int, int]]:
    """The segments that are not text, with where they start and end."""
    state = _Values(data)
    for span in json_spans.spans(data, 0, len(data), limits):
        yield from state.take(span)
    yield from state.finish()


class _Values:
    """Puts JSON values together that belong together: header and body, members, log records."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._header: tuple[Span, dict[str, Any]] | None = None
        self._pieces: tuple[int, int] | None = None
        self._broken: Value | None = (
            None  # what the pieces are so far, when that is one value that is not whole
        )
        self._records = bytearray()
        self._count = 0
        self._marks = _Marks(data)
        self._record: tuple[int, Span] | None = None  # where the first one starts, and the last one
        self._done = 0

    def take(self, span: Span) -> Iterator[tuple[Segment, int, int]]:
        """The segments that are complete now that the next value is known."""
        message = None if self._header or self._pieces else _log_message(self._data, span)
        if self._record and (message is None or self._between(self._record[1].rest, span, b" \t\n,")):
            yield self._end_of_records(self._record)
        if message is not None:
            self._record = (self._record[0] if self._record else span.start, span)
            self._records += message + b"\n"
            self._count += 1
            return
        if self._header and not self._follows(self._header[0].end, span):
            yield self._end_of_header(*self._header)
        matters = self._header is not None or self._marks.any_in(span.start, span.rest)
        if not matters or self._takes_piece(span):
            return
        if self._pieces:
            yield self._end_of_pieces(self._pieces, span.start)
        head = None if self._header else _header(self._data, span)
        if head is not None:
            self._header = (span, head)
            return
        start, header = (self._header[0].start, self._header[1]) if self._header else (span.start, None)
        if span.whole:
            yield self._end(Value(span, header), start, span.rest)
        else:  # its other members can follow: a report that was edited by hand
            self._broken, self._pieces, self._header = Value(span, header), (start, span.rest), None

    def finish(self) -> Iterator[tuple[Segment, int, int]]:
        """The segments that the end of the text completes."""
        if self._record:
            yield self._end_of_records(self._record)
        if self._header:
            yield self._end_of_header(*self._header)
        if self._pieces:
            yield self._end_of_pieces(self._pieces, len(self._data))

    def _between(self, start: int, span: Span, fill: bytes) -> bool:
        """Whether something else than `fill` stands before a value."""
        return bool(self._data[start : span.start].strip(fill))

    def _follows(self, start: int, span: Span) -> bool:
        """Whether a value is the body of the header before it: right behind it, or after some words."""
        if not self._between(start, span, _BETWEEN):
            return True
        near = span.start - start <= _MAX_WORDS and b"{" not in self._data[start : span.start]
        return near and any(self._data.find(key, span.start, span.start + 4096) >= 0 for key in _BODY_MARKS)

    def _takes_piece(self, span: Span) -> bool:
        """Take a value that is a member of an object whose braces are not there."""
        if self._header:
            return False
        key = _KEY_BEFORE.search(self._data, max(self._done, span.start - 80), span.start)
        if key is None:
            return False
        if self._broken and b'"bug_type"' in self._data[self._pieces[1] : span.start]:  # type: ignore[index]
            return False
        start = self._pieces[0] if self._pieces else _members_before(self._data, self._done, key.start())
        self._pieces, self._broken = (start, span.rest), None
        return True

    def _end(self, segment: Segment, start: int, end: int) -> tuple[Segment, int, int]:
        self._done, self._header, self._pieces, self._record, self._broken = end, None, None, None, None
        self._records, self._count = bytearray(), 0
        return segment, start, end

    def _end_of_header(self, span: Span, head: dict[str, Any]) -> tuple[Segment, int, int]:
        return self._end(Header(span.start, span.rest, head), span.start, span.rest)

    def _end_of_records(self, record: tuple[int, Span]) -> tuple[Segment, int, int]:
        start, last = record
        segment = Value(last) if self._count == 1 else Records(bytes(self._records))
        return self._end(segment, start, last.rest)

    def _end_of_pieces(self, pieces: tuple[int, int], until: int) -> tuple[Segment, int, int]:
        if self._broken:
            return self._end(self._broken, *pieces)
        start, end = pieces[0], _members_after(self._data, pieces[1], until)
        return self._end(Pieces(start, end), start, end)


class _Marks:
    """Answers whether one of `MARKS` is in a part of a text, for parts that follow each other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._next = dict.fromkeys(MARKS, -1)
        self._nearest = -1

    def any_in(self, start: int, end: int) -> bool:
        """Whether a mark begins in a part; parts must be asked for in their order."""
        if self._nearest < start:
            for mark, at in self._next.items():
                if at < start:
                    found = self._data.find(mark, start)
                    self._next[mark] = len(self._data) if found < 0 else found
            self._nearest = min(self._next.values())
        return self._nearest < end


def _log_message(data: bytes, span: Span) -> bytes | None:
    """The message of a log record that says nothing of a violation elsewhere."""
    if not _MESSAGE.search(data, span.start, min(span.end, span.start + _MAX_RECORD)):
        return None
    value = _small_object(data, span, _MAX_RECORD)
    key = next((key for key in _MESSAGE_KEYS if isinstance(value.get(key), str)), None)
    if key is None:
        return None
    message = str(value.pop(key))
    if may_have_guard(msgspec.json.encode(value)):
        return None
    return message.encode("utf-8", "replace").rstrip(b"\n")


def _small_object(data: bytes, span: Span, most: int) -> dict[str, Any]:
    """The object of a span of at most so many bytes; {} for others."""
    if not span.whole or span.end - span.start > most:
        return {}
    try:
        value = msgspec.json.decode(data[span.start : span.end])
    except UNREADABLE:
        return {}
    return value if isinstance(value, dict) else {}


def _header(data: bytes, span: Span) -> dict[str, Any] | None:
    """The header of an .ips report, where the span is one."""
    most = min(span.end, span.start + _MAX_HEADER)
    if not any(data.find(key, span.start, most) >= 0 for key in _HEADER_KEYS):
        return None
    value = _small_object(data, span, _MAX_HEADER)
    flat = not any(isinstance(each, (dict, list)) for each in value.values())
    return value if value and flat and not value.keys() & _BODY_KEYS else None


def _members_before(data: bytes, start: int, end: int) -> int:
    """Where the lines of members begin that stand right before `end`."""
    at = end
    least = max(start, end - _MAX_AROUND)
    while at > least:
        line = data.rfind(b"\n", least, at - 1) + 1 or least
        if not _MEMBER_LINE.match(data, line, at):
            break
        at = line
    return at


def _members_after(data: bytes, start: int, end: int) -> int:
    """Where the lines of members end that stand right behind `start`."""
    at = start
    most = min(end, start + _MAX_AROUND)
    first = True
    while at < most:
        stop = data.find(b"\n", at, most)
        stop = most if stop < 0 else stop + 1
        if not first and not _MEMBER_LINE.match(data, at, stop):
            break
        at, first = stop, False
    return at
