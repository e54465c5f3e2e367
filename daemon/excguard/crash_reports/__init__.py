"""Crash reports and debugger lines in, Violations out.

    >>> import excguard
    >>> report = excguard.crash_reports.read("MyApp-2026-03-01-120000.ips")
    >>> report.violations[0].flavor_name
    'INVALID_NAME'

`read` takes .ips reports, .crash and .txt reports of every layout since OS X 10.9, minidumps, and any text
with lines of a report, of lldb or of the kernel's log in it.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, TYPE_CHECKING

from excguard.crash_reports import ips, minidump, text
from excguard.crash_reports.report import Check, Found, Frame, Report, settle

if TYPE_CHECKING:
    import os

__all__ = ["Check", "Frame", "Report", "read", "read_bytes", "read_file", "read_path", "read_text"]

LARGEST = 64 * 2**20
"""Bytes of a report or of text that are read. Real reports are below 4 MiB."""

NOTHING = "no guard violation found in it"
"""The error of a text that was read and tells of none."""

_HEADER_BYTES = 4096


def read(source: str | os.PathLike[str], release: str | None = None) -> Report:
    """Read a crash report, or find the guard violations in text.

    Args:
        source: The path of a file, or text. A string that names nothing that is there is text, unless it is
            one word with a report's suffix.
        release: Read the numbers by this release in place of the one that the report names.

    Returns:
        A Report; one that could not be read says why in its `error`. Other kinds of reports are no errors.

    Raises:
        knowledge.releases.ReleaseError: `release` cannot be placed.
    """
    if isinstance(source, str) and not _names_path(source):
        return read_text(source, release)
    return read_path(source, release)


def read_path(path: str | os.PathLike[str], release: str | None = None) -> Report:
    """Read a file; one that cannot be opened says why in its `error`."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            return read_file(file, str(path), release)
    except IsADirectoryError:
        return Report(file=str(path), error="a directory; `excguard scan` reads the reports below one")
    except OSError as error:
        return Report(file=str(path), error=f"cannot be read: {error.strerror or error}")


def read_file(file: IO[bytes], name: str = "-", release: str | None = None) -> Report:
    """Read an open file; minidumps by seeking, everything else up to LARGEST bytes."""
    start = file.read(_HEADER_BYTES)
    if start.startswith(minidump.MAGIC):
        return _read_minidump(
            file if file.seekable() else io.BytesIO(start + file.read(LARGEST)), name, release
        )
    if not start.strip():
        rest = file.read(1)
        if not rest:
            return Report(file=name, error="empty")
        start += rest
    data = start + file.read(LARGEST - len(start))
    if len(data) >= LARGEST and file.read(1):
        return Report(file=name, error=f"larger than {LARGEST >> 20} MiB: no crash report is")
    return read_bytes(data, name, release)


def read_bytes(data: bytes | memoryview, name: str = "-", release: str | None = None) -> Report:
    """Read the bytes of a report."""
    start = bytes(data[:_HEADER_BYTES])
    if start.startswith(minidump.MAGIC):
        return _read_minidump(io.BytesIO(data), name, release)
    report = Report(file=name)
    if start.lstrip()[:1] == b"{":
        found = ips.well_formed(data, report)
        if found is not None:
            return _finish(report, found, release)
        report = Report(file=name)
    decoded = _decode(bytes(data))
    if decoded is None:
        report.error = "a binary file, not a crash report"
        return report
    return read_text(decoded, release, name)


def read_text(pasted: str, release: str | None = None, name: str = "-") -> Report:
    """Find the guard violations in text."""
    report = Report(file=name)
    if not pasted.strip():
        report.error = "empty"
        return report
    found, rest = ips.fragments(pasted, report)
    scanned = list(text.scan(rest, report))
    if not found and scanned:
        report.format = {"report": "crash"}.get(scanned[0].origin, scanned[0].origin)
        if report.format in {"number", "handler-log"}:
            report.format = "text"
    if not found and not scanned and (report.process or report.exception_type):
        report.format = "crash"
    return _finish(report, [*found, *scanned], release)


def _finish(report: Report, found: list[Found], release: str | None) -> Report:
    seen: dict[tuple[int | None, int | None], str] = {}
    for one in found:
        violation, checks = settle(one, release)
        if violation is None:
            report.notes += one.notes
            continue
        key = (violation.code, violation.subcode)
        origins = {seen.get(key), one.origin}
        if violation.code is not None and origins == {"ips", "report"}:
            continue  # the report is there twice: as text, and as JSON below it
        seen[key] = one.origin
        report.violations.append(violation)
        report.checks += checks
    if any(one.simulated for one in found):
        report.kind = "simulated"
    report.exception_type = report.exception_type or (found[0].exception_type if found else None)
    if report.violations or report.error:
        return report
    if report.kind not in {"crash", "simulated"}:
        report.notes.append(f"a {report.kind} report: it tells of no exception")
    elif report.exception_type:
        report.notes.append(f"a crash by {report.exception_type}, not a guard violation")
    elif report.format == "ips" and not found:
        report.notes.append("a report without an exception")
    else:
        report.error = NOTHING
    return report


def _read_minidump(file: IO[bytes], name: str, release: str | None) -> Report:
    report = Report(file=name)
    try:
        found = minidump.read(file, report)
    except minidump.MinidumpError as error:
        report.format = "minidump"
        report.error = str(error)
        return report
    return _finish(report, found, release)


def _decode(data: bytes) -> str | None:
    """The text of a file, whatever its encoding; None when it is none."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return data.decode(encoding, "replace").lstrip("\ufeff")
    start = data[:_HEADER_BYTES]
    if b"\0" in start:
        return _decode_utf16(data, start)
    return data.decode("utf-8", "replace")


def _decode_utf16(data: bytes, start: bytes) -> str | None:
    """Text of 16-bit characters without a mark: nearly every other byte is zero, and only those."""
    halves = {"utf-16-be": start[::2], "utf-16-le": start[1::2]}
    shares = {encoding: half.count(0) / max(1, len(half)) for encoding, half in halves.items()}
    likely = max(shares, key=lambda encoding: shares[encoding])
    if shares[likely] < 0.9 or min(shares.values()) > 0.1:
        return None
    return data.decode(likely, "replace")


def _names_path(source: str) -> bool:
    if "\n" in source or "\0" in source or len(source) > 4096:
        return False
    if source.endswith((".ips", ".crash", ".dmp", ".synced")) and " " not in source:
        return True
    try:
        return source != "" and Path(source).exists()
    except OSError:
        return False
