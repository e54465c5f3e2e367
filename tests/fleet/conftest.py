"""Reports to scan: small ones, of the form that macOS writes."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path  # noqa: TC003 - pytest reads the annotations

import pytest

from excguard.fleet.listing import Part, Selection
from excguard.fleet.plan import Plan, Shard
from excguard.fleet.shard import scan_shard
from excguard.fleet.store import open_store

CODE = 0x2000020000002703


def report(
    number: int, *, guard: bool, version: str = "1.0", day: str = "2026-03-01", os: str = "26.4"
) -> str:
    """An .ips report."""
    exception: dict[str, object] = {"type": "EXC_BAD_ACCESS", "signal": "SIGSEGV", "rawCodes": [1, 2]}
    termination: dict[str, object] = {"namespace": "SIGNAL", "code": 11}
    if guard:
        exception = {
            "type": "EXC_GUARD",
            "subtype": "GUARD_TYPE_MACH_PORT",
            "message": " INVALID_NAME on mach port 9987 (guarded with 0x0000000000000000)",
            "rawCodes": [163587843, 0],
        }
        termination = {"namespace": "GUARD", "code": CODE, "flags": 2}
    head = {
        "app_name": "App",
        "app_version": version,
        "build_version": "77",
        "bundleID": "org.example.App",
        "bug_type": "309",
        "timestamp": f"{day} 12:00:00.50 +0100",
        "os_version": f"macOS {os} (25E246)",
        "incident_id": f"{number:08X}-0000-4000-8000-000000000000",
    }
    frames = [
        {"imageOffset": 4096, "symbol": "mach_msg2_trap", "symbolLocation": 8, "imageIndex": 0},
        {"imageOffset": 7968, "symbol": f"close_{number % 3}", "symbolLocation": 24, "imageIndex": 1},
    ]
    images = [
        {"source": "P", "arch": "arm64e", "base": 1 << 32, "size": 65536, "name": "libsystem_kernel.dylib"},
        {"source": "P", "arch": "arm64e", "base": 1 << 33, "size": 65536, "name": "libvendor.dylib"},
    ]
    body = {
        "procName": "App",
        "pid": 1000 + number,
        "osVersion": {"train": f"macOS {os}", "build": "25E246"},
        "exception": exception,
        "termination": termination,
        "faultingThread": 0,
        "threads": [{"id": 1, "triggered": True, "frames": frames}],
        "usedImages": images,
    }
    return f"{json.dumps(head)}\n{json.dumps(body, indent=1)}"


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    """60 reports, ten of them of guard violations, and two files that are not reports."""
    root = tmp_path / "reports"
    for number in range(60):
        directory = root / f"host{number % 4}"
        directory.mkdir(parents=True, exist_ok=True)
        text = report(
            number,
            guard=number % 6 == 0,
            version=f"1.{number % 2}",
            day=f"2026-03-{1 + number % 12:02}",
            os="26.4" if number % 12 else "15.5",
        )
        (directory / f"{number:03}.ips").write_text(text)
    (root / "empty.crash").touch()
    (root / "notes.md").write_text("not read")
    return root


def one_process(selection: Selection, output: Path | str, part: Part | None = None) -> list[Shard]:
    """A scan without an engine; the shards that it read."""
    plan = Plan(open_store(str(output)), part or Part())
    plan.begin(selection.description())
    shards = list(plan.shards(partial(selection.keys, part=part or Part())))
    for shard in shards:
        scan_shard(selection.source, str(output), shard)
    plan.finish(plan.results())
    return shards
