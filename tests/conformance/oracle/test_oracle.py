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


def _of_fork(row: sequences.Row) -> bool:
    """Whether it has a call that no program can make."""
    return any(op["call"] == "mach_port_deallocate_kernel" for op in row["ops"])


def differences(machine: Machine, rows: Sequence[sequences.Row]) -> list[str]:
    """What the kernel answers otherwise."""
    outcomes = sequences.run([machine.program("sequences")], rows, machine.environ)
    return [str(difference) for difference in sequences.agreement(rows, outcomes)[1]]


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
    rows = sequences.load(release)[sequences.RELEASES.index(release) :: _SAMPLE]

    assert differences(_boot(boot, release), rows) == []


@pytest.mark.slow
@pytest.mark.usefixtures("on_simulator")
@pytest.mark.parametrize("release", sequences.RELEASES)
def test_every_row_is_answered_as_by_xnu(boot: Callable[[Kind], Machine], release: str) -> None:
    """All rows of a release."""
    assert differences(_boot(boot, release), sequences.load(release)) == []


def _changed(release: str) -> Counter[str]:
    """The rows of a release that are run otherwise than they are written, by the end of their id."""
    rows = [row for row in sequences.load() if release in row["release"]]
    seen = [sequences.as_seen(row, release) for row in rows]
    changed = [row["id"] for row, other in zip(rows, seen, strict=True) if row != other]
    return Counter(row.rpartition("/")[2].partition("_mr")[0].partition("_gdesc")[0] for row in changed)


@pytest.mark.parametrize("release", sequences.RELEASES)
def test_only_full_queues_and_guarded_descriptors_are_run_otherwise_than_written(release: str) -> None:
    """Three rows of full queues on each release, and the 567 of 11.2 that send a guarded descriptor."""
    changed = _changed(release)

    assert changed.pop("send", 0) == (567 if release == "11.2" else 0)
    assert changed == {"x_full": 1, "x_full_back_desc": 1, "x_full_notify": 1}


def test_there_are_58880_answers() -> None:
    """A row counts on each release that it is of."""
    assert sum(len(row["release"]) for row in sequences.load()) == 58_880


def _sends(*returns: str) -> sequences.Row:
    remote = {"remote": {"name": "r", "disposition": "MACH_MSG_TYPE_COPY_SEND"}}
    args = {"options": ["MACH_SEND_MSG", "MACH_SEND_TIMEOUT"], **remote}
    return {"ops": [{"call": "mach_msg", "args": args, "returns": value} for value in returns]}


def test_a_send_is_repeated_until_the_queue_is_full() -> None:
    """And no further: a queue of five that is full gets none."""
    written = _sends("KERN_SUCCESS", "MACH_SEND_TIMED_OUT", "MACH_SEND_TIMED_OUT")
    seen = sequences.as_seen(written, "15.5")["ops"]

    assert [op["returns"] for op in seen] == ["KERN_SUCCESS"] * 5 + ["MACH_SEND_TIMED_OUT"] * 2
    assert sequences.as_seen({"ops": seen}, "15.5")["ops"] == seen


def test_a_32_bit_task_names_a_guarded_port_in_the_upper_half_of_the_context() -> None:
    """As the run of 11.2 took the descriptor; later ones took it as it was sent."""
    guarded = {"name": "x", "context": "0x120300001234"}
    op = {"call": "mach_msg", "returns": "KERN_SUCCESS", "args": {"options": [], "descriptors": [guarded]}}
    [seen], [later] = (
        sequences.as_seen({"ops": [op]}, release)["ops"][0]["args"]["descriptors"]
        for release in ("11.2", "13.3")
    )

    assert seen == {"name": str(0x1203), "context": "0x1234"}
    assert later == guarded


def test_rows_of_this_mac(
    request: pytest.FixtureRequest, mac: mach_machine.Mac | None, boot: Callable[[Kind], Machine]
) -> None:
    """On a Mac: the rows of its release, of processes that are signed as the test programs are."""
    if request.config.getoption("--kernel") != "native" or mac is None:
        pytest.skip("needs a Mac: --kernel=native")
    release = ".".join(platform.mac_ver()[0].split(".")[:2])
    rows = (
        [row for row in sequences.load(release) if not sequences.policy(row) and not _of_fork(row)]
        if release in sequences.RELEASES
        else []
    )
    if not rows:
        pytest.skip(f"the oracle has no rows of macOS {release}")

    assert differences(boot(Kind(release, guard_default=mac.guard_default)), rows) == []
