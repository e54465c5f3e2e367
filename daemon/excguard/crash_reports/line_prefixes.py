"""What stands before each line of a quotation, a table, a list, a log, a chat or a listing.

Two kinds: characters of mark-up (">", "|", "*", "+", "//"), removed wherever they begin a line, and text that
varies from line to line as little as clocks and counters do ("[10:31:05] alice: ", "crash.txt:12:"), removed
from consecutive lines that have it where it stands before a key of a report or a brace.
"""

from __future__ import annotations

import re

from excguard.crash_reports.chunks import mapped

_MARKUP = re.compile(
    rb"^[ \t]*+(?:>|\||#(?!\d)|\*|//|\+|\xe2\x80\xa2|-(?=[ \t]))(?:[ \t]|>|\||\*|\+|//)*+", re.MULTILINE
)
_ROW = re.compile(rb"^[ \t]*+\|(.*)\|[ \t]*$", re.MULTILINE)
_MARK = re.compile(
    rb"Exception (?:Type|Codes|Subtype|Message)\b|Termination Reason:|OS Version:"
    rb"|(?<!Parent )(?<!Responsible )Process:|Incident Identifier:|Thread \d+ [Cc]rashed|Crashed Thread:"
    rb"|Translated Report|\{(?=[ \t]*+(?:\"|$))",
    re.MULTILINE,
)
_VARIABLE = re.compile(
    rb"\w*\d\w*|\b(?:INFO|DEBUG|WARN|WARNING|ERROR|NOTICE|FAULT|TRACE|Info|Debug|Error|Default|Fault|AM|PM)\b"
)
_MAX_PREFIX = 200
_MAX_TRIES = 1000
"""Prefixes that are tried; a text where none of so many is on the next line too has none."""
_BOUNDARIES = b" \t:]>|)\xbb"


def remove(data: bytes) -> bytes:
    """The text without what stands before its lines; the same object when nothing does."""
    if _MARKUP.search(data):
        data = mapped(data, _without_markup)
    return _without_runs(data)


def _without_markup(part: bytes) -> bytes:
    if b"|" in part:
        part = _ROW.sub(lambda row: row[1].replace(rb"\|", b"|"), part)
    return _MARKUP.sub(b"", part)


def _without_runs(data: bytes) -> bytes:
    kept = bytearray()
    done = tried = 0
    for mark in _MARK.finditer(data):
        if mark.start() < done:
            continue
        start = data.rfind(b"\n", max(0, mark.start() - _MAX_PREFIX), mark.start()) + 1
        if start == 0 and mark.start() > _MAX_PREFIX:
            continue
        prefix = data[start : mark.start()].rstrip(b" \t")
        if (
            not prefix.strip()
            or start < done
            or not _is_prefix(prefix, data[mark.start() - 1 : mark.start()])
        ):
            continue
        end, count = _run(data, start, pattern := _pattern(prefix))
        if count < 2:
            tried += 1
            if tried == _MAX_TRIES:
                break
            continue
        kept += data[done:start]
        _append(kept, data, start, end, pattern)
        done = end
    return bytes(kept + data[done:]) if done else data


def _is_prefix(prefix: bytes, before: bytes) -> bool:
    return before in {bytes([byte]) for byte in _BOUNDARIES} and not set(prefix) & set(b'"{}')


def _pattern(prefix: bytes) -> re.Pattern[bytes]:
    """What matches the prefix on other lines: clocks and counters differ, so do runs of spaces."""
    parts = []
    at = 0
    for variable in _VARIABLE.finditer(prefix):
        parts += [_literal(prefix[at : variable.start()]), rb"\w+"]
        at = variable.end()
    parts.append(_literal(prefix[at:]))
    return re.compile(rb"[ \t]*" + b"".join(parts) + rb"(?:[ \t]|(?=\n)|\Z|(?<=:))")


def _literal(text: bytes) -> bytes:
    return rb"[ \t]+".join(re.escape(word) for word in re.split(rb"[ \t]+", text))


def _run(data: bytes, start: int, pattern: re.Pattern[bytes]) -> tuple[int, int]:
    """Where the lines from `start` on that have the prefix end, and how many they are."""
    count = 0
    at = end = start
    while at < len(data):
        stop = data.find(b"\n", at) + 1 or len(data)
        if pattern.match(data, at, stop):
            count += 1
            end = stop
        elif count == 0 or data[at:stop].strip():
            break
        at = stop
    return end, count


def _append(kept: bytearray, data: bytes, start: int, end: int, pattern: re.Pattern[bytes]) -> None:
    """Append lines without their prefix."""
    at = start
    while at < end:
        stop = data.find(b"\n", at) + 1 or len(data)
        prefix = pattern.match(data, at, stop)
        kept += data[prefix.end() if prefix else at : stop]
        at = stop
