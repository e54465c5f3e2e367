"""Installing and removing the job: every file and every launchctl command.

Both can be run again at any time: what exists stays unchanged, what is incomplete is completed. A dry run
takes the same steps and changes nothing.
"""

import os
import plistlib
import shlex
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from excguard import config as configuration
from excguard.config import Config
from excguard.files import atomic, bounded
from excguard.launchd import job
from excguard.launchd.job import Kind, Layout
from excguard.launchd.launchctl import Answer, Launchctl, LaunchctlError, Run, run_launchctl
from excguard.launchd.refusals import MAX_SIZE, contradictions, exchangeable, refusals

_NO_SUCH_JOB = Answer(113, "", "")
_MARGIN_SECONDS: Final = 10.0


class InstallError(Exception):
    """The job cannot be installed: one line for each reason."""


@dataclass(frozen=True)
class Change:
    """A command or a change of a file, made or (in a dry run) planned."""

    verb: Literal["mkdir", "write", "remove", "run"]
    what: str
    contents: str | None = None


@dataclass
class Changes:
    """Makes the changes and records them; in a dry run it only records them.

    Attributes:
        dry_run: change nothing.
        run: runs launchctl.
        done: the changes, in order.
    """

    dry_run: bool = False
    run: Run = run_launchctl
    done: list[Change] = field(default_factory=list)

    def launchctl(self, arguments: list[str]) -> Answer:
        """Run launchctl. A dry run still runs ``print``, and assumes that the others succeed."""
        if arguments[0] != "print":
            self.done.append(Change("run", shlex.join(["launchctl", *arguments])))
            return Answer(0, "", "") if self.dry_run else self.run(arguments)
        if not self.dry_run:
            return self.run(arguments)
        if self.done and self.done[-1].what.startswith("launchctl bootout "):
            return _NO_SUCH_JOB
        try:
            return self.run(arguments)
        except LaunchctlError:  # the plan can be shown on a machine without launchd too
            return _NO_SUCH_JOB

    def directory(self, path: Path) -> None:
        """Make sure that a directory exists."""
        if not path.is_dir():
            self.done.append(Change("mkdir", str(path)))
            if not self.dry_run:
                path.mkdir(parents=True, exist_ok=True)

    def file(self, path: Path, contents: bytes, owner: int) -> bool:
        """Make sure that a file has these contents, and mode 644. True when it did not."""
        if _is(path, contents, owner):
            return False
        self.done.append(Change("write", str(path), contents.decode()))
        if not self.dry_run:
            atomic.write(path, contents, mode=0o644)
            if os.geteuid() == 0:
                os.chown(path, owner, 0 if owner == 0 else -1)
        return True

    def no_file(self, path: Path) -> None:
        """Make sure that a file does not exist."""
        if os.path.lexists(path):
            self.done.append(Change("remove", str(path)))
            if not self.dry_run:
                path.unlink(missing_ok=True)


def domain_of(kind: Kind, uid: int, *, headless: bool = False) -> str:
    """``gui`` of a user at the screen, ``user`` of one anywhere, ``system`` for daemons."""
    if kind is Kind.DAEMON:
        return "system"
    return f"user/{uid}" if headless else f"gui/{uid}"


def check_user(kind: Kind, uid: int) -> None:
    """Refuse the wrong user.

    Raises:
        InstallError: root asks for an agent, or another user for the daemon.
    """
    if kind is Kind.DAEMON and uid != 0:
        raise InstallError(
            "a daemon belongs to root: use sudo, or leave out --daemon to install an agent for yourself"
        )
    if kind is Kind.AGENT and uid == 0:
        raise InstallError(
            "an agent belongs to the user whose programs it watches: leave out sudo, or use --daemon"
        )


def install(layout: Layout, changes: Changes, domain: str, *, program: list[str], config: Path) -> Launchctl:
    """Install the job and have launchd start it; an installed one is updated.

    Args:
        layout: the paths of its files.
        changes: makes the changes.
        domain: see `domain_of`.
        program: how excguard is started.
        config: the configuration that the job reads.

    Raises:
        InstallError: the configuration is invalid, or launchd would refuse the job.
        LaunchctlError: launchd refused it.
        OSError: a file could not be written.
    """
    contents = planned(layout, program, config)
    owner = 0 if layout.kind is Kind.DAEMON else os.geteuid()
    changes.directory(layout.logs)
    changes.directory(layout.property_list.parent)
    problems = list(contradictions(contents))
    if layout.kind is Kind.DAEMON and not problems:
        problems += exchangeable(Path(program[0]))
    if changes.dry_run:  # which has not made the directories
        problems = [problem for problem in problems if str(layout.logs) not in problem]
    _refuse(problems)
    launchctl = launchctl_for(layout, domain, changes.launchctl)  # which reads the old one
    written = changes.file(layout.property_list, job.render(contents), owner)
    if not changes.dry_run:
        _refuse(list(refusals(layout.property_list, owner=owner)))
    if layout.kind is Kind.DAEMON:
        changes.directory(layout.newsyslog.parent)
        changes.file(layout.newsyslog, job.newsyslog_rule(layout, "root:wheel").encode(), owner)

    loaded = launchctl.state() is not None
    if loaded and written:
        launchctl.bootout()
        loaded = False
    if not loaded:
        launchctl.enable()
        launchctl.bootstrap(str(layout.property_list))
    return launchctl


