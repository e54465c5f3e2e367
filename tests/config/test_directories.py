"""Where files lie that no configuration names, and how the journal of excguard 0.1 gets there."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from excguard import config
from excguard.cli import serve
from excguard.pipeline.journal import Journal

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="there both directories are the same")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize("value", ["", "relative", "./x", "~/x"])
def test_a_variable_that_is_empty_or_relative_counts_as_unset(
    home: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", value)
    monkeypatch.setenv("XDG_STATE_HOME", value)

    assert config.default_path() == home / ".config/excguard/config.toml"
    assert config.default_journal_path() == home / ".local/state/excguard/journal"
    assert config.runs_directory() == home / ".local/state/excguard/runs"


@pytest.mark.parametrize("value", ["", "relative", None])
def test_a_home_that_is_empty_or_relative_counts_as_unset(
    home: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.setattr("pwd.getpwuid", lambda _uid: SimpleNamespace(pw_dir=str(home / "own")))
    if value is None:
        monkeypatch.delenv("HOME")
    else:
        monkeypatch.setenv("HOME", value)

    assert config.default_journal_path() == home / "own/.local/state/excguard/journal"


def test_a_user_without_a_home_has_directories_all_the_same(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(_uid: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)

    assert config.default_journal_path() == Path("/.local/state/excguard/journal")


def test_the_journal_of_before_is_moved_to_the_state_directory(home: Path) -> None:
    old = home / ".config/excguard"
    old.mkdir(parents=True)
    with Journal(old / "journal", capacity=16, release=260400) as journal:
        journal.append(target_id=1, pid=1, time_ns=1, code=1 << 61, subcode=0, flags=0)
    (old / "journal.targets.json").write_text('{"targets":{"mail":1}}')
    (old / "config.toml").write_text("")

    path = serve._default_journal()

    assert path == home / ".local/state/excguard/journal"
    assert path.parent.stat().st_mode & 0o777 == 0o700
    with Journal(path, capacity=16, release=260400) as journal:
        assert journal.pending == 1
    assert (path.parent / "journal.targets.json").exists()
    assert [each.name for each in old.iterdir()] == ["config.toml"]


def test_a_journal_that_is_in_the_state_directory_is_not_replaced(home: Path) -> None:
    old, new = home / ".config/excguard", home / ".local/state/excguard"
    for directory, text in ((old, "old"), (new, "new")):
        directory.mkdir(parents=True)
        (directory / "journal").write_text(text)

    path = serve._default_journal()

    assert path.read_text() == "new"
    assert (old / "journal").read_text() == "old"
