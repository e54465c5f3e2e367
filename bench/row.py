"""A row of the table that `python bench/all.py` prints, and what is counted instead of timed."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Measure(StrEnum):
    """What a ratio is of. Counts are the same in every run; times are not, and are never checked."""

    INSTRUCTIONS = "instructions"
    CALLS = "calls"
    TIME = "time"


@dataclass(frozen=True)
class Row:
    """One ratio.

    Attributes:
        what: what excguard does.
        peer: what does the same beside it.
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
        return self.target is not None and self.measure is not Measure.TIME


@dataclass(frozen=True)
class Options:
    """What a benchmark is asked for.

    Attributes:
        check: only rows that are counted: no time is measured.
        baseline: the Python of an environment with another build of excguard; None: there is none.
    """

    check: bool
    baseline: Path | None


def run(report: Callable[[Options], Iterable[Row]], otherwise: Callable[[], int | None]) -> int:
    """Run a benchmark as a program: its rows as JSON lines with --rows, else what it prints by itself."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--rows", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--baseline", type=Path)
    known, _ = parser.parse_known_args()
    if not known.rows:
        return otherwise() or 0
    for row in report(Options(known.check, known.baseline)):
        derived = {"ratio": row.ratio, "missed": row.missed, "checked": row.checked}
        print(json.dumps({**asdict(row), **derived}), flush=True)
    return 0


def has_valgrind() -> bool:
    """Whether instructions can be counted here."""
    return shutil.which("valgrind") is not None


def instructions(command: list[str | Path]) -> int:
    """The instructions that a program executes, by cachegrind; its output is dropped.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    tool = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--branch-sim=no"]
    return _count([*tool, "--cachegrind-out-file=/dev/null", *command], r"I\s+refs:\s+([\d,]+)")


def instructions_in(function: str, command: list[str | Path]) -> int:
    """The instructions that a program executes inside a function, and what that calls, by callgrind."""
    tool = ["valgrind", "--tool=callgrind", f"--toggle-collect={function}", "--callgrind-out-file=/dev/null"]
    return _count([*tool, *command], r"Collected : (\d+)")


def _count(command: list[str | Path], pattern: str) -> int:
    environ = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True)
    found = re.search(pattern, done.stderr)
    if found is None:
        raise ValueError(f"valgrind has printed no count: {done.stderr[-500:]}")
    return int(found[1].replace(",", ""))
