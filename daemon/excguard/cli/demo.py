"""`excguard demo`: every misuse of `excguard.misuse`, committed one time, caught and explained."""

import sys
from collections.abc import Iterable, Iterator

import click
import msgspec

from excguard import misuse
from excguard.cli import service_runner, summary
from excguard.cli.one_run import Run
from excguard.cli.service_runner import Failure
from excguard.config import Config, Delivery, Metrics, Restart, Target
from excguard.knowledge import releases
from excguard.knowledge.guard_behavior import GuardBehavior
from excguard.mach import host as mach_host
from excguard.process.terminal_output import terminal_width, wants_color
from excguard.targets.visibility import default_flags, developer_mode_hides_fatal


@click.command("demo")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line instead of the table.")
def command(*, as_json: bool) -> int:
    """Start a program that breaks the rules of Mach on purpose, and show each hit with its explanation.

    Where there is no Mach the program runs on a simulated kernel, which raises the guard exceptions that
    macOS raises. Each rule is broken in a process of its own, because the kernel ends some of them.

    \b
    One of them, with everything that excguard reports about it:
      excguard run -- python3 -m excguard.misuse double_deallocate

    \b
    Exit status:
      0      the program broke all the rules
      125    excguard failed
    """  # noqa: D301 - click wants the real backspace
    # Its own call delivers the hits: on a stock Mac the kernel would keep the optional and soft ones back.
    program = (sys.executable, "-m", "excguard.misuse", "--quiet", "--deliver", "all")
    target = Target(name="demo", command=program, restart=Restart.NEVER, delivery=Delivery.NONE)
    run = Run(Config(metrics=Metrics(listen=""), target=(target,)), None)
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
    for line in _missing(run):
        click.echo(line)
    return run.status


def _missing(run: Run) -> Iterator[str]:
    """Which rules were not reported, and why."""
    host = mach_host.running()
    release = releases.parse(host.release).version
    rules = misuse.MISUSES.values()
    if absent := _flavors(rule for rule in rules if not rule.exists(release)):
        yield f"Not rules of macOS {host.release}: {absent}."
    seen = {violation.flavor_name for _, violation in summary.explained(run.sites)}
    unseen = [rule for rule in rules if rule.exists(release) and rule.flavor not in seen]
    if developer_mode_hides_fatal(host):
        ends = GuardBehavior.MP_FATAL in default_flags(host, hardened=False)
        hidden = [rule for rule in unseen if rule.fatal or ends]
        if hidden:
            yield f"Not delivered, because Developer Mode is off: {_flavors(hidden)}."
        unseen = [rule for rule in unseen if rule not in hidden]
    if unseen:
        yield (
            f"No hit of: {_flavors(unseen)}. These rules hold only for hardened programs or with certain "
            "entitlements, or the flags of this system allow one hit a process, or end it before."
        )


def _flavors(rules: Iterable[misuse.Misuse]) -> str:
    return ", ".join(dict.fromkeys(rule.flavor for rule in rules))
