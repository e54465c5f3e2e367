"""A process of a target, as far as excguard has seen it."""

from typing import NamedTuple


class OwnProcess(NamedTuple):
    """A process of a run.

    Attributes:
        pid: its process id.
        started_ns: when excguard started it, nanoseconds since the epoch; None for others.
        seen_ns: when it was last known to be one, likewise.
        fatal: whether it had a hit that ends a process.
    """

    pid: int
    started_ns: int | None
    seen_ns: int
    fatal: bool
