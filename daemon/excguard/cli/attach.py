"""`excguard attach`: watch a process that runs already."""

import os
import subprocess
from pathlib import Path

import click

from excguard import config as configuration
from excguard.cli import service_runner, summary
from excguard.cli.one_run import Run
from excguard.cli.process_id import process_id
from excguard.cli.service_runner import Failure, report_error
from excguard.config import Config, ConfigError, CrashReports, Log, Metrics, Reply, Target
from excguard.doctor.attaching import attaching
from excguard.doctor.machine import Machine
from excguard.files.escaping import printable
from excguard.knowledge.exception_behavior import Behavior
from excguard.mach.errors import MachError
from excguard.process.terminal_output import terminal_width, wants_color


@click.command("attach")
@click.option(
    "--behavior",
    type=click.Choice([behavior.value for behavior in Behavior]),
    default=Behavior.IDENTITY_PROTECTED.value,
    show_default=True,
    help="What the kernel reports about a hit; state_identity_protected adds registers (macOS 15 and later).",
)
@click.option(
    "--reply",
    type=click.Choice([reply.value for reply in Reply]),
    default=Reply.FORWARD.value,
    show_default=True,
    help="forward: the crash reporter gets each hit too; consume: it does not, and writes no report.",
)
@click.option("--name", metavar="NAME", help="Its name in logs and metrics.  [default: that of its program]")
@click.option(
    "--metrics",
    metavar="HOST:PORT|off",
    default="off",
    show_default=True,
    help="Where /metrics and the live page are served.",
)
@click.option(
    "--log",
    "log_path",
    type=click.Path(path_type=Path),
    help="Append the log to this file as well, as JSON lines.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines on standard error instead of text.")
@click.argument("pid", type=process_id)
def command(  # noqa: PLR0913, PLR0917 - one argument an option
    pid: int,
    behavior: str,
    reply: str,
    name: str | None,
    metrics: str,
    log_path: Path | None,
    *,
    as_json: bool,
) -> None:
    """Explain every guard exception that the kernel raises in the process PID, until Ctrl-C or its end.

    The handler that the process had is restored at the end, and not used until then. Few processes can be
    attached to: `excguard doctor --pid PID` says whether this one can, and why not. Starting a program
    with `excguard run` always works.

    \b
    Examples:
      excguard attach 4711
      sudo excguard attach --log hits.jsonl 4711

    \b
    Exit status:
      0    detached, or the process has ended
      2    invalid command line
      125  the kernel refused, or excguard itself failed
    """  # noqa: D301 - click wants the real backspace
    config = Config(
        log=Log(path=str(log_path.absolute()), format="json") if log_path else Log(),
        metrics=Metrics(listen="" if metrics == "off" else metrics),
        crash_reports=CrashReports(enabled=False),
        target=(
            Target(
                name=name or _program_of(pid),
                command=(str(pid),),
                behavior=Behavior(behavior),
                reply=Reply(reply),
            ),
        ),
    )
    try:
        configuration.check(config)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    run = Run(config, "json" if as_json else "console", attach=pid)
    with service_runner.json_errors(wanted=as_json), service_runner.one_line_errors():
        try:
            run.execute()
        except MachError as error:
            raise Failure(_why_not(pid, error)) from None
    if as_json:
        return
    if not run.total:
        report_error(f"no guard hits in {printable(run.name)} while attached.")
        return
    many = "s" * (run.total != 1)
    title = f"excguard: {run.total} guard hit{many} in {printable(run.name)} while attached"
    service_runner.write_stderr(
        summary.table(title, run.sites, width=terminal_width(2), color=wants_color(2))
    )


def _why_not(pid: int, error: MachError) -> str:
    """Why the process cannot be attached to: doctor's finding, or the kernel's error when there is none."""
    if error.function == "task_for_pid":
        for finding in attaching(Machine(), pid):
            if finding.advice:
                return f"cannot attach to {pid}: {error.name}: {finding.meaning}; {finding.advice}"
    return f"cannot attach to {pid}: {error}"


def _program_of(pid: int) -> str:
    """The name of a process's program; its number when `ps` does not report it."""
    command = ["ps", "-o", "comm=", "-p", str(pid)]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - fixed arguments
    return os.fsdecode(os.path.basename(done.stdout.strip())) or str(pid)  # noqa: PTH119 - bytes
