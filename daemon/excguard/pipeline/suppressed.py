"""The hits of one site that a summary stands for."""

from typing import NamedTuple

from excguard.pipeline.hit import LIVE


class Site(NamedTuple):
    """Where hits of one kind come from. ``guard`` is the upper half of the code: guard type and flavor."""

    target_id: int
    guard: int
    pc: int


class Suppressed(NamedTuple):
    """The hits of one site that were counted instead of logged."""

    site: Site | None  # None: of several sites
    target_id: int
    code: int  # of the first of them
    subcode: int
    release: int  # that it was raised on, as the journal has it
    hits: int
    first_seq: int
    last_seq: int
    first_ns: int
    last_ns: int
    seqs: tuple[tuple[int, int], ...]  # recovered hits only: the ranges of all their sequence numbers
    source: str = LIVE  # what reported them
