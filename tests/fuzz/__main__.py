"""Fuzzes a reader: `python -m tests.fuzz NAME [--seconds 600] [--corpus DIRECTORY]`; without NAME lists all.

Readers in Python are fuzzed with atheris (`pip install atheris`), those in C with clang's libFuzzer and
sanitizers of addresses and undefined behavior, the simulated kernel by requests of its own. The seeds are in
`tests/fuzz/seeds` and in the data of the tests. What a fuzzer finds interesting goes to DIRECTORY, where the
next run goes on; without one it is thrown away. An input that breaks a reader is written to
`crash-...` in DIRECTORY or in the working directory, and the exit status is not 0.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz import c_readers, seeds, simulated_kernel


def fuzz(name: str, seconds: int, corpus: Path) -> int:
    """Fuzz a reader for so many seconds; the exit status."""
    corpus.mkdir(parents=True, exist_ok=True)
    if name == simulated_kernel.NAME:
        return simulated_kernel.fuzz(seconds)
    with tempfile.TemporaryDirectory(prefix="excguard-fuzz-") as temporary:
        given = Path(temporary) / "seeds"
        given.mkdir()
        seeds.write(name, given)
        options = [
            str(corpus),
            str(given),
            f"-max_total_time={seconds}",
            "-print_final_stats=1",
            "-timeout=30",
            "-rss_limit_mb=2048",
            f"-artifact_prefix={corpus}/",
        ]
        if name in c_readers.READERS:
            command = [str(c_readers.build(name, Path(temporary))), *options]
        else:
            command = [sys.executable, "-m", "tests.fuzz.atheris_driver", name, *options]
        return subprocess.run(command, check=False, cwd=temporary, env=_environment()).returncode


def _environment() -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": root}


def main() -> None:
    """Read the command line."""
    names = [*seeds.SEEDS, simulated_kernel.NAME]
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n\n")[0])
    parser.add_argument("name", nargs="?", choices=names)
    parser.add_argument("--seconds", type=int, default=600, help="how long (default: 600)")
    parser.add_argument("--corpus", type=Path, help="keeps what was found interesting")
    arguments = parser.parse_args()
    if arguments.name is None:
        print("\n".join(names))  # noqa: T201 - a program
        return
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(fuzz(arguments.name, arguments.seconds, arguments.corpus or Path(temporary)))


if __name__ == "__main__":
    main()
