"""The process metrics that every Prometheus client has, under their conventional names.

prometheus_client's own need Linux' /proc. These come from what every POSIX system has; memory alone is read
from /proc, and absent on systems without it.
"""

import os
import resource
import time
from collections.abc import Iterator

from excguard.web.metrics import NO_LABELS, Family, Values

_STARTED_NS = time.time_ns()  # when this module is imported: shortly after the process starts


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
_STATM = 256  # more than the seven numbers of /proc/self/statm take, proc(5)
FAMILIES = (_CPU, _START, _OPEN, _MAX_OPEN, _VIRTUAL, _RESIDENT)


def values() -> Iterator[Values]:
    """The metrics of this process now."""
    yield Values(_CPU, NO_LABELS, [time.process_time_ns()], _STARTED_NS / 1e9, decimals=9)
    yield Values(_START, NO_LABELS, [_STARTED_NS], decimals=9)
    yield _value(_OPEN, len(os.listdir("/dev/fd")) - 1)  # without the one that lists  # noqa: PTH208
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    yield _value(_MAX_OPEN, float("inf") if limit == resource.RLIM_INFINITY else limit)
    try:
        file = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        virtual, resident, *_ = os.read(file, _STATM).split()
    finally:
        os.close(file)
    size = resource.getpagesize()
    yield _value(_VIRTUAL, int(virtual) * size)
    yield _value(_RESIDENT, int(resident) * size)


def _value(family: Family, value: float) -> Values:
    return Values(family, NO_LABELS, [value])
