"""An endpoint that serves the counters and hits of a `World`, without a journal or a kernel: fixtures."""

from pathlib import Path
from time import time, time_ns

import pytest

from excguard.pipeline.counters import Counters, HitCounts, Replies, TargetState, labels_of
from excguard.pipeline.exemplars import Exemplars
from excguard.pipeline.suppressed import SiteKey, Suppressed
from excguard.web.endpoint import Endpoint
from excguard.web.exposition import Exposition
from excguard.web.live_feed import LiveFeed
from tests.support.samples import INVALID_NAME


def last_by_target(hits) -> dict[str, int]:
    """The time of each target's last hit."""
    last: dict[str, int] = {}
    for labels, (_, last_ns) in hits.items():
        last[labels.target] = max(last_ns, last.get(labels.target, 0))
    return last


class World:
    """Stands for the service: targets, their hits and the feed, without a journal or a kernel."""

    def __init__(self, make_hit) -> None:
        self._make_hit = make_hit
        self._hits: dict = {}
        self._series: tuple = ()
        self._seq = 0
        self.feed = LiveFeed(kernel="simulated", release="macOS 26.4")
        self.feed.connect(self)
        self.exemplars = Exemplars()
        self.targets = {"mail": TargetState(up=True, starts=1, exits={"exited": 0})}
        self.suppressed: dict[str, int] = {}
        self.pending = 0

    def hit(self, code: int = INVALID_NAME, subcode: int = 0, *, more: int = 0, **changes):
        """The kernel raises one, and ``more`` like it that the log only counts."""
        self._seq += 1
        hit = self._make_hit(code, subcode, **{"seq": self._seq, "time_ns": time_ns(), **changes})
        labels = labels_of(hit.target, hit.violation)
        count, _ = self._hits.get(labels, (0, 0))
        self._hits[labels] = count + 1 + more, hit.time_ns
        self.feed.hit(hit)
        self.exemplars.hits([hit])
        if more:
            first, self._seq = self._seq + 1, self._seq + more
            site = SiteKey(1, code >> 32, hit.pc or 0)
            self.suppressed[hit.target] = self.suppressed.get(hit.target, 0) + more
            group = Suppressed(
                site, 1, code, subcode, 0, more, first, self._seq, hit.time_ns, hit.time_ns, ()
            )
            self.feed.suppressed(group, hit.target, hit.violation)
        return hit

    def counters(self) -> Counters:
        if self._series != tuple(sorted(self._hits)):
            self._series = tuple(sorted(self._hits))
        columns = [list(column) for column in zip(*(self._hits[each] for each in self._series), strict=True)]
        return Counters(
            hits=HitCounts(self._series, *(columns or [[], []]), last_by_target(self._hits)),
            exemplars=self.exemplars.newest,
            made=time() - 60,
            counting_since=time() - 60,
            started=time() - 60,
            received={},
            rejected={"sender_not_kernel": 0},
            replies=Replies((1000, 10_000), (5, 3, 1), 25_000),
            records_lost=0,
            records_pending=self.pending,
            records_capacity=1024,
            drain_lag=0.0,
            log_suppressed=self.suppressed,
            log_write_failures=0,
            sink_dropped={},
            source_failures={},
            targets=self.targets,
        )


@pytest.fixture
def world(make_hit) -> World:
    """Counters and hits to change."""
    return World(make_hit)


@pytest.fixture
def open_endpoint(world: World):
    """Opens endpoints on the world; ``host`` may be the path of a Unix socket, keywords as of `Endpoint`."""
    opened = []

    def make(host: str | Path = "127.0.0.1", port: int = 0, *, ready=lambda: True, **options) -> Endpoint:
        metrics = Exposition(world, kernel="simulated", release="macOS 26.4")
        address = host if isinstance(host, Path) else (host, port)
        endpoint = Endpoint(address, metrics, world.feed, ready, **options)
        opened.append(endpoint)
        return endpoint

    yield make
    for endpoint in opened:
        endpoint.close()


@pytest.fixture
def endpoint(open_endpoint) -> Endpoint:
    """An endpoint on a free port of the loopback address."""
    return open_endpoint()
