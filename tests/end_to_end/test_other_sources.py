"""Hits that came to no exception port: from crash reports and the unified log into log and metrics, once."""

import json
import re
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

from excsim import Kernel
from tests.support.harness import EXCGUARD, Daemon, events, scrape, total
from tests.support.samples import INVALID_NAME, THREAD_SET_STATE
from tests.support.waiting import wait_until

HERE = Path(__file__).parent


STACK = {
    "faultingThread": 0,
    "threads": [
        {
            "triggered": True,
            "frames": [
                {
                    "imageIndex": 0,
                    "imageOffset": 4660,
                    "symbol": "thread_set_state_trap",
                    "symbolLocation": 8,
                },
                {"imageIndex": 1, "imageOffset": 7968, "symbol": "foo_close", "symbolLocation": 24},
            ],
        }
    ],
    "usedImages": [
        {
            "path": "/usr/lib/system/libsystem_kernel.dylib",
            "name": "libsystem_kernel.dylib",
            "uuid": "11111111-1111-1111-1111-111111111111",
            "base": 4096,
        },
        {
            "path": "/opt/app/libfoo.dylib",
            "name": "libfoo.dylib",
            "uuid": "22222222-2222-2222-2222-222222222222",
            "base": 65536,
        },
    ],
}


def report(pid: int, started: str, code: int = THREAD_SET_STATE, **more: object) -> str:
    """What ReportCrash writes about a process; ``started`` is the timestamp of the log's event."""
    launch = datetime.fromisoformat(started)
    body = {
        "pid": pid,
        "procName": "child",
        "procLaunch": f"{launch:%Y-%m-%d %H:%M:%S.%f %z}",
        "captureTime": f"{launch + timedelta(seconds=1):%Y-%m-%d %H:%M:%S.%f %z}",
        "exception": {
            "type": "EXC_GUARD",
            "subtype": "GUARD_TYPE_MACH_PORT",
            "signal": "SIGKILL",
            "violations": ["THREAD_SET_STATE"],
            "message": " THREAD_SET_STATE on mach port 0 (guarded with 0x0000000000000000)",
            "codes": "0x0000000009c00000, 0x0000000000000000",
            "rawCodes": [0x09C00000, 0],
            "port": 0,
            "guardId": 0,
        },
        "termination": {"namespace": "GUARD", "flags": 2, "code": code},
        **more,
    }
    return (
        json.dumps({"bug_type": "309", "os_version": "macOS 26.4 (25E246)"})
        + "\n"
        + json.dumps(body, indent=2)
    )


def deadly(child: str, directory: Path, wait: float = 0.0) -> str:
    """A target that dies of a fatal guard, and the directory where its report will be."""
    return (
        f'[[target]]\nname = "deadly"\ncommand = ["{child}", "raise", "{THREAD_SET_STATE:#x}", "1"]\n'
        f'restart = "never"\n[crash_reports]\ndirectories = ["{directory}"]\nwait = {wait}\n'
    )


def test_fatal_hit_without_developer_mode_is_learnt_from_its_report(child: str, tmp_path: Path) -> None:
    """The report comes late and in two pieces; one hit, counted once."""
    directory = tmp_path / "DiagnosticReports"
    directory.mkdir()
    quiet = '[[target]]\nname = "quiet"\ncommand = ["sleep", "1000"]\n'
    with Kernel(developer_mode=False) as kernel:
        daemon = Daemon(tmp_path, kernel.environ, deadly(child, directory) + quiet)
        try:
            (exited,) = daemon.wait_for("target_exited", target="deadly")
            assert exited["signal"] == 9
            assert daemon.events("guard_hit") == []
            (started,) = daemon.wait_for("target_started", target="deadly")
            whole = report(started["pid"], started["timestamp"])
            path = directory / "child-2026-11-21-101010.ips"
            path.write_text(whole[:300])
            other = directory / "other.ips"  # once this one is logged, the first has been looked at
            other.write_text(report(started["pid"] + 1, started["timestamp"]))
            wait_until(lambda: scrape(daemon.url))
            with path.open("a") as file:
                file.write(whole[300:])
            (hit,) = daemon.wait_for("guard_hit")
            (directory / "Retired").mkdir()
            path.rename(directory / "Retired" / path.name)
            samples = scrape(daemon.url)
            assert daemon.stop() == 0
        finally:
            daemon.end()

    assert (hit["source"], hit["target"], hit["pid"]) == ("crash_report", "deadly", started["pid"])
    assert (hit["flavor_name"], hit["severity"]) == ("THREAD_SET_STATE", "fatal")
    assert (hit["thread_id"], hit["behavior"], hit["reply"]) == (None, None, None)
    assert len(daemon.events("guard_hit")) == 1
    assert daemon.events("service_stopped")[0]["hits"] == 1
    assert total(samples, "excguard_hits_total", target="deadly", flavor="THREAD_SET_STATE") == 1
    assert total(samples, "excguard_hits_total") == 1
    assert total(samples, "excguard_received_hits_total", source="crash_report") == 1


