"""A launchctl stand-in on PATH, and a home directory to install into."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest


class StandIn:
    """The state that the stand-in works on; see launchctl_stand_in.py."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def calls(self) -> list[list[str]]:
        path = self.directory / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def commands(self) -> list[str]:
        """The calls that change something, as words."""
        return [" ".join(call) for call in self.calls if call[0] != "print"]

    def fail(self, **statuses: list[int]) -> None:
        self.directory.mkdir(exist_ok=True)
        (self.directory / "fail.json").write_text(json.dumps(statuses))

    def slow(self, prints: int) -> None:
        """A job booted out is still there for so many prints."""
        self.directory.mkdir(exist_ok=True)
        (self.directory / "slow").write_text(str(prints))

    def disable(self, target: str) -> None:
        path = self.directory / "disabled" / target.replace("/", "+")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def launchctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    directory = tmp_path / "bin"
    directory.mkdir()
    program = directory / "launchctl"
    shutil.copy(Path(__file__).with_name("launchctl_stand_in.py"), program)
    program.write_text(f"#!{sys.executable} -IS\n" + program.read_text())
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    monkeypatch.setenv("LAUNCHCTL_STATE", str(tmp_path / "launchctl"))
    return StandIn(tmp_path / "launchctl")


@pytest.fixture
def program(tmp_path: Path) -> list[str]:
    """Something that can be started in excguard's place."""
    path = tmp_path / "excguard"
    path.write_text(f"#!{sys.executable}\n")
    path.chmod(0o755)
    return [str(path)]
