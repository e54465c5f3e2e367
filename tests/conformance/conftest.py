"""The kernels that the conformance tests ask: simulated ones, or XNU on a Mac (--kernel)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support import mach_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the test programs."""
    return mach_machine.build(tmp_path_factory)


@pytest.fixture(scope="session")
def mac(request: pytest.FixtureRequest) -> mach_machine.Mac | None:
    """The Mac whose tests are run, this one or that of --release; None: each on a kernel as it asks for."""
    if request.config.getoption("--kernel") == "native":
        return mach_machine.Mac.this()
    release = request.config.getoption("--release")
    return release and mach_machine.Mac(release, developer_mode=True, arch=mach_machine.ARCH, guard_default=0)


@pytest.fixture
def boot(
    request: pytest.FixtureRequest,
    mac: mach_machine.Mac | None,
    programs: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[mach_machine.Kind], mach_machine.Machine]]:
    """Gives a kernel of a kind; on a Mac of another kind the test is skipped, and says what it is of."""
    native = request.config.getoption("--kernel") == "native"
    if not native:
        monkeypatch.setattr("excsim.KERNEL_PROGRAM", programs / "excsim-kernel")
    machines: list[mach_machine.Machine] = []

    def start(kind: mach_machine.Kind) -> mach_machine.Machine:
        if mac is not None and (reason := kind.misfit(mac)):
            pytest.skip(reason)
        kernel = None if native else replace(kind, release=mac.release if mac else kind.release).simulate()
        machines.append(mach_machine.Machine(kernel, programs, kind.arch))
        return machines[-1]

    yield start
    for machine in machines:
        machine.stop()


@pytest.fixture
def machine(boot: Callable[[mach_machine.Kind], mach_machine.Machine]) -> mach_machine.Machine:
    """A kernel of the releases that excguard is for."""
    return boot(mach_machine.Kind(since="12.0"))
