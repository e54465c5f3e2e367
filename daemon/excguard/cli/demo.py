"""`excguard demo`: every misuse of `excguard.misuse`, committed one time, caught and explained."""

import sys

import click
import msgspec

from excguard import misuse
from excguard.cli import service_runner, summary
from excguard.cli.one_run import Run
from excguard.cli.service_runner import Failure
from excguard.config import Config, Metrics, Restart, Target
from excguard.sinks.console import terminal_width, wants_color


@click.command("demo")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of the table.")
def command(*, as_json: bool) -> int:
    """Start a program that breaks the rules of Mach on purpose, and show each hit with its explanation.

    Where there is no Mach the program runs on a simulated kernel, which raises the guard exceptions that
    macOS raises. The fatal rules are broken in separate processes, because the kernel ends those.

    \b
    One of them, with everything that excguard reports about it:
      excguard run -- python3 -m excguard.misuse double_deallocate

    \b
    Exit status:
      0      the program broke all the rules
      125    excguard failed
    """  # noqa: D301 - click wants the real backspace
    config = Config(
        metrics=Metrics(listen=""),
        target=(
            Target(
                name="demo",
                command=(sys.executable, "-m", "excguard.misuse", "--quiet", "all"),
                restart=Restart.NEVER,
            ),
        ),
    )
    run = Run(config, None)
    with service_runner.one_line_errors():
        run.execute()
    if run.error is not None:
        raise Failure(run.error)
    if as_json:
        for site in summary.site_objects(run.sites):
            click.echo(msgspec.json.encode(site).decode())
        return run.status
    total = sum(hits.hits for hits in run.hits)
    title = f"{total} guard hits of a program that breaks {len(misuse.MISUSES)} rules ({run.kernel} kernel)"
    click.echo(
        summary.table(title, run.sites, width=terminal_width(1), color=wants_color(1)),
        nl=False,
    )
    return run.status