def planned(layout: Layout, program: list[str], config: Path) -> dict[str, Any]:
    """The property list that `install` writes. Arguments as there.

    Raises:
        InstallError: the configuration is missing or invalid, or there is nothing to watch in it.
    """
    read = _read(config)
    if not read.target and not read.watches_others:
        raise InstallError(f"{config}: nothing to watch; add a [[target]] with a name and a command")
    stop_timeout = max((target.stop_timeout for target in read.target), default=0.0)
    return job.property_list(layout, program, config, stop_timeout=stop_timeout)


def out_of_date(layout: Layout, program: list[str]) -> Iterator[str]:
    """A line when the installed property list is not the one that `install` would write now.

    Its configuration is the one that it names. One that cannot be used is reported when the job starts.
    """
    try:
        installed = bounded.read(layout.property_list, MAX_SIZE)
        arguments = plistlib.loads(installed)["ProgramArguments"]
        config = Path(arguments[arguments.index("--config") + 1])
        contents = job.render(planned(layout, program, config))
    except Exception:  # noqa: BLE001 - not one of ours, or damaged: `refusals` says so
        return
    if contents != installed:
        yield (
            f"{layout.property_list}: not what `excguard launchd install` would write now, since the "
            "configuration or the program has changed; run it again"
        )


def not_on_path(config: Path) -> list[str]:
    """A line for each target whose program has no path and is not on the PATH that launchd gives to jobs.

    Raises:
        InstallError: the configuration is missing or invalid.
    """
    return [
        f'{config}: [[target]] "{target.name}" command: {target.command[0]} is not on launchd\'s PATH '
        f"({job.PATH}); give its absolute path, or set PATH in its environment"
        for target in _read(config).target
        if "/" not in target.command[0]
        and shutil.which(target.command[0], path=target.environment.get("PATH", job.PATH)) is None
    ]


def _read(config: Path) -> Config:
    try:
        return configuration.load(config)
    except configuration.ConfigError as error:
        raise InstallError(str(error)) from None


def launchctl_for(layout: Layout, domain: str, run: Run = run_launchctl) -> Launchctl:
    """The job in its domain. What ends it waits for longer than the ExitTimeOut of the installed job."""
    return Launchctl(
        domain, layout.kind.label, run=run, end_seconds=job.exit_seconds(layout) + _MARGIN_SECONDS
    )


def _refuse(problems: list[str]) -> None:
    if problems:
        raise InstallError("\n".join(problems))


def uninstall(layout: Layout, changes: Changes, domain: str) -> None:
    """Have launchd stop and forget the job, and remove its files. Logs, configuration and journal stay.

    Raises:
        LaunchctlError: launchd refused.
        OSError: a file could not be removed.
    """
    launchctl = launchctl_for(layout, domain, changes.launchctl)
    if launchctl.state() is not None:
        launchctl.bootout()
    changes.no_file(layout.property_list)
    if layout.kind is Kind.DAEMON:
        changes.no_file(layout.newsyslog)


def start(layout: Layout, domain: str) -> Launchctl:
    """Have launchd start the installed job, unless it runs. Loads it where that is necessary.

    Raises:
        InstallError: the job is not installed.
        LaunchctlError: launchd refused.
    """
    launchctl = launchctl_for(layout, domain)
    state = launchctl.state()
    if state is None:
        _load(layout, launchctl)
    elif state.pid is None:
        launchctl.start()
    return launchctl


def restart(layout: Layout, domain: str) -> Launchctl:
    """Have launchd end the process of the installed job, and start a new one. Raises as `start`."""
    launchctl = launchctl_for(layout, domain)
    if launchctl.state() is None:
        _load(layout, launchctl)
    else:
        launchctl.restart()
    return launchctl


def _load(layout: Layout, launchctl: Launchctl) -> None:
    if not layout.property_list.exists():
        how = (
            "sudo excguard launchd install --daemon"
            if layout.kind is Kind.DAEMON
            else "excguard launchd install"
        )
        raise InstallError(f"{launchctl.target}: not installed; run `{how}`")
    launchctl.enable()
    launchctl.bootstrap(str(layout.property_list))


def _is(path: Path, contents: bytes, owner: int) -> bool:
    try:
        status = path.lstat()
        return (
            stat.S_ISREG(status.st_mode)
            and stat.S_IMODE(status.st_mode) == 0o644
            and status.st_uid == owner
            and path.read_bytes() == contents
        )
    except OSError:
        return False
