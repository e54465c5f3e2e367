"""Calls of the simulated kernel beside round trips over a socket pair: `python -m bench.simulator_calls`.

A call is a round trip, and a message to oneself is two. Times are medians of several runs, printed as ratios.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from pathlib import Path

import excsim
from tests.support import compiler

ROUNDS = 7
TIMES = 10_000
SOURCE = Path(__file__).parent / "simulator_calls.c"


def main() -> None:
    """Print microseconds and ratios."""
    with tempfile.TemporaryDirectory() as directory, excsim.Kernel() as kernel:
        program = Path(directory) / "simulator_calls"
        headers = [f"-I{excsim.INCLUDE}", "-D_GNU_SOURCE"]
        libraries = [str(excsim.LIBRARY), "-pthread", "-ldl"]
        subprocess.run([compiler.require(), "-O2", *headers, SOURCE, *libraries, "-o", program], check=True)
        environ = {**os.environ, **kernel.environ}
        rounds = [
            subprocess.run([program, str(TIMES)], env=environ, check=True, capture_output=True, text=True)
            for _ in range(ROUNDS)
        ]
    runs = [[float(word) for word in done.stdout.split()] for done in rounds]
    for at, what in enumerate(("mach_port_deallocate", "a message, sent and received")):
        ratio = statistics.median(run[at] / run[2] for run in runs)
        each = statistics.median(run[at] for run in runs)
        print(f"{what}: {each:.1f} us, {ratio:.2f} x a round trip over a socket pair")


if __name__ == "__main__":
    main()
