"""Files of others: replaced in one step, read within bounds, described in one way."""

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from excguard.files import atomic, bounded, errors, ownership


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (
            OSError(errno.ENOENT, "No such file or directory", "/a"),
            "no such file or directory",
            "/a: no such file or directory",
        ),
        (OSError(errno.EPIPE, "Broken pipe"), "broken pipe", "broken pipe"),
        (
            OSError(errno.EBADF, "Bad file descriptor", 7),
            "bad file descriptor",
            "descriptor 7: bad file descriptor",
        ),
        (OSError("no journal"), "no journal", "no journal"),
        (OSError(), "oserror", "oserror"),
        (
            OSError(errno.EACCES, "Permission denied", b"/\xff"),
            "permission denied",
            "/\\xff: permission denied",
        ),
    ],
)
def test_text_of_an_error(error: OSError, reason: str, message: str) -> None:
    assert (errors.reason(error), errors.message(error)) == (reason, message)


def test_file_is_replaced_with_the_mode_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "table"
    before = os.umask(0o022)
    try:
        atomic.write(path, b"one")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        atomic.write(path, b"two", mode=0o644)
    finally:
        os.umask(before)

    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_symbolic_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "table"
    victim.write_bytes(b"precious")
    path.symlink_to(victim)
    atomic.write(path, b"new")

    assert victim.read_bytes() == b"precious"
    assert not path.is_symlink()


def test_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "directory"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        atomic.write(path, b"new")

    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError):
        atomic.write(tmp_path / "none" / "file", b"new")


def test_regular_file_within_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    link = tmp_path / "link"
    link.symlink_to(path)

    assert bounded.read(path, 100) == bounded.read(link, 100) == b"x" * 100
    with pytest.raises(bounded.NotARegularFileError, match="not a regular file"):
        bounded.read(link, 100, follow=False)
    with pytest.raises(bounded.FileTooLargeError, match="larger than 99 bytes"):
        bounded.read(path, 99)
    with pytest.raises(FileNotFoundError):
        bounded.read(tmp_path / "none", 1)


def test_file_without_a_size_is_bounded_too() -> None:
    """Files of /proc say that they have 0 bytes."""
    path = Path("/proc/self/maps")
    if not path.exists():
        pytest.skip("no /proc here")
    assert path.stat().st_size == 0
    with pytest.raises(bounded.FileTooLargeError):
        bounded.read(path, 10)


@pytest.mark.parametrize("kind", ["fifo", "directory", "device", "socket"])
def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path: Path, kind: str, monkeypatch) -> None:
    path = tmp_path / "it"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "device":
            path = Path("/dev/zero")
        case "socket":
            monkeypatch.chdir(tmp_path)  # the path of a socket has to be short
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind("it")
    before = sum(1 for _ in Path("/dev/fd").iterdir())
    with pytest.raises(bounded.NotARegularFileError, match="not a regular file"):
        bounded.read(path, 1 << 20)

    assert sum(1 for _ in Path("/dev/fd").iterdir()) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_that_other_users_can_change_are_found(tmp_path: Path) -> None:
    directory = tmp_path / "a b"
    directory.mkdir(mode=0o755)
    path = directory / "file"
    path.touch(mode=0o644)
    assert ownership.problem(path) is None
    assert ownership.problem(directory / "none") is None
    path.chmod(0o664)
    assert ownership.problem(path) == (
        f"{path}: can be written by other users than root; chmod go-w '{path}'"
    )
    path.chmod(0o644)
    directory.chmod(0o777)
    assert "chmod go-w" in (ownership.problem(path) or "")
    directory.chmod(0o1777)
    assert ownership.problem(path) is None
    os.chown(path, 65534, -1)
    assert f"{path}: belongs to user 65534" in (ownership.problem(path) or "")
    link = tmp_path / "link"
    link.symlink_to(path)
    assert f"{path}: belongs to user 65534" in (ownership.problem(link) or "")
