"""`excguard launchd`: the launchd job that runs excguard on a Mac."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
import msgspec

from excguard.cli.group import Group
from excguard.launchd import install as installation
from excguard.launchd import job
from excguard.launchd.install import (
    Change,
    Changes,
    InstallError,
    check_user,
    domain_of,
    install,
    launchctl_for,
    uninstall,
)
from excguard.launchd.job import Kind, Layout
from excguard.launchd.launchctl import Launchctl, LaunchctlError
from excguard.launchd.refusals import refusals

_F = TypeVar("_F", bound=Callable[..., Any])


def _job_options(function: _F) -> _F:
    """The options that choose the job."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON object."),
        click.option(
            "--domain",
            "headless",
            type=click.Choice(["gui", "user"]),
            default="gui",
            callback=lambda _context, _parameter, value: value == "user",
            help="An agent runs in the user's graphical session (gui), or in any session of the user (user).",
        ),
        click.option(
            "--daemon",
            "kind",
            is_flag=True,
            callback=lambda _context, _parameter, value: Kind.DAEMON if value else Kind.AGENT,
            help="The daemon, which runs as root from boot on; without it, the agent of this user.",
        ),
    ):
        function = option(function)
    return function


@click.group("launchd", cls=Group)
def command() -> None:
    """Run excguard under launchd: at login as an agent of yours, or from boot on as a daemon.

    An agent watches programs of its own user, which is the usual case and needs no password. A daemon runs
    without a login, and is installed with sudo and --daemon.
    """


@command.command("install", short_help="Install the job and start it, or update it.")
@_job_options
@click.option("--config", type=click.Path(path_type=Path), help="The configuration that the job reads.")
@click.option("--restart", is_flag=True, help="Restart it even if nothing changed, as after an upgrade.")
@click.option("--dry-run", is_flag=True, help="Only show each file and command.")
def install_command(  # noqa: PLR0913 - one argument an option
    kind: Kind, config: Path | None, *, headless: bool, restart: bool, dry_run: bool, as_json: bool
) -> None:
    """Install the job and start it, or update an installed one.

    Safe to run again: what is up to date stays unchanged.

    \b
    Exit status:
      0    it is installed and loaded, or (--dry-run) shown
      1    it cannot be installed, or launchctl failed
      2    the command line is wrong
    """  # noqa: D301 - click wants the real backspace
    layout = _layout(kind)
    changes = Changes(dry_run=dry_run)
    uid = os.geteuid()
    path = config.absolute() if config else layout.config
    try:
        check_user(kind, uid)
        launchctl = install(
            layout,
            changes,
            domain_of(kind, uid, headless=headless),
            program=job.program_arguments(),
            config=path,
        )
        if restart and not any(change.what.startswith("launchctl") for change in changes.done):
            launchctl.restart()
        warnings = installation.not_on_path(path)
    except (InstallError, LaunchctlError, OSError) as error:
        _fail(error)
    _report(changes, warnings, as_json=as_json)
    if kind is Kind.AGENT and not as_json:
        click.echo(
            "To have newsyslog rotate the log, run this as root: "
            f"excguard launchd print --newsyslog | sudo tee {layout.newsyslog}"
        )


@command.command("uninstall")
@_job_options
@click.option("--dry-run", is_flag=True, help="Only show each file and command.")
def uninstall_command(kind: Kind, *, headless: bool, dry_run: bool, as_json: bool) -> None:
    """Stop the job and remove it. Logs, configuration and journal stay.

    The programs that it watches are ended first, as at any other stop.

    \b
    Exit status:
      0    it is removed, was not there, or (--dry-run) is shown
      1    a file could not be removed, or launchctl failed
      2    the command line is wrong
    """  # noqa: D301 - click wants the real backspace
    changes = Changes(dry_run=dry_run)
    try:
        check_user(kind, os.geteuid())
        uninstall(_layout(kind), changes, domain_of(kind, os.geteuid(), headless=headless))
    except (InstallError, LaunchctlError, OSError) as error:
        _fail(error)
    _report(changes, [], as_json=as_json)


