"""`excguard report`: crash reports in, what happened out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from excguard import crash_reports
from excguard.cli.closed_output import ends_with
from excguard.cli.violation_text import labelled, listed, violation_lines
from excguard.crash_reports.symbolicate import symbolicate as name_frames
from excguard.crash_reports.symbols.symbolizer import SymbolizerError, open_symbolizer
from excguard.files.escaping import printable
from excguard.knowledge import guards, releases

if TYPE_CHECKING:
    from collections.abc import Iterator

    from excguard.crash_reports import Report
    from excguard.crash_reports.symbols.symbol import Symbolizer


@click.command("report")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--os", "release", metavar="RELEASE", help="Read by this release, not by the one in the report."
)
@click.option(
    "--symbolicate", is_flag=True, help="Name the frames: by atos on macOS, else by excguard[symbols]."
)
@click.option(
    "--dsym",
    "directories",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A directory with dSYMs or Breakpad files; can be repeated. Implies --symbolicate.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per document, one per line.")
def command(
    files: tuple[str, ...],
    release: str | None,
    directories: tuple[Path, ...],
    *,
    symbolicate: bool,
    as_json: bool,
) -> None:
    """Explain the guard violations in crash reports: decoded in full, and checked against themselves.

    Takes .ips files, .crash and .txt reports since OS X 10.9, minidumps (.dmp), zip and tar archives of them,
    and text that quotes any of them; - reads standard input. Reports of other kinds are named as such.

    \b
    Examples:
      excguard report ~/Library/Logs/DiagnosticReports/MyApp-*.ips
      excguard report --dsym build/Release MyApp-2026-03-01-120000.ips
      pbpaste | excguard report -

    A text can hold several documents: reports, log lines, a debugger's output. Each is shown by itself.

    The JSON object: file, format, process, os, exception_type, violations (as `excguard decode --json`
    prints them), checks (name, ok, detail), frames (index, image, offset, address, symbol, symbol_offset),
    error; path, uuid, arch and source of frames; kind, pid, cpu, truncated, notes.

    \b
    Exit status:
      0    a violation was found
      1    none was found
      2    the command line is wrong
    """  # noqa: D301 - click wants the real backspace
    if release is not None:
        try:
            releases.parse(release)
        except releases.ReleaseError as error:
            raise click.UsageError(str(error)) from None
    symbolizer = _symbolizer(directories) if symbolicate or directories else None
    found = 0
    with ends_with(lambda: found > 0):
        for index, report in enumerate(_reports(files, release)):
            found += sum(
                not guards.is_policy_telemetry(violation.guard_type, violation.flavor)
                for violation in report.violations
            )
            if symbolizer is not None:
                name_frames(report, symbolizer)
            if as_json:
                click.echo(msgspec.json.encode(report.to_dict()).decode())
            elif report.error:
                click.echo(printable(f"excguard: {report.file}: {report.error}"), err=True)
            else:
                click.echo("\n".join([*([""] if index else []), *report_lines(report)]))
    if not found:
        if not as_json and len(files) > 1:
            click.echo("excguard: nothing found: none of the files has a guard violation", err=True)
        sys.exit(1)


def _symbolizer(directories: tuple[Path, ...]) -> Symbolizer:
    try:
        return open_symbolizer(directories)
    except SymbolizerError as error:
        raise click.UsageError(str(error)) from None


def _reports(files: tuple[str, ...], release: str | None) -> Iterator[Report]:
    for file in files:
        if file == "-":
            yield from crash_reports.read_documents(sys.stdin.buffer, "-", release)
        else:
            yield from crash_reports.documents_of_path(file, release)


def report_lines(report: Report) -> Iterator[str]:
    """The lines about one report, as the command prints them."""
    yield click.style(printable(report.file), underline=True)
    process = report.process or "unknown process"
    pid = f" [{report.pid}]" if report.pid is not None else ""
    where = ", ".join(part for part in (report.os, report.cpu) if part) or "an unknown system"
    yield from labelled("process", f"{process}{pid} on {where}")
    if report.exception_type:
        simulated = " (simulated: the process was not killed)" if report.kind == "simulated" else ""
        yield from labelled("exception", report.exception_type + simulated)
    for violation in report.violations:
        yield from violation_lines(violation)
    for check in report.checks:
        if not check.ok:
            yield from labelled("mismatch", check.detail, "yellow")
    if report.checks and all(check.ok for check in report.checks):
        places = f"{len(report.checks)} place{'s' * (len(report.checks) != 1)}"
        yield from labelled("checked", f"the report agrees with itself in {places}")
    if report.truncated:
        yield from labelled("truncated", "the report is cut off; it was read as far as it goes", "yellow")
    if report.frames:
        for index, frame in enumerate(report.frames):
            yield f"  {'frames' if index == 0 else '':<10}{printable(str(frame))}"
    yield from listed("notes", report.notes)
