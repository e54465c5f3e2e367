"""What the end-to-end tests share: excguard as people start it, and readers of its log and metrics."""

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from excguard.pipeline.events import check
from tests.support import compiler, simulator
from tests.support.waiting import wait_until

EXCGUARD = [sys.executable, "-m", "excguard"]


def build_child(directory: Path) -> str:
    """Compile child.c (see there) in ``directory``; the path of the program."""
    program = str(directory / "child")
    source = Path(__file__).parent / "programs" / "child.c"
    command = [compiler.require(), *compiler.WARNINGS, *simulator.HEADERS, source, *simulator.LIBRARIES]
    subprocess.run([*command, "-o", program], check=True)
    return program


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Daemon:
    """A running `excguard serve`."""

    def __init__(self, directory: Path, environ: dict[str, str], config: str) -> None:
        """Start it with ``config``, which may leave out [log], [journal] and [metrics]."""
        self.log = directory / "log.jsonl"
        path = directory / "excguard.toml"
        for table, keys in (
            ("log", f'path = "{self.log}"\nformat = "json"'),
            ("metrics", 'listen = "127.0.0.1:0"'),
            ("journal", f'path = "{directory / "journal"}"'),
        ):
            if f"[{table}]" not in config:
                config = f"{config}\n[{table}]\n{keys}\n"
        path.write_text(config)
        self.stderr = b""
        self._listened_before = len(self.events("metrics_listening"))  # earlier daemons with the same log
        self.process = subprocess.Popen(
            [*EXCGUARD, "serve", "--config", str(path)], env=environ, stderr=subprocess.PIPE
        )

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; its exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        _, self.stderr = self.process.communicate(timeout=60)
        return self.process.returncode

    def end(self) -> None:
        """Make sure that nothing is left of it."""
        if self.process.stderr is not None and not self.process.stderr.closed:
            self.process.kill()
            self.wait()

    def events(self, name: str | None = None) -> list[dict]:
        """The events of its log so far."""
        return events(self.log, name)

    def wait_for(self, name: str, count: int = 1, **fields) -> list[dict]:
        """The events of that name and with those fields, once there are ``count``."""
        return wait_until(
            lambda: [e for e in self.events(name) if fields.items() <= e.items()],
            lambda found: len(found) >= count or self.process.poll() is not None,
        )

    @property
    def url(self) -> str:
        """The URL of its metrics."""
        found = self.wait_for("metrics_listening", self._listened_before + 1)
        assert len(found) > self._listened_before, self.process.communicate(timeout=60)[1].decode()
        return found[-1]["url"]


def events(path: Path, name: str | None = None) -> list[dict]:
    """The whole lines of a log, as objects."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:  # half a line, of a daemon that was killed while writing it
            assert not line.endswith(b"}")
        else:
            check(found[-1])
    return [event for event in found if name is None or event["event"] == name]


def scrape(url: str) -> Samples:
    """The samples of a /metrics page."""
    with urllib.request.urlopen(url) as response:
        text = response.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(samples: Samples, name: str, **labels: str) -> float:
    """The sum of the samples of that name with those labels."""
    return sum(
        value for (found, its), value in samples.items() if found == name and labels.items() <= set(its)
    )
