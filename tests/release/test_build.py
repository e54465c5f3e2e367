"""The build refuses what it cannot serve, in words."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_free_threaded_build_of_python_is_refused(tmp_path: Path) -> None:
    """As its sysconfig says so; the interpreter itself is this one."""
    pytest.importorskip("cmake")
    variables = sysconfig.get_config_vars() | {"Py_GIL_DISABLED": 1}
    (tmp_path / "free_threaded.py").write_text(f"build_time_vars = {variables!r}\n")
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("cmake"), "-S", ROOT / "daemon", "-B", tmp_path / "build"),
            *("-G", "Unix Makefiles", f"-DPython_EXECUTABLE={sys.executable}"),
        ],
        env={
            **os.environ,
            "_PYTHON_SYSCONFIGDATA_NAME": "free_threaded",
            "PYTHONPATH": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode != 0
    words = " ".join(done.stderr.split())
    assert "excguard does not support the free-threaded build of Python" in words
    assert "Use the standard build" in words
