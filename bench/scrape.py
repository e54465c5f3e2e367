"""What a scrape costs: 50 targets, every flavor of every target hit, over HTTP and without.

    python bench/scrape.py

Prints milliseconds for a scrape, best and median of many, beside prometheus_client's own writer on the same
numbers in the same run. Then reply times of the receiver under guard exceptions in a row, without scrapes and
with 100 a second.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from excguard import sim
from excguard.config import Config, Journal, Target
from excguard.knowledge import flavors
from excguard.mach import host as mach_host
from excguard.native import ffi, lib
from excguard.service import Service
from excguard.sinks.endpoint import Endpoint
from excguard.sinks.exposition import Exposition
from excguard.sinks.metrics import HITS

TARGETS = 50
ROUNDS = 60
BAR_MS = 5.0
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def fill(service: Service) -> int:
    """Hit every flavor of every target once; how many that were."""
    now = time.time_ns()
    codes = {
        flavors.TYPE_NUMBERS[row.guard_type] << 61 | row.value << 32
        for row in flavors.table()
        if row.role == "flavor" and row.last == flavors.releases.NEWEST
    }
    for target_id in range(1, TARGETS + 1):
        for code in codes:
            hit = ffi.new(
                "struct excguard_hit *", {"time_ns": now, "code": code, "target_id": target_id, "pid": 1}
            )
            lib.excguard_journal_append(service.journal.handle, hit)
    return TARGETS * len(codes)


class Slow(Collector):
    """The same hits by prometheus_client."""

    def __init__(self, service: Service) -> None:
        """Of ``service``."""
        self._service = service

    def collect(self):  # noqa: ANN201 - as of prometheus_client
        """The one family."""
        family = CounterMetricFamily(HITS.name, HITS.help, labels=HITS.labels)
        counts = self._service.counters().hits
        for labels, count in zip(counts.labels, counts.hits, strict=True):
            family.add_metric(labels, count)
        yield family


def timed(what, rounds: int = ROUNDS, before=None) -> tuple[float, float]:  # noqa: ANN001 - a call
    """Best and median milliseconds of ``what``."""
    times = []
    for _ in range(rounds):
        if before:
            before()
        begun = time.perf_counter()
        what()
        times.append((time.perf_counter() - begun) * 1e3)
    return min(times), statistics.median(times)


def scrapes() -> float:
    """Measure the cost of a scrape; the worst median over HTTP."""
    host = mach_host.running()
    names = tuple(Target(name=f"target {number}", command=("/bin/true",)) for number in range(TARGETS))
    with tempfile.TemporaryDirectory() as folder:
        config = Config(target=names, journal=Journal(capacity=1 << 14))
        service = Service(config, host, [], journal=Path(folder) / "journal")
        with service:
            hits = fill(service)
            metrics = Exposition(service, kernel=host.kernel, release=host.release)
            endpoint = Endpoint("127.0.0.1", 0, metrics, service.feed, service.ready)
            try:
                series = len(service.counters().hits.labels)
                print(f"{TARGETS} targets, {hits} counters hit, {series} hit series")
                slow = CollectorRegistry(auto_describe=False)
                slow.register(Slow(service))
                report("prometheus_client, hits alone", *timed(lambda: generate_latest(slow), 10))
                report("the counters alone", *timed(service.counters))
                worst = 0.0
                for name, accept in (("plain text", ""), ("OpenMetrics", OPENMETRICS)):
                    report(f"{name}, nothing new", *timed(lambda a=accept: metrics.render(a)))
                    again = timed(lambda a=accept: metrics.render(a), before=lambda: fill(service))
                    report(f"{name}, all new", *again)
                    for news in (False, True):
                        times, size = ask(service if news else None, endpoint.url, accept)
                        title = f"{name}, {'all' if news else 'nothing'} new, over HTTP"
                        worst = max(worst, report(title, min(times), statistics.median(times)))
                    print(f"  {size / 1024:.0f} KiB")
            finally:
                endpoint.close()
    return worst


CLIENT = """
import http.client, sys, time
connection = http.client.HTTPConnection(sys.argv[1])
for line in sys.stdin:
    begun = time.perf_counter()
    connection.request("GET", "/metrics", headers={"Accept": sys.argv[2]})
    size = len(connection.getresponse().read())
    print((time.perf_counter() - begun) * 1e3, size, flush=True)
"""


def ask(service: Service | None, url: str, accept: str) -> tuple[list[float], int]:
    """Milliseconds of scrapes by another process, and the size. With a service, its counters rise between."""
    times = []
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, urlsplit(url).netloc, accept],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        for _ in range(ROUNDS):
            if service:
                fill(service)
            client.stdin.write("\n")
            client.stdin.flush()
            milliseconds, size = client.stdout.readline().split()
            times.append(float(milliseconds))
        client.stdin.close()
    return times, int(size)


def report(name: str, best: float, median: float) -> float:
    """Print one line."""
    print(f"  {name:32} best {best:7.2f} ms   median {median:7.2f} ms")
    return median


def main() -> int:
    """Run the benchmark; 1 when the bar was missed."""
    sim.start_if_needed()
    median = scrapes()
    print(f"bar: a scrape in less than {BAR_MS} ms: {'met' if median < BAR_MS else 'MISSED'}")
    return int(median >= BAR_MS)


if __name__ == "__main__":
    sys.exit(main())
