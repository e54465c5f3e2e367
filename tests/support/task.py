"""Runs a function of a module as a task of its own: a process, on a simulated kernel of its own."""

import importlib
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from tests.support import ROOT
from tests.support.simulator import Kernel

if TYPE_CHECKING:
    from collections.abc import Mapping


def run(module: str, function: str, *arguments: object, timeout: float = 110, **settings: Any) -> Any:
    """What the function returns. JSON carries it back, and the arguments there; keywords go to the kernel.

    On a Mac the task belongs to the Mac's kernel.
    """
    command = [sys.executable, "-W", "error", "-m", __name__, module, function, json.dumps(arguments)]
    with nullcontext() if Kernel is None else Kernel(**settings) as kernel:
        environ: Mapping[str, str] = os.environ if kernel is None else kernel.environ
        done = subprocess.run(
            command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout
        )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    found = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
    print(json.dumps(found(*json.loads(sys.argv[3]))))  # noqa: T201 - a program
