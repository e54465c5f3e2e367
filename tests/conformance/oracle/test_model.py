"""Random sequences of calls, which no row has, against a model of the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.oracle import sequences
from tests.conformance.oracle.port_types import task_of
from tests.conformance.oracle.random_calls import crossed, sequence
from tests.conformance.oracle.rights import Unknown
from tests.support.mach_machine import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.oracle.model import Model
    from tests.support.mach_machine import Machine

_MP_AND_VM_DELIVER = 0x11


def _answers(row: sequences.Row, release: str) -> list[tuple[object, object]] | None:
    """What the model answers to each call and what XNU did; None: it does not know a call."""
    task = task_of(row, release)
    try:
        return [(_facts(task.answer(op), task), _facts(op, task)) for op in row["ops"]]
    except Unknown:
        return None


def _facts(op: sequences.Row, task: Model) -> object:
    guard = op.get("guard")
    gives = {
        key: ":".join(map(task.alias, value.split(":"))) if isinstance(value, str) else value
        for key, value in op.get("gives", {}).items()
    }
    return (
        op["returns"],
        guard and [guard[key] for key in ("value", "target", "subcode")],
        gives,
        op.get("process"),
    )


@pytest.mark.parametrize("release", sequences.RELEASES)
def test_the_model_answers_as_the_rows(release: str) -> None:
    """Wherever it has every call of a row: so a difference from the simulator is the simulator's."""
    known = 0
    wrong = []
    for row in sequences.load(release):
        answers = _answers(row, release)
        known += answers is not None
        wrong += [row["id"]] if any(ours != theirs for ours, theirs in answers or ()) else []

    assert wrong == []
    assert known > 400


def _differences(boot: Callable[[Kind], Machine], release: str, rows: list[sequences.Row]) -> list[str]:
    machine = boot(Kind(release, before=f"{release}.99", guard_default=_MP_AND_VM_DELIVER))
    outcomes = sequences.run([machine.program("sequences")], rows, machine.environ)
    return [str(difference) for difference in sequences.agreement(rows, outcomes)[1]]


@pytest.fixture
def on_simulator(request: pytest.FixtureRequest) -> None:
    """Skips a test of simulated releases on a Mac."""
    if request.config.getoption("--kernel") == "native":
        pytest.skip("of simulated releases")


@pytest.mark.usefixtures("on_simulator")
@pytest.mark.parametrize("release", ["11.2", "13.3", "15.4", "26.0"])
def test_random_calls_are_answered_as_by_the_model(boot: Callable[[Kind], Machine], release: str) -> None:
    """A few, every day."""
    assert _differences(boot, release, [sequence(seed, release) for seed in range(100)]) == []


@pytest.mark.slow
@pytest.mark.usefixtures("on_simulator")
@pytest.mark.parametrize("release", sequences.RELEASES)
def test_many_random_calls_are_answered_as_by_the_model(
    boot: Callable[[Kind], Machine], release: str
) -> None:
    """Others of each release."""
    first = 1000 + sequences.RELEASES.index(release) * 14_300
    rows = [sequence(seed, release) for seed in range(first, first + 14_300)]

    assert _differences(boot, release, rows) == []


@pytest.mark.slow
@pytest.mark.usefixtures("on_simulator")
@pytest.mark.parametrize("release", sequences.RELEASES)
def test_calls_in_states_of_rows_are_answered_as_by_the_model(
    boot: Callable[[Kind], Machine], release: str
) -> None:
    """Each state of a row with five calls of other rows."""
    rows = list(crossed(sequences.load(release), release, 5))

    assert len(rows) > 1000
    assert _differences(boot, release, rows) == []
