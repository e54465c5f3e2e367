"""What another source than an exception port tells of a hit."""

from collections.abc import Callable
from dataclasses import dataclass

from excguard.pipeline.hit import Source


@dataclass(frozen=True)
class Sighting:
    """One guard exception, as a source tells of it.

    Attributes:
        source: which source.
        pid: of the process; 0 where the source does not say.
        process: its name; empty where the source does not say.
        code: the 64-bit code.
        subcode: the 64-bit subcode; None where the source does not say.
        time_ns: when it happened, nanoseconds since the epoch.
        started_ns: when the process was started, likewise; None where the source does not say.
    """

    source: Source
    pid: int
    process: str
    code: int
    subcode: int | None
    time_ns: int
    started_ns: int | None = None


OnSighting = Callable[[Sighting], None]
# Something that should have told of a hit and cannot be read: the source, the kind of failure, what it was.
OnFailure = Callable[[Source, str, str], None]
