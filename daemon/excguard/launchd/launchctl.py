"""launchctl, by its current verbs only: bootstrap, bootout, enable, kickstart, kill, print.

launchctl reports a number, partly errno and partly its own, and a line that does not help ("5: Input/output
error"). Each known number gets a sentence that says what to do. Numbers and
texts: launchctl(1), ``launchctl error``, and what macOS 13 to 26 answer in public bug reports.
"""

import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

# bootout and kill return before the job has ended, and a bootstrap in between gets 5 or 37. So the end of the
# job is waited for (ExitTimeOut is 30 s, if no target needs longer), and bootstrap is tried more than once.
_END_SECONDS: Final = 40.0
_BOOTSTRAP_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 1.0

_NOT_PERMITTED = 1
_NO_PROCESS = 3
_IO_ERROR = 5
_IN_PROGRESS = 36
_ALREADY = 37
_NO_DOMAIN = 112
_NO_SERVICE = 113
_DISABLED = 119
_WRONG_DOMAIN = 125
_SIP = 150
_BUSY = frozenset({_IO_ERROR, _IN_PROGRESS, _ALREADY})
_ABSENT = frozenset({_NO_PROCESS, _NO_SERVICE})


class LaunchctlError(Exception):
    """launchctl failed. Its text is one line: what failed, with which number, what to do.

    Attributes:
        status: launchctl's exit status.
    """

    def __init__(self, message: str, status: int) -> None:
        """Say what happened."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """The result of a launchctl command."""

    status: int
    output: str
    error: str


@dataclass(frozen=True)
class JobState:
    """The state of a loaded job, from ``launchctl print``.

    The output is not an interface ("NOT API in any sense at all", launchctl(1)), so whatever was not found in
    it is None; only that the job is loaded is certain, by the exit status.
    """

    state: str | None
    pid: int | None
    runs: int | None
    last_exit: str | None


Run = Callable[[list[str]], Answer]


def run_launchctl(arguments: list[str]) -> Answer:
    """Run launchctl.

    Raises:
        LaunchctlError: this machine has no launchctl.
    """
    program = shutil.which("launchctl", path="/bin") or shutil.which("launchctl")
    if program is None:
        raise LaunchctlError("launchctl: not on this machine; launchd is part of macOS", 127)
    done = subprocess.run(  # noqa: S603 - our own arguments, no shell
        [program, *arguments], capture_output=True, text=True, errors="replace", check=False
    )
    return Answer(done.returncode, done.stdout, done.stderr)


class Launchctl:
    """A job in a domain."""

    def __init__(  # noqa: PLR0913 - the job, and what tests put in the place of launchctl and time
        self,
        domain: str,
        label: str,
        *,
        run: Run = run_launchctl,
        end_seconds: float = _END_SECONDS,
        pause: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Name the job.

        Args:
            domain: ``gui/UID``, ``user/UID`` or ``system``.
            label: of the job.
            run: runs launchctl with the arguments it is given.
            end_seconds: how long the end of the job is waited for: more than its ExitTimeOut.
            pause: waits for that many seconds.
            now: seconds of a monotonic clock.
        """
        self.domain = domain
        self.label = label
        self._run = run
        self._end_seconds = end_seconds
        self._pause = pause
        self._now = now

    @property
    def target(self) -> str:
        """The job by domain and label, launchctl(1)'s service-target."""
        return f"{self.domain}/{self.label}"

    def state(self) -> JobState | None:
        """The state of the job; None when it is not loaded.

        Raises:
            LaunchctlError: launchd did not report it.
        """
        answer = self._run(["print", self.target])
        if answer.status in _ABSENT:
            return None
        self._check("print", answer)
        pid, runs = _field(answer.output, "pid"), _field(answer.output, "runs")
        return JobState(
            state=_field(answer.output, "state"),
            pid=int(pid) if pid and pid.isdecimal() else None,
            runs=int(runs) if runs and runs.isdecimal() else None,
            last_exit=_field(answer.output, "last exit code")
            or _field(answer.output, "last terminating signal"),
        )

    def bootstrap(self, path: str) -> None:
        """Load the property list at ``path``; a job that launchd is still removing is waited for.

        Raises:
            LaunchctlError: launchd refused.
        """
        end = self._now() + _BOOTSTRAP_SECONDS
        while True:
            answer = self._run(["bootstrap", self.domain, path])
            if answer.status not in _BUSY:
                break
            if self.state() is not None:  # loaded by another process in between
                return
            if self._now() >= end:
                break
            self._pause(_PAUSE_SECONDS)
        self._check("bootstrap", answer)

    def bootout(self) -> bool:
        """Unload the job, and wait until it is unloaded. False when it was not loaded.

        Raises:
            LaunchctlError: launchd refused, or the job was not unloaded in time.
        """
        answer = self._run(["bootout", self.target])
        if answer.status in _ABSENT:
            return False
        if answer.status != _IN_PROGRESS:
            self._check("bootout", answer)
        self._wait_until(lambda: self.state() is None, "bootout")
        return True

    def enable(self) -> None:
        """Undo an earlier ``launchctl disable``, which persists over reboots and makes bootstrap fail.

        Raises:
            LaunchctlError: launchd refused.
        """
        self._check("enable", self._run(["enable", self.target]))

    def start(self) -> None:
        """Start the process of the loaded job.

        Raises:
            LaunchctlError: launchd refused.
        """
        self._check("kickstart", self._run(["kickstart", self.target]))

    def stop(self) -> bool:
        """End the process with SIGTERM, and wait until it has ended. False when there was none.

        The job stays loaded. excguard exits with 0 then, so that its KeepAlive does not restart it.

        Raises:
            LaunchctlError: launchd refused, or the process did not end in time.
        """
        before = self.state()
        answer = self._run(["kill", "SIGTERM", self.target])
        if before is None or answer.status in _ABSENT:
            return False
        self._check("kill", answer)

        def ended() -> bool:
            state = self.state()
            return state is None or state.pid is None or state.pid != before.pid

        self._wait_until(ended, "SIGTERM")
        return True

    def restart(self) -> None:
        """Stop the running process, if any, and start a new one.

        Raises:
            LaunchctlError: launchd refused.
        """
        self._check("kickstart", self._run(["kickstart", "-k", self.target]))

    def _wait_until(self, ended: Callable[[], bool], after: str) -> None:
        end = self._now() + self._end_seconds
        while not ended():
            if self._now() >= end:
                raise LaunchctlError(
                    f"{self.target}: still there {self._end_seconds:g} s after {after}; "
                    f"see `launchctl print {self.target}`, and try again",
                    _IN_PROGRESS,
                )
            self._pause(_PAUSE_SECONDS)

    def _check(self, verb: str, answer: Answer) -> None:
        if answer.status == 0:
            return
        said = " ".join((answer.error or answer.output).split()) or "no reason was given"
        advice = _advice(answer.status, self.domain, self.target) or said
        raise LaunchctlError(
            f"launchctl {verb} {self.target} failed ({answer.status}): {advice}", answer.status
        )


