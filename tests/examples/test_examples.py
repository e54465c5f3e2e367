"""The examples do what their page says, by the page's own commands, where their compilers are."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import ROOT, commands

PAGE = ROOT / "examples" / "README.md"
C, RUN_C, SWIFT, RUN_SWIFT, ELECTRON, APP = commands(PAGE)

needs_simulator = pytest.mark.skipif(
    sys.platform == "darwin", reason="a Mac needs no options: see the comment"
)


def run(command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-c", command],
        cwd=directory,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    copy = tmp_path / "examples"
    shutil.copytree(PAGE.parent, copy)
    return copy


@pytest.fixture
def built(directory: Path) -> Path:
    done = run(C, directory)
    assert done.returncode == 0, done.stderr
    return directory


@needs_simulator
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_c(built: Path) -> None:
    done = run(RUN_C, built)

    assert done.returncode == 3
    assert "INVALID_NAME on port" in done.stderr
    assert "1 guard hit in double_release" in done.stderr


@pytest.mark.parametrize("target", ["aarch64-macos", "x86_64-macos"])
def test_c_compiles_against_apples_headers(target: str, tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-Wall", "-Wextra", "-Werror"]
    source = PAGE.parent / "c" / "double_release.c"
    subprocess.run([*compiler, "-c", source, "-o", tmp_path / "example.o"], check=True)


@needs_simulator
@pytest.mark.skipif(shutil.which("cc") is None or shutil.which("node") is None, reason="no cc or no node")
def test_the_hit_of_a_helper_belongs_to_the_app(built: Path) -> None:
    done = run(ELECTRON.replace("--fail-on", "--events events.jsonl --fail-on"), built)
    events = [json.loads(line) for line in (built / "events.jsonl").read_text().splitlines()]
    (hit,) = (event for event in events if event["event"] == "guard_hit")
    (started,) = (event for event in events if event["event"] == "target_started")

    assert done.returncode == 3, done.stderr
    assert "main: the helper" in done.stdout
    assert (hit["target"], hit["flavor_name"], hit["inherited"]) == ("node", "INVALID_NAME", True)
    assert hit["pid"] != started["pid"]


@pytest.mark.skipif(shutil.which("swiftc") is None, reason="no Swift compiler")
@pytest.mark.skipif(sys.platform != "darwin", reason="Mach calls in Swift need a Mac")
def test_swift(directory: Path) -> None:
    assert run(SWIFT, directory).returncode == 0
    assert run(RUN_SWIFT, directory).returncode == 3


def test_each_directory_is_named_in_the_page() -> None:
    directories = {path.name for path in PAGE.parent.iterdir() if path.is_dir()}

    assert directories == {"c", "swift", "electron"}
    assert all(f"| [{name}]({name}) |" in PAGE.read_text() for name in directories)
    assert APP.startswith("excguard run -- ")
