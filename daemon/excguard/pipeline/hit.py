"""A guard hit: a violation and its circumstances, and the one form in which JSON, log and page show it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from msgspec import Struct

from excguard.decoding.violation import Violation

LIVE = "live"
"""The ``source`` of hits that the receiver took from an exception port."""


class Hit(Struct, frozen=True, kw_only=True):
    """One hit, as the sinks see it.

    ``pc``, ``lr`` and ``sp`` are None unless the target is watched with ``state_identity_protected``.
    """

    violation: Violation
    target: str  # the watched program; the kernel's "target" is `violation.guard_target`
    pid: int | None  # None when it is not known
    thread_id: int | None  # this, `behavior` and `reply` are None for what came to no exception port
    time_ns: int  # since the epoch, when the receiver took the message
    behavior: str | None
    reply: str | None  # "forward" or "consume"
    kernel: str  # "xnu-..." or "simulated"
    release: str
    seq: int  # the journal's number; the same hit has the same number, however often it is logged
    recovered: bool  # from the journal of an excguard that ended before it had logged the hit
    inherited: bool  # of a process that inherited the exception port, not the target's own
    source: str = LIVE  # or the name of another source; `seq` counts for each source apart
    pc: int | None = None
    lr: int | None = None
    sp: int | None = None
    executable: str | None = None  # the path of the process's program; None when it is not known
    image: str | None = None  # the path of the file that `pc` lies in; None when it is not known
    image_uuid: str | None = None
    image_offset: int | None = None  # of `pc`

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
        found = {
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
        if self.image is not None:
            found |= {
                "image": self.image,
                "image_uuid": self.image_uuid,
                "image_offset": f"{self.image_offset or 0:#x}",
            }
        return found


def rfc3339(time_ns: int) -> str:
    """Nanoseconds since the epoch as RFC 3339 in UTC, to the microsecond: "2026-03-01T12:00:00.000001Z"."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"
