"""The hits since the start by site, for the summary that closes a run."""

from dataclasses import dataclass

from excguard.pipeline.journal import Record
from excguard.pipeline.record import RecordDecoder, site_of
from excguard.pipeline.target_names import TargetNames

MAX_SITES = 10_000
"""Sites whose hits are counted apart; further ones of a target are counted together."""


@dataclass(slots=True)
class SiteTally:
    """All hits that one site has had since the start, with the numbers of the first."""

    target: str
    code: int
    subcode: int
    release: str
    pc: int
    source: str
    hits: int = 0


class Tally:
    """Counts the hits of one source by site."""

    def __init__(self, decoder: RecordDecoder, names: TargetNames) -> None:
        """Begin at zero."""
        self._sites: dict[tuple[int, int, int], SiteTally] = {}
        self._decoder = decoder
        self._names = names

    @property
    def sites(self) -> list[SiteTally]:
        """The counts."""
        return list(self._sites.values())

    def add(self, record: Record, hits: int = 1) -> None:
        """Count hits of the site of ``record``, which is the first of them."""
        site = site_of(record)
        found = self._sites.get(site)
        if found is None:
            if len(self._sites) >= MAX_SITES:
                site = (site[0], -1, 0)
            found = self._sites.setdefault(site, self._first(site, record))
        found.hits += hits

    def _first(self, site: tuple[int, int, int], record: Record) -> SiteTally:
        return SiteTally(
            self._names.name(site[0]),
            record.code,
            record.subcode,
            self._decoder.release(record.release),
            site[2],
            self._decoder.source,
        )
