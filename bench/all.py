"""Every ratio in one table, the peers side by side: `python bench/all.py [--check] [--baseline PYTHON]`.

The machines that run this are noisy: each row is a ratio of two measurements of one run, and where valgrind
is installed the important ones are of instructions, which are the same in every run. With --check only rows
that are counted are measured (instructions and system calls, never time), and the exit status is 1 when one
misses its target. --baseline names the Python of an environment with another build of excguard, such as the
last release; rows that compare with it are left out otherwise.

A benchmark takes part by being named in BENCHMARKS: with --rows it prints its rows (see row.py).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

BENCHMARKS = ("hot_path", "decoding", "scrape", "storm", "insertion")
"""Modules of this directory."""

FORM = "{:62} {:34} {:12} {:>12} {:>12} {:>7} {:>7}  {}"


def rows(name: str, options: list[str]) -> list[dict[str, Any]]:
    """The rows of one benchmark, which runs in a process of its own. Raises subprocess.CalledProcessError."""
    command = [sys.executable, "-m", f"bench.{name}", "--rows", *options]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def show(row: dict[str, Any]) -> None:
    """Print one row."""
    target = "" if row["target"] is None else f"{row['target']:g}"
    verdict = "" if row["target"] is None else "MISSED" if row["missed"] else "met"
    ours, peers = (f"{row[name]:,.4g} {row['unit']}" for name in ("ours", "peers"))
    print(
        FORM.format(
            row["what"], row["peer"], row["measure"], ours, peers, f"{row['ratio']:.3g}", target, verdict
        )
    )


def main() -> int:
    """Run all benchmarks; 1 when one failed, or when a row of --check missed its target."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="count only; exit with 1 when a target is missed"
    )
    parser.add_argument(
        "--baseline", type=Path, metavar="PYTHON", help="of an environment with another build"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)} (default: all)")
    options = parser.parse_args()
    passed_on = ["--check"] * options.check
    if options.baseline:
        passed_on += ["--baseline", str(options.baseline.absolute())]
    begun = time.monotonic()
    wrong = 0
    print(FORM.format("what", "peer", "measure", "excguard", "peer", "ratio", "target", ""))
    for name in options.names or BENCHMARKS:
        try:
            found = rows(name, passed_on)
        except subprocess.CalledProcessError as error:
            print(f"bench.{name} exited with {error.returncode}")
            wrong += 1
            continue
        for row in found:
            show(row)
            wrong += options.check and row["missed"] and row["checked"]
    print(f"{time.monotonic() - begun:.0f} s")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
