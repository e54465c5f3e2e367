"""A row of the table that `python bench/all.py` prints, and what is counted instead of timed."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class Measure(StrEnum):
    """What a ratio is of. Counts are the same in every run; the others are not, and are never checked."""

    INSTRUCTIONS = "instructions"
    CALLS = "calls"
    TIME = "time"
    MEMORY = "memory"


@dataclass(frozen=True)
class Row:
    """One ratio.

    Attributes:
        what: what excguard does.
        peer: what does the same beside it; "a hit" where the measure is for one.
        measure: what was counted.
        ours: of excguard.
        peers: of the peer, in the same unit.
        target: the ratio that is not to be exceeded; None: there is none yet.
        unit: of ``ours`` and ``peers``.
    """

    what: str
    peer: str
    measure: Measure
    ours: float
    peers: float
    target: float | None
    unit: str = ""

    @property
    def ratio(self) -> float:
        """Ours to the peer's."""
        return self.ours / self.peers

    @property
    def missed(self) -> bool:
        """Whether the target is exceeded."""
        return self.target is not None and self.ratio > self.target

    @property
    def checked(self) -> bool:
        """Whether `--check` looks at it."""
        return self.target is not None and self.measure in {Measure.INSTRUCTIONS, Measure.CALLS}


@dataclass(frozen=True)
class Build:
    """Another build of excguard: a checkout, with an environment in `.venv` in which it is installed."""

    root: Path

    @property
    def python(self) -> Path:
        """The Python of its environment."""
        return self.root / ".venv/bin/python"

    @property
    def native(self) -> Path:
        """The sources of its C core."""
        return self.root / "daemon/excguard/native"


@dataclass(frozen=True)
class Options:
    """What a benchmark is asked for.

    Attributes:
        check: only rows that are counted: no time is measured.
        baseline: another build to compare with; None: there is none.
    """

    check: bool
    baseline: Build | None


def run(
    report: Callable[[Options], Iterable[Row]],
    otherwise: Callable[[], int | None] | None = None,
    work: Callable[[str, int], None] | None = None,
) -> int:
    """Run a benchmark as a program.

    Args:
        report: gives its rows, which are printed as JSON lines with ``--rows``.
        otherwise: what it does without that; None: prints its rows as a list.
        work: what `counted` runs: does something, named by the first argument, so many times.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--rows", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--timed", action="store_true")  # no rows that are counted
    parser.add_argument("--beside", action="store_true")  # something is timed meanwhile
    parser.add_argument("--baseline", type=Path)
    parser.add_argument("--work", nargs=2)
    known, _ = parser.parse_known_args()
    if known.work and work:
        work(known.work[0], int(known.work[1]))
        return 0
    global _counts  # noqa: PLW0603 - an option of the process
    _counts = not known.timed
    if known.beside:
        _leave_pinned_processor()
    if not known.rows and otherwise:
        return otherwise() or 0
    for row in report(Options(known.check, Build(known.baseline.absolute()) if known.baseline else None)):
        if known.timed and row.measure in {Measure.INSTRUCTIONS, Measure.CALLS}:
            continue
        if known.rows:
            derived = {"ratio": row.ratio, "missed": row.missed, "checked": row.checked}
            print(json.dumps({**asdict(row), **derived}), flush=True)
        else:
            print(f"{row.what}: {row.ours:,.4g} {row.unit}, {row.ratio:.3g} times {row.peer}")
    return 0


def pin() -> None:
    """Stay on one processor, with all programs that are started from now on, where the system has that.

    For times: how long it takes to wake a program on another processor, which may be asleep, differs by the
    machine and by what else it does, and would be most of what a turn with the simulated kernel takes.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def counted(module: str, what: str, few: int, many: int, python: Path | str = sys.executable) -> float:
    """The instructions of one of what a benchmark's `work` does, without its start: see `each`."""
    command: list[str | Path] = [python, "-m", module, "--work", what]
    compile_modules([*command, "1"])
    return each(lambda number: instructions([*command, str(number)]), few, many)


def each(count: Callable[[int], float], few: int, many: int) -> float:
    """What one more costs: the difference of ``count`` of ``many`` and of ``few``, by their difference.

    What is the same for both, such as the start of a process, is not in it.
    """
    return (count(many) - count(few)) / (many - few)


_counts = True
"""Whether rows that are counted are asked for: not with --timed, for times alone."""


def has_valgrind() -> bool:
    """Whether instructions can be counted here, and are asked for."""
    return _counts and shutil.which("valgrind") is not None


def _leave_pinned_processor() -> None:
    """Stay on the processors that `pin` does not choose, where there are others: for what is counted."""
    if hasattr(os, "sched_setaffinity") and len(allowed := os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, allowed - {max(allowed)})


def instructions(command: list[str | Path], environ: Mapping[str, str] | None = None) -> int:
    """The instructions that a program executes, by cachegrind; its output is dropped.

    Not those of the programs that it starts. ``environ`` is added to the environment.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    tool = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--branch-sim=no"]
    return _count([*tool, "--cachegrind-out-file=/dev/null", *command], r"I\s+refs:\s+([\d,]+)", environ)


def instructions_in(function: str, command: list[str | Path]) -> int:
    """The instructions that a program executes inside a function, and what that calls, by callgrind."""
    tool = ["valgrind", "--tool=callgrind", f"--toggle-collect={function}", "--callgrind-out-file=/dev/null"]
    return _count([*tool, *command], r"Collected : (\d+)", None)


def compile_modules(command: list[str | Path], environ: Mapping[str, str] | None = None) -> None:
    """Run a Python program, so that no module has to be compiled when its instructions are counted."""
    subprocess.run(command, env=_environ(environ), check=True, capture_output=True)


def _environ(environ: Mapping[str, str] | None) -> dict[str, str]:
    whole = {**os.environ, "PYTHONHASHSEED": "0", **(environ or {})}
    whole.pop("PYTHONDONTWRITEBYTECODE", None)
    return whole


def _count(command: list[str | Path], pattern: str, environ: Mapping[str, str] | None) -> int:
    done = subprocess.run(command, env=_environ(environ), check=True, capture_output=True, text=True)
    found = re.search(pattern, done.stderr)
    if found is None:
        raise ValueError(f"valgrind has printed no count: {done.stderr[-500:]}")
    return int(found[1].replace(",", ""))
