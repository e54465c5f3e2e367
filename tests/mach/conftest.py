"""The kernel that the conformance tests ask: the simulated one, or XNU on a Mac (--kernel)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mach_machine
import pytest

from excguard import sim

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the test programs."""
    return mach_machine.build(tmp_path_factory)


@pytest.fixture
def machine(
    request: pytest.FixtureRequest, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[mach_machine.Machine]:
    """A kernel."""
    kernel = None
    if request.config.getoption("--kernel") == "simulated":
        monkeypatch.setattr(sim, "KERNEL_PROGRAM", programs / "excsim-kernel")
        kernel = sim.Kernel()
    machine = mach_machine.Machine(kernel, programs)
    yield machine
    machine.stop()


@pytest.fixture(scope="session")
def release(request: pytest.FixtureRequest) -> tuple[int, ...]:
    """The release of macOS that the kernel is of, as numbers."""
    if request.config.getoption("--kernel") == "simulated":
        return (26, 4)
    import platform  # noqa: PLC0415

    return tuple(int(number) for number in platform.mac_ver()[0].split("."))