def test_a_hit_that_a_run_learns_from_a_report_has_its_path_and_frames(child: str, tmp_path: Path) -> None:
    """And the place of its innermost frame outside of the system, in everything that the run writes."""
    directory = tmp_path / "DiagnosticReports"
    directory.mkdir()
    (tmp_path / "c.toml").write_text(f'[crash_reports]\ndirectories = ["{directory}"]\nwait = 60.0\n')
    log, junit, summary = (tmp_path / name for name in ("log", "junit.xml", "summary.json"))
    options = ("--config", "c.toml", "--metrics", "off", "--fail-on", "fatal", "--log", log)
    outputs = ("--junit", junit, "--report", summary)
    with Kernel(developer_mode=False) as kernel:
        command = [*EXCGUARD, "run", *options, *outputs, "--", child, "raise", f"{THREAD_SET_STATE:#x}", "1"]
        with subprocess.Popen(command, env=kernel.environ, cwd=tmp_path, stderr=subprocess.PIPE) as run:
            (started,) = wait_until(lambda: events(log, "target_started"))
            wait_until(lambda: events(log, "target_exited"))
            path = directory / "child-2026-11-21-101010.ips"
            path.write_text(report(started["pid"], started["timestamp"], **STACK))
            run.communicate(timeout=60)

    assert run.returncode == 3
    (hit,) = events(log, "guard_hit")
    frames = [
        "0 libsystem_kernel.dylib+0x1234 thread_set_state_trap + 8",
        "1 libfoo.dylib+0x1f20 foo_close + 24",
    ]
    assert (hit["source"], hit["report"], hit["frames"]) == ("crash_report", str(path), frames)
    assert (hit["image"], hit["symbol"], hit["site_precision"]) == (
        "/opt/app/libfoo.dylib",
        "foo_close",
        "symbol",
    )
    (site,) = json.loads(summary.read_text())["sites"]
    assert (site["report"], site["frames"], site["site_id"]) == (str(path), frames, hit["site_id"])
    text = junit.read_text()
    for part in (f"in libfoo.dylib foo_close [{hit['site_id']}]", *frames, f"Report: {path}"):
        assert part in text


def test_report_of_a_hit_that_was_seen_live_is_old_news(serve, child: str, tmp_path: Path) -> None:
    directory = tmp_path / "DiagnosticReports"
    directory.mkdir()
    quiet = '[[target]]\nname = "quiet"\ncommand = ["sleep", "1000"]\n'
    daemon: Daemon = serve(deadly(child, directory).replace("wait = 0.0", 'processes = ["*"]') + quiet)
    (started,) = daemon.wait_for("target_started", target="deadly")
    daemon.wait_for("target_exited", target="deadly")
    (directory / "a.ips").write_text(report(started["pid"], started["timestamp"]))
    # A report of another process, whose event means that both have been read.
    (directory / "b.ips").write_text(report(started["pid"] + 1, started["timestamp"]))
    daemon.wait_for("guard_hit", 2)
    assert daemon.stop() == 0

    assert [(e["target"], e["source"]) for e in daemon.events("guard_hit")] == [
        ("deadly", "live"),
        ("child", "crash_report"),
    ]


