"""A text as a sequence of documents: split first, then each read by its own reader.

The text is unwrapped and split into segments (`splitter`); JSON values go to the readers of JSON, strings
with a text in them are unescaped and split again, and the lines between go to the reader of lines. Each
document is read by what it says itself: its header, its release, its process, its frames.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from excguard.crash_reports import ips, ips_pieces, json_spans, tool_json
from excguard.crash_reports.draft import Draft
from excguard.crash_reports.evidence import Evidence, settle
from excguard.crash_reports.ips_body import UNREADABLE
from excguard.crash_reports.limits import LimitReachedError
from excguard.crash_reports.marks import may_have_guard, may_have_guard_within
from excguard.crash_reports.numbers import number
from excguard.crash_reports.splitter import (
    Header,
    Lines,
    Pieces,
    Records,
    String,
    Value,
    segments,
    text_segments,
)
from excguard.crash_reports.text_report import MAX_LINE, TextReader, may_be_read
from excguard.crash_reports.unwrap import unwrap
from excguard.decoding.code import FLAVOR_MASK, FLAVOR_SHIFT, TARGET_MASK, TYPE_SHIFT
from excguard.knowledge import flavors, guards

if TYPE_CHECKING:
    from excguard.crash_reports.json_spans import Span
    from excguard.crash_reports.limits import Limits

MAX_TREE = 1 << 20
"""Bytes of a JSON value that is decoded as a whole; the values in larger ones are read each by itself."""
_SMALL_TREE = 3 << 20
_TREE_FACTOR = 7
"""What CPython 3.11 takes for a dict, and for a list, a number or a short string within one."""
_OBJECT_BYTES = 184
_ELEMENT_BYTES = 60
"""What CPython 3.11 takes for a dict, and for a list, a number or a short string in its container."""
MAX_NUMBERS = 1000
"""Whole codes of a text without anything else of a violation that are read."""

_HEAD_BYTES = 1 << 16
_LEAST_VALUE = 16
"""Bytes of a JSON value, at least, that anything can be in."""
_PART = 4096
_ESCAPED_PART = 1 << 16
_BLANK = re.compile(rb"(?:[ \t]*+\n)++")
_MAX_NESTING = 4  # strings in strings, and large values in large values

_ESCAPED_BREAK = re.compile(
    rb"\\n\s*(?:[>|*#]\s*)*(?:Exception|Termination|Thread \d|Process:|OS Version|\{)|\{\s*\\\""
)
_UNESCAPED = (
    *((rb"\n", b"\n"), (rb"\r", b"\n"), (rb"\t", b"\t"), (rb"\"", b'"')),
    *((rb"\/", b"/"), (rb"\b", b""), (rb"\f", b"")),
)
_UNICODE = re.compile(rb"\\u([0-9a-fA-F]{4})")

# A whole code amid other text (guard types 1 to 6), with the subcode where that ends the line.
_LONE = re.compile(rb"(?<![0-9a-zA-Z_.])(0[xX][2-9a-dA-D][0-9a-fA-F]{15}|-?\d{18,20})(?![0-9a-zA-Z_.])")
_LONE_SUBCODE = re.compile(
    rb"(?:\s{0,8},\s{0,8}|[ \t]{1,8})(?:subcode\s{0,4}=\s{0,4})?"
    rb"((?:0[xX][0-9a-fA-F]{1,16}|-?\d{1,20})(?![0-9a-zA-Z]))[ \t]{0,8}(?:\)[ \t]{0,8})?(?=\n|\Z)"
)
_SAMPLE = re.compile(rb"[0-9a-fA-FxX]{4,}+")
_STRIDE = 4


def read(data: bytes, limits: Limits, *, nesting: int = 0) -> list[Draft]:
    """The documents of a text, in its order.

    Args:
        data: The text as UTF-8.
        limits: Of the file that the text is in.
        nesting: How many strings the text is in.
    """
    if nesting and not may_have_guard(data):
        return []
    # Text without any of the marks holds no guard; its head still shows which kind of report it is.
    text = unwrap(data if may_have_guard(data) else data[:_HEAD_BYTES])
    drafts = _Documents(text, limits, nesting).read()
    if nesting == 0:
        drafts = _without_names(_without_mentions(_joined(_without_translations(drafts))))
        drafts += _lone(data, drafts, limits)
    return drafts


class _Documents:
    """Reads the segments of one text."""

    def __init__(self, data: bytes, limits: Limits, nesting: int) -> None:
        self._data = data
        self._limits = limits
        self._nesting = nesting
        self._drafts: list[Draft] = []
        self._reader = TextReader(limits)
        self._read_until = 0  # up to there lines can be of interest

    def read(self) -> list[Draft]:
        """All documents, as far as the limits allow."""
        with suppress(LimitReachedError):
            self._read()
        self._add([])
        return self._drafts

    def _read(self) -> None:
        for segment in segments(self._data, self._limits):
            match segment:
                case Lines(start, end):
                    self._lines(start, end)
                case String(start, end):
                    self._add(self._nested(_unescape(self._data[start + 1 : end - 1])))
                case Records(text):
                    self._add(self._nested(text))
                case Header(value=value):
                    self._add([])
                    self._reader.head(value)
                case Pieces(start, end):
                    self._add(ips_pieces.fragments(self._data[start:end], self._limits))
                case Value(span, header):
                    self._add(self._value(span, header))

    def _add(self, drafts: list[Draft]) -> None:
        """Add documents behind those of the lines before."""
        self._drafts += self._reader.close()
        self._reader = TextReader(self._limits)
        self._drafts += drafts

    def _lines(self, start: int, end: int) -> None:
        data, at = self._data, start
        while at < end:
            at = self._skip(at, end)
            stop = data.find(b"\n", at, end)
            stop = end if stop < 0 else stop
            line = data[at : min(stop, at + MAX_LINE)]
            if stop - at > MAX_LINE and may_have_guard_within(data, at + MAX_LINE, stop):
                self._limits.reach(f"only the first {MAX_LINE} characters of a line are read")
            if b"\\" in line and self._nesting < _MAX_NESTING and _ESCAPED_BREAK.search(data, at, stop):
                self._add(self._nested(_unescape(data[at:stop])))
            else:
                self._reader.feed(line.decode("utf-8", "replace"))
            at = stop + 1

    def _skip(self, at: int, end: int) -> int:
        """Where the next line begins that can be of interest, or the lines end that are not."""
        blank = _BLANK.match(self._data, at, end)
        at = blank.end() if blank else at
        while self._read_until <= at < end and not self._reader.takes_any_line:
            part = self._data.find(b"\n", at + _PART, at + 2 * _PART) + 1
            if part == 0 or part > end or may_be_read(self._data[at:part]):
                self._read_until = part or at + _PART  # line by line
                break
            at = part
        return at

    def _nested(self, text: bytes) -> list[Draft]:
        if self._nesting < _MAX_NESTING:
            return read(text, self._limits, nesting=self._nesting + 1)
        if may_have_guard(text):
            self._limits.reach(f"strings in strings are read to a depth of {_MAX_NESTING}")
        return []

    def _value(self, span: Span, header: dict[str, Any] | None, depth: int = 0) -> list[Draft]:
        data = self._data
        value = data[span.start : span.end] if span.whole else json_spans.repaired(data, span)
        draft = ips.well_formed(value, header)
        if draft is not None and (draft.evidence or header is not None):
            self._limits.take()
            drafts = [draft]
        elif len(value) <= MAX_TREE and _is_small(value):
            try:
                tree = msgspec.json.decode(value)
            except UNREADABLE:
                drafts = self._pieces(span, header)
            else:
                drafts = tool_json.documents(
                    tree, lambda text: self._nested(text.encode("utf-8", "replace")), self._limits
                )
        elif depth < _MAX_NESTING:
            return self._values(span, depth)
        else:
            drafts = self._pieces(span, header)
        for one in drafts:
            one.report.truncated = one.report.truncated or not span.whole
        return drafts

    def _values(self, span: Span, depth: int) -> list[Draft]:
        """The documents in the values of a large value."""
        found: list[Draft] = []
        at = span.start + 1
        for child in json_spans.spans(self._data, at, span.end, self._limits):
            found += self._between(at, child.start)
            at = child.rest
            if child.rest - child.start >= _LEAST_VALUE:
                found += self._value(child, None, depth + 1)
            if self._limits.exhausted:
                return found
        return found + self._between(at, span.end)

    def _between(self, start: int, end: int) -> list[Draft]:
        """The documents in strings between the values of a large value."""
        found: list[Draft] = []
        if end - start >= _LEAST_VALUE and may_have_guard_within(self._data, start, end):
            for segment in text_segments(self._data, start, end):
                if isinstance(segment, String):
                    found += self._nested(_unescape(self._data[segment.start + 1 : segment.end - 1]))
                elif self._data.find(b"GUARD", segment.start, segment.end) >= 0:
                    reader, self._reader = self._reader, TextReader(self._limits)
                    self._lines(segment.start, segment.end)
                    found += self._reader.close()
                    self._reader = reader
        return found

    def _pieces(self, span: Span, header: dict[str, Any] | None) -> list[Draft]:
        return _headed(ips_pieces.fragments(self._data[span.start : span.end], self._limits), header)


def _is_small(value: bytes) -> bool:
    """Whether the decoded value takes not much more memory than its JSON: `[[],[]]` takes 20 times that."""
    elements = value.count(b",") + value.count(b"[")
    memory = value.count(b"{") * _OBJECT_BYTES + elements * _ELEMENT_BYTES
    return memory <= max(_SMALL_TREE, len(value) * _TREE_FACTOR)


def _headed(drafts: list[Draft], header: dict[str, Any] | None) -> list[Draft]:
    """The drafts with what the header line of their report says."""
    if header:
        for draft in drafts:
            ips.identify_by_header(draft.report, header)
            for evidence in draft.evidence:
                evidence.release = evidence.release or draft.report.os
    return drafts


def _unescape(text: bytes) -> bytes:
    """What an escaped string of JSON holds, also one that is not valid."""
    text = text.replace(b"\0", b"").replace(rb"\\", b"\0")  # from here on each backslash begins an escape
    if rb"\u" in text:
        text = _without_numbers(text)
    for escaped, plain in _UNESCAPED:
        text = text.replace(escaped, plain)
    return text.replace(b"\0", b"\\")


def _without_numbers(text: bytes) -> bytes:
    r"""The text without `\u0041`, a part at a time: see `chunks`."""
    changed = bytearray()
    at = 0
    while at < len(text):
        end = text.find(b"\\", at + _ESCAPED_PART)
        end = len(text) if end < 0 else end
        changed += _UNICODE.sub(lambda match: chr(int(match[1], 16)).encode("utf-8", "replace"), text[at:end])
        at = end
    return bytes(changed)


def _without_translations(drafts: list[Draft]) -> list[Draft]:
    kept: list[Draft] = []
    for draft in drafts:
        if kept and kept[-1].translated and draft.report.format == "ips" and _one_report(kept[-1], draft):
            _merge(kept[-1], draft)
            continue
        kept.append(draft)
    return kept


def _one_report(text: Draft, body: Draft) -> bool:
    """Whether a text report and the JSON below it are one report."""
    if len(text.evidence) != 1 or len(body.evidence) != 1:
        return False
    one, other = text.evidence[0], body.evidence[0]
    pairs = (
        (one.code, other.code),
        (text.report.process, body.report.process),
        (text.report.pid, body.report.pid),
    )
    return all(first is None or second is None or first == second for first, second in pairs)


def _merge(text: Draft, body: Draft) -> None:
    mine, other = text.report, body.report
    for name in ("process", "pid", "os", "cpu"):
        if getattr(mine, name) is None:
            setattr(mine, name, getattr(other, name))
    if other.frames:
        mine.frames = other.frames
    if mine.kind == "crash":
        mine.kind = other.kind
    if text.evidence[0].code is None and not text.evidence[0].codes:
        text.evidence = body.evidence
    mine.truncated = other.truncated
    text.translated = False


def _joined(drafts: list[Draft]) -> list[Draft]:
    """Exception and termination that were quoted as objects by themselves are one report."""
    kept: list[Draft] = []
    for draft in drafts:
        if kept and _is_ending(kept[-1], draft):
            kept[-1].evidence[0].code = draft.evidence[0].code
            continue
        kept.append(draft)
    return kept


def _is_ending(exception: Draft, ending: Draft) -> bool:
    """Whether a draft is of no more than the termination of the one before."""
    if len(exception.evidence) != 1 or len(ending.evidence) != 1 or ending.report.exception_type:
        return False
    one, other = exception.evidence[0], ending.evidence[0]
    if exception.report.format != "ips" or ending.report.format != "ips" or ending.report.process:
        return False
    if one.code is not None or other.code is None or one.exception_type != "EXC_GUARD":
        return False
    return one.guard_type in {None, guards.NAMES.get(other.code >> TYPE_SHIFT)} and one.target in {
        None,
        other.code & TARGET_MASK,
    }


def _without_mentions(drafts: list[Draft]) -> list[Draft]:
    """Lines of running text that name the code of a report beside them are not violations of their own."""
    reported = {one.code for draft in drafts if not draft.line for one in draft.evidence} - {None}
    if not reported:
        return drafts
    kept = []
    for draft in drafts:
        report = draft.report
        if draft.line and report.format == "text" and report.process is None and report.pid is None:
            draft.evidence = [one for one in draft.evidence if one.code not in reported or one.subcode]
            if not draft.evidence:
                continue
        kept.append(draft)
    return kept


def _without_names(drafts: list[Draft]) -> list[Draft]:
    """Names count where nothing else in the text is of the same guard, and each of them only one time."""
    strong: set[tuple[str | None, str | None]] = set()
    for draft in drafts:
        if draft.weak:
            continue
        for evidence in draft.evidence[:100]:
            violation, _checks = settle(msgspec.structs.replace(evidence, notes=[]), None)
            if violation is not None:
                strong |= {
                    (violation.guard_type, violation.flavor_name),
                    (violation.guard_type, None),
                    (None, None),
                }
                strong |= {(violation.guard_type, alias) for alias in violation.aliases}
    kept = []
    for draft in drafts:
        if draft.weak and draft.evidence:
            one = draft.evidence[0]
            key = (one.guard_type, one.flavor_name)
            if key in strong:
                continue
            strong |= {key, (one.guard_type, None)}
        kept.append(draft)
    return kept


def _lone(data: bytes, drafts: list[Draft], limits: Limits) -> list[Draft]:
    """Whole codes in text that is of no violation otherwise; only those that are in a table."""
    if any(draft.evidence for draft in drafts):
        return []
    found: list[Draft] = []
    last = -1
    for sample in _SAMPLE.finditer(data[::_STRIDE]):
        start, end = max(last, sample.start() * _STRIDE - 24), sample.end() * _STRIDE + 24
        for match in _LONE.finditer(data, start, end):
            if match.start() < last:
                continue
            last = match.end()
            code = number(match[1].decode())
            kind = guards.NAMES.get(code >> TYPE_SHIFT) if code is not None else None
            if (
                code is None
                or kind is None
                or not flavors.with_value(kind, code >> FLAVOR_SHIFT & FLAVOR_MASK)
            ):
                continue
            subcode = _LONE_SUBCODE.match(data, match.end())
            evidence = Evidence(
                origin="number", code=code, subcode=number(subcode[1].decode()) if subcode else None
            )
            evidence.notes.append("found as a number in text that says nothing else of it")
            if len(found) == MAX_NUMBERS:
                limits.reach(f"only the first {MAX_NUMBERS} numbers that can be codes are read")
                return found
            found.append(Draft(evidence=[evidence], line=True))
    return found
