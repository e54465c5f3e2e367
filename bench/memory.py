"""Memory: `serve` when nothing happens, and a scan into a Parquet file: `python -m bench.memory`.

Resident megabytes by /proc; Linux only. Each is compared with its limit, which is the peer of its row.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bench.decoding import report
from bench.row import Measure, Options, Row, run
from bench.storm import events
from excsim import Kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

IDLE_MB = 32
SCAN_MB = 64
SETTLING = 2.0  # seconds
FILES = (2_000, 20_000)


def idle() -> float:
    """Megabytes of `excguard serve` that watches one program."""
    with tempfile.TemporaryDirectory() as name, Kernel() as kernel:
        directory = Path(name)
        config = directory / "excguard.toml"
        config.write_text(
            f'[log]\npath = "{directory}/log"\nformat = "json"\n[journal]\npath = "{directory}/journal"\n'
            '[metrics]\nlisten = "127.0.0.1:0"\n[[target]]\nname = "still"\ncommand = ["sleep", "600"]\n'
        )
        command = [sys.executable, "-m", "excguard", "serve", "--config", config]
        with subprocess.Popen(
            command, env={**os.environ, **kernel.environ}, stdout=subprocess.DEVNULL
        ) as daemon:
            while not events(directory, "target_started"):
                time.sleep(0.05)
            time.sleep(SETTLING)
            resident = _megabytes(Path(f"/proc/{daemon.pid}/status"), "VmRSS")
            daemon.terminate()
    return resident


def scan(files: int) -> float:
    """The most megabytes of a process of `excguard scan` of so many reports of guard violations."""
    texts = [report(seed, guard=True) for seed in range(20)]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name, "reports")
        directory.mkdir()
        for number in range(20):
            (directory / f"{number}.ips").write_text(texts[number])
        for number in range(20, files):
            (directory / f"{number}.ips").hardlink_to(directory / f"{number % 20}.ips")
        output = Path(name, "rows.parquet")
        command = [sys.executable, "-m", "excguard", "scan", "--output", output, directory]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            most = 0.0
            while process.poll() is None:
                try:
                    most = max(most, _megabytes(Path(f"/proc/{process.pid}/status"), "VmHWM"))
                except (OSError, StopIteration):
                    break
                time.sleep(0.02)
    return most


def _megabytes(status: Path, key: str) -> float:
    return next(
        int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith(f"{key}:")
    )


def rows(options: Options) -> Iterator[Row]:
    """Both; of the scan also how it grows with the number of files."""
    if options.check or not Path("/proc/self/status").exists():
        return
    yield Row("excguard serve, idle", "its limit", Measure.MEMORY, idle(), IDLE_MB, 1, "MB")
    if find_spec("pyarrow") is None:
        return
    few, many = map(scan, FILES)
    yield Row(f"scan of {FILES[1]} files to Parquet", "its limit", Measure.MEMORY, many, SCAN_MB, 1, "MB")
    yield Row("the same", f"scan of {FILES[0]}", Measure.MEMORY, many, few, 1.05, "MB")


if __name__ == "__main__":
    sys.exit(run(rows))
