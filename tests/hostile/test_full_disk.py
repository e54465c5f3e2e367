"""A disk that is full or read-only, for every file that is written: one line that names the file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from excguard.files import atomic
from tests.end_to_end.conftest import kernel
from tests.support.harness import EXCGUARD

__all__ = ["kernel"]

MOUNT = 'mount -t tmpfs -o "$1" none "$2" && shift 2 && exec "$@"'
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT, "sh")
FULL, READ_ONLY = "size=16k", "ro"

# Fills the disk but for the directory entries of the files that follow.
FILL = (
    "import os, sys\n"
    "try:\n"
    "    with open('fill', 'wb') as file:\n"
    "        while True: file.write(b'x' * 4096); file.flush()\n"
    "except OSError: pass\n"
    "os.execv(sys.argv[1], sys.argv[1:])"
)
MISUSE = (sys.executable, "-m", "excguard.misuse", "double_deallocate")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Where the disk is mounted, for the commands of `on`."""
    path = tmp_path / "disk"
    path.mkdir()
    return path


def on(disk: Path, options: str, *command: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a directory that is a disk with those mount options."""
    fill = (sys.executable, "-c", FILL) if options == FULL else ()
    done = subprocess.run(
        [*NAMESPACE, options, str(disk), "sh", "-c", 'cd "$0" && exec "$@"', str(disk), *fill, *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **environ},
    )
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip("mounting is not permitted here")
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    return done


@pytest.mark.parametrize("options", [FULL, READ_ONLY])
@pytest.mark.parametrize(
    "option",
    [
        ("--report", "r.json"),
        ("--junit", "r.xml"),
        ("--events", "e.jsonl"),
        ("--code-quality", "q.json"),
        ("--log", "l.jsonl"),
        ("--baseline", "b.toml", "--update-baseline"),
        ("--collect", "c"),
    ],
    ids=lambda option: option[0],
)
def test_results_of_a_run(kernel, disk: Path, option: tuple[str, ...], options: str) -> None:
    command = [*EXCGUARD, "run", "--metrics", "off", *option, "--", *MISUSE]
    done = on(disk, options, *command, **kernel.environ)

    lines = [line for line in done.stderr.splitlines() if line.startswith("excguard: ")]
    if options == FULL and option[0] in ("--log", "--events"):
        assert any("cannot be written" in line for line in lines), done.stderr
    else:
        assert done.returncode in ({2, 125} if option[0] == "--collect" else {125})
        assert any(option[1] in line for line in lines), done.stderr


@pytest.mark.parametrize("options", [FULL, READ_ONLY])
@pytest.mark.parametrize("place", ["journal", "log", "pid"])
def test_files_of_the_daemon(kernel, tmp_path: Path, disk: Path, place: str, options: str) -> None:
    paths = {name: tmp_path / name for name in ("journal", "log", "pid")} | {place: disk / place}
    config = tmp_path / "c.toml"
    config.write_text(
        '[[target]]\nname = "x"\ncommand = ["true"]\nrestart = "never"\nstop_timeout = 0.1\n'
        f'[metrics]\nlisten = ""\n[journal]\npath = "{paths["journal"]}"\n'
    )
    command = [*EXCGUARD, "serve", "--config", str(config), "--log", str(paths["log"])]
    done = on(disk, options, *command, "--pid-file", str(paths["pid"]), **kernel.environ)

    assert done.returncode == 125
    assert "no space" in done.stderr.lower() or "read-only" in done.stderr.lower()
    assert str(disk / place) in done.stderr


@pytest.mark.parametrize("options", [FULL, READ_ONLY])
def test_table_of_a_scan(disk: Path, options: str) -> None:
    for name in ("o.jsonl", "o.csv"):
        done = on(disk, options, *EXCGUARD, "scan", str(Path(__file__).parent), "--output", name)
        if options == READ_ONLY:
            assert done.returncode == 1
            assert done.stderr == f"excguard: cannot write {name}: read-only file system\n"


@pytest.mark.parametrize("options", [FULL, READ_ONLY])
def test_state_directory(kernel, disk: Path, options: str) -> None:
    environ = {**kernel.environ, "XDG_STATE_HOME": str(disk)}
    done = on(disk, options, *EXCGUARD, "run", "--metrics", "off", "--", "true", **environ)
    assert done.returncode == 0

    assert on(disk, options, *EXCGUARD, "recover", **environ).returncode == 0


@pytest.mark.parametrize("kind", ["device", "fifo", "directory"])
def test_what_is_not_a_regular_file_is_not_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "pid"
    match kind:
        case "device":
            path = Path("/dev/null")
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
    before = path.lstat().st_ino

    if kind == "device" and os.geteuid() == 0:
        pytest.skip("root would replace the device if this failed")
    with pytest.raises(OSError, match="not a regular file") as caught:
        atomic.write(path, b"1")

    assert path.lstat().st_ino == before
    assert caught.value.filename == str(path)


def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        atomic.write(tmp_path / "nowhere" / "pid", b"1")

    assert caught.value.filename == str(tmp_path / "nowhere" / "pid")
