"""The kernels that the conformance tests ask: simulated ones, or XNU on a Mac (--kernel)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mach_machine
import pytest

from excguard import sim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the test programs."""
    return mach_machine.build(tmp_path_factory)


@pytest.fixture(scope="session")
def mac(request: pytest.FixtureRequest) -> mach_machine.Mac | None:
    """The Mac whose kernel the tests ask; None if kernels are simulated."""
    native = request.config.getoption("--kernel") == "native"
    return mach_machine.Mac.this() if native else None


@pytest.fixture
def boot(
    mac: mach_machine.Mac | None, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[mach_machine.Kind], mach_machine.Machine]]:
    """Gives a kernel of a kind; on a Mac of another kind the test is skipped, and says what it is of."""
    monkeypatch.setattr(sim, "KERNEL_PROGRAM", programs / "excsim-kernel")
    machines: list[mach_machine.Machine] = []

    def start(kind: mach_machine.Kind) -> mach_machine.Machine:
        if mac is not None and (reason := kind.misfit(mac)):
            pytest.skip(reason)
        machines.append(mach_machine.Machine(None if mac else kind.simulate(), programs, kind.arch))
        return machines[-1]

    yield start
    for machine in machines:
        machine.stop()


@pytest.fixture
def machine(boot: Callable[[mach_machine.Kind], mach_machine.Machine]) -> mach_machine.Machine:
    """A kernel of the releases that excguard is for."""
    return boot(mach_machine.Kind(since="12.0"))
