"""A turn of the receiver's thread beside the loop of a server of MIG: `python -m bench.receiver_turn`.

Both run over a fake mach_msg that copies a message (receiver_turn.c), whose cost is not in the figures.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.row import Build, Measure, Options, Row, each, has_valgrind, instructions_in, pin, run
from tests.support import ROOT, compiler, toolchain

if TYPE_CHECKING:
    from collections.abc import Iterator

BENCH = ROOT / "bench"
BATCH = BENCH / "data/mach_exc_bench_batch.bin"
OPTIONS = ["-O3", "-DNDEBUG", "-pthread"]
SOURCES = [BENCH / "receiver_turn.c", BENCH / "mig_server.c"]

MIG = {"without thread state": (0, 67), "with thread state, x86_64": (1, 106)}
"""What -> the argument of receiver_turn, and the instructions a message of Apple's generated code."""

ROUNDS = 21
MESSAGES = 500_000  # short runs: some are not interrupted
IN = {"receiver": "run", "server": "serve", "bare": "serve"}
"""What receiver_turn does -> the function that does it."""


def build(directory: Path) -> Path:
    """Of this build."""
    sources = [*SOURCES, *toolchain.PURE_SOURCES, toolchain.NATIVE / "receiver.c"]
    return toolchain.link(compiler.require(), directory, sources, "receiver_turn", [f"-I{BENCH}", *OPTIONS])


def build_baseline(baseline: Build, directory: Path) -> Path:
    """The same program with the sources of another build."""
    daemon = baseline.root / "daemon"
    knowledge = daemon / "excguard/knowledge"
    table = directory / "guard_table.h"
    subprocess.run([baseline.python, knowledge / "generate_c.py", table], check=True)
    core = [path for path in baseline.native.glob("*.c") if path.name not in {"columns.c", "samples.c"}]
    core += [*(knowledge / "c_decoder").glob("guard.c")]
    places = [baseline.native, knowledge / "c_decoder", directory, toolchain.HERE, BENCH]
    (mach,) = [path.parent for path in daemon.rglob("include/mach") if path.is_dir()]
    options = ["-std=c11", "-D_GNU_SOURCE", *OPTIONS, *(f"-I{path}" for path in [*places, mach])]
    program = directory / "receiver_turn"
    subprocess.run([compiler.require(), *options, *SOURCES, *core, "-o", program], check=True)
    return program


def nanoseconds(runs: dict[str, tuple[Path, str]]) -> dict[str, float]:
    """A message, for each of some programs with their first arguments; the least of several runs by turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, (program, what) in runs.items():
            with tempfile.TemporaryDirectory() as directory:
                command = [program, what, BATCH, str(MESSAGES), "0", Path(directory, "journal")]
                times[name].append(float(subprocess.run(command, check=True, capture_output=True).stdout))
    return {name: min(taken) for name, taken in times.items()}


def turn_instructions(program: Path, what: str, state: int) -> float:
    """A message."""

    def count(messages: int) -> int:
        with tempfile.TemporaryDirectory() as name:
            command = [program, what, BATCH, str(messages), str(state), Path(name, "journal")]
            return instructions_in(IN[what], command)

    return each(count, 2000, 6000)


def stub_instructions(program: Path, state: int) -> float:
    """A message, of the stand-in for MIG's server alone."""

    def count(messages: int) -> int:
        return instructions_in("mig_server", [program, "server", BATCH, str(messages), str(state), "-"])

    return each(count, 2000, 6000)


def rows(options: Options) -> Iterator[Row]:
    """A turn, against the stand-in and against another build."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        program = build(directory)
        if has_valgrind():
            for what, (state, mig) in MIG.items():
                pair = sorted((stub_instructions(program, state), mig))
                stand_in = f"stand-in for MIG's stub {what}: its distance from it"
                yield Row(stand_in, "Apple's generated code", Measure.INSTRUCTIONS, pair[1], pair[0], 1.03)
                bare = turn_instructions(program, "bare", state)
                ours = turn_instructions(program, "receiver", state) - bare
                peer = turn_instructions(program, "server", state) - bare
                yield Row(f"receiver's turn {what}", "MIG's loop", Measure.INSTRUCTIONS, ours, peer, 4)
        if options.check:
            return
        pin()
        runs = {what: (program, what) for what in IN}
        if options.baseline:
            other = directory / "baseline"
            other.mkdir()
            runs["baseline"] = (build_baseline(options.baseline, other), "receiver")
        times = nanoseconds(runs)
        ours, peer = (times[what] - times["bare"] for what in ("receiver", "server"))
        yield Row("receiver's turn", "MIG's loop", Measure.TIME, ours, peer, 4, "ns")
        if options.baseline:
            theirs = times["baseline"] - times["bare"]
            yield Row("receiver's turn", "the baseline build", Measure.TIME, ours, theirs, 0.45, "ns")


if __name__ == "__main__":
    sys.exit(run(rows))
