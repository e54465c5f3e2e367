"""The rows of the oracle on a kernel: the simulated one of each release, or that of a Mac."""

from __future__ import annotations

import platform
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.conformance.oracle import sequences
from tests.support.mach_machine import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support import mach_machine
    from tests.support.mach_machine import Machine

_SAMPLE = 29
"""Every row of that distance is run every day; a prime, so that it meets every state and call."""
_MP_AND_VM_DELIVER = 0x11

NOT_REPRODUCIBLE = {
    "x_full": "Equal calls in a row were written down once, so how many messages are queued is lost: "
    "the row lets the second send to a queue of five find it full.",
    "x_full_back": "As x_full.",
    "x_full_back_desc": "As x_full.",
    "x_full_notify": "As x_full.",
}
"""Rows of which no kernel could give the answers, by the end of their id."""

GUARDED_OF_11 = (
    "The name of a guarded port descriptor was not where the kernel reads it: "
    "ipc_kmsg_copyin_guarded_port_descriptor (osfmk/ipc/ipc_kmsg.c, xnu-7195.81.3) takes the port that it "
    "names, and in these rows nothing is taken, whatever the name."
)


def _sends_guarded(row: sequences.Row) -> bool:
    """Whether a guarded port descriptor with a port's name was sent."""
    no_ports = {op["result"] for op in row["ops"] if op["args"] in (["MACH_PORT_NULL"], ["MACH_PORT_DEAD"])}
    return any(
        descriptor["type"] == "MACH_MSG_GUARDED_PORT_DESCRIPTOR" and descriptor["name"] not in no_ports
        for op in row["ops"]
        if op["call"] == "mach_msg" and op["returns"] == "KERN_SUCCESS"
        for descriptor in op["args"].get("descriptors", [])
    )


def _of_fork(row: sequences.Row) -> bool:
    """Whether it has a call that no program can make."""
    return any(op["call"] == "mach_port_deallocate_kernel" for op in row["ops"])


def explained(row: sequences.Row, release: str) -> str | None:
    """Why a row is no measure for that release; None: it is one."""
    if release == "11.2" and _sends_guarded(row):
        return GUARDED_OF_11
    return NOT_REPRODUCIBLE.get(row["id"].rpartition("/")[2])


def differences(machine: Machine, rows: Sequence[sequences.Row]) -> list[str]:
    """What the kernel answers otherwise."""
    outcomes = sequences.run([machine.program("sequences")], rows, machine.environ)
    return [str(difference) for difference in sequences.agreement(rows, outcomes)[1]]


def _rows(release: str) -> list[sequences.Row]:
    return [row for row in sequences.load(release) if explained(row, release) is None]


def _boot(boot: Callable[[Kind], Machine], release: str) -> Machine:
    return boot(Kind(release, before=f"{release}.99", guard_default=_MP_AND_VM_DELIVER))


@pytest.fixture
def on_simulator(request: pytest.FixtureRequest) -> None:
    """Skips a test of simulated releases on a Mac."""
    if request.config.getoption("--kernel") == "native":
        pytest.skip("of the simulator: a Mac has its own release's rows in test_rows_of_this_mac")


@pytest.mark.usefixtures("on_simulator")
@pytest.mark.parametrize("release", sequences.RELEASES)
def test_sample_is_answered_as_by_xnu(boot: Callable[[Kind], Machine], release: str) -> None:
    """One row of twenty-nine, another of these on each release."""
    rows = _rows(release)[sequences.RELEASES.index(release) :: _SAMPLE]

    assert differences(_boot(boot, release), rows) == []


@pytest.mark.slow
@pytest.mark.usefixtures("on_simulator")
@pytest.mark.parametrize("release", sequences.RELEASES)
def test_every_row_is_answered_as_by_xnu(boot: Callable[[Kind], Machine], release: str) -> None:
    """All rows of a release; those that no kernel could answer are named above with the reason."""
    assert differences(_boot(boot, release), _rows(release)) == []


def test_rows_that_are_no_measure_are_these() -> None:
    """132 of 58,880 (0.22 %): three of each release, and those of guarded descriptors of 11.2."""
    pairs = [(row, release) for row in sequences.load() for release in row["release"]]
    left_out = Counter(reason for row, release in pairs if (reason := explained(row, release)) is not None)

    assert len(pairs) == 58_880
    assert left_out.pop(GUARDED_OF_11) == 111
    assert left_out.total() == 3 * len(sequences.RELEASES)


def test_rows_of_this_mac(
    request: pytest.FixtureRequest, mac: mach_machine.Mac | None, boot: Callable[[Kind], Machine]
) -> None:
    """On a Mac: the rows of its release, of processes that are signed as the test programs are."""
    if request.config.getoption("--kernel") != "native" or mac is None:
        pytest.skip("needs a Mac: --kernel=native")
    release = ".".join(platform.mac_ver()[0].split(".")[:2])
    rows = (
        [row for row in _rows(release) if not sequences.policy(row) and not _of_fork(row)]
        if release in sequences.RELEASES
        else []
    )
    if not rows:
        pytest.skip(f"the oracle has no rows of macOS {release}")

    assert differences(boot(Kind(release, guard_default=mac.guard_default)), rows) == []
