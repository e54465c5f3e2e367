"""The process metrics that every Prometheus client has, under their conventional names.

prometheus_client's own need Linux' /proc. These come from what every POSIX system has; memory alone is read
from /proc, and absent on systems without it.
"""

import resource
import time
from collections.abc import Iterator
from pathlib import Path

from excguard.web.metrics import Family, Values

_STARTED = time.time()  # when this module is imported: shortly after the process starts


def _single(name: str, kind: str, text: str) -> Family:
    return Family(name, kind, (), text, "1")


_CPU = _single("process_cpu_seconds", "counter", "User and system CPU time of this process.")
_START = _single("process_start_time_seconds", "gauge", "Start time of this process, in seconds since 1970.")
_OPEN = _single("process_open_fds", "gauge", "Open file descriptors.")
_MAX_OPEN = _single("process_max_fds", "gauge", "Maximum number of open file descriptors.")
_VIRTUAL = _single(
    "process_virtual_memory_bytes", "gauge", "Virtual memory. Absent on systems without /proc."
)
_RESIDENT = _single(
    "process_resident_memory_bytes", "gauge", "Resident memory. Absent on systems without /proc."
)
FAMILIES = (_CPU, _START, _OPEN, _MAX_OPEN, _VIRTUAL, _RESIDENT)


def values() -> Iterator[Values]:
    """The metrics of this process now."""
    yield Values(_CPU, {(): time.process_time()}, _STARTED)
    yield Values(_START, {(): _STARTED})
    yield Values(_OPEN, {(): sum(1 for _ in Path("/dev/fd").iterdir()) - 1})
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    yield Values(_MAX_OPEN, {(): float("inf") if limit == resource.RLIM_INFINITY else limit})
    try:
        virtual, resident, *_ = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:
        return
    size = resource.getpagesize()
    yield Values(_VIRTUAL, {(): int(virtual) * size})
    yield Values(_RESIDENT, {(): int(resident) * size})
