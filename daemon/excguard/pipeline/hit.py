"""A guard hit: a violation, and the circumstances in which a watched program committed it."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from msgspec import Struct

from excguard.decoding.violation import Violation


class Source(StrEnum):
    """Where a hit was seen; the ``source`` of the log."""

    LIVE = "live"
    CRASH_REPORT = "crash_report"
    UNIFIED_LOG = "unified_log"


class Hit(Struct, frozen=True, kw_only=True):
    """One hit, as the sinks see it.

    ``pc``, ``lr`` and ``sp`` are None unless the target is watched with ``state_identity_protected``.
    """

    violation: Violation
    target: str
    pid: int | None  # None when nobody could say
    thread_id: int | None  # this, `behavior` and `reply` are None for what came to no exception port
    time_ns: int  # since the epoch, when the receiver took the message
    behavior: str | None
    reply: str | None  # what was answered: "forward" or "consume"
    kernel: str  # "xnu-..." or "simulated"
    release: str
    seq: int  # the journal's number; the same hit bears the same number, however often it is logged
    recovered: bool  # read from the journal of an excguard that ended before it had logged the hit
    inherited: bool  # of a process that inherited the exception port, not the target's own
    source: str = "live"  # or "crash_report", "unified_log"; `seq` counts for each source apart
    pc: int | None = None
    lr: int | None = None
    sp: int | None = None

    def circumstances(self) -> dict[str, Any]:
        """What the log and the page tell beside the violation; addresses as hex strings."""
        told = {
            "behavior": self.behavior,
            "reply": self.reply,
            "kernel": self.kernel,
            "release": self.release,
            "source": self.source,
            "seq": self.seq,
            "recovered": self.recovered,
            "inherited": self.inherited,
        }
        if self.pc is not None:
            told |= {"pc": f"{self.pc:#x}", "lr": f"{self.lr or 0:#x}", "sp": f"{self.sp or 0:#x}"}
        return told


def rfc3339(time_ns: int) -> str:
    """Nanoseconds since the epoch as RFC 3339 in UTC, to the microsecond: "2026-03-01T12:00:00.000001Z"."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"
