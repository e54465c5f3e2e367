"""SIGHUP, SIGUSR1 and SIGTERM in the middle of a storm: nothing is lost, nothing is logged twice."""

import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.harness import Daemon, events, scrape, total
from tests.support.samples import INVALID_NAME
from tests.support.waiting import wait_until

QUIET = '[[target]]\nname = "quiet"\ncommand = ["sleep", "1000"]\nrestart = "never"\n'


def last_answered(path: Path) -> int:
    """The number of the storm's last hit that was answered."""
    return struct.unpack("<Q", path.read_bytes()[:8])[0] if path.exists() and path.stat().st_size else 0


class Storm:
    """A daemon with one target that breaks rules endlessly, no faster than the log can write each hit."""

    def __init__(self, serve, child: str, directory: Path) -> None:
        self.answered = directory / "answered"
        self.directory = directory
        self.storm = (
            f'[[target]]\nname = "storm"\ncommand = ["{child}", "count", "{self.answered}", "200"]\n'
            'restart = "never"\nreply = "consume"\n'
        )
        self.log_table = f'[log]\npath = "{directory / "log.jsonl"}"\nformat = "json"\nfirst = 100000\n'
        self.daemon: Daemon = serve(self.storm + self.log_table)
        self.go_on()

    def go_on(self, hits: int = 300) -> None:
        """Wait until the storm has gone on for so many hits."""
        goal = last_answered(self.answered) + hits
        wait_until(lambda: last_answered(self.answered), lambda number: number >= goal)

    def configure(self, text: str) -> None:
        path = self.directory / "excguard.toml"
        rest = path.read_text().split("\n[metrics]")[1]
        path.write_text(f"{text}\n[metrics]{rest}")

    def hang_up(self, name: str, count: int = 1) -> dict:
        self.daemon.process.send_signal(signal.SIGHUP)
        return self.daemon.wait_for(name, count)[-1]

    def end(self) -> list[dict]:
        """Stop the daemon, and check that every hit was logged, once, in whatever file; the events."""
        assert self.daemon.stop() == 0, self.daemon.stderr
        logged = [
            event for path in sorted(self.directory.glob("log*")) if path.is_file() for event in events(path)
        ]
        whole = [event for event in logged if event["event"] == "guard_hit" and event["target"] == "storm"]
        numbers = [int(event["subcode"], 16) for event in whole]
        storm = [number for number in numbers if number]  # 0 was raised before the daemon had the pid
        answered = last_answered(self.answered)
        # The last one may have been answered when the program had no time left to note it.
        assert sorted(storm) in (list(range(1, answered + 1)), list(range(1, answered + 2)))
        everything = [event for event in logged if event["event"] == "guard_hit"]
        assert sorted(event["seq"] for event in everything) == list(range(len(everything)))
        (stopped,) = [event for event in logged if event["event"] == "service_stopped"]
        assert stopped["hits"] == len(everything)
        return logged


@pytest.fixture
def storm(serve, child: str, tmp_path: Path) -> Storm:
    return Storm(serve, child, tmp_path)


def test_good_and_bad_configurations(storm: Storm, child: str) -> None:
    """Targets that stay the same run on untouched; a configuration that cannot be used changes nothing."""
    pid = storm.daemon.wait_for("target_started", target="storm")[0]["pid"]
    storm.configure(storm.storm + storm.log_table + QUIET)
    assert storm.hang_up("configuration_reloaded")["needs_restart"] == []
    quiet = storm.daemon.wait_for("target_started", target="quiet")[0]["pid"]
    storm.go_on()

    storm.configure(storm.storm + "frist = 1")
    rejected = storm.hang_up("configuration_rejected")
    assert "excguard.toml" in rejected["error"]
    assert 'unknown key "frist"' in rejected["error"]
    storm.configure('behavior = "state_identity_protected"\n[log]\npath = "/nowhere/at all"\n' + QUIET)
    assert "/nowhere/at all" in storm.hang_up("configuration_rejected", 2)["error"]
    storm.go_on()
    os.kill(quiet, 0)

    # "quiet" goes, a new target comes.
    other = f'[[target]]\nname = "other"\ncommand = ["{child}", "raise", "{INVALID_NAME:#x}", "5"]\n'
    storm.configure(storm.storm + storm.log_table + other + 'restart = "never"\n')
    storm.hang_up("configuration_reloaded", 2)
    (gone,) = storm.daemon.wait_for("target_exited", target="quiet")
    assert gone["reason"] == "stopped"
    storm.daemon.wait_for("target_exited", target="other")
    samples = scrape(storm.daemon.url)
    assert total(samples, "excguard_hits_total", target="other") == 5
    assert total(samples, "excguard_target_up", target="storm") == 1
    assert not [name for name, labels in samples if ("target", "quiet") in labels and name.endswith("_up")]
    storm.go_on()

    logged = storm.end()
    assert [e["pid"] for e in logged if e["event"] == "target_started" and e["target"] == "storm"] == [pid]


