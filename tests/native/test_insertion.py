"""The inserted library has a program's guards delivered, reports to excguard, and changes nothing else."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from excguard.mach import host
from excguard.mach.bootstrap import check_in
from excguard.mach.exception_ports import construct_exception_port
from excguard.mach.rendezvous import Inserted, RendezvousServer, wire
from excguard.mach.spawn import spawn
from excguard.native import lib
from excguard.targets.insertion import VARIABLE, library_path
from tests.support import compiler, rendezvous_child
from tests.support.messages import GOOD, receive, send
from tests.support.task import run as run_task
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="preloads into programs of this system")

SERVICE = "org.excguard.test.insertion"
TOKEN = 0x1122334455667788
SETTING = "EXCGUARD_INSERTION"
DELIVER = 0x11  # TASK_EXC_GUARD_VM_DELIVER | TASK_EXC_GUARD_MP_DELIVER, mach/task_info.h


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The child of the rendezvous tests, without the sanitizers, which want to be the first library."""

    def build(directory: Path) -> None:
        subprocess.run(rendezvous_child.command(compiler.require(), directory / "child"), check=True)

    return str(compiler.build_once(tmp_path_factory, "insertion-child", build) / "child")


class Parent:
    """A rendezvous server, and programs that start with the library."""

    def __init__(self, directory: str) -> None:
        self.events: list[Any] = []
        self.server = RendezvousServer(SERVICE, on_event=self.events.append)
        self._directory = Path(directory)
        self._numbers = itertools.count()

    def start(
        self, *command: str, settings: dict[str, str] | None = None, **options: Any
    ) -> tuple[int, Path]:
        """Start a program; its pid and the file of all that it prints."""
        output = self._directory / f"output-{next(self._numbers)}"
        variables = {VARIABLE: str(library_path()), SETTING: f"{TOKEN:016x},1,{SERVICE}"}
        script = f'exec "$@" >{output} 2>&1'
        environment = {**os.environ, **variables, **(settings or {})}
        # The shell is inserted into as well: its reports come first.
        return spawn(
            host.running(), ["/bin/sh", "-c", script, "sh", *command], environment=environment, **options
        ), output

    def run(self, *command: str, **options: Any) -> list[str]:
        """Run a program to its end; the lines that it prints."""
        pid, output = self.start(*command, **options)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        return output.read_text().splitlines()

    def reports(self) -> list[Inserted]:
        """The reports that have arrived."""
        return [event for event in self.events if isinstance(event, Inserted)]


@contextlib.contextmanager
def parent(directory: str) -> Iterator[Parent]:
    made = Parent(directory)
    try:
        yield made
    finally:
        made.server.close()


def task(function: str, *arguments: object, **settings: object) -> Any:
    return run_task(__name__, function, *arguments, **settings)


# ---- flags ----


def flags_of(directory: str, program: str) -> list[Any]:
    with parent(directory) as family:
        said = family.run(program, "flags")
        reports = wait_until(family.reports, lambda found: len(found) >= 2)
        return [
            said,
            [(event.report.flags_before, event.report.flags_after, event.report.result) for event in reports],
        ]


@pytest.mark.parametrize("flags", [0, 0x01, 0x11, 0x44, 0x88, 0x99, 0xFF])
def test_it_adds_delivery_and_no_other_flag(program: str, tmp_path: Path, flags: int) -> None:
    """MP_DELIVER and VM_DELIVER; whatever else the task starts with stays."""
    said, reports = task("flags_of", str(tmp_path), program, task_exc_guard=flags)

    assert said == [f"flags {flags | DELIVER}"]
    assert reports == [[flags, flags | DELIVER, 0]] * 2  # the shell's, and after its exec the program's


def delivered(directory: str, program: str, with_library: bool) -> list[Any]:  # noqa: FBT001 - JSON
    with (
        parent(directory) as family,
        construct_exception_port(host.running()) as port,
        port.make_send() as right,
    ):
        settings = {} if with_library else {VARIABLE: ""}
        pid, output = family.start(program, "violate", settings=settings, exception_port=right)
        hits = [receive(port)] if with_library else []
        os.waitpid(pid, 0)
        return [hits, output.read_text().splitlines()]


@pytest.mark.parametrize("with_library", [False, True], ids=["without", "with"])
def test_with_it_a_stock_kernel_delivers_an_optional_guard(
    program: str,
    tmp_path: Path,
    with_library: bool,  # noqa: FBT001
) -> None:
    """Flags 0, as xnu starts programs not Apple's: the handler receives the hit, the program goes on."""
    hits, said = task("delivered", str(tmp_path), program, with_library, task_exc_guard=0)

    assert hits == ([2408] if with_library else [])  # mach_exception_raise_identity_protected
    assert said == ["violate 15"]  # KERN_INVALID_NAME


# ---- the report ----