def _advice(status: int, domain: str, target: str) -> str | None:
    """What a known exit status means here, and what to do."""
    sudo = "sudo " if domain == "system" else ""
    install = f"`{sudo}excguard launchd install{' --daemon' if sudo else ''}`"
    return {
        _NOT_PERMITTED: "not permitted; the system domain needs root (use sudo), gui/UID needs the user UID",
        _NO_PROCESS: f"launchd has no such job; run {install}",
        _IO_ERROR: (
            "input/output error: launchd reports this for a job that is already loaded, and for a plist that "
            f"it refuses; see `excguard doctor`, run `{sudo}launchctl bootout {target}`, install again"
        ),
        _IN_PROGRESS: "launchd is still busy with this job; wait some seconds and try again",
        _ALREADY: (
            "already bootstrapped, or launchd is still busy with it; wait some seconds, then run "
            f"`{sudo}launchctl bootout {target}` and install again"
        ),
        _NO_DOMAIN: f"{domain} does not exist: its user is not logged in; log in or use `--domain user`",
        _NO_SERVICE: f"launchd has no such job in {domain}; run {install}",
        _DISABLED: f"the job is disabled; run `{sudo}launchctl enable {target}`",
        _WRONG_DOMAIN: (
            f"{domain} does not take this job, as in an ssh session of a user who is not logged in at the "
            "screen; log in there, or use `--domain user`"
        ),
        _SIP: (
            "System Integrity Protection forbids it for this label; excguard's own are never protected, so "
            f"check what {target} is"
        ),
    }.get(status)


def _field(output: str, name: str) -> str | None:
    found = re.search(rf"(?m)^\s*{re.escape(name)} = (.+?)\s*$", output)
    return found[1] if found else None
