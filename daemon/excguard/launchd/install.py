"""Installing and removing the job: every file and every launchctl command.

Both can be run again at any time: what is there already stays as it is, what is half done is finished. Files
are written beside their place and renamed into it. A dry run goes the same way and changes nothing.
"""

import os
import shlex
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from excguard import config as configuration
from excguard.launchd import job
from excguard.launchd.job import Kind, Layout
from excguard.launchd.launchctl import Answer, Launchctl, LaunchctlError, Run, run_launchctl
from excguard.launchd.refusals import contradictions, exchangeable, refusals

_NO_SUCH_JOB = Answer(113, "", "")


class InstallError(Exception):
    """The job cannot be installed: one line for each reason."""


@dataclass(frozen=True)
class Change:
    """Something done (or, in a dry run, meant): a command, or what becomes of a file."""

    verb: Literal["mkdir", "write", "remove", "run"]
    what: str
    contents: str | None = None


@dataclass
class Changes:
    """Makes the changes and remembers them; in a dry run it remembers them only.

    Attributes:
        dry_run: change nothing.
        run: runs launchctl.
        done: the changes, in order.
    """

    dry_run: bool = False
    run: Run = run_launchctl
    done: list[Change] = field(default_factory=list)

    def launchctl(self, arguments: list[str]) -> Answer:
        """Run launchctl. A dry run still asks (``print``), and takes it that each command worked."""
        if arguments[0] != "print":
            self.done.append(Change("run", shlex.join(["launchctl", *arguments])))
            return Answer(0, "", "") if self.dry_run else self.run(arguments)
        if not self.dry_run:
            return self.run(arguments)
        if self.done and self.done[-1].what.startswith("launchctl bootout "):
            return _NO_SUCH_JOB
        try:
            return self.run(arguments)
        except LaunchctlError:  # what would be done can be told even on a machine that has no launchd
            return _NO_SUCH_JOB

    def folder(self, path: Path) -> None:
        """Make sure that a folder is there."""
        if not path.is_dir():
            self.done.append(Change("mkdir", str(path)))
            if not self.dry_run:
                path.mkdir(parents=True, exist_ok=True)

    def file(self, path: Path, contents: bytes, owner: int) -> bool:
        """Make sure that a file is so, and mode 644. True when it was not."""
        if _is(path, contents, owner):
            return False
        self.done.append(Change("write", str(path), contents.decode()))
        if not self.dry_run:
            _replace(path, contents, owner)
        return True

    def no_file(self, path: Path) -> None:
        """Make sure that there is no such file."""
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
        InstallError: root asks for an agent, or somebody else for the daemon.
    """
    if kind is Kind.DAEMON and uid != 0:
        raise InstallError("a daemon is root's: use sudo, or leave out --daemon for an agent of your own")
    if kind is Kind.AGENT and uid == 0:
        raise InstallError(
            "an agent belongs to the user whose programs it watches: leave out sudo, or use --daemon"
        )


def install(layout: Layout, changes: Changes, domain: str, *, program: list[str], config: Path) -> Launchctl:
    """Install the job and have launchd start it; one that is installed already is brought up to date.

    Args:
        layout: where its files go.
        changes: makes the changes.
        domain: see `domain_of`.
        program: how excguard is started.
        config: the configuration that the job reads.

    Raises:
        InstallError: the configuration cannot be used, or launchd would refuse the job.
        LaunchctlError: launchd refused it.
        OSError: a file could not be written.
    """
    contents = job.property_list(layout, program, config, stop_timeout=_stop_timeout(config))
    owner = 0 if layout.kind is Kind.DAEMON else os.geteuid()
    changes.folder(layout.logs)
    changes.folder(layout.property_list.parent)
    problems = list(contradictions(contents))
    if layout.kind is Kind.DAEMON and not problems:
        problems += exchangeable(Path(program[0]))
    if changes.dry_run:  # which has not made the folders
        problems = [problem for problem in problems if str(layout.logs) not in problem]
    _refuse(problems)
    written = changes.file(layout.property_list, job.render(contents), owner)
    if not changes.dry_run:
        _refuse(list(refusals(layout.property_list, owner=owner)))
    if layout.kind is Kind.DAEMON:
        changes.folder(layout.newsyslog.parent)
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
    """The longest time that a target may take to end. Raises InstallError when the job could not start."""
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


def _replace(path: Path, contents: bytes, owner: int) -> None:
    """Put a file in its place whole, or leave what was there."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
            if os.geteuid() == 0:
                os.fchown(file.fileno(), owner, 0 if owner == 0 else -1)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