def images_of(directory: str, program: str) -> list[Any]:
    with parent(directory) as family:
        pid, output = family.start(program, "stop")
        wait_until(lambda: output.exists() and output.read_text())
        reports = wait_until(family.reports, lambda found: len(found) >= 2)
        mapped = {}
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            match line.split():
                case [addresses, _, _, _, _, path]:
                    mapped.setdefault(path, int(addresses.split("-")[0], 16))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        report = reports[-1].report
        return [
            reports[-1].pid == pid,
            [report.token, report.start, report.dropped],
            [(image.path, image.uuid, image.address, image.size) for image in report.images],
            mapped,
        ]


def build_id(path: str) -> str:
    """The first 16 bytes of a file's build id, by readelf, spelled as a UUID."""
    text = subprocess.run(["readelf", "-n", path], check=True, capture_output=True, text=True).stdout
    found = re.search(r"Build ID: ([0-9a-f]+)", text)
    return str(uuid.UUID(found[1][:32])).upper() if found else ""


def test_it_reports_the_images_where_they_are(program: str, tmp_path: Path) -> None:
    own, head, images, mapped = task("images_of", str(tmp_path), program)

    assert own
    assert head == [TOKEN, True, 0]
    assert images[0][0] == program
    files = {path: (build, address, size) for path, build, address, size in images if path.startswith("/")}
    assert str(library_path()) in files
    for path, (build, address, size) in files.items():
        real = os.path.realpath(path)
        assert (build, address) == (build_id(path), mapped[real])
        assert size > 4096


def series(directory: str, program: str, libraries: list[str]) -> list[Any]:
    with parent(directory) as family:
        preload = ":".join([str(library_path()), *libraries])
        said = family.run(program, "flags", settings={VARIABLE: preload})

        def reported() -> list[str]:
            return [image.path for event in family.reports() for image in event.report.images]

        wait_until(lambda: reported().count(libraries[-1]) == 2)
        return [
            said,
            [
                (event.report.start, [image.path for image in event.report.images])
                for event in family.reports()
            ],
        ]


def test_many_images_take_several_messages(program: str, tmp_path: Path) -> None:
    """The first of a program begins with the program itself. An exec begins again."""
    source = tmp_path / "empty.c"
    source.write_text("int excguard_test_empty;\n")
    one = tmp_path / "one.so"
    subprocess.run([compiler.require(), "-shared", "-fPIC", source, "-o", one], check=True)
    libraries = []
    for number in range(120):
        directory = tmp_path / f"{'long-name-' * 6}{number}"
        directory.mkdir()
        shutil.copy(one, directory / "library.so")
        libraries.append(str(directory / "library.so"))

    said, reports = task("series", str(tmp_path), program, libraries)

    assert said == [f"flags {DELIVER}"]
    starts = [index for index, (start, _) in enumerate(reports) if start]
    assert starts[0] == 0
    assert len(starts) == 2
    for batch, name in ((reports[: starts[1]], os.path.realpath("/bin/sh")), (reports[starts[1] :], program)):
        assert len(batch) > 1
        paths = [path for _, images in batch for path in images]
        assert paths[0] == name
        assert set(libraries) < set(paths)
        assert len(paths) == len(set(paths))


def longest(directory: str, program: str) -> list[str]:
    with parent(directory) as family:
        family.run(program, "flags")
        reports = wait_until(family.reports, lambda found: len(found) >= 2)
        return [image.path for image in reports[1].report.images]


def test_a_path_that_is_too_long_loses_its_beginning(program: str, tmp_path: Path) -> None:
    directory = tmp_path
    while len(str(directory)) < 1100:
        directory /= "d" * 200
    directory.mkdir(parents=True)
    shutil.copy(program, directory / "program")

    paths = task("longest", str(tmp_path), str(directory / "program"))

    assert len(paths[0]) == lib.EXCGUARD_INSERTION_MAX_PATH
    assert str(directory / "program").endswith(paths[0])


def settled(directory: str, program: str) -> list[int]:
    """How many reports have been taken when `settle` returns: after a program, with a hanging loop."""
    with parent(directory) as family:
        family.run(program, "flags")
        family.server.settle()
        counts = [len(family.reports())]
    stuck, go_on = threading.Event(), threading.Event()

    def hang(_event: object) -> None:
        stuck.set()
        go_on.wait()

    with parent(directory) as family:
        family.server._on_event = hang
        pid, _ = family.start(program, "flags")
        stuck.wait()
        family.server.settle()
        family.server.settle()  # and this one does not wait
        counts.append(len(family.reports()))
        go_on.set()
        os.waitpid(pid, 0)
    return counts


def test_what_was_sent_before_settle_has_been_taken_unless_the_loop_hangs(
    program: str, tmp_path: Path
) -> None:
    """The report of the shell, and that of the program in its place."""
    assert task("settled", str(tmp_path), program) == [2, 0]


# ---- no other trace ----


