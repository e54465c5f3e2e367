"""Tasks of their own, on kernels of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from excsim import Kernel

# Runs one function of a file and prints what it returns.
RUNNER = """
import importlib.util, json, sys
path, name, arguments = sys.argv[1:]
sys.path.insert(0, path.rpartition("/")[0])
spec = importlib.util.spec_from_file_location("task", path)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(json.dumps(getattr(module, name)(*json.loads(arguments))))
"""


@pytest.fixture
def task() -> Callable[..., Any]:
    """Run a function as a task of its own, on a simulated kernel of its own (on a Mac, on the Mac's).

    The function gets its arguments, and gives what it returns, by way of JSON. Keywords go to the kernel.
    """

    def run(function: Callable[..., Any], *arguments: object, **settings: object) -> object:
        def finish(environ: dict[str, str]) -> object:
            path = sys.modules[function.__module__].__file__
            told = subprocess.run(
                [
                    sys.executable,
                    "-W",
                    "error",
                    "-c",
                    RUNNER,
                    str(path),
                    function.__name__,
                    json.dumps(arguments),
                ],
                env={**os.environ, **environ},
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert (told.returncode, told.stderr) == (0, "")
            return json.loads(told.stdout.splitlines()[-1])

        if sys.platform == "darwin":
            return finish({})
        with Kernel(**settings) as kernel:  # type: ignore[arg-type]
            return finish(kernel.environ)

    return run
