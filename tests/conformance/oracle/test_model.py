"""Random sequences of calls, which no row has, against a model of the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.oracle import model, sequences
from tests.support.mach_machine import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.mach_machine import Machine

_MP_AND_VM_DELIVER = 0x11


def _known(row: sequences.Row, release: str) -> list[sequences.Row] | None:
    """What the model answers to a row; None: it does not know a call, or the kind of process."""
    if sequences.policy(row) or row["task"]["exc_guard_fatal"]:
        return None
    task = model.Model(release)
    try:
        return [task.answer(op) for op in row["ops"]]
    except model.Unknown:
        return None


def _facts(op: sequences.Row) -> object:
    guard = op.get("guard")
    gives = {key: value for key, value in op.get("gives", {}).items() if key != "port"}
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
        answers = _known(row, release)
        known += answers is not None
        if answers is not None and [*map(_facts, answers)] != [*map(_facts, row["ops"])]:
            wrong.append(row["id"])

    assert wrong == []
    assert known > 400


def _differences(boot: Callable[[Kind], Machine], release: str, seeds: range) -> list[str]:
    machine = boot(Kind(release, before=f"{release}.99", guard_default=_MP_AND_VM_DELIVER))
    rows = [model.sequence(seed, release) for seed in seeds]
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
    assert _differences(boot, release, range(100)) == []


@pytest.mark.slow
@pytest.mark.usefixtures("on_simulator")
@pytest.mark.parametrize("release", sequences.RELEASES)
def test_many_random_calls_are_answered_as_by_the_model(
    boot: Callable[[Kind], Machine], release: str
) -> None:
    """Others of each release."""
    first = 1000 * (1 + sequences.RELEASES.index(release) * 10)

    assert _differences(boot, release, range(first, first + 10_000)) == []