def traces(directory: str, program: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with parent(directory) as family:
        plain = {VARIABLE: ""}
        for name, settings in (("without", plain), ("with", {})):
            said = family.run(program, "names", settings=settings)
            pid, output = family.start(program, "stop", settings=settings)
            wait_until(lambda output=output: output.exists() and output.read_text())
            status = Path(f"/proc/{pid}/status").read_text()
            signals = re.findall(r"^(?:SigBlk|SigIgn|SigCgt|Threads):.*$", status, re.MULTILINE)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            found[name] = [said, signals, output.read_text()]
    return found


def test_it_leaves_no_trace_but_a_send_right(program: str, tmp_path: Path) -> None:
    """No thread, no signal handler, no output; one name more in the port name space."""
    found = task("traces", str(tmp_path), program)
    (without,), signals, output = found["without"]

    assert found["with"][1:] == [signals, output]
    assert output == "stopped\n"
    assert found["with"][0] == [f"names {int(without.split()[1]) + 1}"]


def environments(directory: str, others: str, children: bool) -> list[str]:  # noqa: FBT001 - JSON
    variables = {
        VARIABLE: ":".join(filter(None, [str(library_path()), others])),
        SETTING: f"{TOKEN:016x},{children:d},{SERVICE}",
    }
    with parent(directory) as family:
        return family.run("/usr/bin/env", settings=variables)


@pytest.mark.parametrize("children", [False, True])
@pytest.mark.parametrize("others", ["", "{0}", "{0}:{0}", "{0} {0}"])
def test_its_variables_stay_only_for_children_that_are_watched(
    tmp_path: Path,
    others: str,
    children: bool,  # noqa: FBT001
) -> None:
    """Other inserted libraries stay in any case."""
    (other,) = (
        line.split()[2]
        for line in subprocess.run(
            ["ldd", sys.executable], check=True, capture_output=True, text=True
        ).stdout.splitlines()
        if "libc.so" in line
    )
    others = others.format(other)
    variables = dict(
        line.split("=", 1) for line in task("environments", str(tmp_path), others, children) if "=" in line
    )

    kept = others.replace(" ", ":")
    if children:
        listed = f"{library_path()}:{others}" if others else str(library_path())
        assert variables[VARIABLE] == listed
        assert variables[SETTING] == f"{TOKEN:016x},1,{SERVICE}"
    else:
        assert variables.get(VARIABLE, "") == kept
        assert SETTING not in variables


# ---- when things are not as they should be ----


def alone(directory: str, program: str, setting: str) -> list[str]:
    variables = {VARIABLE: str(library_path()), SETTING: setting}
    output = Path(directory, "output")
    with output.open("w") as file:
        subprocess.run(
            [program, "flags", "names"], env={**os.environ, **variables}, stdout=file, stderr=file, check=True
        )
    return output.read_text().splitlines()


@pytest.mark.parametrize("setting", ["", "x", "1", "1,", "1,1", "1,1,", "1,x,org.example", ",1,org.example"])
def test_a_malformed_setting_does_nothing(program: str, tmp_path: Path, setting: str) -> None:
    assert task("alone", str(tmp_path), program, setting, task_exc_guard=0)[0] == "flags 0"


def test_without_the_service_the_program_runs_and_its_guards_are_delivered(
    program: str, tmp_path: Path
) -> None:
    with_library = task("alone", str(tmp_path), program, f"{TOKEN:x},1,org.example.nowhere", task_exc_guard=0)
    without = task("alone", str(tmp_path), program, "", task_exc_guard=0)

    assert with_library[0] == f"flags {DELIVER}"
    assert with_library[1] == without[1]  # names


def stuck(directory: str, program: str) -> list[Any]:
    """The service's queue is full and is not emptied."""
    with check_in(SERVICE) as port, port.make_send() as right:
        while True:
            message = wire.HEADER.pack(lib.MACH_MSG_TYPE_COPY_SEND, 24, right.name, 0, 0, GOOD)
            if send(message) != 0:
                break
        said = alone(directory, program, f"{TOKEN:x},1,{SERVICE}")
        return [said, alone(directory, program, "")]


def test_an_excguard_that_does_not_receive_does_not_hold_up_the_program(program: str, tmp_path: Path) -> None:
    said, without = task("stuck", str(tmp_path), program)

    assert said[0] == f"flags {DELIVER}"
    assert int(said[1].split()[1]) == int(without[1].split()[1]) + 1  # nothing leaked but the one right


def handed_on(directory: str, program: str) -> list[Any]:
    with parent(directory) as family:
        said = family.run(program, "fork", "violate", "exec", "flags", "exit", "0")
        wait_until(lambda: len(family.reports()) >= 3)
        return [said, [(event.report.start, len(event.report.images)) for event in family.reports()]]


def test_children_inherit_the_flags_by_fork_and_report_after_exec(program: str, tmp_path: Path) -> None:
    """The shell, the program, and the child of fork after its exec: each with a list of images of its own."""
    said, reports = task("handed_on", str(tmp_path), program, task_exc_guard=0)

    assert f"flags {DELIVER}" in said
    assert [start for start, _ in reports] == [True, True, True]
    assert all(count > 2 for _, count in reports)
