"""How severe a guard violation is: the order, color, log level and wording of each severity."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from excguard.knowledge.record import Record

LogLevel = Literal["info", "warning", "error"]


class Severity(StrEnum):
    """What the kernel does to a process that violates a guard, least severe first.

    The values are the words of JSON, labels and the command line. `UNKNOWN` stands where no table gives a
    severity; `Violation.severity` is None there.
    """

    UNKNOWN = "unknown"
    SOFT = "soft"
    OPTIONAL = "optional"
    FATAL = "fatal"

    @classmethod
    def of(cls, severity: str | None) -> Severity:
        """The member of a word; UNKNOWN for None. Raises ValueError for another word."""
        return cls.UNKNOWN if severity is None else cls(severity)

    @classmethod
    def numbered(cls, order: int) -> Severity:
        """The member of a number of the C core; UNKNOWN for a number outside of 0 to 3."""
        return _BY_ORDER[order] if 0 <= order < len(_BY_ORDER) else cls.UNKNOWN

    @property
    def order(self) -> int:
        """0 to 3, which are also the numbers of `enum excguard_severity` (c_decoder/severity.h)."""
        return _BY_ORDER.index(self)

    def reaches(self, least: Severity) -> bool:
        """Whether it is as severe as ``least``; every hit reaches SOFT, also one of unknown severity."""
        return least is Severity.SOFT or self.order >= least.order

    @property
    def color(self) -> str | None:
        """The terminal color; None for the default one."""
        return _MEANINGS[self].color

    @property
    def log_level(self) -> LogLevel:
        """The level of log lines about a hit."""
        return _MEANINGS[self].log_level

    @property
    def text(self) -> str:
        """What it means, in a few words."""
        return _MEANINGS[self].text

    @property
    def effect(self) -> str:
        """What it means for the process in full; "" for UNKNOWN."""
        return _MEANINGS[self].effect


class _Meaning(Record):
    color: str | None
    log_level: LogLevel
    text: str
    effect: str


_BY_ORDER = tuple(Severity)

# The effects are those of mach_port_guard_ast (osfmk/ipc/ipc_policy.c, xnu-11417.121.6).
_MEANINGS = {
    Severity.UNKNOWN: _Meaning(None, "warning", "no table gives a severity", ""),
    Severity.SOFT: _Meaning(
        "cyan",
        "info",
        "the kernel never kills for it",
        (
            "The process goes on. With DELIVER among its flags the exception is delivered to handlers, only "
            "the first time with ONCE, and a simulated crash report is written unless a handler replies with "
            "success."
        ),
    ),
    Severity.OPTIONAL: _Meaning(
        "yellow",
        "warning",
        "the kernel kills for it when the task's flags say so, as those of hardened processes do",
        (
            "The result depends on the task's flags (task_set_exc_guard_behavior; by default those of "
            "kern.task_exc_guard_default): nothing without DELIVER, one hit in the task's life with ONCE, a "
            "report with CORPSE, death with FATAL. Platform and hardened processes have FATAL; others "
            "usually do not."
        ),
    ),
    Severity.FATAL: _Meaning(
        "red",
        "error",
        "the kernel always kills for it",
        (
            "The kernel stops the thread, delivers the exception to handlers if Developer Mode is on (macOS "
            "14.1 and later), and kills the process whatever they reply; a reply of success only suppresses "
            "the crash report."
        ),
    ),
}
