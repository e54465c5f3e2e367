"""`excguard decode --follow`: a stream of log lines in, an object a violation out, until it ends."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import msgspec

from excguard.crash_reports import documents_of_bytes
from excguard.crash_reports.splitter import may_have_guard

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE = 1 << 20
"""Bytes of a line that are read; a longer one is treated as a line without a violation."""


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
    while line := lines.readline(MAX_LINE):
        whole = line.endswith(b"\n") or len(line) < MAX_LINE
        violations = list(_violations(line, release)) if whole and line.strip() else []
        for violation in violations:
            output.write(msgspec.json.encode(violation) + b"\n")
        found = found or bool(violations)
        if pass_unknown and not violations:
            output.write(line)
        while not whole:
            line = lines.readline(MAX_LINE)
            whole = line.endswith(b"\n") or len(line) < MAX_LINE
            if pass_unknown:
                output.write(line)
        output.flush()
    return found


def _violations(line: bytes, release: str | None) -> Iterator[dict[str, Any]]:
    if not may_have_guard(line):
        return
    for report in documents_of_bytes(line, "-", release):
        for violation in report.violations:
            yield violation.to_dict() | {"process": report.process, "pid": report.pid}
