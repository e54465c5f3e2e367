"""Crash reports, debugger lines, logs and other tools' output in, Violations out.

    >>> import excguard
    >>> pasted = '''
    ... Process: MyApp [512]
    ... OS Version: macOS 14.4 (23E214)
    ... Exception Type: EXC_GUARD (SIGKILL)
    ... Termination Reason: Namespace GUARD, Code 2305845208236959491
    ...
    ... kernel: ERROR: [Helper:77] EXC_GUARD AST: type=0x2 flavor=0x1 target=0xb
    ... '''
    >>> [(report.process, report.violations[0].flavor_name) for report in excguard.reports.read_all(pasted)]
    [('MyApp', 'INVALID_NAME'), ('Helper', 'CLOSE')]

`read` and `read_all` take .ips reports, .crash and .txt reports of every layout since OS X 10.9, minidumps,
and any text with reports or lines of reports, of lldb, of the kernel's log or of other tools in it.
`read_all` gives a Report for each document of a text, `read` one with the violations of all of them.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, TYPE_CHECKING

from excguard.crash_reports import archive, ips
from excguard.crash_reports.draft import Draft
from excguard.crash_reports.evidence import settle
from excguard.crash_reports.limits import Limits
from excguard.crash_reports.report import Check, Frame, Report
from excguard.files import errors
from excguard.files.escaping import utf8

if TYPE_CHECKING:
    import os

    from excguard.crash_reports.json_lists import Objects
    from excguard.decoding.violation import PartialViolation

__all__ = [
    "Check",
    "Frame",
    "Report",
    "documents_of_bytes",
    "documents_of_path",
    "documents_of_text",
    "read",
    "read_all",
    "read_bytes",
    "read_documents",
    "read_file",
    "read_path",
    "read_text",
]

MAX_BYTES = 64 * 2**20
"""Bytes of a report or of text that are read. Real reports are below 4 MiB."""

NOTHING = "no guard violation found in it"
"""The error of a text that was read and has none."""

_NAMED = "EXC_GUARD is named, but no code, flavor or message of it is in the text"

_KEVENT = frozenset({"_dispatch_bug_kevent_vanished", "_dispatch_bug_kevent_client"})
"""Functions of libdispatch that are among the frames for one reason only."""

_HEADER_BYTES = 4096
_MINIDUMP = b"MDMP"


def read(source: str | os.PathLike[str], release: str | None = None) -> Report:
    """Read a crash report, or find the guard violations in text.

    Args:
        source: The path of a file, or text. A string that names nothing that is there is text, unless it is
            one word with a report's suffix.
        release: Read the numbers by this release in place of the one that the report names.

    Returns:
        A Report; one that could not be read says why in its `error`. Reports of other kinds are not errors.
        For a text of several documents it describes the first one with a violation, and has the violations
        and checks of all; what could not be read of it is among its notes.

    Raises:
        knowledge.releases.ReleaseError: `release` cannot be placed.
    """
    return _merged(read_all(source, release))


def read_all(source: str | os.PathLike[str], release: str | None = None) -> list[Report]:
    """Read a file or a text: a Report for each document in it, in its order, at least one.

    Arguments and errors are those of `read`. Of a text with more violations than are read (see `limits`) the
    last Report says so in its `error`.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        raise TypeError("read takes a path or text: read_bytes reads the bytes of a report")
    if hasattr(source, "read"):
        raise TypeError("read takes a path or text: read_file reads an open file")
    if isinstance(source, str) and not _names_path(source):
        return documents_of_text(source, release)
    return documents_of_path(source, release)


def read_path(path: str | os.PathLike[str], release: str | None = None) -> Report:
    """Read a file; one that cannot be opened says why in its `error`."""
    return _merged(documents_of_path(path, release))


def read_file(file: IO[bytes], name: str = "-", release: str | None = None) -> Report:
    """Read an open file; minidumps by seeking, everything else up to MAX_BYTES bytes."""
    return _merged(read_documents(file, name, release))


def read_bytes(data: bytes | memoryview, name: str = "-", release: str | None = None) -> Report:
    """Read the bytes of a report."""
    return _merged(documents_of_bytes(data, name, release))


