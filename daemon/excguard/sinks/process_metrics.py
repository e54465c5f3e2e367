"""The process metrics that every Prometheus client has, under their conventional names.

prometheus_client's own need Linux' /proc. These come from what every POSIX system has; memory alone is
told where /proc is, and absent elsewhere.
"""

import resource
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_STARTED = time.time()  # when this module was read: a moment after the process began


class ProcessCollector(Collector):
    """``process_cpu_seconds_total`` and its kin, of this process."""

    def collect(self) -> Iterator[Metric]:
        """The metrics now."""
        yield CounterMetricFamily(
            "process_cpu_seconds",
            "Total user and system CPU time spent in seconds.",
            value=time.process_time(),
        )
        yield GaugeMetricFamily(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            value=_STARTED,
        )
        yield GaugeMetricFamily(
            "process_open_fds",
            "Number of open file descriptors.",
            value=sum(1 for _ in Path("/dev/fd").iterdir()) - 1,
        )
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        yield GaugeMetricFamily(
            "process_max_fds",
            "Maximum number of open file descriptors.",
            value=float("inf") if most == resource.RLIM_INFINITY else most,
        )
        try:
            pages = Path("/proc/self/statm").read_text(encoding="ascii").split()
        except OSError:
            return
        size = resource.getpagesize()
        yield GaugeMetricFamily(
            "process_virtual_memory_bytes", "Virtual memory size in bytes.", value=int(pages[0]) * size
        )
        yield GaugeMetricFamily(
            "process_resident_memory_bytes", "Resident memory size in bytes.", value=int(pages[1]) * size
        )