def test_changed_target_is_started_anew(serve, tmp_path: Path) -> None:
    """It may be the only one: the daemon lives on while the old process makes room for the new one."""
    daemon: Daemon = serve(QUIET)
    first = daemon.wait_for("target_started")[0]["pid"]
    path = tmp_path / "excguard.toml"
    path.write_text(path.read_text().replace('"1000"', '"2000"'))
    daemon.process.send_signal(signal.SIGHUP)
    second = daemon.wait_for("target_started", 2)[1]["pid"]
    daemon.wait_for("configuration_reloaded")
    assert second != first
    os.kill(second, 0)

    path.write_text(path.read_text().replace("[journal]", "[journal]\ncapacity = 2048"))
    daemon.process.send_signal(signal.SIGHUP)
    assert daemon.wait_for("configuration_reloaded", 2)[1]["needs_restart"] == ["journal"]
    assert daemon.stop() == 0, daemon.stderr


def test_metrics_move_to_another_port(serve, tmp_path: Path) -> None:
    """And stay where they are when the new port cannot be had."""
    daemon: Daemon = serve(QUIET)
    before = daemon.url
    taken = before.rsplit(":", 1)[1].split("/")[0]
    path = tmp_path / "excguard.toml"
    good = path.read_text()
    path.write_text(good.replace("127.0.0.1:0", f"127.0.0.1:{taken}"))
    daemon.process.send_signal(signal.SIGHUP)
    assert f"127.0.0.1:{taken}" in daemon.wait_for("configuration_rejected")[0]["error"]
    assert total(scrape(before), "excguard_target_up") == 1

    path.write_text(good.replace("127.0.0.1:0", "localhost:0"))
    daemon.process.send_signal(signal.SIGHUP)
    after = daemon.wait_for("metrics_listening", 2)[1]["url"]
    daemon.wait_for("configuration_reloaded")
    assert total(scrape(after), "excguard_target_up") == 1
    with pytest.raises(OSError, match="refused"):
        scrape(before)
    assert daemon.stop() == 0, daemon.stderr


def test_rotation(storm: Storm) -> None:
    """As newsyslog does it: the log is renamed, and the daemon gets SIGUSR1."""
    log = storm.daemon.log
    for number in range(2):
        log.rename(log.with_name(f"log.{number}.jsonl"))
        storm.go_on()  # the old file is still written to
        storm.daemon.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: events(log, "log_reopened"))
        storm.go_on()

    storm.end()
    assert all(events(path, "guard_hit") for path in storm.directory.glob("log.*.jsonl"))


def test_log_that_cannot_be_opened_anew_goes_on_in_the_old_file(storm: Storm) -> None:
    log = storm.daemon.log
    old = log.with_name("log.0.jsonl")
    log.rename(old)
    log.mkdir()
    storm.daemon.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: events(old, "log_not_reopened"))
    storm.go_on()
    log.rmdir()
    storm.end()


def test_stop_in_a_storm(storm: Storm) -> None:
    """Within launchd's ExitTimeOut: programs ended, everything logged, status 0."""
    storm.go_on()
    logged = storm.end()

    names = [event["event"] for event in logged]
    assert names[-1] == "service_stopped"
    assert logged[-1]["by_severity"] == {"optional": logged[-1]["hits"]}
    assert "target_exited" in names


def test_pid_file_and_log_of_the_command_line(kernel, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        QUIET + f'[metrics]\nlisten = ""\n[journal]\npath = "{tmp_path}/journal"\n'
    )
    arguments = ["--config", "c.toml", "--log", "given.jsonl", "--pid-file", "pid"]
    process = subprocess.Popen(
        [sys.executable, "-m", "excguard", "serve", *arguments], cwd=tmp_path, env=kernel.environ
    )
    try:
        wait_until(lambda: events(tmp_path / "given.jsonl", "target_started"))
        assert wait_until((tmp_path / "pid").exists)
        assert (tmp_path / "pid").read_text() == f"{process.pid}\n"
    finally:
        process.terminate()
        assert process.wait(60) == 0
    assert not (tmp_path / "pid").exists()
