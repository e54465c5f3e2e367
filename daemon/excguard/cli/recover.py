"""`excguard recover`: log what a run that was killed has left in its journal."""

from pathlib import Path

import click

from excguard.cli import run_journal, service_runner, simulated_kernel
from excguard.cli.service_runner import Failure, report_error
from excguard.config import Config, Log, LogFormat
from excguard.config.settings import CrashReports
from excguard.knowledge import releases
from excguard.mach import host as mach_host
from excguard.pipeline.journal import examine
from excguard.pipeline.pipeline import Pipeline
from excguard.sinks.log import open_standard_output
from excguard.sources.registry import SOURCES

_PATIENCE = 10.0  # seconds without progress of standard output


@click.command("recover")
@click.option("--json", "as_json", is_flag=True, help="Write the hits as JSON lines.")
@click.argument("path", required=False, type=click.Path(path_type=Path, exists=True))
def command(path: Path | None, *, as_json: bool) -> None:
    """Write the hits that runs of excguard have recorded and not logged, because they were killed.

    PATH is a journal; without it, the journals that `excguard run` has left are read. What was written is
    removed from the journal. The journal of a process that is still running is not read.

    \b
    Examples:
      excguard recover
      excguard recover --json /var/db/excguard/journal > hits.jsonl

    \b
    Exit status:
      0    everything was written; or there was nothing
      2    the command line is wrong
      125  a journal cannot be read, or the output cannot be written
    """  # noqa: D301 - click needs the backspace
    with service_runner.json_errors(wanted=as_json), service_runner.one_line_errors():
        journals = [path] if path is not None else [left for left, _, _ in run_journal.unfinished()]
        if not journals and not as_json:
            report_error("no run has left hits")
        for journal in journals:
            _recover(journal / "journal" if journal.is_dir() else journal, "json" if as_json else "console")


def _recover(journal: Path, form: LogFormat) -> None:
    run = run_journal.about(journal)
    if run is None:
        simulated_kernel.start_if_needed()
    host = run.host if run is not None else mach_host.running()
    # What is not a journal stays as it is: it may be any file.
    release = releases.parse(host.release).version
    others = [journal.with_name(f"{journal.name}.{source.name}") for source in SOURCES]
    complete = True
    journals = [journal, *(other for other in others if other.exists())]
    if sum(examine(each, release=release) for each in journals):
        settings = Log(format=form, first=100_000)
        log = open_standard_output(host, settings, report_error)
        # Of journals of other sources those that are there are read, and none is made.
        config = Config(log=settings, crash_reports=CrashReports(enabled=False))
        with Pipeline(config, host, journal, [log], SOURCES) as pipeline:
            complete = pipeline.finish(_PATIENCE, from_progress=True)
    if not complete:
        raise Failure("standard output does not take everything; the rest is still in the journal")
    if run is not None:
        run_journal.remove(journal)
