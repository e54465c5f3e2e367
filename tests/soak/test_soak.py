"""A soak: `pytest --soak tests/soak [--soak-minutes N]`; not a part of `.ci/run`.

Three programs raise guards and count the answers. At random the daemon is killed, ended, reloaded and made to
reopen its log; programs, guardians and the simulated kernel are killed; /metrics is scraped.
At the end the counts of journal, log, metrics and programs agree exactly. In the last third daemon and kernel
are not ended, and their memory, descriptors and port names stay as they were.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import random
import signal
import statistics
import struct
import subprocess
import threading
import time
import urllib.error
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from excsim import Kernel
from tests.support import ROOT, compiler, simulator
from tests.support.harness import Daemon, build_child, events, scrape, total
from tests.support.journal import Journal
from tests.support.waiting import has_ended, wait_until

NAMES = ("a", "b", "c")
PAUSE_US = 10_000
"""Between two guards of a program."""
CAPACITY = 65_536
"""Of the journal, in records: so many that none is lost while the daemon is down."""


class Soak:
    """A kernel, a daemon and its programs, and what may happen to them."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.chance = random.Random(seed)  # noqa: S311 - the same events for the same seed
        self.done: Counter[str] = Counter()
        self.extra = False
        self.highest = 0
        self.scrapes = 0
        self.child = build_child(directory)
        self.inspect = directory / "inspect"
        source = ROOT / "tests" / "simulator" / "programs" / "inspect.c"
        command = [compiler.require(), *simulator.HEADERS, source, *simulator.LIBRARIES, "-o", self.inspect]
        subprocess.run(command, check=True)
        self.kernel = Kernel()
        self.started = 0
        self.start()

    # ---- what it is made of ----

    def config(self) -> str:
        """The text of the configuration; with a further target every other time."""
        text = f'[log]\npath = "{self.directory}/log.jsonl"\nformat = "json"\nfirst = 100000\n'
        text += f'[journal]\npath = "{self.directory}/journal"\ncapacity = {CAPACITY}\n'
        for name in NAMES:
            command = f'["{self.child}", "count", "{self.directory}/tally-{name}", "{PAUSE_US}"]'
            text += f'[[target]]\nname = "{name}"\ncommand = {command}\nreply = "consume"\n'
            text += 'restart = "always"\nrestart_delay = 0.1\nrestart_delay_max = 0.5\n'
        if self.extra:
            text += '[[target]]\nname = "extra"\ncommand = ["sleep", "1000"]\n'
        return text + '[metrics]\nlisten = "127.0.0.1:0"\n'

    def start(self) -> None:
        """Start the daemon, and wait for its endpoint."""
        self.daemon = Daemon(self.directory, {**os.environ, **self.kernel.environ}, self.config())
        self.url = self.daemon.url
        self.started += 1

    def processes(self, part: str) -> list[int]:
        """The processes whose command line has ``part`` and that the running daemon has started."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = int((process / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
                if part.encode() in (process / "cmdline").read_bytes() and parent == self.daemon.process.pid:
                    found.append(int(process.name))
        return found

    # ---- what may happen ----

    def kill_a_program(self) -> None:
        self._kill_one(str(self.directory / "child"))

    def kill_a_guardian(self) -> None:
        self._kill_one("excguard-guardian")

    def _kill_one(self, part: str) -> None:
        if pids := self.processes(part):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.chance.choice(pids), signal.SIGKILL)

    def reload(self) -> None:
        self.extra = not self.extra
        name = "configuration_reloaded"
        before = len(self.daemon.events(name))
        (self.directory / "excguard.toml").write_text(self.config())
        self.daemon.process.send_signal(signal.SIGHUP)
        found = self.daemon.wait_for(name, before + 1)
        assert len(found) > before, self.ended()

    def rotate_the_log(self) -> None:
        number = len(list(self.directory.glob("log.*.jsonl")))
        moved = self.directory / f"log.{number}.jsonl"
        self.daemon.log.rename(moved)
        self.daemon.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: self.daemon.log.exists() or self.daemon.process.poll() is not None)
        assert self.daemon.log.exists(), self.ended()

    def restart(self) -> None:
        assert self.daemon.stop() == 0, self.daemon.stderr
        self.start()

    def kill_the_daemon(self) -> None:
        self.daemon.stop(signal.SIGKILL)
        self.start()

    def kill_the_kernel(self) -> None:
        os.kill(self.kernel.pid, signal.SIGKILL)
        status = self.daemon.wait()  # it must end by itself, with a status that launchd restarts
        assert status not in {0, -signal.SIGKILL}, (status, self.daemon.stderr)
        assert b"Traceback" not in self.daemon.stderr, self.daemon.stderr.decode()
        self.kernel.stop()
        self.kernel = Kernel()
        self.start()

    def ended(self) -> str:
        """Why the daemon is there no more."""
        return f"the daemon ended with {self.daemon.wait()}: {self.daemon.stderr.decode()}"

    def happen(self, choices: dict[str, int], seconds: float) -> None:
        """Make things happen for so many seconds; ``choices`` are methods and how often each is taken."""
        pause = threading.Event()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pause.wait(self.chance.uniform(0.1, 1.2))
            (name,) = self.chance.choices(list(choices), list(choices.values()))
            getattr(self, name)()
            self.done[name] += 1

    def scrape_until(self, stop: threading.Event, failed: list[str]) -> None:
        """Scrape; the number of hits never falls, whichever daemon answers."""
        while not stop.wait(0.1):
            with contextlib.suppress(OSError, urllib.error.URLError, ValueError):
                hits = int(total(scrape(self.url), "excguard_hits_total"))
                self.scrapes += 1
                if hits < self.highest:
                    failed.append(f"{hits} hits after {self.highest}")
                self.highest = hits

    # ---- what is measured ----

    def measure(self) -> dict[str, float]:
        """Memory of the daemon (KiB, no mapped files), its descriptors, and the kernel's ports: medians.

        The programs stand still meanwhile: while hits come one after the other, the receiver holds up to 64
        identity tokens, also of processes that have ended.
        """
        programs = self.processes(str(self.directory / "child"))
        for pid in programs:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        try:
            return self._measured()
        finally:
            for pid in programs:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _measured(self) -> dict[str, float]:
        rows: list[tuple[int, int, int]] = []
        pause = threading.Event()
        for _ in range(9):
            daemon = Path(f"/proc/{self.daemon.process.pid}")
            status = (daemon / "status").read_text()
            (memory,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:"))
            census = json.loads(subprocess.check_output([self.inspect], env=self.kernel.environ))
            rows.append((memory, len(list((daemon / "fd").iterdir())), census["ports"]))
            pause.wait(0.5)
        medians = map(statistics.median, zip(*rows, strict=True))
        return dict(zip(("memory_kib", "descriptors", "ports"), medians, strict=True))


def tally(path: Path) -> int:
    """The number of answers that a program has counted."""
    return struct.unpack("<Q", path.read_bytes()[:8])[0] if path.exists() and path.stat().st_size else 0


CHAOS = {
    "kill_a_program": 6,
    "kill_a_guardian": 3,
    "reload": 4,
    "rotate_the_log": 3,
    "restart": 2,
    "kill_the_daemon": 4,
    "kill_the_kernel": 2,
}
STEADY = {"kill_a_program": 6, "kill_a_guardian": 3, "reload": 4, "rotate_the_log": 3}


@pytest.mark.soak
def test_counts_agree_and_nothing_grows(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    faulthandler.cancel_dump_traceback_later()  # it is meant to take long
    minutes = float(request.config.getoption("--soak-minutes"))
    seed = random.randrange(10**6)  # noqa: S311
    print(f"seed {seed}, {minutes:g} minutes")  # noqa: T201 - shown when it fails, and with -s
    soak = Soak(tmp_path, seed)
    stop, failed = threading.Event(), []
    scraper = threading.Thread(target=soak.scrape_until, args=(stop, failed))
    scraper.start()
    try:
        soak.happen(CHAOS, minutes * 40)
        soak.happen(STEADY, minutes * 10)  # what is loaded on first use is loaded, what has a bound fills
        before = soak.measure()
        soak.happen(STEADY, minutes * 10)
        after = soak.measure()
        metrics = end_well(soak)
    finally:
        stop.set()
        scraper.join()
        soak.daemon.end()
        soak.kernel.stop()
    report = compare(soak, tmp_path, metrics)
    done = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in sorted(soak.done.items()))
    print(f"{done}; {soak.started} daemons, {soak.scrapes} scrapes")  # noqa: T201
    print(f"{report}\nbefore {before}\nafter  {after}")  # noqa: T201

    assert failed == []
    assert after["descriptors"] <= before["descriptors"] + 2
    assert after["ports"] <= before["ports"] + 6  # a program more or less that is being started
    assert after["memory_kib"] <= before["memory_kib"] * 1.1 + 2048


def end_well(soak: Soak) -> int:
    """End the programs, then the daemon, as administrators do; how many hits /metrics has at the end."""
    config = (soak.directory / "excguard.toml").read_text()
    tables = config.partition("[[target]]")[0] + '[metrics]\nlisten = "127.0.0.1:0"\n'
    (soak.directory / "excguard.toml").write_text(
        tables + '[[target]]\nname = "still"\ncommand = ["sleep", "1000"]\n'
    )
    count = len(soak.daemon.events("configuration_reloaded"))
    programs = soak.processes(str(soak.directory / "child"))
    soak.daemon.process.send_signal(signal.SIGHUP)
    soak.daemon.wait_for("configuration_reloaded", count + 1)
    wait_until(lambda: all(map(has_ended, programs)))
    metrics = int(total(scrape(soak.url), "excguard_hits_total"))
    assert soak.daemon.stop() == 0, soak.daemon.stderr
    return metrics


def compare(soak: Soak, directory: Path, metrics: int) -> str:
    """Hold the counts of journal, log, metrics and programs against each other; the figures."""
    logged: dict[int, dict[str, Any]] = {}
    lines = 0
    for path in directory.glob("log*.jsonl"):
        for event in events(path, "guard_hit"):
            lines += 1
            same = logged.setdefault(event["seq"], event)
            assert (same["subcode"], same["target"], same["timestamp"]) == (
                event["subcode"],
                event["target"],
                event["timestamp"],
            )
    with Journal(directory / "journal", CAPACITY) as journal:
        counters = journal.hits()
        assert journal.pending == 0
        assert journal.lost == 0
    recorded = sum(count for count, _ in counters.values())

    assert sorted(logged) == list(range(len(logged)))
    assert len(logged) == recorded == metrics
    answered = early = unanswered = 0
    for name in NAMES:
        count = tally(directory / f"tally-{name}")
        numbers = Counter(int(hit["subcode"], 16) for hit in logged.values() if hit["target"] == name)
        early += numbers.pop(0)  # raised until the daemon had the pid: not answered as handled
        # A program that was killed between the answer and its own count raises the same number again.
        assert sorted(numbers) in (list(range(1, count + 1)), list(range(1, count + 2)))
        answered += count
        unanswered += sum(numbers.values()) - count
    assert unanswered <= sum(soak.done.values()) * len(NAMES) + len(NAMES)
    assert answered + early + unanswered == recorded
    return (
        f"{recorded} hits in the journal, {len(logged)} in the log, {metrics} in /metrics; "
        f"{lines - len(logged)} lines repeated after a kill; {answered} answers counted by the programs, "
        f"{unanswered} more that a killed program had not counted, {early} before the daemon had the pid"
    )
