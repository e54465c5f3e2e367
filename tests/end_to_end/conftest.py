"""A simulated kernel, programs to watch, and excguard itself as people start it."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from excsim import Kernel
from tests.support.harness import EXCGUARD, Daemon, build_child


@pytest.fixture(scope="session")
def child(tmp_path_factory) -> str:
    """The path of the C program of child.c."""
    return build_child(tmp_path_factory.mktemp("child"))


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    """A simulated kernel of this test's own."""
    with Kernel() as running:
        yield running


@pytest.fixture
def serve(kernel: Kernel, tmp_path: Path) -> Iterator[Callable[[str], Daemon]]:
    """Starts `excguard serve` with a configuration; log, journal and metrics are in the test's directory."""
    daemons = []

    def start(config: str) -> Daemon:
        daemons.append(Daemon(tmp_path, {**os.environ, **kernel.environ}, config))
        return daemons[-1]

    yield start
    for daemon in daemons:
        daemon.end()


@pytest.fixture
def run(kernel: Kernel):
    """Runs `excguard run` to its end."""

    def start(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*EXCGUARD, "run", "--metrics", "off", *arguments],
            env={**os.environ, **kernel.environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            **options,
        )

    return start


@pytest.fixture(autouse=True)
def _state_of_this_test(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that one test kills is not recovered in another."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
