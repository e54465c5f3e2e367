"""A crash report as an `ExternalHit`: whether it is complete, of which process, and of which guard.

The guard is read by `excguard.crash_reports`, which takes reports of any kind and in any state. Here is what
a watcher needs besides: a report that is still being written is not read too soon, and when its process was
started and ended.
"""

import re
from datetime import datetime
from pathlib import Path

import msgspec

from excguard import crash_reports
from excguard.decoding.site import innermost
from excguard.files import bounded
from excguard.pipeline.source import ExternalHit
from excguard.sources.crash_reports import MAX_SIZE, IncompleteReportError

# Each .crash report of text ends with them; nothing that is needed follows.
_LAST_OF_TEXT = b"\nBinary Images:"
MAX_FRAMES = 30  # that a hit keeps; deeper ones are in the report
_TEXT_TIMES = re.compile(rb"(?m)^(Date/Time|Launch Time):[ \t]+(\S.*?)[ \t]*$")


class _Times(msgspec.Struct):
    """When the process of an .ips report was started and ended, as ReportCrash writes it."""

    started: str = msgspec.field(name="procLaunch", default="")
    ended: str = msgspec.field(name="captureTime", default="")


def read(path: Path) -> ExternalHit | None:
    """Read a report.

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
    head, newline, body = data.partition(b"\n")
    try:
        if not newline:
            raise IncompleteReportError("it ends with its first line")
        msgspec.json.decode(head, type=msgspec.Raw)
        return msgspec.json.decode(body, type=_Times)
    except msgspec.MsgspecError as error:
        raise IncompleteReportError(f"incomplete: {error}") from None


def _text_times(data: bytes) -> _Times:
    if _LAST_OF_TEXT not in data:
        raise IncompleteReportError("incomplete: it has no list of binary images")
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
