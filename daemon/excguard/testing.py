"""Hits for the tests of your own code, such as a script that reads excguard's log or a sink of yours.

A hit is made here as the daemon makes it, by the same decoder; no program, kernel or C extension takes part::

    >>> from excguard.testing import simulated_hit
    >>> hit = simulated_hit("INVALID_NAME", target="mail")
    >>> hit.violation.flavor_name, str(hit.violation.severity), hit.target
    ('INVALID_NAME', 'optional', 'mail')

What such a hit states about its kernel is "simulated".
"""

from typing import Any

from excguard.decoding.code import join
from excguard.decoding.decode import decode
from excguard.decoding.pages import suggest
from excguard.knowledge import flavors, guards, releases
from excguard.pipeline.hit import Hit

__all__ = ["simulated_hit"]

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
        fields: other fields of `excguard.pipeline.hit.Hit`, such as ``target``, ``pid`` and ``time_ns``.
            The defaults are those of a live hit of the target "app", pid 4242, on 2026-03-01T12:00:00Z.

    Raises:
        ValueError: no flavor of that release has that name, or the release cannot be read; the text says
            which names are similar.
        TypeError: `Hit` does not have such a field.
    """
    placed = releases.parse(release)
    code = guard if isinstance(guard, int) else _code(guard, number, placed.version, release)
    usual = {
        "violation": decode(code, subcode, release),
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
    return Hit(**{**usual, **fields})


def _code(name: str, number: int, version: int, release: str) -> int:
    first, _, rest = name.partition(" ")
    guard_type = guards.type_named(first) if rest else None
    for flavor in guards.named(rest if guard_type else name, guard_type):
        if flavor in flavors.at(flavor.guard_type, flavor.value, version):
            return join(guards.NUMBERS[flavor.guard_type], flavor.value, number)
    similar = f"; similar: {', '.join(names)}" if (names := suggest(name)) else ""
    raise ValueError(f"invalid guard flavor: {name!r} does not exist on {release}{similar}")
