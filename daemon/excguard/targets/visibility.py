"""Which guard hits of a program can be seen, by what, and why not the others.

The kernel decides for each hit by its severity, the task's ``task_exc_guard`` flags, Developer Mode and the
release (mach_port_guard_ast, osfmk/ipc/ipc_policy.c; exception_triage, osfmk/kern/exception.c). A run that
could not see hits of a severity has not shown that there are none.
"""

from enum import StrEnum
from typing import Any, Final

from excguard.knowledge.guard_behavior import GuardBehavior
from excguard.knowledge.record import Record
from excguard.knowledge.severity import Severity
from excguard.mach.host import Host, version

# osfmk/kern/exception.c of xnu-10002.41.9: from here on fatal guards reach no handler without Developer Mode.
NEEDS_DEVELOPER_MODE: Final = version("14.1")
# osfmk/kern/thread.c of the macOS 26 kernel writes a line for each guard into the unified log.
LOGS_GUARDS: Final = version("26")

SEVERITIES: Final = (Severity.FATAL, Severity.OPTIONAL, Severity.SOFT)
"""Those that a hit can have by the tables, the most severe first."""


class By(StrEnum):
    """What receives hits of a severity; the values are those of labels and JSON."""

    HANDLER = "handler"
    """The exception port, so excguard, at the moment of the hit."""
    UNIFIED_LOG = "unified_log"
    """The kernel's line in the unified log."""
    CRASH_REPORT = "crash_report"
    """The report that ReportCrash writes after the process has died."""
    NOTHING = "nothing"


class SeverityVisibility(Record):
    """Where hits of one severity can be seen.

    Attributes:
        by: the best of the places.
        seen: whether excguard reads that place.
        reason: why no handler receives them; for a handler, what it misses all the same; or empty.
    """

    by: By
    seen: bool
    reason: str = ""


class Visibility(Record):
    """Where hits of a program can be seen, by severity.

    Attributes:
        fatal: hits that always end the program.
        optional: hits that end it where its flags say so.
        soft: hits that never end it.
        fix: what would let a handler receive them all; empty when one does, or when nothing is known.
    """

    fatal: SeverityVisibility
    optional: SeverityVisibility
    soft: SeverityVisibility
    fix: str = ""

    def of(self, severity: Severity) -> SeverityVisibility:
        """That of one severity."""
        found = {Severity.FATAL: self.fatal, Severity.OPTIONAL: self.optional, Severity.SOFT: self.soft}
        return found[severity]

    @property
    def unseen(self) -> list[Severity]:
        """The severities whose hits excguard does not see, the most severe first."""
        return [severity for severity in SEVERITIES if not self.of(severity).seen]

    def sees(self, least: Severity) -> bool:
        """Whether hits of this severity and of the more severe ones are seen."""
        return all(severity.order < least.order for severity in self.unseen)

    def gaps(self) -> list[tuple[list[Severity], str]]:
        """What is not seen: severities with the same reason together, and that reason."""
        found: dict[str, list[Severity]] = {}
        for severity in self.unseen:
            found.setdefault(self.of(severity).reason, []).append(severity)
        return [(severities, reason) for reason, severities in found.items()]

    def fields(self) -> dict[str, Any]:
        """For JSON and for the log."""
        return {severity.value: self.of(severity).as_dict() for severity in SEVERITIES} | (
            {"fix": self.fix} if self.fix else {}
        )


class Circumstances(Record):
    """What visibility depends on, beside the running system.

    Attributes:
        flags: the program's ``task_exc_guard`` flags.
        undelivered: why the flags lack DELIVER, and nothing was done about it; empty when they have it.
        refused: why the program has no exception port of excguard's; empty when it has one.
        reads_log: whether excguard reads the unified log.
        reads_reports: whether excguard reads crash reports.
        fix: see `Visibility`.
    """

    flags: GuardBehavior
    undelivered: str = ""
    refused: str = ""
    reads_log: bool = False
    reads_reports: bool = False
    fix: str = ""


