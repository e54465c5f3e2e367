"""How endpoint and feed answer while one program raises 200,000 guard exceptions in a row.

    python -m bench.storm [HITS]

Prints how long scrapes took, and how long the live feed was silent at most; in the end, whether log, metrics
and feed agree on the number.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench.row import Measure, Options, Row, run
from excguard.web.feed_client import Feed, messages
from excsim import Kernel
from tests.support import harness

if TYPE_CHECKING:
    from collections.abc import Iterator

GUARD = "0x2000020000002703"


def start(directory: Path, program: str, hits: int, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start excguard; the storm begins when something is written to the fifo ``go``."""
    os.mkfifo(directory / "go")
    (directory / "excguard.toml").write_text(
        f'[log]\npath = "{directory}/log"\nformat = "json"\n[journal]\npath = "{directory}/journal"\n'
        '[metrics]\nlisten = "127.0.0.1:0"\n[crash_reports]\nenabled = false\n'
        f'[[target]]\nname = "storm"\nrestart = "never"\n'
        f'command = ["sh", "-c", "read go < {directory}/go && exec {program} raise {GUARD} {hits}"]\n'
        '[[target]]\nname = "still"\ncommand = ["sleep", "600"]\n'
    )
    command = [sys.executable, "-m", "excguard", "serve", "--config", str(directory / "excguard.toml")]
    return subprocess.Popen(command, env=environ)


def events(directory: Path, name: str) -> list[dict]:
    """The events of that name in the log."""
    log = directory / "log"
    lines = log.read_bytes().splitlines() if log.exists() else []
    return [json.loads(line) for line in lines if f'"event":"{name}"'.encode() in line]


def look_on(url: str, feed: Feed, silences: list[float]) -> None:
    """Read the live feed, and note how long each message had to be waited for."""
    heard = time.perf_counter()
    for kind, message in messages(url):
        feed.take(kind, message)
        silences.append(time.perf_counter() - heard)
        heard = time.perf_counter()


def system_calls(tracer: subprocess.Popen[bytes], counts: Path) -> int:
    """End strace; the system calls that it has counted."""
    tracer.send_signal(signal.SIGINT)
    tracer.wait()
    (line,) = (line for line in counts.read_text().splitlines() if line.endswith(" total"))
    return int(line.split()[3])


def rows(_options: Options) -> Iterator[Row]:
    """The system calls of the daemon a hit."""
    if shutil.which("strace") is None:
        return
    hits = 20_000
    with tempfile.TemporaryDirectory() as name, Kernel() as kernel:
        directory = Path(name)
        program = harness.build_child(directory)
        daemon = start(directory, program, hits, {**os.environ, **kernel.environ})
        while not events(directory, "metrics_listening"):
            time.sleep(0.01)
        counts = directory / "counts"
        trace = ["strace", "-f", "-c", "-U", "time-percent,time-total,time-avg,calls,name", "-o", counts]
        tracer = subprocess.Popen([*trace, "-p", str(daemon.pid)], stderr=subprocess.PIPE)
        tracer.stderr.readline()  # attached
        (directory / "go").write_text("go\n")
        while not events(directory, "target_exited"):
            time.sleep(0.01)
        calls = system_calls(tracer, counts)
        daemon.terminate()
        daemon.wait()
    yield Row("system calls of the daemon in a storm", "a hit", Measure.CALLS, calls / hits, 1, None)


def main() -> int:
    """Run the storm; 1 when the numbers do not agree."""
    hits = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    feed, silences, times = Feed(), [], []
    with tempfile.TemporaryDirectory() as name, Kernel() as kernel:
        directory = Path(name)
        program = harness.build_child(directory)
        daemon = start(directory, program, hits, {**os.environ, **kernel.environ})
        while not (listening := events(directory, "metrics_listening")):
            time.sleep(0.01)
        url = listening[0]["url"].removesuffix("/metrics")
        threading.Thread(target=look_on, args=(url, feed, silences), daemon=True).start()
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        while not silences:
            time.sleep(0.01)
        silences.clear()
        (directory / "go").write_text("go\n")
        begun = time.perf_counter()
        while not events(directory, "target_exited"):
            asked = time.perf_counter()
            connection.request("GET", "/metrics")
            connection.getresponse().read()
            times.append(time.perf_counter() - asked)
            time.sleep(0.05)
        seconds = time.perf_counter() - begun
        during = list(silences)
        while sum(feed.counts.values()) < hits:
            time.sleep(0.05)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        daemon.terminate()
        daemon.wait()
        logged = [len(events(directory, "guard_hit"))]
        logged += [sum(event["count"] for event in events(directory, name)) for name in SUMMED]
    counted = sum(
        int(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith("excguard_hits_total{")
    )
    print(f"{hits} hits in {seconds:.1f} s")
    median, worst = statistics.median(times) * 1e3, max(times) * 1e3
    print(f"  {len(times)} scrapes: median {median:.1f} ms, worst {worst:.1f} ms")
    print(f"  {len(during)} messages of the feed, the longest wait {max(during) * 1e3:.0f} ms")
    print(f"  log: {logged[0]} whole + {logged[1]} summed up + {logged[2]} left out = {sum(logged)}")
    print(f"  metrics: {counted}; feed: {sum(feed.counts.values())}")
    return int({hits} != {sum(logged), counted, sum(feed.counts.values())})


SUMMED = ("guard_hits_suppressed", "journal_records_lost")

if __name__ == "__main__":
    sys.exit(run(rows, main))
