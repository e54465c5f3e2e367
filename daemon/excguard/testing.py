"""Hits, a sink and a source for the tests of your own code, such as a sink or a script that reads the log.

A hit is made here as the daemon makes it, by the same decoder; no program, kernel or C extension takes part::

    >>> from excguard.testing import simulated_hit
    >>> hit = simulated_hit("INVALID_NAME", target="mail")
    >>> hit.violation.flavor_name, str(hit.violation.severity), hit.target
    ('INVALID_NAME', 'optional', 'mail')

What such a hit states about its kernel is "simulated". docs/testing.md has more examples.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from excguard.config import Config
from excguard.decoding.code import join, unsigned
from excguard.decoding.pages import suggest
from excguard.decoding.violation import Violation
from excguard.knowledge import flavors, guards, releases
from excguard.pipeline.hit import Hit
from excguard.pipeline.sink import Level, Sink
from excguard.pipeline.source import ExternalHit, Reporter
from excguard.pipeline.suppressed import Suppressed

__all__ = ["FakeReporter", "FakeSink", "FakeSource", "simulated_hit"]

PORT = 0x2703
"""The port name of the example in Apple's page about guard exceptions: 9987."""

TIME_NS = 1_772_366_400_000_000_000
"""2026-03-01T12:00:00Z."""


def simulated_hit(
    guard: str | int = "INVALID_NAME",
    subcode: int = 0,
    *,
    number: int = PORT,
    release: str = "macOS 26.4",
    **fields: Any,  # noqa: ANN401 - each has the type that `Hit` gives it
) -> Hit:
    """A hit, as the daemon hands it to sinks.

    Args:
        guard: the name of a flavor ("INVALID_NAME", "FD CLOSE", an alias), or a whole 64-bit code.
        subcode: the payload, 64 bits.
        number: the low 32 bits of the code when ``guard`` is a name: a port name, a file descriptor.
        release: the system on which it happens, in a form that `excguard decode --os` takes.
        fields: other fields of `excguard.pipeline.hit.Hit`, such as ``target``, ``pid`` and ``time_ns``, or a
            ``violation`` in place of the one that the numbers mean. The defaults are those of a live hit of
            the target "app", pid 4242, on 2026-03-01T12:00:00Z.

    Raises:
        ValueError: no flavor of that release has that name, or the release cannot be read; the text says
            which names are similar.
        TypeError: `Hit` does not have such a field.
    """
    placed = releases.parse(release)
    code = guard if isinstance(guard, int) else _code(guard, number, placed.version, release)
    usual = {
        "code": unsigned(code, "guard"),
        "subcode": unsigned(subcode, "subcode"),
        "target": "app",
        "pid": 4242,
        "thread_id": 77,
        "time_ns": TIME_NS,
        "behavior": "identity_protected",
        "reply": "forward",
        "kernel": "simulated",
        "release": release,
        "seq": 0,
        "recovered": False,
        "inherited": False,
    }
    if (violation := fields.pop("violation", None)) is not None:
        usual |= {"code": violation.code, "subcode": violation.subcode, "decoded": violation}
    return Hit(**{**usual, **fields})


def _code(name: str, number: int, version: int, release: str) -> int:
    first, _, rest = name.partition(" ")
    guard_type = guards.type_named(first) if rest else None
    for flavor in guards.named(rest if guard_type else name, guard_type):
        if flavor in flavors.at(flavor.guard_type, flavor.value, version):
            return join(guards.NUMBERS[flavor.guard_type], flavor.value, number)
    similar = f"; similar: {', '.join(names)}" if (names := suggest(name)) else ""
    raise ValueError(f"invalid guard flavor: {name!r} does not exist on {release}{similar}")


class FakeSink(Sink):
    """A sink that keeps what it is given.

    Attributes:
        works: False makes it a sink that cannot write: what it takes waits until `flush` is called while it
            is True again.
        hits: the hits that were written.
        groups: the counts of further hits of a site that were written.
        events: names and fields of the events that were written.
        closed: `close` was called.
    """

    durable: ClassVar[bool] = True

    def __init__(self, name: str = "fake") -> None:
        """Start with nothing written."""
        self.name = name
        self.works = True
        self.hits: list[Hit] = []
        self.groups: list[Suppressed] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.closed = False
        self._failures = 0
        self._waiting: list[tuple[list[Any], Any]] = []

    @property
    def failures(self) -> int:
        """Calls of `flush` that could not write."""
        return self._failures

    @property
    def waiting(self) -> int:
        """How much was taken and is not written yet."""
        return len(self._waiting)

    def hit(self, hit: Hit) -> None:
        """Take a hit; `flush` writes it."""
        self._waiting.append((self.hits, hit))

    def suppressed(self, group: Suppressed, target: str, violation: Violation) -> None:  # noqa: ARG002 - of a Sink
        """Take a count of hits; `flush` writes it."""
        self._waiting.append((self.groups, group))

    def event(self, level: Level, name: str, fields: Mapping[str, Any]) -> None:  # noqa: ARG002 - of a Sink
        """Take an event; `flush` writes it."""
        self._waiting.append((self.events, (name, dict(fields))))

    def flush(self) -> bool:
        """Write what was taken; False while it does not work."""
        if self._waiting and not self.works:
            self._failures += 1
            return False
        for written, what in self._waiting:
            written.append(what)
        self._waiting.clear()
        return True

    def forget(self) -> None:
        """Lose what was taken and not written, as when a process is killed."""
        self._waiting.clear()

    def close(self) -> bool:
        """Flush for the last time."""
        self.closed = True
        return self.flush()


class FakeReporter:
    """Keeps what a source reports.

    Attributes:
        hits: guard exceptions.
        failures: kind and example of each thing that could not be read.
        events: names and fields.
    """

    def __init__(self) -> None:
        """Start with nothing reported."""
        self.hits: list[ExternalHit] = []
        self.failures: list[tuple[str, str]] = []
        self.events: list[tuple[str, dict[str, Any]]] = []

    def hit(self, hit: ExternalHit) -> None:
        """Keep a guard exception."""
        self.hits.append(hit)

    def failure(self, kind: str, example: str) -> None:
        """Keep a failure."""
        self.failures.append((kind, example))

    def event(self, level: Level, name: str, **fields: Any) -> None:  # noqa: ANN401, ARG002 - of a Reporter
        """Keep an event."""
        self.events.append((name, fields))


class FakeSource:
    """A source that reports the hits it was made with, and ends."""

    name: ClassVar[str] = "fake"
    one_per_process: ClassVar[bool] = False

    def __init__(self, hits: Iterable[Hit], process: str = "app") -> None:
        """Prepare.

        Args:
            hits: such as of `simulated_hit`; the code, subcode, pid and time of each is reported.
            process: the name of the process that all of them are of.
        """
        self._hits = [
            ExternalHit(
                hit.pid or 0,
                process,
                hit.code,
                hit.subcode,
                hit.time_ns,
            )
            for hit in hits
        ]

    def enabled(self, config: Config) -> bool:  # noqa: ARG002 - of a Source
        """Whatever the configuration says."""
        return True

    def processes(self, config: Config) -> tuple[str, ...]:  # noqa: ARG002 - of a Source
        """Every process counts."""
        return ("*",)

    def revision(self, config: Config) -> object:  # noqa: ARG002 - of a Source
        """A reload does not start it anew."""
        return None

    async def follow(self, config: Config, report: Reporter) -> None:  # noqa: ARG002 - of a Source
        """Report the hits."""
        for hit in self._hits:
            report.hit(hit)
