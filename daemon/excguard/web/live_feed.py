"""The live feed: what the page and `excguard top` show, for any number of viewers.

It is a sink beside the log and receives what the log receives: the first hits of a site in full, the rest as
a count once a second. So a storm costs it no more than it costs the log. Counts by flavor come from the
journal, as the metrics do, and are exact.

Each item has the number of its last change. A viewer names the number up to which it has received everything
and gets the later changes in one message. There are no queues, so a viewer that reads slowly gets fewer and
larger messages, and a viewer that reconnects gets everything again.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import Any, ClassVar

import msgspec

from excguard import __version__
from excguard.decoding.violation import PER_HIT, Violation
from excguard.pipeline.counters import (
    Counters,
    CountersClosedError,
    CountersSource,
    Labels,
    TargetState,
)
from excguard.pipeline.hit import Hit, rfc3339
from excguard.pipeline.sink import Sink
from excguard.pipeline.suppressed import Suppressed

ROWS = 200  # the latest hits, in full
TICK = 0.25  # seconds between two updates
IDLE_TICK = 5.0  # seconds between two reads of the counters without viewers; also the step of the charts
STEPS = 120  # of the charts: ten minutes
KEEPALIVE = 10.0  # seconds without a message after which a viewer gets an empty one
MAX_VIEWERS = 32


class Row:
    """A hit on the page, and the number of further hits of its site."""

    __slots__ = ("change", "fields", "identity", "last_ns", "repeats")

    def __init__(self, identity: int, fields: Mapping[str, Any], time_ns: int) -> None:
        """A hit without repeats. ``identity`` is the number of the change that added it."""
        self.identity = identity
        self.fields = fields
        self.last_ns = time_ns
        self.repeats = 0
        self.change = identity


class LiveFeed(Sink):
    """Gathers on a thread of its own (`hit`, `suppressed`), sends on the endpoint's (`stream`)."""

    durable: ClassVar[bool] = False

    def __init__(self, *, kernel: str, release: str) -> None:
        """``kernel`` and ``release`` are those of the running system; `connect` has to follow."""
        self.name = "live_page"
        self._source: CountersSource | None = None
        self._about = {"version": __version__, "kernel": kernel, "release": release, "started": time.time()}
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
        self._changed = asyncio.Condition()
        self._has_viewer = asyncio.Event()

    def connect(self, source: CountersSource) -> None:
        """Take the counters from ``source``, before anything looks at the feed."""
        self._source = source

    # ---- the sink; on its own thread ----

    def hit(self, hit: Hit) -> None:
        """Add a hit."""
        with self._lock:
            self._add((hit.target, hit.code >> 32, hit.pc or 0), hit.to_dict(), hit.time_ns)

    def suppressed(self, group: Suppressed, target: str, violation: Violation) -> None:
        """Add the count of a site's hits to its newest row, which moves to the top."""
        with self._lock:
            key = (target, group.site.guard, group.site.pc) if group.site else (target, -1, 0)
            row = self._sites.get(key)
            if row is None:
                row = self._add(key, _counted_fields(group, target, violation), group.last_ns)
            row.repeats += group.hits
            row.last_ns = max(row.last_ns, group.last_ns)
            self._change += 1
            row.change = self._change

    def _add(self, site: tuple[str, int, int], fields: Mapping[str, Any], time_ns: int) -> Row:
        self._change += 1
        if len(self._rows) == ROWS:
            oldest = self._rows[0]
            self._sites = {key: row for key, row in self._sites.items() if row is not oldest}
        row = Row(self._change, fields, time_ns)
        self._rows.append(row)
        self._sites[site] = row
        return row

    # ---- the viewers: on the endpoint's thread ----

    async def watch(self) -> None:
        """Read the counters periodically, and wake the viewers after a change.

        Returns when the counters are closed.
        """
        announced = -1
        while True:
            try:
                self.update()
            except CountersClosedError:
                return
            if self._change != announced:
                announced = self._change
                async with self._changed:
                    self._changed.notify_all()
            await asyncio.sleep(TICK)
            if not self._viewers:
                self._has_viewer.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_TICK):
                        await self._has_viewer.wait()

    def update(self) -> None:
        """Read the counters and record what has changed."""
        assert self._source is not None  # noqa: S101 - connected before the endpoint runs
        counters = self._source.counters()
        with self._lock:
            self._update_targets(counters.targets)
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
        """Whether the maximum number of viewers is connected."""
        return self._viewers >= MAX_VIEWERS

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Server-sent events: ``state`` with everything, then ``update`` with the changes."""
        self._viewers += 1
        self._has_viewer.set()
        try:
            with contextlib.suppress(CountersClosedError):
                self.update()
            seen, message = self.message(-1)
            yield b"retry: 1000\nevent: state\ndata: " + message + b"\n\n"
            while True:
                if self._change == seen and not await self._wait():
                    yield b": keepalive\n\n"
                    continue
                seen, message = self.message(seen)
                if message == b"{}":
                    continue
                yield b"event: update\ndata: " + message + b"\n\n"
        finally:
            self._viewers -= 1

    async def _wait(self) -> bool:
        """Wait for a change; False after `KEEPALIVE` seconds without one."""
        try:
            async with asyncio.timeout(KEEPALIVE), self._changed:
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def message(self, seen: int) -> tuple[int, bytes]:
        """The number of the latest change, and the changes after ``seen`` (-1: everything) as JSON."""
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
            changes = {key: part for key, part in parts.items() if part}
            if self._health_change > seen:
                changes["health"] = self._health
            if seen < 0:
                changes["about"] = self._about
            return self._change, msgspec.json.encode(changes)

    def _target_number(self, name: str) -> int:
        target = self._targets.get(name)
        if target is None:
            self._change += 1
            target = self._targets[name] = _Target(len(self._targets), self._change)
        return target.number

    def _update_targets(self, states: Mapping[str, TargetState]) -> None:
        for name in states:
            self._target_number(name)
        for name, target in self._targets.items():
            state = states.get(name)
            if state is None:  # an earlier configuration's
                current = {**target.state, "configured": False, "up": False}
            else:
                current = {
                    "configured": True,
                    "up": state.up,
                    "starts": state.starts,
                    "exits": {reason: count for reason, count in state.exits.items() if count},
                    "visibility": state.visibility,
                    "unseen": state.unseen,
                    "fix": state.fix,
                }
            if current != target.state:
                self._change += 1
                target.state, target.change = current, self._change


class _Target:
    """A target's number in messages (its name may be long), and its state."""

    __slots__ = ("change", "number", "state")

    def __init__(self, number: int, change: int) -> None:
        self.number = number
        self.change = change
        self.state: dict[str, Any] = {"configured": False, "up": False, "starts": 0, "exits": {}}


