"""How fast the decoder's commands are, as ratios within one run: `python -m bench.decoding`.

* start: the whole process `excguard decode 2305845208236959491` against a bare `python -c 'import click'`;
  the bar is 2.5.
* scan: files a second of `excguard scan --json` (the whole process, start included) against a loop that reads
  the same files and calls `json.loads` on header and body; the bar is 4. Beside it, the same loop spread over
  as many processes as scan uses.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from bench.row import (
    Measure,
    Options,
    Row,
    compile_modules,
    each,
    has_valgrind,
    instructions,
    run,
)
from excguard import crash_reports
from excsim import Kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

STARTS = 30
FILES = 3000
ROUNDS = 3
EXCGUARD = [sys.executable, "-c", "from excguard.__main__ import main; main()"]  # as the program does


def report(seed: int, *, guard: bool) -> str:
    """A report as macOS 26 writes them, of 160 KiB: of a guard violation, or of another crash."""
    rng = random.Random(seed)  # noqa: S311 - the same files in every run
    frames = [
        {"imageOffset": rng.randrange(10**6), "symbol": f"function_{rng.randrange(999)}",
         "symbolLocation": 12, "imageIndex": rng.randrange(300)}
        for _ in range(25)
    ]  # fmt: skip
    threads = [{"id": 1000 + i, "triggered": i == 3, "frames": rng.sample(frames, 25)} for i in range(25)]
    images = [
        {"source": "P", "arch": "arm64e", "base": rng.randrange(2**40), "size": 65536, "uuid": f"{i:036}",
         "path": f"/usr/lib/system/lib{i}.dylib", "name": f"lib{i}.dylib"}
        for i in range(300)
    ]  # fmt: skip
    exception = {"type": "EXC_BAD_ACCESS", "signal": "SIGSEGV", "rawCodes": [1, 2], "codes": "0x1, 0x2"}
    termination: dict[str, object] = {"namespace": "SIGNAL", "code": 11, "flags": 0}
    if guard:
        message = " INVALID_NAME on mach port 9987 (guarded with 0x0000000000000000)"
        exception = {"type": "EXC_GUARD", "subtype": "GUARD_TYPE_MACH_PORT", "message": message, "port": 9987,
                     "guardId": 0, "violations": ["INVALID_NAME"], "rawCodes": [163587843, 0]}  # fmt: skip
        termination = {"namespace": "GUARD", "code": 2305845208236959491, "flags": 2}
    head = {"app_name": "App", "bug_type": "309", "os_version": "macOS 26.4 (25E246)", "name": "App"}
    body = {"procName": "App", "pid": 7, "osVersion": {"train": "macOS 26.4", "build": "25E246"},
            "exception": exception, "termination": termination, "faultingThread": 3, "threads": threads,
            "usedImages": images, "vmSummary": "ReadOnly portion of Libraries: Total=1.6G " * 50}  # fmt: skip
    return json.dumps(head) + "\n" + json.dumps(body, indent=2)


def loads(path: Path) -> bool:
    """What the plain loop does with one file."""
    head, _, body = path.read_text().partition("\n")
    return bool(json.loads(head)["bug_type"]) and json.loads(body)["exception"]["type"] == "EXC_GUARD"


def took(command: list[str]) -> float:
    """Seconds that a process takes."""
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def starts() -> None:
    """Print the ratio of starts."""
    bare, ours = [], []
    for _ in range(STARTS):
        bare.append(took([sys.executable, "-c", "import click"]))
        ours.append(took([*EXCGUARD, "decode", "2305845208236959491"]))
    ratio = statistics.median(ours) / statistics.median(bare)
    print(
        f"start: import click {statistics.median(bare) * 1e3:.1f} ms, excguard decode "
        f"{statistics.median(ours) * 1e3:.1f} ms (medians of {STARTS}): {ratio:.2f} times (bar 2.5)"
    )


def scans(directory: Path, every: int) -> None:
    """Print the ratios of files a second; one file in `every` is of a guard violation."""
    paths = []
    for number in range(FILES):
        paths.append(directory / f"{number}.ips")
        paths[-1].write_text(report(number % 50, guard=number % every == 0))
    jobs = os.cpu_count() or 1
    loop, spread, ours = [], [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        hits = sum(map(loads, paths))
        loop.append(time.perf_counter() - began)
        began = time.perf_counter()
        with ProcessPoolExecutor(jobs) as pool:
            hits = sum(pool.map(loads, paths, chunksize=64))
        spread.append(time.perf_counter() - began)
        ours.append(took([*EXCGUARD, "scan", "--json", str(directory)]))
    size = paths[0].stat().st_size >> 10
    print(f"scan: {FILES} files of {size} KiB, {hits} of them of guard violations; files a second:")
    print(
        f"  json.loads loop {FILES / min(loop):.0f}, the loop in {jobs} processes {FILES / min(spread):.0f}"
    )
    print(f"  excguard scan {FILES / min(ours):.0f}: {min(loop) / min(ours):.1f} times the loop (bar 4),")
    print(f"  {min(spread) / min(ours):.1f} times the loop in {jobs} processes")


COMMANDS = {
    "--help": (["--help"], 1.25),
    "decode": (["decode", "2305845208236959491"], 1.1),
    "run -- true": (["run", "--", "true"], 3.5),
}
"""Commands whose start is counted -> arguments, and the highest ratio to `import click`."""


PAIRS = """
import random, sys
from excguard import decode
rng = random.Random(1)
flavors = [0x200, 0x100, 0x20, 1, 0xA]
pairs = [(1 << 61 | rng.choice(flavors) << 32 | rng.randrange(1 << 32), rng.randrange(1 << 64))
         for _ in range(1200)]
