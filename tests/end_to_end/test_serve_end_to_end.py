"""`excguard serve` from the outside: storms, kills, logs that block, configurations that cannot work."""

import contextlib
import json
import os
import random
import resource
import signal
import socket
import struct
import subprocess
import threading
import urllib.request
from pathlib import Path

import pytest

from tests.support.harness import EXCGUARD, Daemon, scrape, total
from tests.support.samples import INVALID_NAME
from tests.support.waiting import wait_until


def target(name: str, *command: str, **keys: object) -> str:
    """A [[target]] table."""
    lines = [f'name = "{name}"', f"command = {list(command)!r}", 'restart = "never"']
    lines += [f"{key} = {value!r}" for key, value in keys.items()]
    return "\n".join(["[[target]]", *lines, ""])


def test_storm_is_exact_in_log_and_metrics(serve, child: str) -> None:
    """Two storms; whole lines, summaries and lost records add up to the metrics, exactly."""
    storm = 10_000
    daemon: Daemon = serve(
        target("a", child, "raise", hex(INVALID_NAME), str(storm))
        + target("b", child, "sites", "700")
        + target("c", "sleep", "1000")
    )
    daemon.wait_for("target_exited", 2)
    samples = scrape(daemon.url)
    assert daemon.stop() == 0, daemon.stderr

    for name, expected in (("a", storm), ("b", 700)):
        whole = [event["seq"] for event in daemon.events("guard_hit") if event["target"] == name]
        counted = [event for event in daemon.events("guard_hits_suppressed") if event["target"] == name]
        assert len(set(whole)) == len(whole)
        assert len(whole) + sum(event["count"] for event in counted) == expected
        assert total(samples, "excguard_hits_total", target=name) == expected
        assert len(counted) < 60
    assert total(samples, "excguard_journal_records_lost_total") == 0
    assert total(samples, "excguard_reply_seconds_count") == storm + 700
    suppressed = sum(event["count"] for event in daemon.events("guard_hits_suppressed"))
    # 10 whole lines of the one site; one of each of 512 sites, and 10 of the one that the others share
    assert suppressed == storm - 10 + 700 - 512 - 10


def test_storm_beyond_the_journal_is_lost_record_by_record(serve, child: str, tmp_path: Path) -> None:
    """The log is a pipe without a reader, so the journal fills; what it cannot hold is counted and logged."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    storm = 10_000
    daemon: Daemon = serve(
        target("a", child, "raise", hex(INVALID_NAME), str(storm))
        + target("c", "sleep", "1000")
        + f'[log]\npath = "{pipe}"\nformat = "json"\nfirst = 100000\n[journal]\npath = "{tmp_path}/journal"\n'
        "capacity = 1024\n[metrics]\nlisten = '127.0.0.1:0'\n"
    )
    received = bytearray()
    wait_until(lambda: read_into(received, reader) or b"metrics_listening" in received)
    url = next(e["url"] for e in lines_of(received) if e["event"] == "metrics_listening")
    # Without a reader the log blocks, and hits go on being answered and counted.
    samples = wait_until(lambda: scrape(url), lambda seen: total(seen, "excguard_hits_total") == storm)
    assert total(samples, "excguard_reply_seconds_count") == storm
    lost = total(samples, "excguard_journal_records_lost_total")
    assert lost > 0

    os.set_blocking(reader, True)
    draining = threading.Thread(target=read_all, args=(received, reader))
    draining.start()
    assert daemon.stop() == 0
    draining.join()
    os.close(reader)
    lines = lines_of(received)
    assert sum(event["count"] for event in lines if event["event"] == "journal_records_lost") == lost
    assert sum(event["event"] == "guard_hit" for event in lines) == storm - lost


def test_hits_are_answered_while_the_log_blocks(serve, child: str, tmp_path: Path) -> None:
    """Python stands still in write(2); the receiver does not."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    answered = tmp_path / "answered"
    daemon: Daemon = serve(
        target("a", child, "count", str(answered), reply="consume")
        + f'[log]\npath = "{pipe}"\nformat = "json"\nfirst = 100000\n'
    )
    received = bytearray()
    wait_until(lambda: read_into(received, reader) or b"metrics_listening" in received)
    url = next(e["url"] for e in lines_of(received) if e["event"] == "metrics_listening")

    # Once the pipe is full the log takes nothing more; hits are answered by the thousand all the same.
    stalled = int(total(scrape(url), "excguard_hits_total")) + 300
    wait_until(lambda: last_answered(answered), lambda number: number > stalled + 3000)
    before = total(scrape(url), "excguard_reply_seconds_count")
    wait_until(lambda: last_answered(answered), lambda number: number > before + 3000)
    assert total(scrape(url), "excguard_reply_seconds_count") >= before + 3000

    os.set_blocking(reader, True)
    draining = threading.Thread(target=read_all, args=(received, reader))
    draining.start()
    assert daemon.stop() == 0
    draining.join()
    os.close(reader)
    subcodes = [int(e["subcode"], 16) for e in lines_of(received) if e["event"] == "guard_hit"]
    subcodes = [number for number in subcodes if number]  # 0: before the daemon had the pid
    assert subcodes == sorted(set(subcodes))
    assert set(range(1, last_answered(answered) + 1)) <= set(subcodes) or any(
        e["event"] == "journal_records_lost" for e in lines_of(received)
    )