def read_text(pasted: str, release: str | None = None, name: str = "-") -> Report:
    """Find the guard violations in text."""
    return _merged(documents_of_text(pasted, release, name))


def documents_of_text(text: str, release: str | None = None, name: str = "-") -> list[Report]:
    """A Report for each document of a text; the last one can be the error that not all of them were read."""
    limits = Limits()
    return _of_text(text.encode("utf-8", "surrogateescape"), name, release, limits) + _not_read(name, limits)


def documents_of_path(path: str | os.PathLike[str], release: str | None = None) -> list[Report]:
    """A Report for each document of a file; one that cannot be opened says why in its `error`."""
    path = Path(path)
    name = utf8(str(path))
    try:
        with path.open("rb") as file:
            return read_documents(file, name, release)
    except IsADirectoryError:
        return [Report(file=name, error="a directory; `excguard scan` reads the reports below one")]
    except OSError as error:
        return [Report(file=name, error=f"cannot be read: {errors.reason(error)}")]


def read_documents(file: IO[bytes], name: str = "-", release: str | None = None) -> list[Report]:
    """A Report for each document of an open file; the limits are those of `read_file`."""
    start = file.read(_HEADER_BYTES)
    if start.startswith(_MINIDUMP):
        seekable = file if file.seekable() else io.BytesIO(start + file.read(MAX_BYTES))
        return [_read_minidump(seekable, name, release)]
    if archive.is_archive(start):
        seekable = file if file.seekable() else io.BytesIO(start + file.read(MAX_BYTES))
        limits = Limits()
        return _of_archive(seekable, name, release, limits) + _not_read(name, limits)
    if not start.strip():
        rest = file.read(1)
        if not rest:
            return [Report(file=name, error="empty")]
        start += rest
    data = start + file.read(MAX_BYTES - len(start))
    if len(data) >= MAX_BYTES and file.read(1):
        return [Report(file=name, error=f"larger than {MAX_BYTES >> 20} MiB: not a crash report")]
    return documents_of_bytes(data, name, release)


def documents_of_bytes(
    data: bytes | memoryview,
    name: str = "-",
    release: str | None = None,
    objects: Objects | None = None,
) -> list[Report]:
    """A Report for each document of bytes; the last one can be the error that not all of them were read.

    Args:
        data: The bytes.
        name: Where they came from.
        release: As for `read`.
        objects: `native.json_objects.objects`, for who reads many reports: most of a report is then passed
            over without being decoded.
    """
    limits = Limits()
    reports = _of_bytes(data, name, release, limits, objects)
    return reports + _not_read(name, limits)


def _of_bytes(
    data: bytes | memoryview,
    name: str,
    release: str | None,
    limits: Limits,
    objects: Objects | None = None,
) -> list[Report]:
    start = bytes(data[:_HEADER_BYTES])
    if start.startswith(_MINIDUMP):
        return [_read_minidump(io.BytesIO(data), name, release)]
    if archive.is_archive(start):
        return _of_archive(io.BytesIO(data), name, release, limits)
    if start.lstrip()[:1] == b"{" and (draft := ips.well_formed(data, objects=objects)) is not None:
        return [_finish(draft, name, release)]
    text = _utf8(bytes(data))
    if text is None:
        return [Report(file=name, error="a binary file, not a crash report")]
    return _of_text(text, name, release, limits)


def _not_read(name: str, limits: Limits) -> list[Report]:
    """The error that names what was left out; [] when nothing was."""
    return [Report(file=name, error="; ".join(limits.reached))] if limits.reached else []


def _of_archive(file: IO[bytes], name: str, release: str | None, limits: Limits) -> list[Report]:
    """The reports of an archive's members, each under "archive:member"."""
    file.seek(0)
    reports: list[Report] = []
    for member in archive.members(file, MAX_BYTES):
        path = f"{name}:{utf8(member.name)}" if member.name else name
        if member.error:
            reports.append(Report(file=path, error=member.error))
        else:
            reports += _of_bytes(member.data, path, release, limits)
        if limits.exhausted:
            break
    return reports or [Report(file=name, error="an archive without crash reports")]


