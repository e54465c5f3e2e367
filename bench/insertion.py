"""What the inserted library costs a program: at its start, and for each hit.

    python -m bench.insertion

Each start has a service that the library reports to, as under `excguard run`. Times are medians of starts
with and without the library in turn.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.row import Measure, Options, Row, each, has_valgrind, instructions, run
from excguard.targets.insertion import VARIABLE, library_path
from excsim import SOCKET_VARIABLE, Kernel
from tests.support import harness

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICE: Final = "org.excguard.bench.insertion"
STARTS: Final = 41
AT_START: Final = 1.1
"""The ratio that a start with the library is not to exceed."""
PER_HIT: Final = 1.0
"""Likewise the system calls for a hit. Instructions have no target: in the simulator each call asks the
library whether it comes from a new image; dyld calls it for new images alone."""
FEW: Final = 100
MANY: Final = 1100

SERVE: Final = """
import sys
from excguard.mach.rendezvous import Inserted, RendezvousServer
def count(event):
    if isinstance(event, Inserted) and event.report.start:
        print("started", flush=True)
with RendezvousServer(sys.argv[1], on_event=count):
    print("serving", flush=True)
    sys.stdin.read()
"""
PROGRAM: Final = [sys.executable, "-c", "import excguard.mach.ports"]
"""A program of some size that uses Mach, as an app does."""


@contextmanager
def _service(kernel: Kernel) -> Iterator[subprocess.Popen[str]]:
    """The service, in a process of its own; a line for each program that has reported."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, SERVICE],
        env=kernel.environ,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as service:
        assert service.stdin is not None  # noqa: S101 - for mypy
        assert service.stdout is not None  # noqa: S101 - likewise
        service.stdout.readline()
        yield service
        service.stdin.close()


def _environments(kernel: Kernel) -> tuple[dict[str, str], dict[str, str]]:
    """Without the library, and with it."""
    without = {**os.environ, SOCKET_VARIABLE: kernel.socket}
    inserted = {VARIABLE: str(library_path()), "EXCGUARD_INSERTION": f"{7:016x},1,{SERVICE}"}
    return without, {**without, **inserted}


def _seconds(environment: dict[str, str]) -> float:
    begun = time.perf_counter()
    subprocess.run(PROGRAM, env=environment, check=True)
    return time.perf_counter() - begun


def _start(options: Options, kernel: Kernel, service: subprocess.Popen[str]) -> Iterator[Row]:
    """The start of a program."""
    without, inserted = _environments(kernel)
    subprocess.run(PROGRAM, env=inserted, check=True)
    assert service.stdout is not None  # noqa: S101 - for mypy
    service.stdout.readline()  # the library works: nothing is measured that is not there
    what, peer = "start of a program with the inserted library", "without it"
    if has_valgrind():
        ours, peers = (instructions([*PROGRAM], environment) for environment in (inserted, without))
        yield Row(what, peer, Measure.INSTRUCTIONS, ours, peers, AT_START)
    if not options.check:
        pairs = [(_seconds(inserted), _seconds(without)) for _ in range(STARTS)]
        times = [statistics.median(column) * 1e3 for column in zip(*pairs, strict=True)]
        yield Row(what, peer, Measure.TIME, times[0], times[1], AT_START, "ms")


def _hits(kernel: Kernel) -> Iterator[Row]:
    """What a program itself does for one hit more. excguard does the same for each."""
    what, peer = "a hit in a program with the inserted library", "in one without it"
    without, inserted = _environments(kernel)
    with tempfile.TemporaryDirectory() as name:
        program = harness.build_child(Path(name))
        for measure, tool, count, target in (
            (Measure.CALLS, "strace", _calls, PER_HIT),
            (Measure.INSTRUCTIONS, "valgrind", _executed, None),
        ):
            if shutil.which(tool):
                ours, peers = (
                    each(partial(count, program, each_), FEW, MANY) for each_ in (inserted, without)
                )
                yield Row(what, peer, measure, ours, peers, target)


def _executed(program: str, environment: dict[str, str], hits: int) -> float:
    """The instructions of a program that breaks so many rules, each by a call of its own."""
    return instructions([program, "sites", str(hits)], environment)


def _calls(program: str, environment: dict[str, str], hits: int) -> float:
    """Likewise the system calls."""
    only_there = [f"-E{name}={value}" for name, value in environment.items() if os.environ.get(name) != value]
    with tempfile.NamedTemporaryFile("r") as counts:
        trace = ["strace", "-f", "-c", "-U", "calls,name", "-o", counts.name, *only_there]
        subprocess.run([*trace, program, "sites", str(hits)], check=True, stdout=subprocess.DEVNULL)
        (line,) = (line for line in counts if line.endswith(" total\n"))
    return int(line.split()[0])


def rows(options: Options) -> Iterator[Row]:
    """All of it."""
    with Kernel(task_exc_guard=0) as kernel, _service(kernel) as service:
        yield from _start(options, kernel, service)
        yield from _hits(kernel)


if __name__ == "__main__":
    sys.exit(run(rows))
