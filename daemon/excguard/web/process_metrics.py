"""The process metrics that every Prometheus client has, under their conventional names.

prometheus_client's own need Linux' /proc. These come from what every POSIX system has; memory alone is
told where /proc is, and absent elsewhere.
"""

import resource
import time
from collections.abc import Iterator
from pathlib import Path

from excguard.pipeline.counters import Family, Values

_STARTED = time.time()  # when this module was read: a moment after the process began


def _one(name: str, kind: str, text: str) -> Family:
    return Family(name, kind, (), text, "1")


_CPU = _one("process_cpu_seconds", "counter", "User and system CPU time that this process has used.")
_START = _one("process_start_time_seconds", "gauge", "When this process began, in seconds since 1970.")
_OPEN = _one("process_open_fds", "gauge", "Open file descriptors.")
_MOST = _one("process_max_fds", "gauge", "How many file descriptors may be open.")
_VIRTUAL = _one("process_virtual_memory_bytes", "gauge", "Virtual memory. Absent where there is no /proc.")
_RESIDENT = _one("process_resident_memory_bytes", "gauge", "Resident memory. Absent where there is no /proc.")
FAMILIES = (_CPU, _START, _OPEN, _MOST, _VIRTUAL, _RESIDENT)


def values() -> Iterator[Values]:
    """The metrics of this process now."""
    yield Values(_CPU, {(): time.process_time()}, _STARTED)
    yield Values(_START, {(): _STARTED})
    yield Values(_OPEN, {(): sum(1 for _ in Path("/dev/fd").iterdir()) - 1})
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    yield Values(_MOST, {(): float("inf") if most == resource.RLIM_INFINITY else most})
    try:
        virtual, resident, *_ = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:
        return
    size = resource.getpagesize()
    yield Values(_VIRTUAL, {(): int(virtual) * size})
    yield Values(_RESIDENT, {(): int(resident) * size})
