"""`excguard scan`: directories of crash reports in, a table out."""

from __future__ import annotations

import os
import sys
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from excguard.cli.closed_output import ends_with
from excguard.crash_reports.scan import Row, files, scan
from excguard.files import errors
from excguard.files.escaping import printable
from excguard.knowledge import guards, releases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from excguard.crash_reports.json_lists import Objects
    from excguard.crash_reports.scan import Part

_GROUPS: dict[str, Callable[[Row], str]] = {
    "flavor": lambda row: f"{row.guard_type or '?'} {row.flavor_name or _number(row.flavor)}".rstrip(),
    "process": lambda row: row.process or "?",
    "frame": lambda row: row.top_frame or "?",
    "os": lambda row: row.os or "?",
    "severity": lambda row: row.severity or "?",
    "version": lambda row: row.app_version or "?",
    "site": lambda row: row.site_id or "?",
}


@click.command("scan")
@click.argument("paths", nargs=-1, required=True, metavar="DIR...")
@click.option("--os", "release", metavar="RELEASE", help="Read by this release, not by those in the reports.")
@click.option(
    "--by",
    default="flavor,process,frame",
    show_default=True,
    metavar="COLUMNS",
    help=f"What the table groups by, of {', '.join(_GROUPS)}.",
)
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Show the N largest counts only.")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="Only files modified since then, UTC.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write one row per violation to a .jsonl, .csv or .parquet file.",
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Read every file, not only those with names of reports and archives.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    help="Processes to use.  [default: one per processor, where that is faster]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per row in place of the table.")
def command(  # noqa: PLR0913 - one a command line option
    paths: tuple[str, ...],
    release: str | None,
    by: str,
    output: Path | None,
    *,
    top: int | None,
    since: datetime | None,
    everything: bool,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Read all crash reports below directories, in parallel, and count their guard violations.

    \b
    Examples:
      excguard scan ~/Library/Logs/DiagnosticReports
      excguard scan reports/ --by process,flavor --output violations.csv
      excguard scan reports/ --since 2026-11-01 --by version,flavor --top 20
      excguard scan reports/ --json | jq -r .process | sort | uniq -c

    A row, in JSON and in files: file, format, kind, process, pid, os, cpu, guard_type, flavor, flavor_name,
    severity, target, code, subcode, release, summary, top_frame, error, guard_target (the same as target),
    truncated, site_id, site_precision, app_version. A file that cannot be read is a row with its name and
    the error. Parquet needs pyarrow: pip install pyarrow.

    \b
    Exit status:
      0    a violation was found
      1    none was found
      2    the command line is wrong
    """  # noqa: D301 - click wants the real backspace
    groups = _checked(paths, release, by, output)
    found = files(paths, everything=everything)
    if since is not None:
        found = _modified_since(found, since.replace(tzinfo=UTC).timestamp())
    count = _Count(groups)
    with ends_with(lambda: count.violations > 0), _output(output) as write:
        for part in _watched(scan(found, jobs=jobs, release=release, objects=_objects()), len(found)):
            count.add(part.rows)
            write(part.rows)
            if as_json:
                click.echo(msgspec.json.Encoder().encode_lines(part.rows).decode(), nl=False)
    if not as_json:
        count.show(len(found), top)
    if not count.violations:
        sys.exit(1)


class _Count:
    """What is kept of the rows: counts by group, and the files that could not be read."""

    def __init__(self, groups: list[str]) -> None:
        self._groups = groups
        self._by_group: Counter[tuple[str, ...]] = Counter()
        self._files = 0
        self._telemetry = 0
        self._unread: list[str] = []

    @property
    def violations(self) -> int:
        return self._by_group.total()

    def add(self, rows: list[Row]) -> None:
        """Count the rows of some files, all rows of a file together."""
        hits = [
            row
            for row in rows
            if row.error is None and not guards.is_policy_telemetry(row.guard_type, row.flavor)
        ]
        self._by_group.update(tuple(_GROUPS[name](row) for name in self._groups) for row in hits)
        self._files += len({row.file for row in hits})
        unread = [f"{row.file}: {row.error}" for row in rows if row.error is not None]
        self._telemetry += len(rows) - len(hits) - len(unread)
        self._unread += unread

    def show(self, files: int, top: int | None) -> None:
        """The table, the files that could not be read, and a line that sums up."""
        rest = _table(self._by_group, self._groups, top)
        for line in self._unread:
            click.echo(printable(f"excguard: {line}"), err=True)
        counted = f"{self.violations} guard violation{'s' * (self.violations != 1)}"
        counted += f" in {self._files} of {files} files; {len(self._unread)} could not be read"
        if self._telemetry:
            counted += f"; {self._telemetry} line{'s' * (self._telemetry != 1)} of policy telemetry"
        if rest:
            counted += f"; {rest} smaller count{'s' * (rest != 1)} not shown"
        click.echo(counted)


@contextmanager
def _output(path: Path | None) -> Iterator[Callable[[list[Row]], None]]:
    """What takes rows: the file, if there is to be one."""
    if path is None:
        yield lambda _rows: None
        return
    from excguard.cli.row_files import open_rows  # noqa: PLC0415 - not for the table

    try:
        with open_rows(path) as file:
            yield file.write
    except BrokenPipeError:  # of standard output
        raise
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {errors.reason(error)}") from None


def _objects() -> Objects | None:
    """The C core's way over threads and images; None where it is not built."""
    try:
        from excguard.native.json_objects import objects  # noqa: PLC0415 - see above
    except ImportError:
        return None
    return objects


def _modified_since(paths: list[str], since: float) -> list[str]:
    """The files that were modified since then, and those that cannot be asked: reading gives the reason."""
    found = []
    for path in paths:
        try:
            if os.stat(path).st_mtime < since:  # noqa: PTH116 - Path takes twice as long
                continue
        except OSError:
            pass
        found.append(path)
    return found


def _checked(paths: tuple[str, ...], release: str | None, by: str, output: Path | None) -> list[str]:
    """The columns to group by; raises UsageError for what cannot be, before any file is read."""
    for path in paths:
        if not Path(path).exists():
            raise click.UsageError(f"there is no {path}")
    if release is not None:
        try:
            releases.parse(release)
        except releases.ReleaseError as error:
            raise click.UsageError(str(error)) from None
    groups = [name.strip() for name in by.split(",") if name.strip()]
    if unknown := [name for name in groups if name not in _GROUPS]:
        raise click.UsageError(f"--by {unknown[0]}: not one of {', '.join(_GROUPS)}")
    if output is not None:
        from excguard.cli import row_files  # noqa: PLC0415 - not for the table

        if output.suffix not in row_files.FORMS:
            raise click.UsageError(f"--output {output}: the name must end in {', '.join(row_files.FORMS)}")
        if not output.absolute().parent.is_dir():
            raise click.UsageError(f"--output {output}: there is no directory {output.parent}")
        if output.suffix == ".parquet":
            row_files.pyarrow()
    return groups or ["flavor"]


def _watched(parts: Iterator[Part], total: int) -> Iterator[Part]:
    """The parts, with a progress bar on a terminal."""
    if not sys.stderr.isatty():
        yield from parts
        return
    from rich.console import Console  # noqa: PLC0415 - only for a terminal
    from rich.progress import Progress  # noqa: PLC0415 - likewise

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading reports", total=total)
        for part in parts:
            progress.advance(task, part.files)
            yield part


def _table(counted: Counter[tuple[str, ...]], groups: list[str], top: int | None) -> int:
    """Print the counts, the largest first; how many are left out."""
    if not counted:
        return 0
    from rich.console import Console  # noqa: PLC0415 - only for the table
    from rich.table import Table  # noqa: PLC0415 - likewise

    table = Table("count", *groups)
    for values, count in sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:top]:
        table.add_row(str(count), *map(printable, values))
    width = None if sys.stdout.isatty() else 200
    Console(width=width, markup=False, highlight=False).print(table)
    return max(len(counted) - (top or len(counted)), 0)


def _number(flavor: int | None) -> str:
    return "" if flavor is None else f"{flavor:#x}"
