"""`excguard doctor`: why does one (not) see guard hits on this machine?"""

from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.text import Text

from excguard.cli import service_runner, simulated_kernel
from excguard.cli.process_id import process_id
from excguard.cli.service_runner import Failure
from excguard.cli.simulated_kernel import SimulatedKernelError
from excguard.doctor.examination import examine
from excguard.doctor.finding import Finding, Status
from excguard.doctor.machine import Machine
from excguard.process.terminal_output import terminal_width, wants_color

_STYLES = {Status.OK: "green", Status.WARNING: "yellow", Status.PROBLEM: "bold red"}
_STDOUT = 1


@click.command("doctor", context_settings={"allow_interspersed_args": False})
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), help="Look at this configuration (TOML)."
)
@click.option("--pid", type=process_id, metavar="PID", help="Say whether this process could be attached to.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.argument("program", nargs=-1, type=click.UNPROCESSED, metavar="[-- PROGRAM [ARGUMENT]...]")
def command(config_path: Path | None, pid: int | None, program: tuple[str, ...], *, as_json: bool) -> int:
    """Look at all that decides whether guard hits are seen on this machine, and say what to do.

    The release and its kernel, Developer Mode, System Integrity Protection, the flags that new programs start
    with, the signatures of the configured programs, the port of the metrics, directories, the configuration,
    and the launchd jobs. With PROGRAM also whether its hits can be seen, and whether dyld takes the library
    that excguard inserts for that. Nothing is changed, and PROGRAM is not started.

    \b
    Examples:
      excguard doctor
      excguard doctor --config excguard.toml
      excguard doctor --pid 4711
      excguard doctor -- ./My.app/Contents/MacOS/My

    \b
    Exit status:
      0    nothing stands in the way (there may be warnings)
      1    there is a problem
    """  # noqa: D301 - click wants the real backspace
    try:
        simulated_kernel.start_if_needed()
        machine = Machine()
    except (*service_runner.SYSTEM_ERRORS, SimulatedKernelError) as error:
        raise Failure(service_runner.reason(error)) from None
    findings = examine(machine, config_path, pid, program)
    if as_json:
        click.echo(msgspec.json.encode({"findings": findings}).decode())
    else:
        _show(findings)
    return int(any(finding.status is Status.PROBLEM for finding in findings))


def _show(findings: list[Finding]) -> None:
    console = Console(width=terminal_width(_STDOUT), no_color=not wants_color(_STDOUT), highlight=False)
    for finding in findings:
        line = Text(f"{finding.status:<8}", style=_STYLES[finding.status])
        line.append(f"{finding.check}: ", style="bold")
        line.append(finding.found, style="default")
        console.print(line, soft_wrap=True)
        console.print(Text(f"        {finding.meaning}"), soft_wrap=True)
        if finding.advice:
            console.print(Text(f"        Fix: {finding.advice}"), soft_wrap=True)
