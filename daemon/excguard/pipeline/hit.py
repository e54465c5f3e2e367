"""A guard hit: a violation and its circumstances, and the one form in which JSON, log and page show it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import PurePath
from typing import Any

from msgspec import Struct

from excguard.decoding.decode import decode, severity
from excguard.decoding.site import Place, Site
from excguard.decoding.violation import Violation
from excguard.knowledge.severity import Severity

LIVE = "live"
"""The ``source`` of hits that the receiver took from an exception port."""


class Hit(Struct, frozen=True):
    """One hit, as the sinks see it.

    ``pc``, ``lr`` and ``sp`` are None unless the target is watched with ``state_identity_protected``.
    """

    code: int  # the numbers of the violation, unsigned
    subcode: int | None  # None when it is not known
    target: str  # the watched program; the kernel's "target" is `violation.guard_target`
    pid: int | None  # None when it is not known
    thread_id: int | None  # this, `behavior` and `reply` are None for what came to no exception port
    time_ns: int  # since the epoch, when the receiver took the message
    behavior: str | None
    reply: str | None  # "forward" or "consume"
    kernel: str  # "xnu-..." or "simulated"
    release: str  # "macOS 26.4"
    seq: int  # the journal's number; the same hit has the same number, however often it is logged
    recovered: bool  # from the journal of an excguard that ended before it had logged the hit
    inherited: bool  # of a process that inherited the exception port, not the target's own
    source: str = LIVE  # or the name of another source; `seq` counts for each source apart
    pc: int | None = None
    lr: int | None = None
    sp: int | None = None
    executable: str | None = None  # the path of the process's program; None when it is not known
    place: Place | None = None  # where the call was made; None when it is not known
    report: str = ""  # the path of the crash report that showed it; empty when none did
    frames: tuple[str, ...] = ()  # of that report, innermost first
    program: str | None = None  # stands for the place in `site`; None: recovered, so there is no site
    decoded: Violation | None = None  # in place of what the numbers mean on `release`

    @property
    def violation(self) -> Violation:
        """What the numbers mean; decoded when it is asked for."""
        return decode(self.code, self.subcode, self.release) if self.decoded is None else self.decoded

    @property
    def severity(self) -> Severity:
        """That of the violation."""
        if self.decoded is not None:
            return Severity.of(self.decoded.severity)
        return severity(self.code, self.release)

    @property
    def site(self) -> Site | None:
        """What identifies the hit across runs; None when it is recovered: its process is not known."""
        return Site.of(self.violation, self.place, self.program) if self.program is not None else None

    def to_dict(self) -> dict[str, Any]:
        """Everything: `Violation.to_dict`, with the hit's own fields over it.

        ``target`` is the watched program here; the violation's own is ``guard_target``.
        """
        return self.violation.to_dict() | self._origin() | self._circumstances()

    def select(self, violation_fields: Iterable[str]) -> dict[str, Any]:
        """The hit's own fields, and some of the violation's between them, in the order of the log."""
        return self._origin() | self.violation.select(violation_fields) | self._circumstances()

    def _origin(self) -> dict[str, Any]:
        return {
            "timestamp": rfc3339(self.time_ns),
            "target": self.target,
            "pid": self.pid,
            "thread_id": self.thread_id,
        }

    def _circumstances(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "behavior": self.behavior,
            "reply": self.reply,
            "kernel": self.kernel,
            "release": self.release,
            "source": self.source,
            "seq": self.seq,
            "recovered": self.recovered,
            "inherited": self.inherited,
        }
        if self.executable is not None:
            found |= {"process": PurePath(self.executable).name, "executable": self.executable}
        if self.pc is not None:
            found |= {"pc": f"{self.pc:#x}", "lr": f"{self.lr or 0:#x}", "sp": f"{self.sp or 0:#x}"}
        if self.place is not None:
            found |= self.place.fields()
        if self.report:
            found |= {"report": self.report, "frames": self.frames}
        if (site := self.site) is not None:
            found |= {"site_id": site.id, "site_precision": site.precision}
        return found


def rfc3339(time_ns: int) -> str:
    """Nanoseconds since the epoch as RFC 3339 in UTC, to the microsecond: "2026-03-01T12:00:00.000001Z"."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{second(seconds)}.{rest // 1000:06d}Z"


@lru_cache(maxsize=16)
def second(seconds: int) -> str:
    """The part of it before the fraction. Kept: the hits of a burst share it, and it takes the longest."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
