"""The hits of one site that a summary stands for."""

from typing import NamedTuple

from excguard.pipeline.hit import LIVE


class SiteKey(NamedTuple):
    """What distinguishes sites within one run: the program counter stands for the place in the code.

    `decoding.site.Site` is the site across runs. ``guard`` is the upper half of the code: type and flavor.
    """

    target_id: int
    guard: int
    pc: int


class Suppressed(NamedTuple):
    """The hits of one site that were counted instead of logged."""

    site: SiteKey | None  # None: of several sites
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