def _of_text(text: bytes, name: str, release: str | None, limits: Limits) -> list[Report]:
    if not text.strip():
        return [Report(file=name, error="empty")]
    from excguard.crash_reports import documents  # noqa: PLC0415 - plain .ips reports do not need it

    reports: list[Report] = []
    first: Report | None = None
    limits.add_text(len(text))
    drafts = documents.read(text, limits)
    drafts.reverse()
    while drafts:  # each is freed as soon as its report is made
        report = _finish(drafts.pop(), name, release)
        first = first or report
        if report.violations or report.exception_type or report.kind != "crash":
            reports.append(report)
    if not reports:
        reports.append(first or _finish(Draft(), name, release))
        if reports[0].error == NOTHING and (b"EXC_GUARD" in text or b"OS_REASON_GUARD" in text):
            reports[0].error, reports[0].exception_type = None, "EXC_GUARD"
            reports[0].notes.append(_NAMED)
        elif reports[0].error == NOTHING and name.endswith((".ips", ".synced")):
            reports[0].error = "not a crash report, although its name is that of one"
    return reports


def _finish(draft: Draft, name: str, release: str | None) -> Report:
    """The report of a document, with its evidence settled."""
    report = draft.report
    report.file = name
    violations: list[PartialViolation] = []
    checks: list[Check] = []
    for evidence in draft.evidence:
        violation, compared = settle(evidence, release)
        if violation is None:
            report.notes += evidence.notes
            continue
        violations.append(violation)
        checks += compared
        report.exception_type = report.exception_type or evidence.exception_type
        if evidence.simulated:
            report.kind = "simulated"
    # Copies have no room to grow, which would be half of their memory: most documents have one violation.
    report.violations, report.checks = violations[:], checks[:]
    if report.violations and (cause := next((f.symbol for f in report.frames if f.symbol in _KEVENT), None)):
        report.notes.append(
            f"{cause} among the frames: libdispatch watched a port or descriptor that was closed under it"
        )
    if report.violations or report.error:
        return report
    if report.kind not in {"crash", "simulated"}:
        other = f"{report.exception_type}, not a guard violation" if report.exception_type else "no exception"
        report.notes.append(f"a {report.kind} report: it has {other}")
    elif report.exception_type:
        report.notes.append(f"a crash by {report.exception_type}, not a guard violation")
    elif report.format == "ips":
        report.error = "a report without an exception: it is cut off, or not a crash report"
    else:
        report.error = NOTHING
    return report


def _merged(reports: list[Report]) -> Report:
    """One report for all documents of a text."""
    if len(reports) == 1:
        return reports[0]
    first = next((report for report in reports if report.violations), reports[0])
    first.violations = [violation for report in reports for violation in report.violations]
    first.checks = [check for report in reports for check in report.checks]
    first.notes += [report.error for report in reports if report.error and report is not first]
    return first


def _read_minidump(file: IO[bytes], name: str, release: str | None) -> Report:
    from excguard.crash_reports import minidump  # noqa: PLC0415 - plain .ips reports do not need it

    draft = Draft()
    try:
        draft.evidence += minidump.read(file, draft.report)
    except minidump.MinidumpError as error:
        return Report(file=name, format="minidump", error=str(error))
    return _finish(draft, name, release)


def _utf8(data: bytes) -> bytes | None:
    """The text of a file as UTF-8, whatever its encoding; None when it is not text."""
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return data.decode(encoding, "replace").lstrip("\ufeff").encode("utf-8", "replace")
    start = data[:_HEADER_BYTES]
    if b"\0" in start:
        return _from_utf16(data, start)
    return data


def _from_utf16(data: bytes, start: bytes) -> bytes | None:
    """Text of 16-bit characters without a mark: nearly every other byte is zero, and only those."""
    halves = {"utf-16-be": start[::2], "utf-16-le": start[1::2]}
    shares = {encoding: half.count(0) / max(1, len(half)) for encoding, half in halves.items()}
    likely = max(shares, key=lambda encoding: shares[encoding])
    if shares[likely] < 0.9 or min(shares.values()) > 0.1:
        return None
    return data.decode(likely, "replace").encode("utf-8", "replace")


def _names_path(source: str) -> bool:
    if "\n" in source or "\0" in source or len(source) > 4096:
        return False
    if source.endswith((".ips", ".crash", ".dmp", ".synced")) and " " not in source:
        return True
    try:
        return source != "" and Path(source).exists()
    except OSError:
        return False
