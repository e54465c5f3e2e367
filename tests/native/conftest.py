"""Tasks of their own for the receiver, on kernels of their own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import compiler, toolchain
from tests.support.task import run as run_task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def task(tmp_path: Path) -> Callable[..., Any]:
    """Runs a function of receiver_tasks.py as a task of its own.

    Its first argument is a directory for its files. Keywords go to the simulated kernel.
    """

    def run(name: str, *arguments: object, **settings: Any) -> Any:
        if sys.platform == "darwin":
            pytest.skip("raises guards by the simulator's own means")
        return run_task("tests.native.receiver_tasks", name, str(tmp_path), *arguments, **settings)

    return run


@pytest.fixture(scope="session")
def raiser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program raise_guards (see there)."""
    cc = compiler.require()
    directory = tmp_path_factory.mktemp("raiser")
    return toolchain.build_with_receiver(
        cc, directory, toolchain.HERE / "raise_guards.c", "raise_guards", "-O1"
    )
