"""The C program of docs/simulator.md is built by the commands beside it, and reported."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "simulator.md"


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has a Mach kernel of its own")
def test_the_example_is_built_and_reported(tmp_path: Path) -> None:
    text = PAGE.read_text()
    source = re.search(r"```c\n(.*?)```", text, re.DOTALL)
    commands = re.search(r"```sh\n(cc .*?)```", text, re.DOTALL)
    assert source is not None
    assert commands is not None
    (tmp_path / "app.c").write_text(source[1])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-ec", commands[1]],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "INVALID_NAME on port" in done.stderr
    assert "1 guard hit in app" in done.stderr
