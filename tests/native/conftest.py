"""Tasks of their own for the receiver, on kernels of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import toolchain

import excsim

if TYPE_CHECKING:
    from collections.abc import Callable

_RUN = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
print(json.dumps(getattr(importlib.import_module("receiver_tasks"), sys.argv[2])(*json.loads(sys.argv[3]))))
"""


@pytest.fixture
def task(tmp_path: Path) -> Callable[..., Any]:
    """Runs a function of receiver_tasks.py as a process of its own; JSON brings back what it returns.

    Its first argument is a directory for its files. Keywords go to the simulated kernel.
    """

    def run(name: str, *arguments: object, timeout: float = 110, **settings: Any) -> Any:
        if sys.platform == "darwin":
            pytest.skip("raises guards by the simulator's own means")
        given = json.dumps([str(tmp_path), *arguments])
        with excsim.Kernel(**settings) as kernel:
            done = subprocess.run(
                [sys.executable, "-W", "error", "-c", _RUN, Path(__file__).parent, name, given],
                env={**os.environ, **kernel.environ},
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout,
            )
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="session")
def raiser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program raise_guards (see there)."""
    cc = toolchain.compiler()
    if cc is None:
        pytest.skip("no C compiler")
    directory = tmp_path_factory.mktemp("raiser")
    return toolchain.build_with_receiver(
        cc, directory, toolchain.HERE / "raise_guards.c", "raise_guards", "-O1"
    )
