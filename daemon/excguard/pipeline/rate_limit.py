"""Which hits are logged in full and which are counted, so that a storm cannot fill the disk.

A site is where hits of one kind come from: target, guard type with flavor, program counter. Of each site
the first hits of a window are logged in full; the rest is counted, exactly, until `SiteLimiter.take` hands
the counts over for one summary line each. A program can make up any number of sites (flavors are 29 bits
wide), so beyond the first few hundred of a window a target's new sites share one.
"""

from collections import Counter
from typing import Protocol

from excguard.pipeline.batch import Batch
from excguard.pipeline.suppressed import SiteKey, Suppressed

# Sites that a target can have in one window before new ones are counted together.
SITES_PER_TARGET = 512


class Record(Protocol):
    """What is read of a hit; a record of the journal has it."""

    @property
    def seq(self) -> int:
        """Its number."""

    @property
    def time_ns(self) -> int:
        """When it happened."""

    @property
    def code(self) -> int:
        """What happened."""

    @property
    def subcode(self) -> int:
        """The rest of that."""

    @property
    def release(self) -> int:
        """On which release."""


class _State:
    """The state of a site in its window."""

    __slots__ = (
        "code",
        "count",
        "first_ns",
        "first_seq",
        "last_ns",
        "last_seq",
        "release",
        "seqs",
        "start_ns",
        "subcode",
        "whole",
    )

    def __init__(self, start_ns: int) -> None:
        self.start_ns = start_ns
        self.whole = 0
        self.count = 0
        self.code = self.subcode = self.release = 0
        self.first_seq = self.last_seq = 0
        self.first_ns = self.last_ns = 0
        self.seqs: list[list[int]] = []


class SiteLimiter:
    """Counts hits by site. Times are those of the hits, so the same journal always gives the same log."""

    def __init__(self, first: int, window: float, *, sites_per_target: int = SITES_PER_TARGET) -> None:
        """Let ``first`` hits of a site pass in each ``window`` seconds."""
        self.change(first, window)
        self._sites_per_target = sites_per_target
        self._states: dict[tuple[int, int, int], _State] = {}
        self._sites: Counter[int] = Counter()
        self._waiting: dict[tuple[int, int, int], _State] = {}
        self._now_ns = 0
        self.suppressed: Counter[int] = Counter()  # by target id, since the start

    def change(self, first: int, window: float) -> None:
        """From now on let ``first`` hits of a site pass in each ``window`` seconds."""
        self._first = first
        self._window_ns = int(window * 1_000_000_000)

    def admit(self, site: tuple[int, int, int], record: Record, *, recovered: bool = False) -> bool:
        """Whether this hit of ``site`` (parts as in `SiteKey`) is logged in full; otherwise it is counted."""
        time_ns = record.time_ns
        state = self._states.get(site)
        if state is None:
            target_id = site[0]
            if self._sites[target_id] >= self._sites_per_target:
                site = (target_id, -1, 0)
                state = self._states.get(site)
            if state is None:
                state = self._states[site] = _State(time_ns)
                self._sites[target_id] += 1
        self._now_ns = time_ns
        if (
            not 0 <= time_ns - state.start_ns < self._window_ns
        ):  # the window has passed, or the clock went back
            state.start_ns = time_ns
            state.whole = 0
        if state.whole < self._first:
            state.whole += 1
            return True
        seq = record.seq
        if not state.count:
            self._waiting[site] = state
            state.code, state.subcode, state.release = record.code, record.subcode, record.release
            state.first_seq, state.first_ns = seq, time_ns
        state.count += 1
        state.last_seq, state.last_ns = seq, time_ns
        self.suppressed[site[0]] += 1
        if recovered:
            if state.seqs and state.seqs[-1][1] == seq - 1:
                state.seqs[-1][1] = seq
            else:
                state.seqs.append([seq, seq])
        return False

    def count(self, batch: Batch) -> bool:
        """As `admit` for each record of ``batch``, if none of them is to be logged in full.

        Returns:
            False when one may be: then nothing has changed, and each record has to be asked for.
        """
        states = []
        for site in batch.counts:
            state = self._states.get(site)
            if (
                state is None
                or state.whole < self._first
                or batch.earliest_ns < state.start_ns
                or batch.latest_ns - state.start_ns >= self._window_ns
            ):
                return False
            states.append(state)
        for (site, hits), state in zip(batch.counts.items(), states, strict=True):
            last = batch.record(batch.last[site])
            if not state.count:
                first = batch.record(batch.first[site])
                self._waiting[site] = state
                state.code, state.subcode, state.release = first.code, first.subcode, first.release
                state.first_seq, state.first_ns = first.seq, first.time_ns
            state.count += hits
            state.last_seq, state.last_ns = last.seq, last.time_ns
            self.suppressed[site[0]] += hits
        self._now_ns = batch.record(batch.count - 1).time_ns
        return True

    @property
    def waiting(self) -> bool:
        """Whether hits have been counted since the last `take`."""
        return bool(self._waiting)

    def take(self) -> list[Suppressed]:
        """The counts since the last call, by site. Sites whose window has passed are forgotten."""
        taken = [
            Suppressed(
                site=SiteKey(*site) if site[1] >= 0 else None,
                target_id=site[0],
                code=state.code,
                subcode=state.subcode,
                release=state.release,
                hits=state.count,
                first_seq=state.first_seq,
                last_seq=state.last_seq,
                first_ns=state.first_ns,
                last_ns=state.last_ns,
                seqs=tuple((first, last) for first, last in state.seqs),
            )
            for site, state in self._waiting.items()
        ]
        for state in self._waiting.values():
            state.count = 0
            state.seqs.clear()
        self._waiting.clear()
        for site in [
            s for s, state in self._states.items() if self._now_ns - state.start_ns >= self._window_ns
        ]:
            del self._states[site]
            self._sites[site[0]] -= 1
        return taken
