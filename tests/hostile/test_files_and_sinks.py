"""Files, pipes and reports that others control: none of them stops, blocks or fools the daemon."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from excguard.pipeline.journal import Journal
from tests.end_to_end.conftest import child, kernel, serve
from tests.support.harness import EXCGUARD, Daemon, events, scrape, total
from tests.support.samples import INVALID_NAME, THREAD_SET_STATE
from tests.support.waiting import wait_until

__all__ = ["child", "kernel", "serve"]

QUIET = '[[target]]\nname = "quiet"\ncommand = ["sleep", "1000"]\nrestart = "never"\nstop_timeout = 1.0\n'


def reports(directory: Path) -> str:
    return f'[crash_reports]\ndirectories = ["{directory}"]\nprocesses = ["*"]\n'


def report(pid: object = 4711, launched: str = "2026-07-31 19:27:47.6289 +0300", **changes: object) -> str:
    header = {"app_name": "Mail", "bug_type": "309", "os_version": "macOS 26.4 (25E246)"}
    body = {
        "pid": pid,
        "procName": "Mail",
        "procLaunch": launched,
        "captureTime": "2026-07-31 19:28:23.7343 +0300",
        "exception": {
            "codes": f"{THREAD_SET_STATE:#018x}, 0x0",
            "rawCodes": [THREAD_SET_STATE, 0],
            "type": "EXC_GUARD",
        },
    }
    return json.dumps(header) + "\n" + json.dumps(body | changes) + "\n"


def test_log_that_is_not_read_stops_neither_programs_nor_the_end(child: str, kernel, tmp_path: Path) -> None:
    hits = 3000
    config = tmp_path / "c.toml"
    config.write_text(
        f'[log]\nformat = "json"\nfirst = 100000\n[metrics]\nlisten = ""\n[crash_reports]\nenabled = false\n'
        f'[journal]\npath = "{tmp_path / "journal"}"\n'
        f'[[target]]\nname = "storm"\ncommand = ["sh", "-c", "{child} raise {INVALID_NAME:#x} {hits};'
        f' touch {tmp_path / "done"}; exec sleep 1000"]\nstop_timeout = 1.0\n'
    )
    environ = {**os.environ, **kernel.environ}
    read_end, write_end = os.pipe()
    daemon = subprocess.Popen([*EXCGUARD, "serve", "--config", str(config)], env=environ, stderr=write_end)
    os.close(write_end)
    wait_until((tmp_path / "done").exists)  # its exceptions were all answered
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(60) == 125
    with os.fdopen(read_end, "rb") as pipe:
        said = pipe.read()
    first = [json.loads(line) for line in said.splitlines() if line.startswith(b'{"') and line.endswith(b"}")]

    log = tmp_path / "log"
    again = subprocess.Popen([*EXCGUARD, "serve", "--config", str(config), "--log", str(log)], env=environ)
    wait_until(lambda: events(log, "target_started"))
    again.terminate()
    assert again.wait(60) == 0
    whole = [event for event in [*first, *events(log)] if event["event"] == "guard_hit"]
    assert {event["seq"] for event in whole} >= set(range(hits))
    assert events(log, "journal_recovered")


def until_watched(daemon: Daemon, directory: Path) -> None:
    """Write a report now and then until one counts: those from before the directory is watched do not."""
    looks = iter(range(10_000))

    def found() -> list[dict]:
        look = next(looks)
        if look % 50 == 0:
            (directory / f"probe{look}.ips").write_text(report(pid=50_000 + look))
        return daemon.events("guard_hit")

    daemon.wait_for("target_started")
    wait_until(found)


@pytest.mark.parametrize("kind", ["fifo", "link", "device"])
def test_report_that_is_not_a_regular_file_is_not_opened(serve, tmp_path: Path, kind: str) -> None:
    directory = tmp_path / "reports"
    directory.mkdir()
    daemon: Daemon = serve(QUIET + reports(directory))
    until_watched(daemon, directory)
    path = directory / "a.ips"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.symlink_to("/dev/zero")
        case "device":
            path.symlink_to("/proc/self/mem")
    (directory / "b.ips").write_text(report(pid=77))
    daemon.wait_for("guard_hit", pid=77)
    daemon.wait_for("source_unreadable", kind="unreadable")
    samples = scrape(daemon.url)

    assert total(samples, "excguard_source_failures_total", kind="unreadable") == 1
    assert daemon.stop() == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"pid": 9999999999},
        {"pid": -5},
        {"launched": "0001-01-01 00:00:00.0000 +0000"},
        {"captureTime": "1969-12-31 00:00:00.0000 +0000"},
        {"captureTime": "9999-12-31 23:59:59.9999 +0000"},
    ],
)
def test_report_with_numbers_out_of_range_costs_at_most_itself(serve, tmp_path: Path, changes: dict) -> None:
    directory = tmp_path / "reports"
    directory.mkdir()
    daemon: Daemon = serve(QUIET + reports(directory))
    until_watched(daemon, directory)
    (directory / "a.ips").write_text(report(**changes))
    (directory / "b.ips").write_text(report(pid=77))
    daemon.wait_for("guard_hit", pid=77)

    assert daemon.stop() == 0
    assert not daemon.stderr


def test_report_older_than_1970_by_its_file_time(serve, tmp_path: Path) -> None:
    directory = tmp_path / "reports"
    directory.mkdir()
    daemon: Daemon = serve(QUIET + reports(directory))
    until_watched(daemon, directory)
    path = tmp_path / "a.ips"
    path.write_text(report(captureTime="never"))
    os.utime(path, (-1000, -1000))
    path.rename(directory / "a.ips")
    daemon.wait_for("source_unreadable")

    assert daemon.stop() == 0


def test_configuration_that_becomes_a_fifo_is_rejected_at_reload(serve, tmp_path: Path) -> None:
    daemon: Daemon = serve(QUIET)
    daemon.wait_for("target_started")
    (tmp_path / "excguard.toml").unlink()
    os.mkfifo(tmp_path / "excguard.toml")
    daemon.process.send_signal(signal.SIGHUP)
    (rejected,) = daemon.wait_for("configuration_rejected")

    assert "not a regular file" in rejected["error"]
    assert daemon.stop() == 0


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("journal", b"not a journal at all" * 1000),
        ("journal", b""),
        ("journal.crash_report", b"x" * 5000),
        ("journal.targets.json", b"{"),
        ("journal.targets.json", b'{"targets": {"a": 99999999999}}'),
        ("journal.targets.json", b'{"targets": {"a": -1}}'),
        ("journal.targets.json", None),
    ],
)
def test_damaged_file_is_set_aside_and_does_not_keep_the_daemon_down(
    serve, tmp_path: Path, name: str, contents: bytes | None
) -> None:
    path = tmp_path / name
    if contents is None:
        os.mkfifo(path)
    else:
        path.write_bytes(contents)
    daemon: Daemon = serve(QUIET)
    daemon.wait_for("target_started")
    kept = list(tmp_path.glob(f"{name}.damaged-*"))
    if contents == b"":  # a journal that was begun and never finished is made anew
        assert kept == []
    else:
        (event,) = daemon.wait_for("file_set_aside")
        assert (event["file"], event["kept"]) == (str(path), str(kept[0]))
        assert total(scrape(daemon.url), "excguard_damaged_files_total") == 1

    assert daemon.stop() == 0


def test_truncated_journal_is_set_aside(serve, tmp_path: Path) -> None:
    with Journal(tmp_path / "journal", capacity=1024, release=260400):
        pass
    with (tmp_path / "journal").open("r+b") as file:
        file.truncate(600_000)
    daemon: Daemon = serve(QUIET)
    daemon.wait_for("target_started")
    assert daemon.wait_for("file_set_aside")

    assert daemon.stop() == 0


def test_hits_of_a_run_that_was_killed_are_recovered(child: str, kernel, tmp_path: Path) -> None:
    hits = 3000
    (tmp_path / "c.toml").write_text("[log]\nfirst = 100000\n[crash_reports]\nenabled = false\n")
    environ = {**os.environ, **kernel.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    read_end, write_end = os.pipe()  # which fills up
    run = subprocess.Popen(
        [
            *(*EXCGUARD, "run", "--json", "--config", str(tmp_path / "c.toml"), "--metrics", "off", "--"),
            *(
                "sh",
                "-c",
                f"{child} raise {INVALID_NAME:#x} {hits}; touch {tmp_path / 'done'}; exec sleep 1000",
            ),
        ],
        env=environ,
        stderr=write_end,
    )
    os.close(write_end)
    wait_until((tmp_path / "done").exists)
    run.kill()
    run.wait()
    with os.fdopen(read_end, "rb") as pipe:
        lines = [line for line in pipe.read().splitlines() if line.endswith(b"}")]

    def excguard(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run([*EXCGUARD, *arguments], env=environ, capture_output=True, check=True)

    next_run = excguard("run", "--metrics", "off", "--", "true")
    assert b"an earlier run of sh was killed" in next_run.stderr
    recovered = excguard("recover", "--json")
    lines += recovered.stdout.splitlines()
    whole = [event for event in map(json.loads, lines) if event["event"] == "guard_hit"]
    assert {event["seq"] for event in whole} == set(range(hits))
    assert b"no run has left hits" in excguard("recover").stderr
    assert list((tmp_path / "state/excguard/runs").iterdir()) == []


def test_kernel_that_is_gone_ends_the_daemon_with_a_status_that_restarts_it(
    serve, kernel, tmp_path: Path
) -> None:
    daemon: Daemon = serve(QUIET)
    daemon.wait_for("target_started")
    assert total(scrape(daemon.url), "excguard_receiver_up") == 1
    os.kill(kernel.pid, signal.SIGKILL)

    assert daemon.wait() == 125
    assert daemon.wait_for("receiver_stopped")
    assert b"Traceback" not in daemon.stderr
    assert b"the receiver has stopped" in daemon.stderr
    assert daemon.events("service_stopped")


def test_run_whose_kernel_is_gone_writes_its_summary(kernel, child: str, tmp_path: Path) -> None:
    run = subprocess.Popen(
        [
            *(*EXCGUARD, "run", "--metrics", "off", "--report", str(tmp_path / "report.json")),
            *("--log", str(tmp_path / "log"), "--", "sh", "-c"),
            f"{child} raise {INVALID_NAME:#x} 3; exec sleep 1000",
        ],
        env={**os.environ, **kernel.environ},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: len(events(tmp_path / "log", "guard_hit")) == 3)
    os.kill(kernel.pid, signal.SIGKILL)
    _, said = run.communicate(timeout=60)

    assert run.returncode == 125
    assert "Traceback" not in said
    assert "the receiver has stopped" in said
    outcome = json.loads((tmp_path / "report.json").read_text())
    assert (outcome["hits"], outcome["exit_status"]) == (3, 125)
    assert "the receiver has stopped" in outcome["error"]
