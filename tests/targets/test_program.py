"""A program and its processes: what the inserted library reports of them, and what is found without it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from excguard.config import Delivery
from excguard.decoding.site import Place
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

    places = [found.place(100, [address]) for address in (0x1000, 0x1FFF, 0x2000, 0x9008, 0x20000)]
    assert places == [
        Place("/bin/app", "UUID", 0),
        Place("/bin/app", "UUID", 0xFFF),
        None,
        Place("/lib/a", "", 8),
        Place("/lib/late", "", 0),
    ]
    found.take(report(APP, pid=101))
    assert found.place(101, [0x9008]) is None


@pytest.mark.parametrize(
    ("addresses", "place"),
    [
        ([0x9008, 0x1010], Place("/bin/app", "UUID", 0x10)),  # called by the program
        ([0x1010, 0x9008], Place("/bin/app", "UUID", 0x10)),  # it traps by itself
        ([0x500, 0x1010], Place("/bin/app", "UUID", 0x10)),  # from the shared cache
        ([0x9008, 0x500], Place("/usr/lib/system/libsystem_kernel.dylib", "", 8)),
        ([0x500, 0x600], None),
    ],
)
def test_the_place_is_the_innermost_outside_of_the_system(addresses: list[int], place: Place | None) -> None:
    found = program()
    found.take(report(APP, Image("/usr/lib/system/libsystem_kernel.dylib", 0x9000, 0x100, "")))

    assert found.place(100, addresses) == place


def test_a_child_of_fork_has_the_images_of_its_parent() -> None:
    """It reports nothing. Where processes differ in what is at an address, its place is not known."""
    found = program()
    found.take(report(APP, Image("/lib/a", 0x9000, 0x100, "A")))
    found.take(report(Image("/bin/other", 0x9000, 0x100, "B"), pid=200))

    assert found.place(5_000_000, [0x1010]) == Place("/bin/app", "UUID", 0x10)
    assert found.path_of(5_000_000) == "/bin/app"
    assert found.place(5_000_001, [0x9010]) is None
    assert found.path_of(5_000_001) == ""


def test_a_place_waits_for_reports_that_were_sent_before_the_hit() -> None:
    found = program()
    found.wait_for_reports = lambda: found.take(report(APP))

    assert found.place(100, [0x1010]) == Place("/bin/app", "UUID", 0x10)


def test_each_address_is_waited_for_at_most_once() -> None:
    waited: list[int] = []
    found = program()
    found.wait_for_reports = lambda: waited.append(1)
    for _ in range(3):
        assert found.place(100, [0x500, 0x1010]) is None

    assert len(waited) == 2


def test_without_a_place_the_reported_program_stands_for_it(tmp_path: Path) -> None:
    """Of a process that has not reported, the target's program: else that would differ between runs."""
    real = tmp_path / "real"
    real.touch()
    (tmp_path / "link").symlink_to(real)
    found = program()
    found.take(report(Image(str(tmp_path / "link"), 0x1000, 0x1000, ""), pid=200))

    assert [found.name_of(pid) for pid in (100, 200, 300)] == ["app", "real", "app"]


def test_another_program_in_the_same_process_begins_anew() -> None:
    found = program()
    found.take(report(APP))
    found.take(report(Image("/bin/other", 0x5000, 0x10, "")))

    assert found.path_of(100) == "/bin/other"
    assert found.place(100, [0x1000]) is None


@pytest.mark.skipif(sys.platform == "darwin", reason="the program of a child is compared with /proc")
def test_descendants_without_the_library_are_found_and_counted() -> None:
    found = program()
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"]) as child:
        found.pid = child.pid
        found.take(report(Image(str(Path("/bin/sh").resolve()), 0x1000, 0x10, ""), pid=child.pid))
        while not found.unseen:
            found.look(0.1)
        left = found.left(child.pid)
        for pid in processes.children(child.pid):
            os.kill(pid, signal.SIGKILL)
        child.wait()

    assert [Path(path).name for path in found.unseen] == [Path("/bin/sleep").resolve().name]
    assert left == 1


def test_images_are_bounded_over_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any descendant can report, and as often as it likes."""
    monkeypatch.setattr("excguard.targets.program._MAX_ALL_IMAGES", 10)
    monkeypatch.setattr("excguard.targets.program._MAX_IMAGES", 6)
    found = program()

    def kept(pid: int) -> int:
        return sum(found.place(pid, [address]) is not None for address in range(0x10000, 0x90000, 0x10000))

    many = [Image(f"/lib/{number}", number << 16, 0x10, "") for number in range(1, 9)]
    found.take(report(*many))
    found.take(report(*many, start=False))
    assert kept(100) == 6
    found.take(report(*many, pid=200))
    assert kept(200) == 4
    found.take(report(APP))  # another program in the first process makes room
    found.take(report(*many, pid=300))
    assert kept(300) == 5


@pytest.mark.parametrize(
    ("number", "reported", "ended"),
    [(signal.SIGABRT, False, True), (signal.SIGABRT, True, False), (signal.SIGKILL, False, False)],
)
def test_an_abort_before_the_report_may_be_dyld_s(number: int, *, reported: bool, ended: bool) -> None:
    found = program()
    found.inserted = True
    if reported:  # sent before the end, and taken after it
        found.wait_for_reports = lambda: found.take(report())
    found.exited(number)

    assert found.ended_with_library is ended


def test_an_abort_of_a_program_that_could_not_be_given_the_library_is_its_own() -> None:
    """As without a rendezvous server."""
    found = program()
    found.exited(signal.SIGABRT)

    assert not found.ended_with_library


def test_it_is_said_how_long_a_descendant_can_go_unnoticed() -> None:
    found = program()
    assert found.unnoticed_below == pytest.approx(0.3)
    found.look(0.5)
    assert found.unnoticed_below == pytest.approx(1.5)
    assert program(children_delivered=True).unnoticed_below == 0.0


def test_the_latest_processes_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("excguard.targets.program._MAX_PROCESSES", 3)
    found = program()
    for pid in range(200, 210):
        found.take(report(pid=pid))

    assert [found.path_of(pid) for pid in (207, 208, 209)] == ["/bin/app"] * 3