@pytest.mark.parametrize("first", [100_000, 10])
@pytest.mark.parametrize("rounds", [4, pytest.param(200, marks=pytest.mark.slow)])
def test_no_acknowledged_hit_is_missing_after_kill_9(
    serve, child: str, tmp_path: Path, rounds: int, first: int
) -> None:
    """Kill the daemon at random moments; after the last restart every hit that was answered is in the log.

    With a small ``first`` most hits are summed up, so that what is killed is also a summary on its way.
    """
    answered = tmp_path / "answered"
    tables = f'[log]\npath = "{tmp_path}/log.jsonl"\nformat = "json"\nfirst = {first}\nwindow = 86400\n'
    chance = random.Random(rounds + first)  # noqa: S311 - the same moments each time
    pause = threading.Event()
    for _ in range(rounds):
        daemon: Daemon = serve(target("a", child, "count", str(answered), reply="consume") + tables)
        before = last_answered(answered)
        wait_until(lambda: last_answered(answered), lambda number, before=before: number > before)
        pause.wait(chance.uniform(0, 0.05))
        daemon.stop(signal.SIGKILL)
    final: Daemon = serve(target("a", "sleep", "1000") + tables)
    hits = int(total(scrape(final.url), "excguard_hits_total"))
    assert final.stop() == 0

    whole: dict[int, list[dict]] = {}
    for hit in final.events("guard_hit"):
        whole.setdefault(hit["seq"], []).append(hit)
    summed: list[int] = []
    for event in final.events("guard_hits_suppressed"):
        seqs = seqs_of(event)
        assert len(seqs) == event["count"]
        summed += seqs
    assert hits >= last_answered(answered) > 0
    assert sorted({*whole, *summed}) == list(range(hits))
    for same in whole.values():  # a repeat says that it is one
        assert len({(hit["code"], hit["subcode"], hit["timestamp"]) for hit in same}) == 1
        assert all(hit["recovered"] for hit in same[1:])
    if first > hits:
        assert not summed
        numbers = {int(same[0]["subcode"], 16) for same in whole.values()}
        assert numbers >= set(range(1, last_answered(answered) + 1))
    recovered = sum(event["records"] for event in final.events("journal_recovered"))
    repeated = sum(map(len, whole.values())) + len(summed) - hits
    lines = (
        f"{rounds} rounds, {last_answered(answered)} acknowledged, {recovered} recovered, {repeated} repeated"
    )
    print(lines)  # noqa: T201 - for whoever runs it with -s


@pytest.mark.parametrize("fixed", [True, False])
def test_full_disk_keeps_hits_waiting_and_loses_none(
    serve, child: str, tmp_path: Path, *, fixed: bool
) -> None:
    """A limit on the size of files stands for the full disk; it is lifted, or the daemon ends before."""
    answered = tmp_path / "answered"
    tables = f'[log]\npath = "{tmp_path}/log.jsonl"\nformat = "json"\nfirst = 100000\n'
    daemon: Daemon = serve(target("a", child, "count", str(answered), reply="consume") + tables)
    daemon.wait_for("guard_hit")
    pid, limit = daemon.process.pid, resource.RLIMIT_FSIZE
    unlimited = resource.prlimit(pid, limit)
    resource.prlimit(pid, limit, (daemon.log.stat().st_size, unlimited[1]))
    full = last_answered(answered)
    wait_until(lambda: last_answered(answered), lambda number: number > full + 500)
    wait_until(lambda: total(scrape(daemon.url), "excguard_log_write_failures_total"), lambda seen: seen > 1)

    if fixed:
        resource.prlimit(pid, limit, unlimited)
        assert daemon.stop() == 0
    else:
        assert daemon.stop() == 125
        assert b"the rest waits in the journal" in daemon.stderr
        daemon = serve(target("a", "true") + tables)
        assert daemon.wait() == 0
        assert daemon.events("journal_recovered")
    complaints = daemon.stderr.decode().splitlines()
    assert len(complaints) == int(fixed)
    hits = daemon.events("guard_hit")
    assert sorted({hit["seq"] for hit in hits}) == list(range(len({hit["seq"] for hit in hits})))
    assert {int(hit["subcode"], 16) for hit in hits} >= set(range(1, last_answered(answered) + 1))


def test_journal_keeps_the_size_that_it_was_made_with(serve, tmp_path: Path) -> None:
    for capacity in (1024, 4096):
        daemon: Daemon = serve(
            target("a", "true") + f'[journal]\npath = "{tmp_path}/journal"\ncapacity = {capacity}\n'
        )
        assert daemon.wait() == 0, daemon.stderr
    assert (tmp_path / "journal").stat().st_size < 1 << 20


