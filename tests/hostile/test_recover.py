"""`excguard recover` of a path that is not a journal changes nothing there."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from excguard.files.set_aside import set_aside
from excguard.pipeline.journal import Journal
from tests.end_to_end.conftest import kernel
from tests.support.harness import EXCGUARD

__all__ = ["kernel"]


def text(path: Path) -> None:
    path.write_text("important")


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    path.symlink_to("/dev/null")


def directory(path: Path) -> None:
    path.mkdir()
    (path / "journal").write_text("important")


def truncated(path: Path) -> None:
    with Journal(path, capacity=16, release=260400):
        pass
    os.truncate(path, 10_000)


@pytest.mark.parametrize("prepare", [text, nothing, fifo, link, directory, truncated])
def test_what_is_not_a_journal_stays_as_it_is(
    kernel, tmp_path: Path, prepare: Callable[[Path], None]
) -> None:
    path = tmp_path / "file"
    prepare(path)
    before = {each: each.lstat().st_size for each in tmp_path.rglob("*")}
    done = subprocess.run(
        [*EXCGUARD, "recover", str(path)], env=kernel.environ, capture_output=True, text=True, check=False
    )

    assert (done.returncode, "Traceback" in done.stderr) == (0 if prepare is nothing else 125, False)
    assert done.stderr.startswith(f"excguard: {path}") or prepare is nothing
    assert {each: each.lstat().st_size for each in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("name", ["null", "zero", "full"])
def test_a_device_is_not_set_aside(name: str) -> None:
    if os.geteuid() == 0:
        pytest.skip("root would rename the device if this failed")
    with pytest.raises(OSError, match="a device"):
        set_aside(Path("/dev") / name)