for pair in pairs[:int(sys.argv[1])]:
    decode(*pair)
"""


def fresh_pair(python: str | Path) -> float:
    """The instructions of `decode` for a pair that was not decoded before."""
    compile_modules([python, "-c", PAIRS, "1"])
    return each(lambda number: instructions([python, "-c", PAIRS, str(number)]), 200, 1200)


LOG = b"2026-01-01 12:00:00.123 E  kernel[0:23] some message about things: value=0x1234567 ok done\n"


def splitting() -> Row:
    """Reading 32 MiB of a log without a guard, against counting its lines with a regular expression."""
    text = LOG * ((32 << 20) // len(LOG))
    lines = re.compile(rb"[^\n]*+\n")
    began = time.process_time()
    sum(1 for _ in lines.finditer(text))
    plain = time.process_time() - began
    began = time.process_time()
    crash_reports.read_documents(io.BytesIO(text))
    ours = time.process_time() - began
    return Row("reading 32 MiB of a log", "counting its lines with re", Measure.TIME, ours, plain, None, "s")


def rows(options: Options) -> Iterator[Row]:
    """A log without a guard; starts, and the decoding of one pair, in instructions."""
    if not options.check:
        yield splitting()
    if not has_valgrind():
        return
    bare = instructions([sys.executable, "-c", "import click"]) / 1e6
    with Kernel() as kernel:
        for name, (arguments, target) in COMMANDS.items():
            command = [*EXCGUARD, *arguments]
            compile_modules(command, kernel.environ)
            ours = instructions(command, kernel.environ) / 1e6
            peer = "python -c 'import click'"
            yield Row(f"excguard {name}", peer, Measure.INSTRUCTIONS, ours, bare, target, "M")
    if options.baseline:
        ours, theirs = fresh_pair(sys.executable), fresh_pair(options.baseline.python)
        peer = "the baseline build"
        yield Row("excguard.decode of a new pair", peer, Measure.INSTRUCTIONS, ours, theirs, 0.25)


def main() -> None:
    """Prints the ratios of times."""
    starts()
    for every in (10, 1):
        with tempfile.TemporaryDirectory() as temporary:
            scans(Path(temporary), every)


if __name__ == "__main__":
    sys.exit(run(rows, main))