def test_run_waits_for_the_report_of_its_program(child: str, tmp_path: Path) -> None:
    directory = tmp_path / "DiagnosticReports"
    directory.mkdir()
    (tmp_path / "c.toml").write_text(f'[crash_reports]\ndirectories = ["{directory}"]\nwait = 60.0\n')
    log = tmp_path / "log.jsonl"
    with Kernel(developer_mode=False) as kernel:
        run = subprocess.Popen(
            [
                *(*EXCGUARD, "run", "--config", str(tmp_path / "c.toml"), "--log", str(log)),
                *("--metrics", "off", "--junit", str(tmp_path / "junit.xml"), "--fail-on", "fatal", "--"),
                *(child, "raise", hex(THREAD_SET_STATE), "1"),
            ],
            env=kernel.environ,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: events(log, "target_exited"))
        (started,) = events(log, "target_started")
        (directory / "a.ips").write_text(report(started["pid"], started["timestamp"]))
        _, output = run.communicate(timeout=60)

    assert run.returncode == 3
    assert "THREAD_SET_STATE" in output
    assert 'failures="1"' in (tmp_path / "junit.xml").read_text()


def test_replay_of_the_unified_log(serve, tmp_path: Path) -> None:
    """Every line of the corpus becomes a hit, a garbled one a counted failure. No target is needed."""
    corpus = [
        json.loads(line) for line in (HERE.parent / "sources" / "kernel_lines.jsonl").read_text().splitlines()
    ]
    lines = ['Filtering the log data using "process == \\"kernel\\""']
    for number, row in enumerate(corpus):
        message = row["message"] if number % 2 else f"ERROR: [Mail:{100 + number}] {row['message']}"
        lines.append(json.dumps({"eventMessage": message, "timestamp": "2026-03-06 13:30:09.202323+0800"}))
    lines.append(lines[1][:80])
    (tmp_path / "recorded.ndjson").write_text("\n".join(lines) + "\n")
    daemon: Daemon = serve(
        '[unified_log]\nenabled = true\nprocesses = ["*"]\n'
        f'command = ["cat", "{tmp_path}/recorded.ndjson"]\n[crash_reports]\nenabled = false\n'
    )
    hits = daemon.wait_for("guard_hit", len(corpus))
    (unreadable,) = daemon.wait_for("source_unreadable")
    samples = scrape(daemon.url)
    assert daemon.stop() == 0

    assert {(int(hit["code"], 16), hit["subcode"]) for hit in hits} == {
        (row["code"], None if row["subcode"] is None else hex(row["subcode"])) for row in corpus
    }
    assert {hit["source"] for hit in hits} == {"unified_log"}
    assert {hit["target"] for hit in hits} == {"Mail", "unknown"}
    assert total(samples, "excguard_received_hits_total", source="unified_log") == len(corpus)
    assert total(samples, "excguard_source_failures_total", source="unified_log", kind="garbled") == 1
    assert (unreadable["kind"], unreadable["count"]) == ("garbled", 1)


def test_lines_of_live_hits_add_nothing(serve, child: str, tmp_path: Path) -> None:
    """The kernel writes a line for each hit: those that were delivered are counted already."""
    pids = tmp_path / "pid"
    words = "EXC_GUARD AST: type=0x1 flavor=0x200 target=0x2703 code=0x2000020000002703 subcode=0x0"
    line = json.dumps(
        {"eventMessage": f"ERROR: [child:PID] {words}", "timestamp": "2026-03-06 13:30:09.202323+0800"}
    )
    script = tmp_path / "log.sh"
    script.write_text(
        f"until [ -s {pids} ]; do sleep 0.05; done\n"
        f"for n in 1 2 3 4 5 6; do echo '{line}' | sed \"s/PID/$(cat {pids})/\"; done\n"
        "exec sleep 1000\n"
    )
    daemon: Daemon = serve(
        '[[target]]\nname = "a"\nrestart = "never"\n'
        f'command = ["{child}", "raise", "{INVALID_NAME:#x}", "4"]\n'
        '[[target]]\nname = "quiet"\ncommand = ["sleep", "1000"]\n'
        f'[unified_log]\nenabled = true\ncommand = ["sh", "{script}"]\n'
    )
    (started,) = daemon.wait_for("target_started", target="a")
    daemon.wait_for("guard_hit", 4)
    pids.write_text(str(started["pid"]))
    daemon.wait_for("guard_hit", 6)
    samples = scrape(daemon.url)
    assert daemon.stop() == 0

    assert total(samples, "excguard_hits_total", target="a") == 6
    assert total(samples, "excguard_received_hits_total", target="a", source="live") == 4
    assert total(samples, "excguard_received_hits_total", target="a", source="unified_log") == 2
    assert not re.search("garbled", json.dumps(daemon.events()))
