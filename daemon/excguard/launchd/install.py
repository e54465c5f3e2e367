"""Installing and removing the job: every file and every launchctl command.

Both can be run again at any time: what exists stays unchanged, what is incomplete is completed. A dry run
takes the same steps and changes nothing.
"""

import os
import shlex
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from excguard import config as configuration
from excguard.files import atomic
from excguard.launchd import job
from excguard.launchd.job import Kind, Layout
from excguard.launchd.launchctl import Answer, Launchctl, LaunchctlError, Run, run_launchctl
from excguard.launchd.refusals import contradictions, exchangeable, refusals

_NO_SUCH_JOB = Answer(113, "", "")


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
    contents = job.property_list(layout, program, config, stop_timeout=_stop_timeout(config))
    owner = 0 if layout.kind is Kind.DAEMON else os.geteuid()
    changes.directory(layout.logs)
    changes.directory(layout.property_list.parent)
    problems = list(contradictions(contents))
    if layout.kind is Kind.DAEMON and not problems:
        problems += exchangeable(Path(program[0]))
    if changes.dry_run:  # which has not made the directories
        problems = [problem for problem in problems if str(layout.logs) not in problem]
    _refuse(problems)
    written = changes.file(layout.property_list, job.render(contents), owner)
    if not changes.dry_run:
        _refuse(list(refusals(layout.property_list, owner=owner)))
    if layout.kind is Kind.DAEMON:
        changes.directory(layout.newsyslog.parent)
        changes.file(layout.newsyslog, job.newsyslog_rule(layout, "root:wheel").encode(), owner)

    launchctl = Launchctl(domain, layout.kind.label, run=changes.launchctl)
    loaded = launchctl.state() is not None
    if loaded and written:
        launchctl.bootout()
        loaded = False
    if not loaded:
        launchctl.enable()
        launchctl.bootstrap(str(layout.property_list))
    return launchctl


def _stop_timeout(config: Path) -> float:
    """The longest stop_timeout of a target. Raises InstallError when the job could not start."""
    try:
        read = configuration.load(config)
    except configuration.ConfigError as error:
        raise InstallError(str(error)) from None
    if not read.target and not read.watches_others:
        raise InstallError(f"{config}: nothing to watch; add a [[target]] with a name and a command")
    return max((target.stop_timeout for target in read.target), default=0.0)


def _refuse(problems: list[str]) -> None:
    if problems:
        raise InstallError("\n".join(problems))


def uninstall(layout: Layout, changes: Changes, domain: str) -> None:
    """Have launchd stop and forget the job, and remove its files. Logs, configuration and journal stay.

    Raises:
        LaunchctlError: launchd refused.
        OSError: a file could not be removed.
    """
    launchctl = Launchctl(domain, layout.kind.label, run=changes.launchctl)
    if launchctl.state() is not None:
        launchctl.bootout()
    changes.no_file(layout.property_list)
    if layout.kind is Kind.DAEMON:
        changes.no_file(layout.newsyslog)


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
