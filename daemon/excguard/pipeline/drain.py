"""From the journal into the logs: each hit whole or counted, and none of them only almost told.

Records are given back to the journal after every line that tells of them has been written, and not before.
So a kill at any moment means that the next start logs them again, with the same ``seq`` and marked as
recovered, and never that they are missing.

Hits that are summed up are told when their summary is written. So their records stay in the journal until
then: for a second at most, and less when they fill half the ring or reach its end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from excguard.decoding.decode import decode
from excguard.decoding.violation import Violation
from excguard.knowledge import releases
from excguard.mach.host import Host
from excguard.native import lib
from excguard.pipeline.hit import Hit, Source
from excguard.pipeline.journal import Journal, Record
from excguard.pipeline.rate_limit import SiteLimiter, Suppressed
from excguard.pipeline.target_names import TargetNames

_BATCH = 2048  # records between two looks at everything else that waits
_BEHAVIORS = {4: "identity_protected", 5: "state_identity_protected"}  # mach/exception_types.h
_MOST_SITES = 10_000  # of which the tally keeps the counts apart


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


class Sink(Protocol):
    """Where hits go."""

    def hit(self, hit: Hit) -> None:
        """One hit, whole."""

    def suppressed(self, group: Suppressed, target: str, violation: Violation) -> None:
        """The hits of a site that were counted instead; ``violation`` is the first of them."""

    def flush(self) -> bool:
        """Tell what has gathered; False when some of it has to wait."""


class Drain:
    """Reads the journal; the only one to do so.

    Attributes:
        tally: the hits since the start, by site. Recovered ones belong to an earlier start and are not in it.
        own_pids: by target number, every process that was the target's own.
        on_record: told of each record before it is logged.
    """

    def __init__(  # noqa: PLR0913 - what it stands between
        self,
        journal: Journal,
        logs: Sequence[Sink],
        limiter: SiteLimiter,
        names: TargetNames,
        host: Host,
        *,
        source: Source = Source.LIVE,
    ) -> None:
        """Read ``journal``, which ``source`` fills, into each of ``logs``, as ``limiter`` lets through."""
        self.tally: dict[tuple[int, int, int], SiteTally] = {}
        self.own_pids: dict[int, set[int]] = {}
        self.on_record: Callable[[Record], None] | None = None
        self._journal = journal
        self._logs = logs
        self._limiter = limiter
        self._names = names
        self._host = host
        self._source = source
        self._read = 0  # records that have been dealt with and not yet given back
        self._stuck = False  # a log could not be written, and lines wait for it

    def batch(self) -> bool:
        """Deal with some records. True when more can be dealt with at once."""
        if self._stuck and not self.flush():
            return False
        pending = self._journal.pending
        records, there = self._journal.peek(self._journal.capacity)
        if there == self._read:
            # All of this stretch is dealt with. When more waited beyond the ring's end, the stretch has to be
            # given back before they can be seen.
            return pending > there and self.settle()
        until = min(there, self._read + _BATCH)
        recovered = self._journal.recovered_until - records[self._read].seq
        if recovered > 0:
            until = min(until, self._read + recovered)
        elif recovered == 0 and self._limiter.waiting:  # no summary is of old and new hits at once
            return self.settle()
        for index in range(self._read, until):
            self._deal_with(records[index], recovered=recovered > 0)
        self._read = until
        if not self._limiter.waiting or self._read * 2 >= self._journal.capacity:
            return self.settle()
        return self.flush()

    def all(self) -> bool:
        """Deal with every record there is and tell every count. False when a log did not take it all."""
        while self.batch():
            pass
        return self.settle() and not self._journal.pending

    def settle(self) -> bool:
        """Tell the counts of suppressed hits, then `flush`."""
        for group in self._limiter.take():
            violation = decode(group.code, group.subcode, self._release(group.release))
            for log in self._logs:
                log.suppressed(
                    group._replace(source=self._source.value), self._names.name(group.target_id), violation
                )
        return self.flush()

    def flush(self) -> bool:
        """Write the logs, and give back what they have told; False when some of it has to wait."""
        unwritten = [log for log in self._logs if not log.flush()]
        self._stuck = bool(unwritten)
        if not self._stuck and not self._limiter.waiting:
            self._journal.advance(self._read)
            self._read = 0
        return not self._stuck

    def _deal_with(self, record: Any, *, recovered: bool) -> None:  # noqa: ANN401 - a cffi pointer
        """Log one record, or count it."""
        if self.on_record is not None:
            self.on_record(record)
        registers = record.flags & lib.EXCGUARD_RECORD_REGISTERS
        site = (record.target_id, record.code >> 32, record.pc if registers else 0)
        if not recovered:
            tally = self.tally.get(site) or self._new_tally(site, record)
            tally.hits += 1
        if self._limiter.admit(site, record, recovered=recovered):
            hit = self._hit(record, recovered=recovered)
            for log in self._logs:
                log.hit(hit)

    def _new_tally(self, site: tuple[int, int, int], record: Any) -> SiteTally:  # noqa: ANN401 - a cffi pointer
        if len(self.tally) >= _MOST_SITES:
            site = (site[0], -1, 0)
        name = self._names.name(site[0])
        new = SiteTally(
            name, record.code, record.subcode, self._release(record.release), site[2], self._source
        )
        return self.tally.setdefault(site, new)

    def _hit(self, record: Any, *, recovered: bool) -> Hit:  # noqa: ANN401 - a cffi pointer
        release = self._release(record.release)
        registers = bool(record.flags & lib.EXCGUARD_RECORD_REGISTERS)
        live = self._source is Source.LIVE
        inherited = bool(record.flags & lib.EXCGUARD_RECORD_INHERITED)
        if live and not recovered and not record.flags & lib.EXCGUARD_RECORD_PID_UNKNOWN:
            # A program, and what it starts, can break a rule before the receiver has the program's pid.
            inherited = record.pid not in self.own_pids.get(record.target_id, ())
        subcode = None if record.flags & lib.EXCGUARD_RECORD_NO_SUBCODE else record.subcode
        return Hit(
            violation=decode(record.code, subcode, release),
            target=self._names.name(record.target_id),
            pid=None if record.flags & lib.EXCGUARD_RECORD_PID_UNKNOWN else record.pid,
            thread_id=record.thread_id if live else None,
            time_ns=record.time_ns,
            behavior=_BEHAVIORS.get(record.behavior, str(record.behavior)) if live else None,
            reply=("consume" if record.reply == lib.KERN_SUCCESS else "forward") if live else None,
            kernel=self._host.kernel,
            release=f"macOS {release}",
            seq=record.seq,
            recovered=recovered,
            inherited=inherited,
            source=self._source.value,
            pc=record.pc if registers else None,
            lr=record.lr if registers else None,
            sp=record.sp if registers else None,
        )

    def _release(self, release: int) -> str:
        """The release of a record as people write it; the running one when the record has none."""
        return releases.show(release) if release else self._host.release
