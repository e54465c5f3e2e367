"""A sink: where hits and events end.

A sink is one class in a file of its own, and one line of registration where the sinks of a configuration are
opened (`sinks/registry.py`). The pipeline gives each sink a thread of its own (`sink_worker.py`) and calls
it there alone, so a sink may wait for a disk, a pipe or a peer without holding up anything else.

* A *durable* sink (the log) has every hit. What it has not written stays in the journal, at a place that is
  this sink's own: while it is stuck the others go on, and after a crash it is given the rest again.
* A *best-effort* sink (the live page) has a bounded queue. What it is too slow for is dropped and counted. It
  is given more although it could not flush, and bounds what it keeps itself (`Sink.dropped`).

Of each site the first hits come in full (`Sink.hit`), further ones as a count once a second
(`Sink.suppressed`); `rate_limit.py` decides.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from excguard.config import Log
from excguard.decoding.violation import Violation
from excguard.knowledge.severity import LogLevel
from excguard.pipeline.hit import Hit
from excguard.pipeline.suppressed import Suppressed

Level = LogLevel


class Sink(ABC):
    """Receives hits and events, on a thread of its own."""

    name: str
    """What metrics and errors call it; different for each sink of a service."""

    durable: ClassVar[bool]
    """Whether it holds a place in the journal; see the module."""

    @property
    def failures(self) -> int:
        """Attempts to write or send that failed. Read by any thread."""
        return 0

    @property
    def dropped(self) -> int:
        """Hits that it was given and will not deliver. Read by any thread."""
        return 0

    @property
    def progress(self) -> int:
        """Grows whenever something was written or sent: by it a slow sink differs from a stuck one."""
        return 0

    def limits(self, log: Log) -> Log:
        """How many hits of a site it receives in full: as ``log`` says, unless it has a limit of its own."""
        return log

    @abstractmethod
    def hit(self, hit: Hit) -> None:
        """Take one hit."""

    @abstractmethod
    def suppressed(self, group: Suppressed, target: str, violation: Violation) -> None:
        """Take the count of the further hits of a site; ``violation`` is the first of them."""

    def event(self, level: Level, name: str, fields: Mapping[str, Any]) -> None:  # noqa: B027 - optional
        """Take an event of excguard itself, such as ``target_started``. Most sinks ignore them."""

    def flush(self) -> bool:
        """Write or send what was taken. False when some of it has to wait: it is called again later."""
        return True

    def close(self) -> bool:
        """Flush for the last time and release everything; False when something was left unwritten."""
        return self.flush()
