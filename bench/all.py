"""Every ratio in one table, the peers side by side: `python bench/all.py [--check] [--baseline CHECKOUT]`.

The machines that run this are noisy: each row is a ratio of two measurements of one run, and where valgrind
is installed the important ones are of instructions, which are the same in every run. What is the same for
much and for little work, such as the start of a process, is not in a ratio: a row is the difference of two
runs. With --check only rows that are counted are measured (instructions and system calls, never time), and
the exit status is 1 when one misses its target; counts do not disturb each other, so benchmarks run at the
same time then. Without --check what is timed runs one after the other, pinned to one processor, and what is
counted on the others meanwhile. Starts of commands depend on how excguard is installed: an editable
installation adds a finder of modules, so measure them with a Python in which it is installed as users do.
--baseline names a checkout of another build of excguard with its environment in .venv, such as the last
release; rows that compare with it are left out otherwise.

A row whose target is missed and known to be says why (KNOWN), and does not fail the check.

A benchmark takes part by being named in BENCHMARKS: with --rows it prints its rows (see row.py).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

COUNTED = ("storm", "receiver_turn", "hot_path", "log_line", "decoding", "scrape")
BENCHMARKS = (*COUNTED, "columns", "scan", "memory", "insertion")
"""Modules of this directory; those in COUNTED have rows that are counted."""

KNOWN = {
    "excguard decode": "importing tables, guard types and decoding takes 21 M",
    "excguard run -- true": "of imports beside click's, asyncio takes 65 M and msgspec 24 M",
    "scan, guard violations alone, processor time": "0.51 of the instructions; each has a site id",
    "scan, a tenth guard violations, one process": "noise: 0.88, 1.21, 1.22 and 1.7 in four runs",
    "scan of 20000 files to Parquet": "importing pyarrow takes 53 MB where numpy is installed",
    "the same": "rows wait for a row group, and names are kept",
}
"""Rows that miss their target -> what limits them."""

FORM = "{:62} {:34} {:12} {:>12} {:>12} {:>7} {:>7}  {}"


def rows(name: str, options: list[str]) -> list[dict[str, Any]] | int:
    """The rows of one benchmark, which runs in a process of its own; its exit status when it has failed."""
    command = [sys.executable, "-m", f"bench.{name}", "--rows", *options]
    done = subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return done.returncode
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def show(row: dict[str, Any]) -> None:
    """Print one row."""
    target = "" if row["target"] is None else f"{row['target']:.3g}"
    verdict = "" if row["target"] is None else "MISSED" if row["missed"] else "met"
    if row["missed"] and row["what"] in KNOWN:
        verdict += f": {KNOWN[row['what']]}"
    ours, peers = (f"{row[name]:,.4g} {row['unit']}" for name in ("ours", "peers"))
    print(
        FORM.format(
            row["what"], row["peer"], row["measure"], ours, peers, f"{row['ratio']:.3g}", target, verdict
        ),
        flush=True,
    )


def main() -> int:
    """Run all benchmarks; 1 when one failed, or when a row of --check missed its target."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="count only; exit with 1 when a target is missed"
    )
    parser.add_argument("--baseline", type=Path, metavar="CHECKOUT", help="of another build, with .venv")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)} (default: all)")
    options = parser.parse_args()
    baseline = ["--baseline", str(options.baseline.absolute())] if options.baseline else []
    begun = time.monotonic()
    wrong = 0
    print(FORM.format("what", "peer", "measure", "excguard", "peer", "ratio", "target", ""))
    names = options.names or (COUNTED if options.check else BENCHMARKS)
    processors = os.cpu_count() or 1
    with (
        ThreadPoolExecutor(processors if options.check else max(1, processors - 1)) as counting,
        ThreadPoolExecutor(1) as timing,
    ):
        count = ["--check", *baseline] if options.check else ["--check", "--beside", *baseline]
        runs = [(name, counting.submit(rows, name, count)) for name in names]
        if not options.check:
            runs += [(name, timing.submit(rows, name, ["--timed", *baseline])) for name in names]
        for name, run in sorted(runs, key=lambda pair: names.index(pair[0])):
            found = run.result()
            if isinstance(found, int):
                print(f"bench.{name} exited with {found}")
                wrong += 1
                continue
            for row in found:
                show(row)
                known = row["what"] in KNOWN
                wrong += options.check and row["missed"] and row["checked"] and not known
    print(f"{time.monotonic() - begun:.0f} s")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
