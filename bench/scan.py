"""`excguard scan` of crash reports beside ripgrep and another build: `python -m bench.scan`.

* reports of guard violations alone: processor time against the other build;
* a tenth of them guard violations: files a second of one process against `rg -l -j1 EXC_GUARD`.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.decoding import report
from bench.row import Measure, Options, Row, run

if TYPE_CHECKING:
    from collections.abc import Iterator

FEW, MANY = 300, 1_500
ROUNDS = 3
SCAN = ["-m", "excguard", "scan", "--json"]


class Cost(NamedTuple):
    """Seconds of processor time, and seconds."""

    cpu: float
    wall: float


def took(command: list[str | Path]) -> Cost:
    """Of a process with its children; its exit status does not matter."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(cpu, time.perf_counter() - began)


def make(directory: Path, files: int, every: int) -> Path:
    """A directory of reports; one in ``every`` is of a guard violation."""
    directory.mkdir()
    for number in range(files):
        (directory / f"{number}.ips").write_text(report(number % 50, guard=number % every == 0))
    return directory


def a_file(few: Path, many: Path, commands: dict[str, list[str | Path]]) -> dict[str, Cost]:
    """What one more file costs each command, in seconds; the least of several rounds by turns."""
    times: dict[str, list[list[Cost]]] = {name: [[], []] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            for place, directory in enumerate((few, many)):
                times[name][place].append(took([*command, directory]))
    return {
        name: Cost(
            *(
                (min(after) - min(before)) / (MANY - FEW)
                for before, after in zip(*(zip(*costs, strict=True) for costs in taken), strict=True)
            )
        )
        for name, taken in times.items()
    }


def rows(options: Options) -> Iterator[Row]:
    """Both; in microseconds a file."""
    if options.check:  # time alone
        return
    with tempfile.TemporaryDirectory() as name:
        if options.baseline:
            few, many = (make(Path(name, f"all{count}"), count, 1) for count in (FEW, MANY))
            commands = {"ours": [sys.executable, *SCAN], "theirs": [options.baseline.python, *SCAN]}
            costs = a_file(few, many, commands)
            ours, theirs = (costs[which].cpu * 1e6 for which in commands)
            what, peer = "scan, guard violations alone, processor time", "the baseline build"
            yield Row(what, peer, Measure.TIME, ours, theirs, 0.5, "us")
        if shutil.which("rg"):
            few, many = (make(Path(name, f"tenth{count}"), count, 10) for count in (FEW, MANY))
            commands = {
                "ours": [sys.executable, *SCAN, "--jobs", "1"],
                "theirs": ["rg", "-l", "-j1", "EXC_GUARD"],
            }
            costs = a_file(few, many, commands)
            ours, theirs = (costs[which].wall * 1e6 for which in commands)
            what, peer = "scan, a tenth guard violations, one process", "rg -l -j1 EXC_GUARD"
            yield Row(what, peer, Measure.TIME, ours, theirs, 1, "us")


if __name__ == "__main__":
    sys.exit(run(rows))
