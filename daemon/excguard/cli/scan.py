"""`excguard scan`: directories of crash reports in, a table out."""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from excguard.cli.closed_output import ends_with
from excguard.crash_reports.scan import Row, files, scan
from excguard.files import errors, opening
from excguard.files.escaping import csv_cell, printable
from excguard.knowledge import guards, releases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from excguard.crash_reports.scan import Part

_GROUPS: dict[str, Callable[[Row], str]] = {
    "flavor": lambda row: f"{row.guard_type or '?'} {row.flavor_name or _number(row.flavor)}".rstrip(),
    "process": lambda row: row.process or "?",
    "frame": lambda row: row.top_frame or "?",
    "os": lambda row: row.os or "?",
    "severity": lambda row: row.severity or "?",
}
_COLUMNS = [field.name for field in msgspec.structs.fields(Row)]
_WHOLE = {"pid", "flavor", "target", "guard_target"}


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
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write one row per violation to a .jsonl, .csv or .parquet file.",
)
@click.option(
    "--all", "everything", is_flag=True, help="Read every file, not only .ips, .crash, .txt and .dmp."
)
@click.option("--jobs", type=click.IntRange(1, 1024), help="Processes to use.  [default: one per processor]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per row in place of the table.")
def command(  # noqa: PLR0913 - one a command line option
    paths: tuple[str, ...],
    release: str | None,
    by: str,
    output: Path | None,
    *,
    everything: bool,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Read all crash reports below directories, in parallel, and count their guard violations.

    \b
    Examples:
      excguard scan ~/Library/Logs/DiagnosticReports
      excguard scan reports/ --by process,flavor --output violations.csv
      excguard scan reports/ --json | jq -r .process | sort | uniq -c

    A row, in JSON and in files: file, format, kind, process, pid, os, cpu, guard_type, flavor, flavor_name,
    severity, target, code, subcode, release, summary, top_frame, error, guard_target (the same as target),
    truncated, site_id, site_precision. A file that cannot be read is a row with its name and the error.
    Parquet needs pyarrow: pip install pyarrow.

    \b
    Exit status:
      0    a violation was found
      1    none was found
      2    the command line is wrong
    """  # noqa: D301 - click wants the real backspace
    groups = _checked(paths, release, by, output)
    found = files(paths, everything=everything)
    rows: list[Row] = []
    with ends_with(lambda: any(row.error is None for row in rows)):
        for part in _watched(scan(found, jobs=jobs, release=release), len(found)):
            rows += part.rows
            if as_json:
                click.echo(msgspec.json.Encoder().encode_lines(part.rows).decode(), nl=False)
    read = [row for row in rows if row.error is None]
    hits = [row for row in read if not guards.is_policy_telemetry(row.guard_type, row.flavor)]
    if output:
        _write(rows, output)
    if not as_json:
        _table(hits, groups)
        unread = [row for row in rows if row.error is not None]
        for row in unread:
            click.echo(printable(f"excguard: {row.file}: {row.error}"), err=True)
        violations = f"{len(hits)} guard violation{'s' * (len(hits) != 1)}"
        counted = f"{violations} in {len({row.file for row in hits})} of {len(found)} files"
        counted += f"; {len(unread)} could not be read"
        if telemetry := len(read) - len(hits):
            counted += f"; {telemetry} line{'s' * (telemetry != 1)} of policy telemetry"
        click.echo(counted)
    if not hits:
        sys.exit(1)


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
        if output.suffix not in _WRITERS:
            raise click.UsageError(f"--output {output}: the name must end in {', '.join(_WRITERS)}")
        if not output.absolute().parent.is_dir():
            raise click.UsageError(f"--output {output}: there is no directory {output.parent}")
        if output.suffix == ".parquet":
            _pyarrow()
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


def _table(hits: list[Row], groups: list[str]) -> None:
    if not hits:
        return
    from rich.console import Console  # noqa: PLC0415 - only for the table
    from rich.table import Table  # noqa: PLC0415 - likewise

    counted = Counter(tuple(_GROUPS[name](row) for name in groups) for row in hits)
    table = Table("count", *groups)
    for values, count in sorted(counted.items(), key=lambda item: (-item[1], item[0])):
        table.add_row(str(count), *map(printable, values))
    width = None if sys.stdout.isatty() else 200
    Console(width=width, markup=False, highlight=False).print(table)


def _number(flavor: int | None) -> str:
    return "" if flavor is None else f"{flavor:#x}"


def _write(rows: list[Row], output: Path) -> None:
    try:
        _WRITERS[output.suffix](rows, output)
    except OSError as error:
        raise click.ClickException(f"cannot write {output}: {errors.reason(error)}") from None


def _write_jsonl(rows: list[Row], output: Path) -> None:
    opening.write(output, msgspec.json.Encoder().encode_lines(rows))


def _write_csv(rows: list[Row], output: Path) -> None:
    with (
        opening.empty(output) as binary,
        io.TextIOWrapper(binary, newline="", encoding="utf-8", errors="replace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        writer.writerows(map(csv_cell, msgspec.structs.astuple(row)) for row in rows)


def _write_parquet(rows: list[Row], output: Path) -> None:
    pyarrow, parquet = _pyarrow()
    kinds = dict.fromkeys(_WHOLE, pyarrow.int64()) | {"truncated": pyarrow.bool_()}
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in _COLUMNS])
    table = pyarrow.Table.from_pylist([msgspec.structs.asdict(row) for row in rows], schema)
    with opening.empty(output) as file:
        parquet.write_table(table, file)


def _pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise click.UsageError("Parquet needs pyarrow: pip install pyarrow") from None


_WRITERS: dict[str, Callable[[list[Row], Path], None]] = {
    ".jsonl": _write_jsonl,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
