"""A crash report as an `ExternalHit`: whether it is complete, of which process, and of which guard.

The guard is read by `excguard.crash_reports`, which takes reports of any kind and in any state. Here is what
a watcher needs besides: a report that is still being written is not read too soon, and when its process was
started and ended.
"""

import re
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from excguard import crash_reports
from excguard.crash_reports.symbolicate import symbolicate
from excguard.crash_reports.symbols.symbol import Symbolizer
from excguard.decoding.site import innermost
from excguard.files import bounded
from excguard.pipeline.source import ExternalHit
from excguard.sources.report_state import MAX_SIZE, IncompleteReportError

# Each .crash report of text ends with them; nothing that is needed follows.
_LAST_OF_TEXT = b"\nBinary Images:"
MAX_FRAMES = 30  # that a hit keeps; deeper ones are in the report
_TEXT_TIMES = re.compile(rb"(?m)^(Date/Time|Launch Time):[ \t]+(\S.*?)[ \t]*$")
_TEXT_PROCESSES = re.compile(rb"(?m)^(Process|Parent Process):[ \t]+\S.*?\[(\d{1,10})\][ \t]*$")
# Of an .ips report that was cut off: keys of its body, which are written one a line before its long parts.
_PIECES = re.compile(rb"""(?m)^\s*"(pid|parentPid|procLaunch|captureTime)"\s*:\s*"?([^",\n]*)""")


class _Times(msgspec.Struct):
    """When the process of an .ips report was started and ended, as ReportCrash writes it."""

    started: str = msgspec.field(name="procLaunch", default="")
    ended: str = msgspec.field(name="captureTime", default="")


class Identity(NamedTuple):
    """Which process a report is of.

    Attributes:
        pid: its process id; 0 when the report does not have it.
        parent_pid: that of its parent; 0 likewise.
        started_ns: when it was started, nanoseconds since the epoch; None likewise.
        ended_ns: when the report was made; None likewise.
        complete: whether the whole report is there.
    """

    pid: int
    parent_pid: int
    started_ns: int | None
    ended_ns: int | None
    complete: bool


class _Process(_Times):
    pid: int = 0
    parent_pid: int = msgspec.field(name="parentPid", default=0)


def identify(data: bytes) -> Identity:
    """Which process the report in ``data`` is of, as far as it is there; for reports of any crash."""
    if data.lstrip()[:1] != b"{":
        pids = {key: int(value) for key, value in _TEXT_PROCESSES.findall(data)}
        times = _times_of_text(data)
        return _identity(
            pids.get(b"Process", 0), pids.get(b"Parent Process", 0), times, complete=_LAST_OF_TEXT in data
        )
    try:
        found = _decoded(data, _Process)
    except (IncompleteReportError, UnicodeDecodeError, RecursionError):
        pieces = {key.decode(): value.decode(errors="replace") for key, value in _PIECES.findall(data)}
        numbers = [pieces.get(key, "") for key in ("pid", "parentPid")]
        pid, parent = (int(number) if re.fullmatch(r"[0-9]{1,10}", number) else 0 for number in numbers)
        times = _Times(pieces.get("procLaunch", ""), pieces.get("captureTime", ""))
        return _identity(pid, parent, times, complete=False)
    return _identity(found.pid, found.parent_pid, found, complete=True)


def _identity(pid: int, parent_pid: int, times: _Times, *, complete: bool) -> Identity:
    return Identity(pid, parent_pid, _nanoseconds(times.started), _nanoseconds(times.ended), complete)


def read(path: Path, symbolizer: Symbolizer | None = None) -> ExternalHit | None:
    """Read a report; its frames get the names that ``symbolizer`` finds.

    Returns:
        The guard that its process died of; None when it died of something else.

    Raises:
        IncompleteReportError: it is not complete, or leaves out the code.
        ValueError: its numbers cannot be (see `ExternalHit`).
        OSError: it cannot be read, or is not a regular file of at most `MAX_SIZE` bytes.
    """
    data = bounded.read(path, MAX_SIZE, follow=False)
    times = _ips_times(data) if data.lstrip()[:1] == b"{" else _text_times(data)
    report = crash_reports.read_bytes(data, str(path))
    if not report.violations:
        return None
    if symbolizer is not None:
        symbolicate(report, symbolizer)
    violation = report.violations[0]
    if violation.code is None:
        raise IncompleteReportError("it leaves out the code of the guard")
    ended_ns = _nanoseconds(times.ended)
    return ExternalHit(
        pid=report.pid or 0,
        process=report.process or "",
        code=violation.code,
        subcode=violation.subcode,
        time_ns=path.stat().st_mtime_ns if ended_ns is None else ended_ns,
        started_ns=_nanoseconds(times.started),
        place=innermost(frame.place for frame in report.frames),
        report=str(path),
        frames=tuple(str(frame) for frame in report.frames[:MAX_FRAMES]),
    )


def _ips_times(data: bytes) -> _Times:
    """The times of a report of one line and one object of JSON, if both are complete."""
    return _decoded(data, _Times)


_Body = TypeVar("_Body")


def _decoded(data: bytes, body_type: type[_Body]) -> _Body:
    """The body of an .ips report. Raises IncompleteReportError."""
    head, newline, body = data.partition(b"\n")
    try:
        if not newline:
            raise IncompleteReportError("it ends with its first line")
        msgspec.json.decode(head, type=msgspec.Raw)
        return msgspec.json.decode(body, type=body_type)
    except msgspec.MsgspecError as error:
        raise IncompleteReportError(f"incomplete: {error}") from None


def _text_times(data: bytes) -> _Times:
    if _LAST_OF_TEXT not in data:
        raise IncompleteReportError("incomplete: it has no list of binary images")
    return _times_of_text(data)


def _times_of_text(data: bytes) -> _Times:
    found = {key: value.decode(errors="replace") for key, value in _TEXT_TIMES.findall(data)}
    return _Times(started=found.get(b"Launch Time", ""), ended=found.get(b"Date/Time", ""))


def _nanoseconds(text: str) -> int | None:
    """A time as reports print it, "2026-07-31 19:28:23.7343 +0300", since the epoch."""
    day, _, rest = text.partition(" ")
    clock, _, zone = rest.partition(" ")
    clock, _, fraction = clock.partition(".")
    try:
        moment = datetime.strptime(f"{day} {clock} {zone}", "%Y-%m-%d %H:%M:%S %z")
        return int(moment.timestamp()) * 1_000_000_000 + int(f"{fraction:0<9.9}")
    except ValueError:
        return None
