"""What excguard keeps for a user is listed, and removed when nothing uses it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from excguard.pipeline.journal import Journal

if sys.platform == "darwin":
    pytest.skip("the directories are those of the XDG specification", allow_module_level=True)

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory with a configuration, a state directory and a temporary one."""
    config = tmp_path / ".config" / "excguard"
    state = tmp_path / ".local" / "state" / "excguard"
    temporary = tmp_path / "tmp"
    for directory in (config, state / "runs", temporary / "excguard-run-app", temporary / "other"):
        directory.mkdir(parents=True)
    (config / "config.toml").write_text("")
    (state / "journal.targets.json").write_text("{}")
    (temporary / "excguard-demo.jsonl").write_text("")
    return tmp_path


@pytest.fixture
def run(home: Path) -> Run:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    environment |= {"HOME": str(home), "TMPDIR": str(home / "tmp")}

    def start(*arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "excguard", "uninstall-data", *arguments]
        return subprocess.run(
            command, input=answer, env=environment, capture_output=True, text=True, check=False
        )

    return start


def kept(home: Path) -> list[str]:
    return [
        str(home / ".local/state/excguard"),
        str(home / ".config/excguard"),
        str(home / "tmp/excguard-run-app"),
        str(home / "tmp/excguard-demo.jsonl"),
    ]


def test_a_dry_run_lists_and_removes_nothing(home: Path, run: Run) -> None:
    done = run("--dry-run")

    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, kept(home), "")
    assert all(Path(path).exists() for path in kept(home))


def test_with_consent_all_is_removed_and_nothing_else(home: Path, run: Run) -> None:
    done = run(answer="y\n")

    assert done.returncode == 0
    assert [path for path in kept(home) if Path(path).exists()] == []
    assert (home / "tmp" / "other").exists()
    assert run("--yes").stdout == "Nothing to remove.\n"


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_without_consent_nothing_is_removed(home: Path, run: Run, answer: str) -> None:
    assert run(answer=answer).returncode != 0
    assert all(Path(path).exists() for path in kept(home))


def test_the_configuration_can_stay(home: Path, run: Run) -> None:
    done = run("--keep-config", "--yes", "--json")

    assert json.loads(done.stdout) == {"dry_run": False, "paths": [kept(home)[0], *kept(home)[2:]]}
    assert (home / ".config" / "excguard" / "config.toml").exists()


def test_a_journal_in_use_keeps_everything(home: Path, run: Run) -> None:
    journal = home / ".local/state/excguard/journal"
    with Journal(journal, capacity=1024, release=260400):
        done = run("--yes")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"excguard: {journal}: in use by a running excguard; stop it first\n"
    assert all(Path(path).exists() for path in kept(home))


def test_an_installed_job_keeps_everything(home: Path, run: Run) -> None:
    property_list = home / "Library/LaunchAgents/org.excguard.agent.plist"
    property_list.parent.mkdir(parents=True)
    property_list.write_text("")
    done = run("--yes")

    assert done.returncode == 1
    assert "remove it first: excguard launchd uninstall" in done.stderr
    assert all(Path(path).exists() for path in kept(home))


def test_a_symbolic_link_is_removed_and_not_followed(home: Path, run: Run) -> None:
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("")
    state = home / ".local/state/excguard"
    (state / "runs" / "link").symlink_to(elsewhere)

    assert run("--yes").returncode == 0
    assert (elsewhere / "file").exists()


def test_json_asks_nothing(run: Run) -> None:
    done = run("--json")

    assert (done.returncode, done.stdout) == (2, "")
    assert "--json needs --yes or --dry-run" in done.stderr


def test_a_living_kernel_keeps_its_directory(home: Path, run: Run) -> None:
    import excsim  # noqa: PLC0415 - not on macOS

    tempfile.tempdir = str(home / "tmp")
    try:
        with excsim.Kernel() as kernel:
            listed = run("--dry-run").stdout
            assert str(Path(kernel.socket).parent) not in listed
    finally:
        tempfile.tempdir = None