@command.command("start", short_help="Start the installed job.")
@_job_options
def start_command(kind: Kind, *, headless: bool, as_json: bool) -> None:
    """Start the installed job, unless it runs.

    \b
    Exit status:
      0    it runs
      1    it does not, is not installed, or launchctl failed
      2    the command line is wrong
    """  # noqa: D301 - click wants the real backspace
    _started(installation.start, kind, headless=headless, as_json=as_json)


@command.command("restart", short_help="Restart the installed job.")
@_job_options
def restart_command(kind: Kind, *, headless: bool, as_json: bool) -> None:
    """End the process of the job, if it runs, and start a new one.

    For a changed configuration, SIGHUP is enough in most cases: programs that did not change keep running.

    \b
    Exit status:
      0    it runs
      1    it does not, is not installed, or launchctl failed
      2    the command line is wrong
    """  # noqa: D301 - click wants the real backspace
    _started(installation.restart, kind, headless=headless, as_json=as_json)


@command.command("stop", short_help="Stop the job until its next start.")
@_job_options
def stop_command(kind: Kind, *, headless: bool, as_json: bool) -> None:
    """Stop the job with SIGTERM and wait for its end: the programs that it watches end with it.

    It stays installed and starts again at the next login (a daemon: at the next boot), or by `excguard
    launchd start`.

    \b
    Exit status:
      0    it has ended, or did not run
      1    launchctl failed, or it did not end in time
      2    the command line is wrong
    """  # noqa: D301 - click wants the real backspace
    launchctl = launchctl_for(_layout(kind), domain_of(kind, os.geteuid(), headless=headless))
    try:
        check_user(kind, os.geteuid())
        stopped = launchctl.stop()
    except (InstallError, LaunchctlError) as error:
        _fail(error)
    if as_json:
        click.echo(msgspec.json.encode({"job": launchctl.target, "stopped": stopped}))
    else:
        click.echo(f"{launchctl.target}: {'stopped' if stopped else 'was not running'}")


@command.command("status", short_help="Show whether the job is installed and running.")
@_job_options
def status_command(kind: Kind, *, headless: bool, as_json: bool) -> None:
    """Show whether the job is installed, loaded and running, and what launchd would refuse.

    \b
    Exit status:
      0    it runs
      1    it does not, or launchctl failed
      2    the command line is wrong
    """  # noqa: D301 - click wants the real backspace
    launchctl = launchctl_for(_layout(kind), domain_of(kind, os.geteuid(), headless=headless))
    raise SystemExit(0 if _shown_state(kind, launchctl, as_json=as_json) else 1)


def _started(
    start: Callable[[Layout, str], Launchctl], kind: Kind, *, headless: bool, as_json: bool
) -> NoReturn:
    uid = os.geteuid()
    try:
        check_user(kind, uid)
        launchctl = start(_layout(kind), domain_of(kind, uid, headless=headless))
    except (InstallError, LaunchctlError, OSError) as error:
        _fail(error)
    raise SystemExit(0 if _shown_state(kind, launchctl, as_json=as_json) else 1)


def _shown_state(kind: Kind, launchctl: Launchctl, *, as_json: bool) -> bool:
    """Print the state of the job. Whether it runs."""
    layout = _layout(kind)
    uid = os.geteuid()
    installed = layout.property_list.exists()
    problems: list[str] = []
    if installed:
        problems += refusals(layout.property_list, owner=0 if kind is Kind.DAEMON else uid)
        problems += installation.out_of_date(layout, job.program_arguments())
    try:
        state = launchctl.state()
    except LaunchctlError as error:
        _fail(error)
    running = state is not None and state.pid is not None
    if as_json:
        found = {
            "job": launchctl.target,
            "property_list": str(layout.property_list),
            "installed": installed,
            "loaded": state is not None,
            "running": running,
            "state": state and state.state,
            "pid": state and state.pid,
            "runs": state and state.runs,
            "last_exit": state and state.last_exit,
            "problems": problems,
        }
        click.echo(msgspec.json.encode(found).decode())
    else:
        click.echo(f"{launchctl.target}: {_in_words(installed, state)}")
        for problem in problems:
            click.echo(f"  {problem}")
    return running


