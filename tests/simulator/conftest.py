"""Simulated kernels of any kind, built with sanitizers: a test fails when its kernel does wrong or leaks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import mach_machine, simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

if sys.platform == "darwin":  # there is no simulator on a Mac
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the test programs and the kernel."""
    return mach_machine.build(tmp_path_factory)


@pytest.fixture
def boot(programs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., mach_machine.Machine]]:
    """Starts kernels; takes the arguments of `excsim.Kernel`."""
    monkeypatch.setattr("excsim.KERNEL_PROGRAM", programs / "excsim-kernel")
    machines: list[mach_machine.Machine] = []

    def start(**options: Any) -> mach_machine.Machine:
        machines.append(mach_machine.Machine(simulator.Kernel(**options), programs))
        return machines[-1]

    yield start
    for machine in machines:
        machine.stop()


@pytest.fixture
def machine(boot: Callable[..., mach_machine.Machine]) -> mach_machine.Machine:
    """A kernel with default settings."""
    return boot()
