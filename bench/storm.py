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
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from bench.row import Measure, Options, Row, pin, run
from excguard.web.feed_client import Feed, messages
from excsim import Kernel
from tests.support import ROOT, compiler, harness

if TYPE_CHECKING:
    from collections.abc import Iterator

GUARD = "0x2000020000002703"


def start(
    directory: Path, program: str, hits: int, environ: dict[str, str], python: Path | str = sys.executable
) -> subprocess.Popen[bytes]:
    """Start excguard; the storm begins when something is written to the fifo ``go``."""
    os.mkfifo(directory / "go")
    (directory / "excguard.toml").write_text(
        f'[log]\npath = "{directory}/log"\nformat = "json"\n[journal]\npath = "{directory}/journal"\n'
        '[metrics]\nlisten = "127.0.0.1:0"\n[crash_reports]\nenabled = false\n'
        f'[[target]]\nname = "storm"\nrestart = "never"\n'
        f'command = ["sh", "-c", "read go < {directory}/go && exec {program} raise {GUARD} {hits}"]\n'
        '[[target]]\nname = "still"\ncommand = ["sleep", "600"]\n'
    )
    command = [python, "-m", "excguard", "serve", "--config", str(directory / "excguard.toml")]
    return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)


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


KERNEL_CALLS = ("sendmsg", "recvfrom", "recvmsg")
"""The system calls of one call of the simulated kernel: a message to it, and its reply."""


def system_calls(hits: int) -> tuple[float, float] | None:
    """The daemon's calls of the simulated kernel, and its other system calls, in a storm of so many hits.

    None where processes may not be traced.
    """
    with tempfile.TemporaryDirectory() as name, Kernel() as kernel:
        directory = Path(name)
        program = harness.build_child(directory)
        daemon = start(directory, program, hits, {**os.environ, **kernel.environ})
        while not events(directory, "metrics_listening"):
            time.sleep(0.01)
        counts = directory / "counts"
        trace = ["strace", "-f", "-c", "-U", "calls,name", "-o", counts, "-p", str(daemon.pid)]
        tracer = subprocess.Popen(trace, stderr=subprocess.PIPE)
        traced = b"attached" in tracer.stderr.readline()
        (directory / "go").write_text("go\n")
        while not events(directory, "target_exited"):
            time.sleep(0.01)
        if traced:
            tracer.send_signal(signal.SIGINT)
        tracer.wait()
        daemon.terminate()
        daemon.wait()
        if not traced:
            return None
        rows = [line.split() for line in counts.read_text().splitlines()[2:]]
    calls = {row[1]: int(row[0]) for row in rows if len(row) == 2 and row[0].isdigit()}
    calls.pop("total")
    kernel_calls = calls.get("sendmsg", 0)
    return kernel_calls, sum(calls.values()) - sum(calls.get(name, 0) for name in KERNEL_CALLS)


SERVE_KERNEL = """
import json, sys
try:
    from excsim import INCLUDE, LIBRARY, Kernel
except ImportError:
    from excguard.sim import INCLUDE, LIBRARY, Kernel
with Kernel() as kernel:
    print(json.dumps([kernel.environ, str(INCLUDE), str(LIBRARY)]), flush=True)
    sys.stdin.read()
"""
"""Runs a simulated kernel, of 0.1 as well."""


class Cost(NamedTuple):
    """What a hit costs in a storm: seconds of the daemon's processor time, and seconds."""

    cpu: float
    wall: float


def cost(python: Path | str, hits: int) -> Cost:
    """Of a storm in another build, with its own simulated kernel."""
    with (
        tempfile.TemporaryDirectory() as name,
        subprocess.Popen(
            [python, "-c", SERVE_KERNEL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as kernel,
    ):
        directory = Path(name)
        environ, include, library = json.loads(kernel.stdout.readline())
        program = directory / "child"
        options = [f"-I{include}", "-D_GNU_SOURCE", "-O2", "-pthread"]
        source = ROOT / "tests/support/programs/child.c"
        subprocess.run([compiler.require(), *options, source, library, "-ldl", "-o", program], check=True)
        daemon = start(directory, str(program), hits, {**os.environ, **environ}, python)
        while not events(directory, "metrics_listening"):
            time.sleep(0.05)
        cpu, began = processor_time(daemon.pid), time.perf_counter()
        (directory / "go").write_text("go\n")
        while not events(directory, "target_exited"):
            time.sleep(0.02)
        taken = Cost(processor_time(daemon.pid) - cpu, time.perf_counter() - began)
        daemon.terminate()
        daemon.wait()
        kernel.stdin.close()
    return taken


def processor_time(pid: int) -> float:
    """Seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rows(options: Options) -> Iterator[Row]:
    """The calls of the daemon a hit; and a hit's time in a storm, end to end, against another build."""
    few, many = 2_000, 12_000
    if shutil.which("strace") is not None and (short := system_calls(few)) and (long := system_calls(many)):
        (kernel_few, other_few), (kernel_many, other_many) = short, long
        ours = round((kernel_many - kernel_few) / (many - few), 2)  # a few calls are of the time that passes
        yield Row("kernel calls of the daemon in a storm", "a hit", Measure.CALLS, ours, 1, 2)
        ours = (other_many - other_few) / (many - few)
        yield Row("its other system calls", "a hit", Measure.CALLS, ours, 1, 0.3)
    if options.check or not options.baseline:
        return
    pin()
    few, many = 10_000, 60_000
    per_hit = []
    for python in (sys.executable, options.baseline.python):
        costs = zip(cost(python, few), cost(python, many), strict=True)
        cpu, wall = ((after - before) / (many - few) for before, after in costs)
        per_hit.append(Cost(cpu * 1e6, wall * 1e6))
    ours, theirs = per_hit
    peer = "the baseline build"
    name = "processor time of the daemon in a storm, a hit"
    yield Row(name, peer, Measure.TIME, ours.cpu, theirs.cpu, 0.4, "us")
    name = "a storm from end to end, a hit"
    yield Row(name, peer, Measure.TIME, ours.wall, theirs.wall, 1 / 1.8, "us")


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
