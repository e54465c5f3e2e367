"""`excguard fleet`: crash reports by the million, from directories and buckets, here or on a cluster."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from excguard.cli import FAILED
from excguard.files import atomic, errors
from excguard.files.escaping import printable
from excguard.fleet.nouns import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from excguard.fleet.scan import Progress
    from excguard.fleet.summary import Summary

_MAX_JOBS = 100_000  # of an array
_MAX_PAIRS = 6  # versions or systems in the line below the table
_WIDE = 140  # columns of a terminal that has room for the trend
_NONE = 1  # exit status, as scan's: no violation was found


@click.group("fleet")
def command() -> None:
    """Find the guard violations in crash reports by the million.

    \b
    Examples:
      excguard fleet scan s3://reports/2026/ --output out/
      excguard fleet scan s3://... --output s3://... --cluster tcp://host:8786
      excguard fleet report out/ --html report.html

    It needs the extra "fleet": Dask distributed, obstore and pyarrow.
    """  # noqa: D301 - click wants the real backspace


class _PartType(click.ParamType[tuple[int, int]]):
    name = "I/N"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """`2/8` -> 1, 8."""
        if isinstance(value, tuple):
            return value
        index, _, count = str(value).partition("/")
        if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count) <= _MAX_JOBS):
            self.fail(f"{value!r}: expected I/N, the job's number and how many there are: 2/8", param, ctx)
        return int(index) - 1, int(count)


@command.command("scan", short_help="Write the guard violations of SOURCE as Parquet.")
@click.argument("source")
@click.option(
    "--output",
    required=True,
    metavar="PLACE",
    help="Directory or URL for the Parquet files; an unfinished scan is carried on.",
)
@click.option(
    "--cluster", metavar="ADDRESS", help="Dask scheduler to use, tcp://host:8786.  [default: this machine]"
)
@click.option(
    "--jobs", type=click.IntRange(1, 1024), help="Processes on this machine.  [default: one per processor]"
)
@click.option(
    "--inventory", metavar="PATH", help="S3 Inventory: its manifest.json, a path in SOURCE's bucket."
)
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="Only files modified since then, UTC.",
)
@click.option(
    "--shard", "part", type=_PartType(), default=(0, 1), help="This job's part in an array of jobs: 2/8."
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Read every file, not only .ips, .crash, .txt, .dmp, .synced.",
)
@click.option(
    "--stdin", "from_stdin", is_flag=True, help="Read the paths, relative to SOURCE, from standard input."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def scan(  # noqa: PLR0913 - one a command line option
    source: str,
    output: str,
    *,
    cluster: str | None,
    jobs: int | None,
    inventory: str | None,
    since: datetime | None,
    part: tuple[int, int],
    everything: bool,
    from_stdin: bool,
    as_json: bool,
) -> int:
    """Read all crash reports below SOURCE, a directory or URL, and write their violations as Parquet.

    SOURCE is a directory, s3://bucket/prefix, gs://bucket/prefix, az://account/container/prefix or
    https://host/path. Credentials come from the environment and the machine, as for each cloud's own tools.
    Run the same command again after an interruption: finished shards are not read again. For files that
    came later, use another output.

    \b
    Examples:
      excguard fleet scan /reports --output found/
      excguard fleet scan s3://reports/ --output s3://out/nov/ --since 2026-11-01
      excguard fleet scan s3://reports/ --output found/ --shard 3/16

    \b
    Exit status:
      0    a violation was found
      1    none was found
      2    the command line is wrong
      125  the scan could not be finished
    """  # noqa: D301 - click wants the real backspace
    _require("pyarrow", "distributed", "obstore")
    if cluster is not None and jobs is not None:
        raise click.UsageError("--jobs is for this machine: leave it out with --cluster")
    if inventory is not None and from_stdin:
        raise click.UsageError("--inventory and --stdin: choose one")
    if from_stdin and sys.stdin is None:
        raise click.UsageError("--stdin: standard input is closed")
    source, target = _place(source, "SOURCE"), _place(output, "--output")
    if "://" not in source and not Path(source).is_dir():
        raise click.UsageError(f"{source}: not a directory")
    if everything and f"{target}/".startswith(f"{source.rstrip('/')}/"):
        raise click.UsageError(
            f"{output}: inside SOURCE, where --all reads results too: choose another place"
        )
    from excguard.fleet import engine  # noqa: PLC0415 - of the extra

    if cluster is None:
        engine.begin_workers()
    from excguard.fleet import listing, store  # noqa: PLC0415 - they are imported while workers start
    from excguard.fleet.scan import scan as run  # noqa: PLC0415 - likewise

    selection = listing.Selection(
        source,
        inventory or "",
        sys.stdin.buffer if from_stdin else None,
        since.replace(tzinfo=UTC) if since else None,
        everything,
    )
    try:
        with _ended_by_signals():
            *_, progress = _shown(run(selection, target, listing.Part(*part), cluster=cluster, jobs=jobs))
    except (store.StoreError, engine.EngineError) as error:
        click.echo(f"excguard: {error}", err=True)
        return FAILED
    if as_json:
        click.echo(msgspec.json.encode({**progress._asdict(), "output": output}).decode())
    else:
        click.echo(f"{_counted(progress, f' in {progress.files:,} files')}; written to {output}")
    return 0 if progress.violations else _NONE


@command.command("report", short_help="Show what a scan found, by site.")
@click.argument("place")
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write one HTML page.")
@click.option("--top", type=click.IntRange(1), default=20, show_default=True, help="Sites in the table.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object in place of the table.")
def report(place: str, page: Path | None, top: int, *, as_json: bool) -> int:
    """Show what a scan found: by site, with versions of the app, first and last day, and the trend.

    PLACE is the scan's --output, a directory or URL.

    \b
    Examples:
      excguard fleet report found/
      excguard fleet report s3://out/nov/ --html report.html

    \b
    Exit status:
      0    a violation was found
      1    none was found
      2    the command line is wrong
      125  the results cannot be read
    """  # noqa: D301 - click wants the real backspace
    _require("pyarrow")
    from excguard.fleet import store, summary  # noqa: PLC0415 - of the extra
    from excguard.fleet.page import page as page_of  # noqa: PLC0415 - likewise

    if "://" not in place and not Path(place).is_dir():
        raise click.UsageError(f"{place}: not a directory")
    try:
        found = summary.summarize(store.open_store(place))
        if page is not None:
            name = place.rstrip("/").rpartition("/")[2]
            atomic.write(page, page_of(found, f"Guard violations in {name}").encode(), mode=0o644)
    except store.StoreError as error:
        click.echo(f"excguard: {error}", err=True)
        return FAILED
    except OSError as error:
        click.echo(f"excguard: {page}: {errors.reason(error)}", err=True)
        return FAILED
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        _table(found, top)
    return 0 if found.violations else _NONE


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGINT and SIGTERM end the process at once, as SIGKILL does, after a line that says how to go on.

    Workers then end by themselves. A KeyboardInterrupt could be raised in garbage collection, where Python
    discards it, or while Dask starts or ends a cluster, which can then wait for itself.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, _end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _frame: object) -> None:
    line = b"excguard: interrupted; run the same command again to carry on\n"
    # The line of the progress is replaced, and the cursor, which it hides, shown again.
    os.write(2, (b"\r\x1b[K\x1b[?25h" if os.isatty(2) else b"") + line)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _place(text: str, name: str) -> str:
    """A URL, or a directory as workers on other machines find it."""
    if not text:
        raise click.UsageError(f"{name}: empty")
    return text if "://" in text else str(Path(text).resolve())


def _counted(found: Progress | Summary, where: str = "") -> str:
    text = f"{counted(found.violations, 'guard violation')}{where}; "
    text += f"{counted(found.errors, 'file')} could not be read"
    return text + (f"; {counted(found.telemetry, 'line')} of policy telemetry" if found.telemetry else "")


def _require(*packages: str) -> None:
    """Refuse to go on without the extra's packages, which are imported when a command runs."""
    if missing := [name for name in packages if find_spec(name) is None]:
        raise click.UsageError(
            f"missing: {', '.join(missing)}. Install excguard with its extra, excguard[fleet]"
        )


