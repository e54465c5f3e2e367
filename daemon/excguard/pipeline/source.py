"""A source: what reports hits that came to no exception port.

A source is one class in a file of its own, and one line of registration (`sources/registry.py`). It reports
what it finds; whether that is a hit that was counted before, and of which target, the collector decides
(`sources/collector.py`). Each source has a journal and a stream of its own.

Hits that came to an exception port have the source `hit.LIVE`.
"""

from typing import Any, ClassVar, Protocol

from excguard.config import Config
from excguard.decoding.site import Place
from excguard.knowledge.record import Record
from excguard.pipeline.sink import Level


class ExternalHit(Record):
    """One guard exception, as a source reports it.

    Attributes:
        pid: of the process; 0 where the source does not say.
        process: its name; empty where the source does not say.
        code: the 64-bit code.
        subcode: the 64-bit subcode; None where the source does not say.
        time_ns: when it happened, nanoseconds since the epoch.
        started_ns: when the process was started, likewise; None where the source does not say.
        place: where in the code, outside of the system's libraries; None where the source does not say.
        report: the path of the file that reports it; empty when there is none.
        frames: the stack, innermost first; empty where the source does not say.

    Raises:
        ValueError: a number is out of range: 31 bits for a pid, 64 for a code, 1970 to 2262 for a time.
    """

    pid: int
    process: str
    code: int
    subcode: int | None
    time_ns: int
    started_ns: int | None = None
    place: Place | None = None
    report: str = ""
    frames: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the numbers: they come from files and programs of others."""
        for name, value, bits in (
            ("pid", self.pid, 31),
            ("code", self.code, 64),
            ("subcode", self.subcode or 0, 64),
            ("time", self.time_ns, 63),
            ("start time", self.started_ns or 0, 63),
        ):
            if not 0 <= value < 1 << bits:
                raise ValueError(f"{name} out of range: {value}")


class Reporter(Protocol):
    """What a source reports to, on the main loop's thread."""

    def hit(self, hit: ExternalHit) -> None:
        """A guard exception."""

    def failure(self, kind: str, example: str) -> None:
        """Something that cannot be read: its kind, for metrics, and what it is."""

    def event(self, level: Level, name: str, **fields: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Something that happened to the source itself."""


class Source(Protocol):
    """Follows something that hits are reported in."""

    name: ClassVar[str]
    """The ``source`` of logs and metrics, and the suffix of its journal's name."""

    one_per_process: ClassVar[bool]
    """Whether it reports the guard that ended a process (a crash report) rather than each guard (a log)."""

    def enabled(self, config: Config) -> bool:
        """Whether the configuration asks for it."""

    def processes(self, config: Config) -> tuple[str, ...]:
        """Patterns of the names of processes that count although no target started them."""

    def revision(self, config: Config) -> object:
        """What it is started with: when this changes in a reload, the source is started anew."""

    async def follow(self, config: Config, report: Reporter) -> None:
        """Report until cancelled, or until there is no more to come. Raises OSError, RuntimeError."""