def test_term_ends_the_programs_and_exits_with_0(serve, child: str) -> None:
    daemon: Daemon = serve(target("a", "sleep", "1000") + target("b", "sh", "-c", "sleep 1000 & wait"))
    pids = [event["pid"] for event in daemon.wait_for("target_started", 2)]
    assert daemon.stop() == 0, daemon.stderr

    for pid in pids:
        assert not Path(f"/proc/{pid}").exists()
    assert {e["reason"] for e in daemon.events("target_exited")} == {"stopped"}
    assert daemon.events()[-1]["event"] == "service_stopped"


def test_program_that_cannot_be_started_is_logged_and_does_not_stop_the_others(serve) -> None:
    daemon: Daemon = serve(target("a", "/nowhere/program") + target("b", "sh", "-c", "exit 3"))
    assert daemon.wait() == 0

    (failed,) = daemon.events("target_start_failed")
    assert failed["target"] == "a"
    assert failed["error"] == "/nowhere/program: no such program; check the path"
    (exited,) = daemon.events("target_exited")
    assert (exited["target"], exited["status"], exited["reason"]) == ("b", 3, "failed")


def test_end_of_the_last_process_of_a_target_is_logged(serve, child: str) -> None:
    """No senders: its program has gone and so has every process that inherited the exception port."""
    daemon: Daemon = serve(
        target("gone", child, "raise", hex(INVALID_NAME), "1") + target("there", "sleep", "1000")
    )
    daemon.wait_for("target_no_senders", 1)
    assert daemon.stop() == 0, daemon.stderr

    assert daemon.events("target_no_senders")[0]["target"] == "gone"


def test_two_daemons_cannot_share_a_journal(serve, kernel, tmp_path: Path) -> None:
    daemon: Daemon = serve(target("a", "sleep", "1000"))
    daemon.wait_for("target_started")
    second = subprocess.run(
        [*EXCGUARD, "serve", "--config", str(tmp_path / "excguard.toml")],
        env={**os.environ, **kernel.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 125
    assert str(tmp_path / "journal") in second.stderr
    assert second.stderr.count("\n") == 1


def test_taken_port_stops_serve_with_one_line(kernel, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        daemon = Daemon(
            tmp_path,
            {**os.environ, **kernel.environ},
            target("a", "sleep", "1000") + f'[metrics]\nlisten = "{listen}"\n',
        )
        assert daemon.wait() == 125
    assert daemon.stderr.decode().startswith(f"excguard: no metrics on {listen}: ")
    assert daemon.stderr.count(b"\n") == 1
    assert daemon.events("target_started") == []


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ("", "nothing to watch"),
        ("frist = 1\n", 'unknown key "frist"'),
        (target("a", "true") + target("a", "true"), "another target has this name"),
        (target("a", "true", reply="consume", behavior="state_identity_protected"), "state back"),
        ("[log]\nfirst = -1\n", "log.first"),
        ("= nonsense", "not TOML"),
    ],
)
def test_configuration_that_cannot_be_used(kernel, tmp_path: Path, config: str, part: str) -> None:
    path = tmp_path / "excguard.toml"
    path.write_text(config)
    done = subprocess.run(
        [*EXCGUARD, "serve", "--config", str(path)],
        env={**os.environ, **kernel.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"excguard: {path}: ")
    assert part in done.stderr


def test_health_of_a_running_daemon(serve) -> None:
    daemon: Daemon = serve(target("a", "sleep", "1000"))
    base = daemon.url.removesuffix("/metrics")

    for path in ("/-/healthy", "/-/ready", "/"):
        with urllib.request.urlopen(base + path) as response:
            assert response.status == 200


def last_answered(path: Path) -> int:
    """The last number that the C child saw answered as handled."""
    if not path.exists() or path.stat().st_size < 8:
        return 0
    with path.open("rb") as file:
        (number,) = struct.unpack("<Q", file.read(8))
    return number


def seqs_of(event: dict) -> list[int]:
    """The numbers that a summary of the one site speaks for."""
    if not event["recovered"]:
        return list(range(event["first_seq"], event["last_seq"] + 1))
    seqs: list[int] = []
    for part in event["seqs"].split(","):
        start, _, last = part.partition("-")
        seqs += range(int(start), int(last or start) + 1)
    return seqs


def read_into(received: bytearray, fd: int) -> bool:
    """Read what is there; always false, so that it can stand before an `or`."""
    with contextlib.suppress(BlockingIOError):
        received += os.read(fd, 1 << 20)
    return False


def read_all(received: bytearray, fd: int) -> None:
    """Read to the end."""
    while part := os.read(fd, 1 << 20):
        received += part


def lines_of(received: bytearray) -> list[dict]:
    """The whole lines of what has been read."""
    return [json.loads(line) for line in bytes(received).split(b"\n")[:-1]]