class _Count:
    """The count of a hit series."""

    __slots__ = ("change", "hits", "last_ns", "target")

    def __init__(self, target: int) -> None:
        self.target = target
        self.hits = 0
        self.last_ns = 0
        self.change = 0


class _History:
    """The number of hits by flavor in each step of the last ten minutes, for the charts."""

    def __init__(self) -> None:
        self._steps: deque[tuple[int, dict[str, int], int]] = deque(maxlen=STEPS)  # step, hits, change
        self._before: dict[str, int] | None = None

    def add(self, now: float, totals: Mapping[str, int], change: int) -> bool:
        """Add the totals by flavor; True if there are new hits, as change number ``change``."""
        before, self._before = self._before, dict(totals)
        if before is None:  # hits counted before this process started are not recent
            return False
        new = {
            flavor: total - before.get(flavor, 0)
            for flavor, total in totals.items()
            if total > before.get(flavor, 0)
        }
        if not new:
            return False
        step = int(now // IDLE_TICK)
        if self._steps and self._steps[-1][0] == step:
            _, added, _ = self._steps.pop()
            new = {flavor: added.get(flavor, 0) + new.get(flavor, 0) for flavor in {**added, **new}}
        self._steps.append((step, new, change))
        return True

    def since(self, seen: int) -> list[tuple[int, dict[str, int]]]:
        """The steps that changed after change number ``seen``."""
        return [(step, hits) for step, hits, change in self._steps if change > seen]


def _counted_fields(group: Suppressed, target: str, violation: Violation) -> dict[str, Any]:
    """The fields of a row for hits that were only counted."""
    fields: dict[str, Any] = {"timestamp": rfc3339(group.first_ns), "target": target, "counted": True}
    if group.site is None:
        return fields | {
            "guard_type": None,
            "flavor_name": None,
            "severity": None,
            "summary": "Hits of many different sites; the counts by flavor include all of them.",
        }
    shared = {name: value for name, value in violation.to_dict().items() if name not in PER_HIT}
    return shared | fields


def _health(counters: Counters) -> dict[str, Any]:
    """The state of excguard itself."""
    return {
        "lost": counters.records_lost,
        "pending": counters.records_pending,
        "capacity": counters.records_capacity,
        "rejected": {reason: count for reason, count in counters.rejected.items() if count},
        "suppressed": sum(counters.log_suppressed.values()),
        "log_failures": counters.log_write_failures,
        "policy_telemetry": sum(counters.policy_telemetry.values()),
        "replies": sum(counters.replies.counts),
        "reply_mean_us": round(counters.replies.sum_ns / 1e3 / max(sum(counters.replies.counts), 1), 2),
    }
