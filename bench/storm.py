"""How endpoint and feed answer while one program raises 200,000 guard exceptions in a row.

    python -m bench.storm [HITS]

Prints how long scrapes took, and how long the live feed was silent at most; in the end, whether log, metrics
and feed agree on the number.
"""

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from excguard.web.feed_client import Feed, messages
from excsim import Kernel
from tests.support import harness

GUARD = "0x2000020000002703"


def start(folder: Path, program: str, hits: int, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start excguard; the storm begins when something is written to the fifo ``go``."""
    os.mkfifo(folder / "go")
    (folder / "excguard.toml").write_text(
        f'[log]\npath = "{folder}/log"\nformat = "json"\n[journal]\npath = "{folder}/journal"\n'
        '[metrics]\nlisten = "127.0.0.1:0"\n[crash_reports]\nenabled = false\n'
        f'[[target]]\nname = "storm"\nrestart = "never"\n'
        f'command = ["sh", "-c", "read go < {folder}/go && exec {program} raise {GUARD} {hits}"]\n'
        '[[target]]\nname = "still"\ncommand = ["sleep", "600"]\n'
    )
    command = [sys.executable, "-m", "excguard", "serve", "--config", str(folder / "excguard.toml")]
    return subprocess.Popen(command, env=environ)


def events(folder: Path, name: str) -> list[dict]:
    """The events of that name in the log."""
    log = folder / "log"
    lines = log.read_bytes().splitlines() if log.exists() else []
    return [json.loads(line) for line in lines if f'"event":"{name}"'.encode() in line]


def look_on(url: str, feed: Feed, silences: list[float]) -> None:
    """Read the live feed, and note how long each message had to be waited for."""
    heard = time.perf_counter()
    for kind, message in messages(url):
        feed.take(kind, message)
        silences.append(time.perf_counter() - heard)
        heard = time.perf_counter()


def main() -> int:
    """Run the storm; 1 when the numbers do not agree."""
    hits = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    feed, silences, times = Feed(), [], []
    with tempfile.TemporaryDirectory() as name, Kernel() as kernel:
        folder = Path(name)
        program = harness.build_child(folder)
        daemon = start(folder, program, hits, {**os.environ, **kernel.environ})
        while not (listening := events(folder, "metrics_listening")):
            time.sleep(0.01)
        url = listening[0]["url"].removesuffix("/metrics")
        threading.Thread(target=look_on, args=(url, feed, silences), daemon=True).start()
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        while not silences:
            time.sleep(0.01)
        silences.clear()
        (folder / "go").write_text("go\n")
        begun = time.perf_counter()
        while not events(folder, "target_exited"):
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
        told = [len(events(folder, "guard_hit"))]
        told += [sum(event["count"] for event in events(folder, name)) for name in SUMMED]
    counted = sum(
        int(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith("excguard_hits_total{")
    )
    print(f"{hits} hits in {seconds:.1f} s")
    median, worst = statistics.median(times) * 1e3, max(times) * 1e3
    print(f"  {len(times)} scrapes: median {median:.1f} ms, worst {worst:.1f} ms")
    print(f"  {len(during)} messages of the feed, the longest wait {max(during) * 1e3:.0f} ms")
    print(f"  log: {told[0]} whole + {told[1]} summed up + {told[2]} left out = {sum(told)}")
    print(f"  metrics: {counted}; feed: {sum(feed.counts.values())}")
    return int({hits} != {sum(told), counted, sum(feed.counts.values())})


SUMMED = ("guard_hits_suppressed", "journal_records_lost")

if __name__ == "__main__":
    sys.exit(main())
