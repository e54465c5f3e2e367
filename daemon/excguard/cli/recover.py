"""`excguard recover`: log what a run that was killed has left in its journal."""

from pathlib import Path

import click

from excguard.cli import run_journal, service_runner, simulated_kernel
from excguard.cli.service_runner import Failure, report_error
from excguard.config import Config, Log, LogFormat
from excguard.mach import host as mach_host
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
    settings = Log(format=form, first=100_000)
    log = open_standard_output(host, settings, report_error)
    config = Config(log=settings)
    with Pipeline(config, host, journal, [log], SOURCES) as pipeline:
        complete = pipeline.finish(_PATIENCE, from_progress=True)
    if not complete:
        raise Failure("standard output does not take everything; the rest is still in the journal")
    if run is not None:
        run_journal.remove(journal)