@command.command("print")
@_job_options
@click.option("--newsyslog", is_flag=True, help="Print the rule of log rotation, for /etc/newsyslog.d.")
@click.option("--config", type=click.Path(path_type=Path), help="The configuration that the job reads.")
def print_command(kind: Kind, config: Path | None, *, headless: bool, newsyslog: bool, as_json: bool) -> None:
    """Show the property list that `install` would write.

    It depends on the configuration, which is read: ExitTimeOut allows for the longest stop_timeout.

    \b
    Exit status:
      0    it was printed
      1    the configuration, or the path of the log, is not usable
      2    the command line is wrong
    """  # noqa: D301 - click wants the real backspace
    del headless
    layout = _layout(kind)
    if newsyslog:
        try:
            rule = job.newsyslog_rule(layout, _owner(kind))
        except ValueError as error:
            _fail(error)
        click.echo(
            msgspec.json.encode({"path": str(layout.newsyslog), "contents": rule}) if as_json else rule,
            nl=as_json,
        )
        return
    try:
        contents = installation.planned(
            layout, job.program_arguments(), config.absolute() if config else layout.config
        )
    except InstallError as error:
        _fail(error)
    click.echo(msgspec.json.encode(contents) if as_json else job.render(contents), nl=as_json)


@command.command("logs", short_help="Show the end of the job's logs.")
@_job_options
@click.option(
    "--lines", "-n", type=click.IntRange(min=0), default=20, show_default=True, help="Lines of each log."
)
@click.option("--follow", "-f", is_flag=True, help="Keep showing new lines, also after a rotation.")
def logs_command(kind: Kind, lines: int, *, headless: bool, follow: bool, as_json: bool) -> None:
    """Show the end of the job's logs: hits, and errors from before the log was open.

    \b
    Exit status:
      0    they were shown
      1    there are none
      2    the command line is wrong
    """  # noqa: D301 - click wants the real backspace
    del headless
    layout = _layout(kind)
    files = [path for path in (layout.errors, layout.hits) if path.exists()]
    if as_json:
        click.echo(
            msgspec.json.encode(
                {"logs": [{"path": str(path), "bytes": path.stat().st_size} for path in files]}
            )
        )
        return
    if not files:
        _fail(f"{layout.logs}: no logs; see `excguard launchd status` for whether the job was started")
    names = [str(path) for path in files]
    done = subprocess.run(["tail", "-n", str(lines), *(["-F"] if follow else []), *names], check=False)  # noqa: S603, S607
    raise SystemExit(done.returncode)


def _layout(kind: Kind) -> Layout:
    return Layout(kind, Path.home())


def _owner(kind: Kind) -> str:
    if kind is Kind.DAEMON:
        return "root:wheel"
    return f"{os.geteuid()}:{os.getegid()}"


def _in_words(installed: bool, state: Any) -> str:  # noqa: ANN401, FBT001 - JobState or None
    if state is None:
        return "installed, not loaded" if installed else "not installed"
    running = (
        f"running, pid {state.pid}" if state.pid is not None else f"loaded, {state.state or 'not running'}"
    )
    last = f"; last exit {state.last_exit}" if state.last_exit else ""
    return f"{running}{last}" if installed else f"{running}{last}; its property list is missing"


def _report(changes: Changes, warnings: list[str], *, as_json: bool) -> None:
    if as_json:
        found = {"dry_run": changes.dry_run, "changes": changes.done, "warnings": warnings}
        click.echo(msgspec.json.encode(found).decode())
        return
    for change in changes.done:
        click.echo(_shown(change))
        if changes.dry_run and change.contents is not None:
            click.echo("".join(f"    {line}\n" for line in change.contents.splitlines()), nl=False)
    if not changes.done:
        click.echo("nothing to do: everything is up to date")
    for warning in warnings:
        click.echo(f"excguard: {warning}", err=True)


def _shown(change: Change) -> str:
    return change.what if change.verb == "run" else f"{change.verb} {change.what}"


def _fail(error: object) -> NoReturn:
    for line in str(error).splitlines():
        click.echo(f"excguard: {line}", err=True)
    raise SystemExit(1)
