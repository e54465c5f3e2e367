"""The launchd job of excguard: the paths of its files, its property list, its log rotation.

Keys, types and defaults are those of launchd.plist(5), newsyslog.conf(5) and launchctl(1) of macOS 15. There
are two kinds of job:

* an *agent* runs in a user's session and watches programs of that user: the usual case;
* a *daemon* runs as root from boot on, without a login.
"""

import math
import plistlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from excguard.files import bounded

# Starts are at least this far apart. 10 s is launchd's own default, written here because it is relied on: an
# invalid configuration costs one start in this time, and a corrected one is read within it.
THROTTLE_SECONDS = 10
# From SIGTERM to SIGKILL: the longest stop_timeout of a target, and this for everything else. launchd's
# default is "system-defined", and 0 would mean without a limit.
EXIT_SECONDS = 25
# launchd's default is 256; this is enough for 128 targets. The watched programs inherit it.
OPEN_FILES = 1024

PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
"""The PATH of every job; ``launchctl print`` shows it as "default environment"."""

# newsyslog.conf(5): the size is in KiB.
_ROTATE_AT_KIB = 10 * 1024
_ROTATED_KEPT = 7
_MAX_SIZE = 1 << 20  # bytes of a property list
# SIGUSR1 by macOS's number (sys/signal.h); other systems have others.
_SIGUSR1 = 30


class Kind(StrEnum):
    """The kind of a launchd job."""

    AGENT = "agent"
    DAEMON = "daemon"

    @property
    def label(self) -> str:
        """The job's name in launchd, and the Mach service it checks in for."""
        return f"org.excguard.{self.value}"


@dataclass(frozen=True)
class Layout:
    """The paths of a job's files.

    Attributes:
        kind: agent or daemon.
        home: home directory of the agent's user (not used for a daemon).
        root: the parent of the system's directories.
    """

    kind: Kind
    home: Path
    root: Path = Path("/")

    @property
    def _library(self) -> Path:
        return (self.home if self.kind is Kind.AGENT else self.root) / "Library"

    @property
    def property_list(self) -> Path:
        """In a directory that launchd reads; by convention the file is named after the label."""
        directory = "LaunchAgents" if self.kind is Kind.AGENT else "LaunchDaemons"
        return self._library / directory / f"{self.kind.label}.plist"

    @property
    def config(self) -> Path:
        """The configuration that the job reads unless another is named."""
        return self._library / "Application Support" / "excguard" / "config.toml"

    @property
    def logs(self) -> Path:
        """Directory of both logs."""
        return self._library / "Logs" / "excguard"

    @property
    def hits(self) -> Path:
        """The structured log: written by excguard, rotated by newsyslog, reopened on SIGUSR1."""
        return self.logs / "excguard.jsonl"

    @property
    def errors(self) -> Path:
        """Errors from before the log is open, such as an invalid configuration."""
        return self.logs / "errors.log"

    @property
    def pid_file(self) -> Path:
        """From it newsyslog reads which process to signal."""
        directory = self.logs if self.kind is Kind.AGENT else self.root / "var" / "run"
        return directory / f"{self.kind.label}.pid"

    @property
    def newsyslog(self) -> Path:
        """The rule of rotation. The directory belongs to root for both kinds."""
        return self.root / "etc" / "newsyslog.d" / f"{self.kind.label}.conf"


def program_arguments() -> list[str]:
    """How to start this installation, by absolute path: launchd has no shell and a short PATH."""
    script = Path(sys.executable).with_name("excguard")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "excguard"]


def property_list(
    layout: Layout, program: list[str], config: Path, *, stop_timeout: float = 5.0
) -> dict[str, Any]:
    """The job's property list, by launchd.plist(5)'s names.

    Args:
        layout: the paths of the files.
        program: how excguard is started, without its arguments; see `program_arguments`.
        config: the configuration that the job reads.
        stop_timeout: the longest of its targets', in seconds.
    """
    limits = {"Core": 0}  # a core file would hold what the log keeps from others
    if layout.kind is Kind.AGENT:
        # In a daemon this key would also set kern.maxfiles for the whole system (launchd.plist(5)).
        limits["NumberOfFiles"] = OPEN_FILES
    return {
        "Label": layout.kind.label,
        "ProgramArguments": [
            *program,
            "serve",
            *("--config", str(config)),
            *("--log", str(layout.hits)),
            *("--pid-file", str(layout.pid_file)),
        ],
        # launchd holds the receive right; `serve` takes it over with bootstrap_check_in.
        "MachServices": {layout.kind.label: True, f"{layout.kind.label}.rendezvous": True},
        # Started at load, and again after it died or failed to start. After a clean exit it is not restarted.
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": THROTTLE_SECONDS,
        "ExitTimeOut": EXIT_SECONDS + math.ceil(stop_timeout),
        # A program that broke a rule is stopped until excguard has replied. "Standard" (the same as no
        # ProcessType) throttles CPU and I/O, "Adaptive" does while there is no XPC activity; "Interactive"
        # never does.
        "ProcessType": "Interactive",
        "StandardOutPath": str(layout.errors),
        "StandardErrorPath": str(layout.errors),
        # Logs name programs and paths of the user, which other users must not read. Property lists have no
        # octal numbers.
        "Umask": 0o077,
        "SoftResourceLimits": limits,
    }


def exit_seconds(layout: Layout) -> float:
    """ExitTimeOut of the installed job; that of one without slow targets when it cannot be read."""
    try:
        contents = plistlib.loads(bounded.read(layout.property_list, _MAX_SIZE))
        return float(contents["ExitTimeOut"])
    except Exception:  # noqa: BLE001 - plistlib lets the errors of expat and of each value type through
        return EXIT_SECONDS + 5.0


def render(contents: Mapping[str, Any]) -> bytes:
    """A property list as XML, its keys in the order given."""
    return plistlib.dumps(dict(contents), fmt=plistlib.FMT_XML, sort_keys=False)


def newsyslog_rule(layout: Layout, owner: str) -> str:
    """The rule of rotation, newsyslog.conf(5): at 10 MiB, seven old logs kept, compressed, then SIGUSR1.

    Flags: B, because newsyslog would otherwise write a line of its own into the log, which is JSON; Z, gzip.
    The owner is given because a new log without one belongs to root, and an agent could not append to it.

    Args:
        layout: the paths of the files.
        owner: "USER:GROUP" of the log.

    Raises:
        ValueError: the path contains white space or "#", which newsyslog cannot read.
    """
    for path in (layout.hits, layout.pid_file):
        if re.search(r"[\s#]", str(path)):
            raise ValueError(
                f"{path}: newsyslog cannot read a path with white space or '#' in it; "
                "rotate this log by other means, and send SIGUSR1 afterwards"
            )
    fields = (layout.hits, owner, "600", _ROTATED_KEPT, _ROTATE_AT_KIB, "*", "BZ", layout.pid_file, _SIGUSR1)
    return (
        "# logfile owner:group mode count size(KiB) when flags pid_file signal\n"
        + "\t".join(str(field) for field in fields)
        + "\n"
    )
