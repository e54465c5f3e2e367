"""Many crash reports at once: found, read in parallel, one row a violation."""

from __future__ import annotations

import os
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from excguard import crash_reports
from excguard.crash_reports import prefilter
from excguard.crash_reports.metadata import metadata
from excguard.files import suffixes
from excguard.files.bounded import NotARegularFileError
from excguard.files.escaping import utf8

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from excguard.crash_reports import Report
    from excguard.crash_reports.json_lists import Objects
    from excguard.decoding.violation import PartialViolation

SUFFIXES = suffixes.REPORTS + suffixes.ARCHIVES
"""Files that are read in a directory. Those that are named themselves are read whatever they are called."""

_VIOLATION_FIELDS = (
    "guard_type",
    "flavor",
    "flavor_name",
    "severity",
    "target",
    "guard_target",
    "code",
    "subcode",
    "release",
    "summary",
)
_CHUNK = 64
_AHEAD = 4
"""Chunks for each process that are read ahead of the caller."""
_WORTHWHILE = 0.3
"""Seconds of reading that are left, from which on several processes are faster: starting them takes 0.1."""
_FEW = 256
"""Up to so many files are read without starting processes, which would take longer than the reading."""

_KERNEL_LIBRARY = "libsystem_kernel.dylib"


class Row(msgspec.Struct, frozen=True):
    """One violation in one file, or one file that could not be read (`error` says why).

    Attributes:
        file: Its path.
        format: As of Report; likewise kind, process, pid, os and cpu.
        guard_type: As of Violation; likewise flavor, flavor_name, severity, target, guard_target, release and
            summary.
        code: Hex, as subcode; None where the report leaves it out.
        top_frame: "image symbol" of the innermost frame outside of the library that makes system calls.
        error: Why the file could not be read.
        truncated: Whether the report was cut off; None for a file that could not be read.
        app_version: Of the head of a report that is alone in its file.
        site_id: As of `decoding.site.Site`, likewise site_precision; None where the report does not show it.
    """

    file: str
    format: str | None = None
    kind: str | None = None
    process: str | None = None
    pid: int | None = None
    os: str | None = None
    cpu: str | None = None
    guard_type: str | None = None
    flavor: int | None = None
    flavor_name: str | None = None
    severity: str | None = None
    target: int | None = None  # as guard_target; 0.1 had it under this name only
    code: str | None = None
    subcode: str | None = None
    release: str | None = None
    summary: str | None = None
    top_frame: str | None = None
    error: str | None = None
    guard_target: int | None = None
    truncated: bool | None = None
    site_id: str | None = None
    site_precision: str | None = None
    app_version: str | None = None


class Part(msgspec.Struct, frozen=True):
    """What some of the files gave: how many were read, and their rows."""

    files: int
    rows: list[Row]


def files(paths: Iterable[str], *, everything: bool = False) -> list[str]:
    """The files below directories, by name, and the files named themselves.

    A directory that cannot be listed is among them: reading it gives the reason.

    Args:
        paths: Directories and files.
        everything: Take every file of a directory, not only those with SUFFIXES.
    """
    found: list[str] = []

    def unlisted(error: OSError) -> None:
        found.append(error.filename)

    for path in paths:
        if not Path(path).is_dir():
            found.append(path)
            continue
        for directory, directories, names in os.walk(path, onerror=unlisted):
            directories.sort()
            found += [
                os.path.join(directory, name)  # noqa: PTH118 - Path takes ten times as long
                for name in sorted(names)
                if everything or name.lower().endswith(SUFFIXES)
            ]
    return found


def scan(
    paths: list[str],
    *,
    jobs: int | None = None,
    release: str | None = None,
    objects: Objects | None = None,
) -> Iterator[Part]:
    """Read files, in parallel when there are many; parts come in the order of the files.

    Args:
        paths: The files.
        jobs: Processes to use; None for as many as there are processors, as soon as that is faster.
        release: As for `crash_reports.read`.
        objects: As for `crash_reports.documents_of_bytes`.
    """
    read = partial(_read, release=release, objects=objects)
    chunks = (paths[at : at + _CHUNK] for at in range(0, len(paths), _CHUNK))
    if len(paths) <= _FEW:
        jobs = 1
    elif jobs is None:
        jobs = _processors()
        if jobs > 1:  # read here until it is known how long the rest takes
            done, began = 0, time.monotonic()
            for chunk in chunks:
                yield read(chunk)
                done += len(chunk)
                if (time.monotonic() - began) * (len(paths) - done) > _WORTHWHILE * done:
                    break
    if jobs == 1:
        yield from map(read, chunks)
        return
    from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415 - not for the few

    with ProcessPoolExecutor(jobs) as pool:
        parts: deque[Future[Part]] = deque()
        for chunk in chunks:  # not all at once: parts would wait in memory for whoever takes them
            parts.append(pool.submit(read, chunk))
            if len(parts) > jobs * _AHEAD:
                yield parts.popleft().result()
        while parts:
            yield parts.popleft().result()


def _processors() -> int:
    """Processors that this process may use; macOS does not restrict them."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _read(paths: list[str], release: str | None, objects: Objects | None) -> Part:
    rows = []
    buffer = memoryview(bytearray(prefilter.BUFFER))
    for path in paths:
        name = utf8(path)
        try:
            content = prefilter.read(path, buffer)
        except NotARegularFileError as error:
            content, reports = buffer[:0], [crash_reports.Report(file=name, error=error.strerror)]
        except OSError:
            content, reports = buffer[:0], crash_reports.documents_of_path(path, release)  # gives the reason
        else:
            if content is None:
                continue
            if len(content) < prefilter.BUFFER:
                reports = crash_reports.documents_of_bytes(content, name, release, objects)
            else:
                reports = crash_reports.documents_of_path(path, release)
        version = None
        if len(reports) == 1 and reports[0].violations:  # the head of several documents is of the first only
            version = metadata(content).app_version
        for report in reports:
            rows += [_row(report, violation, version) for violation in report.violations]
            if report.error and report.error != crash_reports.NOTHING:
                rows.append(Row(name, report.format, error=report.error))
    return Part(len(paths), rows)


def _row(report: Report, violation: PartialViolation, app_version: str | None) -> Row:
    site = report.site_fields(violation)
    return Row(
        file=report.file,
        format=report.format,
        kind=report.kind,
        process=report.process,
        pid=report.pid,
        os=report.os,
        cpu=report.cpu,
        **violation.select(_VIOLATION_FIELDS),
        top_frame=_top_frame(report),
        truncated=report.truncated,
        site_id=site["site_id"],
        site_precision=site["site_precision"],
        app_version=app_version,
    )


def _top_frame(report: Report) -> str | None:
    if not report.frames:
        return None
    frame = next((frame for frame in report.frames if frame.image != _KERNEL_LIBRARY), report.frames[0])
    if frame.symbol:
        return f"{frame.image} {frame.symbol}"
    return f"{frame.image}+{frame.offset:#x}" if frame.offset is not None else frame.image or None
