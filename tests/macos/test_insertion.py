"""The inserted library for macOS: its x86_64 code runs here, constructor and all, against the simulator."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import pytest

from excguard.mach import host
from excguard.mach.exception_ports import construct_exception_port
from excguard.mach.rendezvous import Inserted, RendezvousServer
from excguard.mach.spawn import spawn
from tests.macos import cross, dyld_rules, macho, with_macos_core
from tests.support.messages import receive
from tests.support.task import run as run_task
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="runs x86_64 code")

PROGRAM = Path(__file__).parent / "linux" / "inserted_program.py"
SERVICE = "org.excguard.test.insertion"
TOKEN = 0xF1E2D3C4B5A69788
DELIVER = 0x11


def insert(directory: str, children: bool) -> dict[str, Any]:  # noqa: FBT001 - JSON
    """Run the program under a rendezvous server; what both have seen."""
    events: list[Any] = []
    output = Path(directory, "output")
    script = f'exec "$@" >{output} 2>&1'
    command = [sys.executable, str(PROGRAM), f"{directory}/plan.json", f"{directory}/adapters.so"]
    variables = {
        "EXCGUARD_INSERTION": f"{TOKEN:016x},{children:d},{SERVICE}",
        "DYLD_INSERT_LIBRARIES": "/other.dylib:/some/where/libexcguard_insertion.dylib",
    }
    system = host.running()
    with (
        RendezvousServer(SERVICE, on_event=events.append),
        construct_exception_port(system) as port,
        port.make_send() as right,
    ):
        pid = spawn(
            system,
            ["/bin/sh", "-c", script, "sh", *command],
            environment={**os.environ, **variables},
            exception_port=right,
        )
        hits = [receive(port)]
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, output.read_text()
        reports = wait_until(
            lambda: [event for event in events if isinstance(event, Inserted)], lambda found: len(found) == 3
        )
    return {
        "program": json.loads(output.read_text()),
        "hits": hits,
        "pids": [event.pid == pid for event in reports],
        "reports": [
            {
                "start": event.report.start,
                "token": event.report.token,
                "flags": [event.report.flags_before, event.report.flags_after],
                "result": event.report.result,
                "dropped": event.report.dropped,
                "images": [
                    [image.path, image.address, image.size, image.uuid] for image in event.report.images
                ],
            }
            for event in reports
        ],
    }


@pytest.mark.parametrize("children", [False, True])
def test_the_constructor_does_what_it_says(
    macos_builds: dict[str, Path],
    tmp_path: Path,
    children: bool,  # noqa: FBT001
) -> None:
    """Flags, hit, images at the start and later, environment: the instructions that a Mac would run."""
    library = macos_builds["x86_64"] / cross.INSERTION
    image = macho.read(library, "x86_64")
    assert len(image.initializers) == 1
    image.save(tmp_path / "plan.json")
    with_macos_core.build_adapters(tmp_path / "adapters.so")

    seen = run_task(__name__, "insert", str(tmp_path), children, task_exc_guard=0)

    assert seen["program"]["flags"] == [0, DELIVER]
    assert (seen["hits"], seen["program"]["result"]) == ([2408], 15)  # delivered; KERN_INVALID_NAME
    kept = {"EXCGUARD_INSERTION": f"{TOKEN:016x},1,{SERVICE}"} if children else {}
    libraries = "/other.dylib:/some/where/libexcguard_insertion.dylib" if children else "/other.dylib"
    assert seen["program"]["environment"] == {**kept, "DYLD_INSERT_LIBRARIES": libraries}

    (uuid,) = dyld_rules.read(library.read_bytes()).all(dyld_rules.LC_UUID)
    build = uuid[8:24].hex()
    spelled = "-".join([build[:8], build[8:12], build[12:16], build[16:20], build[20:]]).upper()
    place = [seen["program"]["base"], image.size, spelled]
    common = {"token": TOKEN, "flags": [0, DELIVER], "result": 0, "dropped": 0}
    assert seen["pids"] == [True] * 3
    assert seen["reports"] == [
        {"start": True, **common, "images": [[str(library), *place]]},
        {"start": False, **common, "images": [["/later/library.dylib", *place]]},
        {"start": False, **common, "images": [["/later/on-another-thread.dylib", *place]]},
    ]