def visibility(host: Host, circumstances: Circumstances) -> Visibility:
    """Where hits of a program can be seen."""
    fatal, optional, soft = (_of(severity, host, circumstances) for severity in SEVERITIES)
    complete = all(one.by is By.HANDLER for one in (fatal, optional, soft))
    return Visibility(fatal, optional, soft, "" if complete else _fix(host, circumstances))


def _of(severity: Severity, host: Host, circumstances: Circumstances) -> SeverityVisibility:
    reason = _obstacle(severity, host, circumstances)
    if not reason:
        return SeverityVisibility(By.HANDLER, seen=True, reason=_missed(severity, circumstances.flags))
    if host.version >= LOGS_GUARDS and circumstances.reads_log:
        return SeverityVisibility(By.UNIFIED_LOG, seen=True, reason=reason)
    if _fatal(severity, circumstances.flags):
        reads = circumstances.reads_reports
        unread = "" if reads else "; a crash report has them, which excguard does not read here"
        return SeverityVisibility(By.CRASH_REPORT, seen=reads, reason=reason + unread)
    return SeverityVisibility(By.NOTHING, seen=False, reason=reason)


def _obstacle(severity: Severity, host: Host, circumstances: Circumstances) -> str:
    """Why no handler receives hits of a severity; empty when one does."""
    if circumstances.refused:
        return circumstances.refused
    if severity is not Severity.FATAL and GuardBehavior.MP_DELIVER not in circumstances.flags:
        because = f": {circumstances.undelivered}" if circumstances.undelivered else ""
        return f"the program's flags do not have MP_DELIVER{because}"
    if _fatal(severity, circumstances.flags) and developer_mode_hides_fatal(host):
        return "Developer Mode is off, and from macOS 14.1 on the kernel then delivers no fatal guard"
    return ""


def _missed(severity: Severity, flags: GuardBehavior) -> str:
    """What a handler does not receive of a severity though it receives hits of it."""
    if severity is Severity.FATAL:
        return ""
    missed = []
    if GuardBehavior.MP_ONCE in flags:
        missed.append("only the first Mach port guard of each process (MP_ONCE)")
    if GuardBehavior.VM_DELIVER not in flags:
        missed.append("no guard of virtual memory (VM_DELIVER is not set)")
    return "; ".join(missed)


def _fatal(severity: Severity, flags: GuardBehavior) -> bool:
    """Whether a hit ends the process."""
    return severity is Severity.FATAL or (severity is Severity.OPTIONAL and _ENDS in flags)


_ENDS: Final = GuardBehavior.MP_DELIVER | GuardBehavior.MP_FATAL


def developer_mode_hides_fatal(host: Host) -> bool:
    """Whether fatal guards reach no handler on this system."""
    return host.version >= NEEDS_DEVELOPER_MODE and host.developer_mode is False


def _fix(host: Host, circumstances: Circumstances) -> str:
    fixes = [circumstances.fix] if circumstances.fix else []
    if developer_mode_hides_fatal(host):
        fixes.append("turn Developer Mode on (`sudo DevToolsSecurity -enable`, then restart)")
    return "; ".join(fixes)


def default_flags(host: Host, *, hardened: bool) -> GuardBehavior:
    """The ``task_exc_guard`` flags that a program starts with.

    ``kern.task_exc_guard_default``: the low byte is for Apple's and hardened programs, the next one for all
    others (``task_set_exc_guard_ctrl_port_default`` in osfmk/kern/task.c and
    ``TASK_EXC_GUARD_THIRD_PARTY_DEFAULT_SHIFT`` in osfmk/mach/task_info.h, xnu-11417.121.6).
    """
    value = host.guard_behavior or 0
    return GuardBehavior(value & 0xFF if hardened else value >> 8 & 0xFF)
