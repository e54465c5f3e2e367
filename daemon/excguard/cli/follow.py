"""`excguard decode --follow`: a stream of log lines in, an object a violation out, until it ends."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import click
import msgspec

from excguard.crash_reports import documents_of_bytes
from excguard.crash_reports.marks import may_have_guard
from excguard.files.escaping import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE = 1 << 20
"""Bytes of a line that are read; longer ones are counted, and treated as lines without a violation."""


def follow(lines: IO[bytes], output: IO[bytes], release: str | None, *, pass_unknown: bool) -> bool:
    """Read lines until the stream ends, and write each violation as soon as its line is complete.

    Args:
        lines: The stream: log records of JSON (ndjson, OTLP), or lines of text.
        output: Where objects go, one a line: those of `excguard decode --json`, with process and pid.
        release: As for `decode`.
        pass_unknown: Write lines without a violation unchanged instead of dropping them.

    Returns:
        Whether there was a violation.
    """
    found = False
    too_long = 0
    while line := lines.readline(MAX_LINE):
        whole = line.endswith(b"\n") or len(line) < MAX_LINE
        violations = list(_violations(line, release)) if whole and line.strip() else []
        for violation in violations:
            output.write(msgspec.json.encode(violation) + b"\n")
        found = found or bool(violations)
        if pass_unknown and not violations:
            output.write(line)
        too_long += not whole
        while not whole:
            line = lines.readline(MAX_LINE)
            whole = line.endswith(b"\n") or len(line) < MAX_LINE
            if pass_unknown:
                output.write(line)
        output.flush()
    if too_long:
        lines_were = "line was" if too_long == 1 else "lines were"
        click.echo(f"excguard: {too_long} {lines_were} not read: longer than {MAX_LINE >> 20} MiB", err=True)
    return found


def _violations(line: bytes, release: str | None) -> Iterator[dict[str, Any]]:
    if not may_have_guard(line):
        return
    reports = documents_of_bytes(line, "-", release)
    for report in reports:
        if report.error and len(reports) > 1:  # a limit was reached
            click.echo(printable(f"excguard: {report.error}"), err=True)
        for violation in report.violations:
            yield violation.to_dict() | {"process": report.process, "pid": report.pid}