def _shown(parts: Iterator[Progress]) -> Iterator[Progress]:
    """The progress, on a terminal as a line that changes."""
    if not sys.stderr.isatty():
        yield from parts
        return
    from rich.console import Console  # noqa: PLC0415 - only for a terminal
    from rich.progress import Progress as Bar  # noqa: PLC0415 - likewise
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - likewise

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("listing and reading", total=None)
        for part in parts:
            bar.update(task, description=f"{part.files:,} files, {part.violations:,} violations")
            yield part


def _table(found: Summary, top: int) -> None:
    from rich import box  # noqa: PLC0415 - only for the table
    from rich.console import Console  # noqa: PLC0415 - likewise
    from rich.table import Table  # noqa: PLC0415 - likewise
    from rich.text import Text  # noqa: PLC0415 - likewise

    from excguard.fleet.summary import TREND_DAYS, sparkline, unfinished  # noqa: PLC0415 - of the extra

    console = Console(width=None if sys.stdout.isatty() else 200, markup=False, highlight=False)
    wide = console.width >= _WIDE
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("violations", justify="right", no_wrap=True)
    for name in ("rule", "site", "versions"):
        table.add_column(name, overflow="fold")
    table.add_column("first, last day", no_wrap=True)
    if wide:
        table.add_column(f"{TREND_DAYS} days", no_wrap=True)
    between = " " if wide else "\n"
    for site in found.sites[:top]:
        versions = ", ".join(site.versions[:3]) + (" ..." if len(site.versions) > 3 else "")
        cells = [
            f"{site.count:,}",
            f"{site.flavor}{between}{site.severity}",
            f"{site.place or site.process}{between}{site.site_id}",
            versions,
            f"{site.first}{between}{site.last}" if site.first else "",
        ]
        if wide:
            cells.append(sparkline(site.trend))
        table.add_row(*(Text("\n".join(map(printable, cell.split("\n")))) for cell in cells))
    if found.sites:
        console.print(table)
        for name, pairs in (("versions", found.versions), ("systems", found.systems)):
            first = ", ".join(f"{printable(key)} ({count:,})" for key, count in pairs[:_MAX_PAIRS])
            click.echo(f"{name}: {first}{', ...' if len(pairs) > _MAX_PAIRS else ''}")
    rest = len(found.sites) - top
    more = f" {rest:,} more sites: --top {len(found.sites)}." if rest > 0 else ""
    click.echo(f"{_counted(found)}.{more}")
    if found.unfinished:
        click.echo(unfinished(found))
