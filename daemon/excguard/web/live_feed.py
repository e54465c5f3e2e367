"""The live feed: what the page and `excguard top` show, for as many of them as look.

It is a sink beside the log and sees what the log sees: the first hits of a site whole, the rest as a count
once a second. So a storm costs it no more than it costs the log. Counts by flavor come from the journal, as
the metrics do, and are exact.

What has changed carries the number of the change. A viewer says up to which number it has seen everything and
gets what came later, in one message however much that is; so there are no queues, and somebody who reads
slowly gets fewer and larger messages. A viewer that comes back gets everything anew.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec

from excguard import __version__
from excguard.decoding.violation import PER_HIT, Violation
from excguard.pipeline.counters import (
    Counters,
    CountersClosedError,
    CountersSource,
    Exemplar,
    Labels,
    TargetState,
    labels_of,
)
from excguard.pipeline.hit import Hit, rfc3339
from excguard.pipeline.rate_limit import Suppressed

ROWS = 200  # hits that the page can look back on
TICK = 0.25  # seconds between two messages
IDLE_TICK = 5.0  # between two looks at the counters while nobody looks at us; also the step of the charts
STEPS = 120  # of the charts: ten minutes
BEAT = 10.0  # seconds of silence after which a viewer hears that we are still there
MOST_VIEWERS = 32


class Row:
    """A hit on the page, with those like it that were only counted."""

    __slots__ = ("change", "fields", "identity", "last_ns", "repeats")

    def __init__(self, identity: int, fields: Mapping[str, Any], time_ns: int) -> None:
        """A hit that nobody has seen yet."""
        self.identity = identity
        self.fields = fields
        self.last_ns = time_ns
        self.repeats = 0
        self.change = identity


class LiveFeed:
    """Gathers on the service's thread (`hit`, `suppressed`), tells on the endpoint's (`stream`)."""

    def __init__(self, source: CountersSource, *, kernel: str, release: str) -> None:
        """Counters come from ``source``; ``kernel`` and ``release`` are those of the running system."""
        self._source = source
        self._about = {"version": __version__, "kernel": kernel, "release": release, "started": time.time()}
        self.exemplars: dict[Labels, Exemplar] = {}
        """Of each series, the newest hit that is whole in the log."""
        self._lock = threading.Lock()
        self._change = 0
        self._rows: deque[Row] = deque(maxlen=ROWS)
        self._sites: dict[tuple[str, int, int], Row] = {}
        self._targets: dict[str, _Target] = {}
        self._counts: dict[Labels, _Count] = {}
        self._history = _History()
        self._health: dict[str, Any] = {}
        self._health_change = 0
        self._viewers = 0
        self._news = asyncio.Condition()
        self._somebody = asyncio.Event()

    # ---- the sink; on the service's thread ----

    def hit(self, hit: Hit) -> None:
        """One hit, whole."""
        violation = hit.violation
        labels = labels_of(hit.target, violation)
        with self._lock:
            self.exemplars[labels] = Exemplar(hit.seq, hit.time_ns)
            self._add((hit.target, violation.code >> 32, hit.pc or 0), _fields(hit), hit.time_ns)

    def suppressed(self, group: Suppressed, target: str, violation: Violation) -> None:
        """How many hits of a site were counted: they join the site's newest row, which comes to the top."""
        with self._lock:
            key = (target, group.site.guard, group.site.pc) if group.site else (target, -1, 0)
            row = self._sites.get(key)
            if row is None:
                row = self._add(key, _many(group, target, violation), group.last_ns)
            row.repeats += group.hits
            row.last_ns = max(row.last_ns, group.last_ns)
            self._change += 1
            row.change = self._change

    def flush(self) -> bool:
        """True: all is told."""
        return True

    def _add(self, site: tuple[str, int, int], fields: Mapping[str, Any], time_ns: int) -> Row:
        self._change += 1
        row = Row(self._change, fields, time_ns)
        if len(self._rows) == ROWS:
            gone = self._rows[0]
            self._sites = {key: kept for key, kept in self._sites.items() if kept is not gone}
        self._rows.append(row)
        self._sites[site] = row
        return row

    # ---- the teller; on the endpoint's thread ----

    async def watch(self) -> None:
        """Look at the counters again and again, and wake the viewers when something is new.

        Ends when there are no counters any more, or when it is cancelled.
        """
        told = -1
        while True:
            try:
                self.look()
            except CountersClosedError:
                return
            if self._change != told:
                told = self._change
                async with self._news:
                    self._news.notify_all()
            await asyncio.sleep(TICK)
            if not self._viewers:
                self._somebody.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_TICK):
                        await self._somebody.wait()

    def look(self) -> None:
        """Take note of what has changed in the counters."""
        counters = self._source.counters()
        with self._lock:
            self._look_at_targets(counters.targets)
            totals: dict[str, int] = {}
            hit_counts = counters.hits
            for labels, hits, last_ns in zip(
                hit_counts.labels, hit_counts.hits, hit_counts.last_ns, strict=True
            ):
                if not hits:
                    continue
                flavor = f"{labels.guard_type} {labels.flavor}"
                totals[flavor] = totals.get(flavor, 0) + hits
                count = self._counts.get(labels)
                if count is None:
                    count = self._counts[labels] = _Count(self._target_number(labels.target))
                if count.hits != hits:
                    self._change += 1
                    count.hits, count.last_ns, count.change = hits, last_ns, self._change
            self._change += 1
            if not self._history.add(time.time(), totals, self._change):
                self._change -= 1
            health = _health(counters)
            if health != self._health:
                self._change += 1
                self._health, self._health_change = health, self._change

    @property
    def full(self) -> bool:
        """Whether as many look on as may."""
        return self._viewers >= MOST_VIEWERS

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Server-sent events: ``state`` with everything, then ``update`` with what has changed since."""
        self._viewers += 1
        self._somebody.set()
        try:
            self.look()
            seen, message = self.message(-1)
            yield b"retry: 1000\nevent: state\ndata: " + message + b"\n\n"
            while True:
                if self._change == seen and not await self._wait():
                    yield b": still here\n\n"
                    continue
                seen, message = self.message(seen)
                if message == b"{}":
                    continue
                yield b"event: update\ndata: " + message + b"\n\n"
        finally:
            self._viewers -= 1

    async def _wait(self) -> bool:
        """True when there is news, False after a while without."""
        try:
            async with asyncio.timeout(BEAT), self._news:
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    def message(self, seen: int) -> tuple[int, bytes]:
        """The newest change's number, and what came after number ``seen`` (-1: all there is) as JSON."""
        with self._lock:
            hits = [
                {
                    **row.fields,
                    "id": row.identity,
                    "target": self._target_number(row.fields["target"]),
                    "repeats": row.repeats,
                    "last_timestamp": rfc3339(row.last_ns),
                }
                for row in self._rows
                if row.change > seen
            ]
            parts: dict[str, Any] = {
                "targets": [
                    {"id": target.number, "name": name, **target.state}
                    for name, target in self._targets.items()
                    if target.change > seen
                ],
                "counts": [
                    [count.target, *labels[1:], count.hits, count.last_ns // 1_000_000]
                    for labels, count in self._counts.items()
                    if count.change > seen
                ],
                "hits": hits,
                "history": self._history.since(seen),
            }
            told = {key: part for key, part in parts.items() if part}
            if self._health_change > seen:
                told["health"] = self._health
            if seen < 0:
                told["about"] = self._about
            return self._change, msgspec.json.encode(told)

    def _target_number(self, name: str) -> int:
        target = self._targets.get(name)
        if target is None:
            self._change += 1
            target = self._targets[name] = _Target(len(self._targets), self._change)
        return target.number

    def _look_at_targets(self, states: Mapping[str, TargetState]) -> None:
        for name, state in states.items():
            self._target_number(name)
            target = self._targets[name]
            now = {
                "configured": True,
                "up": state.up,
                "starts": state.starts,
                "exits": {reason: count for reason, count in state.exits.items() if count},
            }
            if now != target.state:
                self._change += 1
                target.state, target.change = now, self._change


class _Target:
    """A target's number in messages (its name may be long), and its state as last told."""

    __slots__ = ("change", "number", "state")

    def __init__(self, number: int, change: int) -> None:
        self.number = number
        self.change = change
        self.state: dict[str, Any] = {"configured": False, "up": False, "starts": 0, "exits": {}}


class _Count:
    """A hit series as last told."""

    __slots__ = ("change", "hits", "last_ns", "target")

    def __init__(self, target: int) -> None:
        self.target = target
        self.hits = 0
        self.last_ns = 0
        self.change = 0


class _History:
    """How many hits of each flavor came in each step of the last ten minutes: for the charts."""

    def __init__(self) -> None:
        self._steps: deque[tuple[int, dict[str, int], int]] = deque(maxlen=STEPS)  # step, hits, change
        self._before: dict[str, int] | None = None

    def add(self, now: float, totals: Mapping[str, int], change: int) -> bool:
        """Take the totals by flavor. Whether that changed something; then it is number ``change``."""
        before, self._before = self._before, dict(totals)
        if before is None:  # what an earlier life has counted is not of now
            return False
        came = {
            flavor: total - before.get(flavor, 0)
            for flavor, total in totals.items()
            if total > before.get(flavor, 0)
        }
        if not came:
            return False
        step = int(now // IDLE_TICK)
        if self._steps and self._steps[-1][0] == step:
            _, known, _ = self._steps.pop()
            came = {flavor: known.get(flavor, 0) + came.get(flavor, 0) for flavor in {**known, **came}}
        self._steps.append((step, came, change))
        return True

    def since(self, seen: int) -> list[tuple[int, dict[str, int]]]:
        """The steps that changed after ``seen``."""
        return [(step, came) for step, came, change in self._steps if change > seen]


def _fields(hit: Hit) -> dict[str, Any]:
    """A hit as the log's event tells it, with all that `Violation.to_dict` adds."""
    violation = hit.violation
    return {
        **violation.to_dict(),
        "timestamp": rfc3339(hit.time_ns),
        "target": hit.target,
        "pid": hit.pid,
        "thread_id": hit.thread_id,
        **hit.circumstances(),
    }


def _many(group: Suppressed, target: str, violation: Violation) -> dict[str, Any]:
    """What stands for hits none of which the page has seen whole."""
    fields: dict[str, Any] = {"timestamp": rfc3339(group.first_ns), "target": target, "counted": True}
    if group.site is None:
        return fields | {
            "guard_type": None,
            "flavor_name": None,
            "severity": None,
            "summary": "Hits of many different sites; the counts by flavor have them all.",
        }
    shared = {name: value for name, value in violation.to_dict().items() if name not in PER_HIT}
    return shared | fields


def _health(counters: Counters) -> dict[str, Any]:
    """How excguard itself is."""
    return {
        "lost": counters.records_lost,
        "pending": counters.records_pending,
        "capacity": counters.records_capacity,
        "rejected": {reason: count for reason, count in counters.rejected.items() if count},
        "suppressed": sum(counters.log_suppressed.values()),
        "log_failures": counters.log_write_failures,
        "replies": sum(counters.replies.counts),
        "reply_mean_us": round(counters.replies.sum_ns / 1e3 / max(sum(counters.replies.counts), 1), 2),
    }
