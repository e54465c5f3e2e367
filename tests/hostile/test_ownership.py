"""What other users have put in place: a process of root neither trusts nor overwrites it."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from excguard import config as configuration
from excguard.config import ConfigError
from excguard.files import opening, ownership
from excguard.sinks.line_output import LineOutput
from excguard.web.errors import WebConfigError
from excguard.web.web_config import WebConfigFile
from tests.support.harness import EXCGUARD

OTHER = 1  # a user id: daemon on every system

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other users")


def others_file(path: Path) -> None:
    os.chown(path, OTHER, -1)


def file_that_others_write(path: Path) -> None:
    path.chmod(0o666)


def others_directory(path: Path) -> None:
    os.chown(path.parent, OTHER, -1)


def directory_that_others_write(path: Path) -> None:
    path.parent.chmod(0o777)


def others_link(path: Path) -> None:
    """The file is root's own; the link to it is not."""
    real = path.parent.parent / "real"
    path.rename(real)
    path.symlink_to(real)
    os.chown(path, OTHER, -1, follow_symlinks=False)


def link_through_others_directory(path: Path) -> None:
    """Two links, of which the second lies where another user can replace it."""
    real = path.parent.parent / "real"
    path.rename(real)
    shared = path.parent.parent / "shared"
    shared.mkdir()
    (shared / "hop").symlink_to(real)
    path.symlink_to("../shared/hop")
    os.chown(shared, OTHER, -1)


OF_OTHERS: list[Callable[[Path], None]] = [
    others_file,
    file_that_others_write,
    others_directory,
    directory_that_others_write,
    others_link,
    link_through_others_directory,
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a file in a directory of its own."""
    (tmp_path / "directory").mkdir()
    return tmp_path / "directory" / "file"


def test_own_files_are_accepted_by_link_too(path: Path, tmp_path: Path) -> None:
    path.write_text("")
    link = tmp_path / "link"
    link.symlink_to("directory/file")

    assert [ownership.problem(each) for each in (path, link, tmp_path / "new" / "file")] == [None] * 3


def test_a_directory_like_tmp_is_accepted(path: Path) -> None:
    path.write_text("")
    path.parent.chmod(0o1777)

    assert ownership.problem(path) is None


@pytest.mark.parametrize("prepare", OF_OTHERS)
def test_a_configuration_of_others_is_refused(path: Path, prepare: Callable[[Path], None]) -> None:
    path.write_text('[[target]]\nname = "x"\ncommand = ["true"]\n')
    configuration.load(path)
    prepare(path)

    with pytest.raises(ConfigError, match=r"chown (-h )?root|chmod go-w"):
        configuration.load(path)


@pytest.mark.parametrize("prepare", OF_OTHERS)
def test_a_web_configuration_of_others_is_refused(path: Path, prepare: Callable[[Path], None]) -> None:
    path.write_text("http_server_config: {}\n")
    WebConfigFile(path)
    prepare(path)

    with pytest.raises(WebConfigError, match=r"chown (-h )?root|chmod go-w"):
        WebConfigFile(path)


def test_a_web_configuration_that_others_take_over_grants_nothing_any_more(path: Path) -> None:
    path.write_text("http_server_config: {}\n")
    file = WebConfigFile(path)
    others_file(path)
    path.write_text("basic_auth_users: {}\n")

    with pytest.raises(WebConfigError, match="chown root"):
        file.current()


def test_a_key_of_others_is_refused(path: Path, tmp_path: Path) -> None:
    web = tmp_path / "web.yml"
    web.write_text(f"tls_server_config: {{cert_file: {path}, key_file: {path}}}\n")
    path.write_text("")
    others_file(path)

    with pytest.raises(WebConfigError, match="chown root"):
        WebConfigFile(web)


@pytest.mark.parametrize(
    "command", [("run", "--config", "{}", "--", "true"), ("serve", "--config", "{}")], ids=["run", "serve"]
)
def test_commands_refuse_a_configuration_of_others(path: Path, command: tuple[str, ...]) -> None:
    path.write_text('[[target]]\nname = "x"\ncommand = ["touch", "ran"]\n')
    others_file(path)
    done = subprocess.run(
        [*EXCGUARD, *(word.format(path) for word in command)],
        capture_output=True,
        text=True,
        check=False,
        cwd=path.parent,
    )

    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "belongs to user 1, not to root" in done.stderr
    assert not (path.parent / "ran").exists()


# ---- files that excguard writes ----


@pytest.fixture
def important(tmp_path: Path) -> Path:
    """A file that only root writes."""
    file = tmp_path / "important"
    file.write_text("important\n")
    file.chmod(0o600)
    return file


def link(path: Path, important: Path) -> None:
    path.symlink_to(important)
    os.chown(path, OTHER, -1, follow_symlinks=False)


def hard_link(path: Path, important: Path) -> None:
    path.hardlink_to(important)


def file(path: Path, _important: Path) -> None:
    path.write_text("")
    os.chown(path, OTHER, -1)


def fifo(path: Path, _important: Path) -> None:
    os.mkfifo(path, 0o666)
    os.chown(path, OTHER, -1)


def open_log(path: Path) -> None:
    LineOutput.open(path, lambda _text: None).close()


@pytest.mark.parametrize("prepare", [link, hard_link, file, fifo])
@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o775])
@pytest.mark.parametrize("write", [open_log, lambda path: opening.write(path, b"report")])
def test_what_others_have_put_into_a_shared_directory_is_not_written_to(
    path: Path,
    important: Path,
    mode: int,
    prepare: Callable[[Path, Path], None],
    write: Callable[[Path], None],
) -> None:
    path.parent.chmod(mode)
    prepare(path, important)
    if prepare is fifo:
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # so that opening it to write does not wait
    before = path.lstat()

    with pytest.raises(OSError, match=r"other users can write to|Permission"):
        write(path)

    assert important.read_text() == "important\n"
    assert (path.lstat().st_size, path.lstat().st_ino) == (before.st_size, before.st_ino)
    if prepare is fifo:
        os.close(reader)


def test_links_are_followed_where_others_cannot_write(path: Path, important: Path) -> None:
    path.symlink_to(important)
    opening.write(path, b"report")
    assert important.read_text() == "report"

    path.parent.chmod(0o1777)  # like /tmp, where no other user replaces a link of ours
    opening.append(path, b"s")
    assert important.read_text() == "reports"


def test_standard_streams_by_name_are_opened() -> None:
    code = "from pathlib import Path\nfrom excguard.files import opening\n"
    code += "opening.write(Path('/dev/stdout'), b'text')"

    assert subprocess.check_output([sys.executable, "-c", code]) == b"text"


def test_a_log_is_readable_by_its_owner_alone(path: Path) -> None:
    open_log(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("write", [opening.write, opening.append])
def test_a_fifo_in_a_shared_directory_that_nothing_reads_is_not_waited_for(
    path: Path, write: Callable[[Path, bytes], None]
) -> None:
    path.parent.chmod(0o1777)
    os.mkfifo(path, 0o666)
    os.chown(path, OTHER, -1)

    with pytest.raises(OSError, match=r"other users can write to|Permission"):
        write(path, b"report")


def test_a_fifo_of_ones_own_in_a_shared_directory_is_written_to_by_waiting(path: Path) -> None:
    path.parent.chmod(0o1777)
    os.mkfifo(path, 0o600)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    with opening.empty(path) as file:
        assert os.get_blocking(file.fileno())
        file.write(b"report")

    assert os.read(reader, 100) == b"report"
    os.close(reader)
