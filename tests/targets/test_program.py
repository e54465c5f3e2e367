"""A program and its processes: what the inserted library reports of them, and what is found without it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from excguard.config import Delivery
from excguard.knowledge.guard_behavior import GuardBehavior
from excguard.mach import processes
from excguard.mach.host import Host
from excguard.mach.rendezvous import Image, InsertionReport
from excguard.mach.rendezvous.message import Sender
from excguard.targets.delivery import DELIVER, Plan
from excguard.targets.executable import Executable
from excguard.targets.program import Program
from excguard.targets.visibility import By, visibility

NOTHING = GuardBehavior(0)
HOST = Host("26.4", "", "xnu-1", "arm64", developer_mode=True, guard_behavior=0x99)
APP = Image("/bin/app", 0x1000, 0x1000, "UUID")


def program(delivery: Delivery = Delivery.INSERT, **plan: object) -> Program:
    fields = {"library": Path("/lib"), "children": True, **plan}
    found = Program(Plan(delivery, Executable(Path("/bin/app")), NOTHING, **fields))  # type: ignore[arg-type]
    found.pid = 100
    return found


def report(*images: Image, pid: int = 100, start: bool = True, **changes: int) -> InsertionReport:
    fields = {"flags_before": 0, "flags_after": 0x11, "result": 0, "dropped": 0, **changes}
    token = (0, 0, 0, 0, 0, pid, 0, 0)
    return InsertionReport(sender=Sender(token), token=1, start=start, images=images or (APP,), **fields)


def test_a_report_confirms_the_flags() -> None:
    found = program()
    assert not found.confirmed
    found.take(report())

    assert found.confirmed
    assert found.circumstances().flags == DELIVER
    assert found.path_of(100) == "/bin/app"


def test_until_it_has_ended_the_library_is_taken_to_work() -> None:
    found = program()
    assert visibility(HOST, found.circumstances()).soft.by is By.HANDLER
    found.ended = True

    soft = visibility(HOST, found.circumstances()).soft
    assert (soft.by, soft.reason) == (
        By.NOTHING,
        "the program's flags do not have MP_DELIVER: the inserted library has not reported",
    )


def test_a_kernel_that_refuses_the_flags_is_named() -> None:
    found = program()
    found.take(report(flags_after=0, result=53))

    assert "the kernel refused to set them: KERN_DENIED" in found.circumstances().undelivered


def test_a_program_that_registers_itself_has_set_its_flags() -> None:
    found = program(Delivery.CLIENT, library=None)
    assert found.circumstances().flags == NOTHING
    found.registered("")
    assert found.circumstances().flags == DELIVER
    found.registered("no server")
    assert "could not set them: no server" in found.circumstances().undelivered


def test_an_address_is_found_in_the_images_of_its_process() -> None:
    found = program()
    found.take(report(APP, Image("/lib/a", 0x9000, 0x10, "")))
    found.take(report(Image("/lib/late", 0x20000, 0x10, ""), start=False))

    images = [found.image_at(100, address) for address in (0x1000, 0x1FFF, 0x2000, 0x9008, 0x20000)]
    paths = [image.path if image else None for image in images]
    assert paths == ["/bin/app", "/bin/app", None, "/lib/a", "/lib/late"]
    assert found.image_at(101, 0x1000) is None


def test_another_program_in_the_same_process_begins_anew() -> None:
    found = program()
    found.take(report(APP))
    found.take(report(Image("/bin/other", 0x5000, 0x10, "")))

    assert found.path_of(100) == "/bin/other"
    assert found.image_at(100, 0x1000) is None


@pytest.mark.skipif(sys.platform == "darwin", reason="the program of a child is compared with /proc")
def test_descendants_without_the_library_are_found_and_counted() -> None:
    found = program()
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"]) as child:
        found.pid = child.pid
        found.take(report(Image(str(Path("/bin/sh").resolve()), 0x1000, 0x10, ""), pid=child.pid))
        while not found.unseen:
            found.look()
        left = found.left(child.pid)
        for pid in processes.children(child.pid):
            os.kill(pid, signal.SIGKILL)
        child.wait()

    assert [Path(path).name for path in found.unseen] == [Path("/bin/sleep").resolve().name]
    assert left == 1


def test_the_latest_processes_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("excguard.targets.program._MAX_PROCESSES", 3)
    found = program()
    for pid in range(200, 210):
        found.take(report(pid=pid))

    assert [found.path_of(pid) for pid in (207, 208, 209)] == ["/bin/app"] * 3
