"""The hits since the start by site, for the summary that closes a run."""

from dataclasses import dataclass, field

from excguard.decoding.site import Site
from excguard.pipeline.journal import Record
from excguard.pipeline.record import RecordDecoder, site_of
from excguard.pipeline.target_names import TargetNames

MAX_SITES = 10_000
"""Sites whose hits are counted apart; further ones of a target are counted together."""

MAX_PORTS = 1000
"""Different ports of a site that are counted."""


@dataclass(slots=True)
class SiteTally:
    """All hits that one site has had since the start, with the numbers of the first.

    Attributes:
        target: the name of the target.
        code: of the first hit.
        subcode: likewise.
        release: likewise.
        pc: its program counter; 0 when not known.
        source: what reported it.
        site: what identifies it across runs; hits with other program counters can have the same.
        report: the path of the crash report that showed it; empty when none did.
        frames: the stack of that report, innermost first.
        hits: how many.
        ports: the different port names (or descriptors) of the hits, if counted; `MAX_PORTS` at most.
    """

    target: str
    code: int
    subcode: int
    release: str
    pc: int
    source: str
    site: Site
    report: str = ""
    frames: tuple[str, ...] = ()
    hits: int = 0
    ports: set[int] = field(default_factory=set)


class Tally:
    """Counts the hits of one source by site.

    Attributes:
        counts_ports: whether the different ports of a site are counted, too.
    """

    def __init__(self, decoder: RecordDecoder, names: TargetNames) -> None:
        """Begin at zero."""
        self._found: dict[tuple[int, int, int, str], SiteTally] = {}
        self._sites: dict[tuple[int, int, Site], SiteTally] = {}
        self._decoder = decoder
        self._names = names
        self.counts_ports = False

    @property
    def sites(self) -> list[SiteTally]:
        """The counts."""
        return list(self._sites.values())

    def add(self, record: Record, hits: int = 1) -> None:
        """Count hits of the site of ``record``, which is the first of them."""
        key = (*site_of(record), self._decoder.program(record))
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= MAX_SITES:
                key = (key[0], -1, 0, "")
            found = self._found.get(key)
            if found is None:
                found = self._found[key] = self._site(key[2], record)
        found.hits += hits
        if self.counts_ports:
            _add_port(found, record)

    def add_port(self, record: Record) -> None:
        """Count the port of a hit that is one of those that were counted by `add`."""
        found = self._found.get((*site_of(record), self._decoder.program(record)))
        if found is not None:
            _add_port(found, record)

    def _site(self, pc: int, record: Record) -> SiteTally:
        """The counts that those of a new program counter belong to."""
        site = self._decoder.site(record)
        # Without a place, program counters are all that distinguishes the calls of one run.
        key = (record.target_id, pc if site.place is None else 0, site)
        found = self._sites.get(key)
        if found is None:
            found = self._sites[key] = self._first(pc, site, record)
        return found

    def _first(self, pc: int, site: Site, record: Record) -> SiteTally:
        report = self._decoder.report(record)
        return SiteTally(
            self._names.name(record.target_id),
            record.code,
            record.subcode,
            self._decoder.release(record.release),
            pc,
            self._decoder.source,
            site,
            report.path if report else "",
            report.frames if report else (),
        )


def _add_port(found: SiteTally, record: Record) -> None:
    if len(found.ports) < MAX_PORTS:
        found.ports.add(record.code & 0xFFFFFFFF)  # the target of the code
