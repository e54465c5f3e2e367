"""Pieces of .ips reports: members of their objects in text that is not valid JSON as a whole.

Excerpts, reports that were cut off or edited by hand: the exception and termination objects are picked out of
the text wherever they are, and so are the keys that identify the report.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from excguard.crash_reports import json_spans, kinds
from excguard.crash_reports.draft import Draft
from excguard.crash_reports.ips import UNNAMED, gather
from excguard.crash_reports.ips_body import MAX_OBJECT, UNREADABLE
from excguard.crash_reports.limits import LimitReachedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from excguard.crash_reports.limits import Limits

_OBJECT = re.compile(rb'"(exception|termination)"\s*+:\s*+(?=\{)')
_KEYS = re.compile(
    rb'"(procName|app_name|name|os_version|train|build|cpuType|bug_type)"\s*+:\s*+"([^"\\\n]{1,400})"'
    rb'|"(pid|bug_type)"\s*+:\s*+(\d{1,10})\b|"(isSimulated|is_simulated)"\s*+:\s*+(?:1|true)\b'
)


def fragments(data: bytes, limits: Limits) -> list[Draft]:
    """Reports out of pieces of JSON that are not valid JSON as a whole.

    Args:
        data: The pieces, with what stands around them.
        limits: Of the file that they are in.
    """
    drafts: list[Draft] = []
    with suppress(LimitReachedError):
        _collect(data, limits, drafts)
    return drafts


def _collect(data: bytes, limits: Limits, drafts: list[Draft]) -> None:
    part: dict[str, dict[str, Any]] = {}
    at = 0
    for start, name, opening, limit in _objects(data):
        if start < at:
            continue
        held = _held(data, at, start)
        if not drafts or name in part or b"bug_type" in held:
            _complete(drafts, part)
            part = {}
            limits.take()
            drafts.append(Draft())
            drafts[-1].report.format = "ips"
        _fill(drafts[-1], held)
        part[name], at, whole = _value_at(data, opening, limit, limits)
        drafts[-1].report.truncated |= not whole and at >= len(data)
    if drafts:
        _fill(drafts[-1], _held(data, at, len(data)))
    _complete(drafts, part)


def _complete(drafts: list[Draft], part: dict[str, dict[str, Any]]) -> None:
    """Put what the objects of the last draft say into it."""
    if not drafts:
        return
    exception, ending = part.get("exception", {}), part.get("termination", {})
    if not exception and not ending:
        drafts.pop()
        return
    evidence = gather(exception, ending)
    draft = drafts[-1]
    report = draft.report
    report.exception_type = evidence.exception_type
    report.kind = kinds.of_exception(report.kind, report.exception_type, exception.get("subtype"))
    evidence.release = report.os
    evidence.simulated = report.kind == kinds.SIMULATED
    draft.evidence.append(evidence)


def _held(data: bytes, start: int, end: int) -> dict[bytes, bytes]:
    """What the keys of a part of the text say of the report."""
    held: dict[bytes, bytes] = {}
    for match in _KEYS.finditer(data, start, end):
        _hold(held, match)
    return held


def _hold(held: dict[bytes, bytes], match: re.Match[bytes]) -> None:
    key = match[1] or match[3] or match[5]
    held.setdefault(key, match[2] or match[4] or b"1")


def _fill(draft: Draft, held: dict[bytes, bytes]) -> None:
    report = draft.report

    def text(*keys: bytes) -> str | None:
        return next((held[key].decode("utf-8", "replace") for key in keys if key in held), None)

    report.process = report.process or text(b"procName", b"app_name", b"name")
    train, build = text(b"train"), text(b"build")
    report.os = report.os or text(b"os_version") or (f"{train} ({build})" if train and build else train)
    report.cpu = report.cpu or text(b"cpuType")
    if report.pid is None and b"pid" in held:
        report.pid = int(held[b"pid"])
    if b"bug_type" in held and report.kind == "crash":
        report.kind = kinds.of_bug_type(text(b"bug_type"))
    if b"isSimulated" in held or b"is_simulated" in held:
        report.kind = kinds.SIMULATED


def _objects(data: bytes) -> Iterator[tuple[int, str, int, int]]:
    """Where objects of interest are: the start of their key, their name, their brace, and the next key."""
    last: tuple[int, str, int] | None = None
    for match in _OBJECT.finditer(data):
        if last:
            yield *last, match.start()
        last = match.start(), match[1].decode(), match.end()
    if last:
        yield *last, len(data)
    elif key := UNNAMED.search(data):  # an exception object that was quoted without its key
        opening = data.rfind(b"{", 0, key.start())
        if opening >= 0:
            yield opening, "exception", opening, len(data)


_MEMBER = re.compile(
    rb'"(type|subtype|codes|message|namespace|port|guardId|code|namespc|reason|fd|pid|offset|process|machTrap'
    rb'|syscall|number|indicator)"\s*+:\s*+(?:"((?:[^"\\\n]++|\\[^\n])*+)|(-?\d{1,20})(?=[\s,}\]]))'
)
_FIRST_NAME = re.compile(rb'"(violations|flavors)"\s*+:\s*+\[\s*+"([A-Za-z_][\w ]{0,100})"')
_RAW_CODES = re.compile(rb'"rawCodes"\s*+:\s*+\[\s*+(-?\d{1,20})\s*+[,\]](?:\s*+(-?\d{1,20})\s*+\])?')


def _value_at(data: bytes, start: int, limit: int, limits: Limits) -> tuple[dict[str, Any], int, bool]:
    """The object at `start`, where it ends, and whether its bracket is closed.

    Of one that is cut off or broken it has what can be made out.
    """
    end = min(start + MAX_OBJECT, limit)
    span = next(json_spans.spans(data, start, end, limits), None)
    if span is not None and span.start == start:
        try:
            value = msgspec.json.decode(json_spans.repaired(data, span))
        except UNREADABLE:
            value = None
        if isinstance(value, dict) and span.whole:
            return value, span.end, True
    window = data[start:end]
    stop = window.find(b"}")
    window = window if stop < 0 else window[: stop + 1]
    value = {}
    for match in _MEMBER.finditer(window):
        text = match[2]
        key = match[1].decode()
        value.setdefault(key, int(match[3]) if text is None else text.decode("utf-8", "replace"))
    if named := _FIRST_NAME.search(window):
        value[named[1].decode()] = [named[2].decode()]
    if codes := _RAW_CODES.search(window):
        value["rawCodes"] = [int(code) for code in codes.groups() if code is not None]
    return value, start + len(window), stop >= 0
