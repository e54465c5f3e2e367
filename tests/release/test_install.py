"""The README's ways to install it: uv, pipx, pip."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from excguard import __version__
from tests.support.pages import ROOT, commands

pytestmark = pytest.mark.slow

COMMANDS = [
    command
    for command in commands(ROOT / "README.md")
    if command.endswith("install .") and "demo" not in command
]


@pytest.fixture(scope="module")
def installers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """uv and pipx, in an environment of their own."""
    directory = tmp_path_factory.mktemp("installers")
    subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    subprocess.run([directory / "bin/pip", "-q", "install", "uv", "pipx"], check=True)
    return directory / "bin"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_is_on_the_path_afterwards(command: str, installers: Path, tmp_path: Path) -> None:
    left_out = shutil.ignore_patterns(".venv*", "build", "dist", ".git", ".mypy_cache", "__pycache__")
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT, checkout, ignore=left_out)
    home = tmp_path / "home"
    home.mkdir()
    base = Path(sys.base_prefix, "bin")
    environ = {
        **os.environ,
        "UV_TOOL_DIR": str(home / "uv"),
        "UV_TOOL_BIN_DIR": str(home / "bin"),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_PYTHON": str(base / "python3"),
        "PIPX_HOME": str(home / "pipx"),
        "PIPX_BIN_DIR": str(home / "bin"),
        "PATH": f"{home}/bin:{home}/excguard/bin:{installers}:{base}:{os.environ['PATH']}",
    }
    subprocess.run(["sh", "-c", command.replace("~", str(home))], cwd=checkout, env=environ, check=True)
    found = shutil.which("excguard", path=environ["PATH"])

    assert found is not None
    assert Path(found).is_relative_to(home)
    shown = subprocess.run([found, "version"], env=environ, capture_output=True, text=True, check=True)
    assert shown.stdout == f"excguard, version {__version__}\n"


def test_all_three_ways_are_there() -> None:
    assert [command.split()[0] for command in COMMANDS] == ["uv", "pipx", "python3"]
