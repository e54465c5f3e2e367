"""The journal of one `excguard run`: kept until everything in it is logged, whatever ends the run."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from excguard import config as configuration
from excguard.files import atomic, bounded
from excguard.knowledge import releases
from excguard.mach.host import Host
from excguard.pipeline.journal import Journal, JournalError

_ABOUT: Final = "run.json"
_ROOM: Final = 16 << 20
"""Bytes that must be free for a journal of the default capacity, which has 9 MB."""


class About(msgspec.Struct, frozen=True):
    """What a run was of, for whoever recovers its hits."""

    name: str
    host: Host


def create(name: str, host: Host, directory: Path | None = None) -> Path:
    """A directory for the journal of a run of the program ``name``; the path of the journal.

    It is ``directory``, or a new one in the user's state directory, or with other temporary files where that
    cannot be written or is full.

    Raises:
        OSError: it cannot be made.
    """
    contents = msgspec.json.encode(About(name, host))
    if directory is None:
        try:
            return _in_new_directory(configuration.runs_directory(), contents)
        except OSError:
            return _in_new_directory(Path(tempfile.gettempdir()), contents)
    atomic.write(directory / _ABOUT, contents)
    return directory / "journal"


def _in_new_directory(parent: Path, contents: bytes) -> Path:
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    disk = os.statvfs(parent)
    if disk.f_bavail * disk.f_frsize < _ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(parent))
    directory = Path(tempfile.mkdtemp(prefix="excguard-run-", dir=parent))
    try:
        atomic.write(directory / _ABOUT, contents)
    except OSError:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return directory / "journal"


def remove(journal: Path) -> None:
    """Remove the directory of a journal in which nothing is left."""
    shutil.rmtree(journal.parent, ignore_errors=True)


def about(journal: Path) -> About | None:
    """What a journal's run was of; None for a journal that is not a run's, or is damaged."""
    try:
        return msgspec.json.decode(bounded.read(journal.with_name(_ABOUT), 1 << 20), type=About)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def unfinished() -> Iterator[tuple[Path, str, int]]:
    """Journals of runs that have ended with hits that are not logged: path, program, number of hits.

    Those in which nothing is left are removed; those of runs that still go on are passed over.
    """
    with contextlib.suppress(OSError):
        for directory in sorted(configuration.runs_directory().glob("excguard-run-*")):
            path = directory / "journal"
            run = about(path)
            if run is None or not path.exists():
                continue
            with contextlib.suppress(JournalError):  # of a run that goes on
                release = releases.parse(run.host.release).version
                with Journal(path, capacity=1024, release=release) as journal:
                    pending = journal.pending
                if pending:
                    yield path, run.name, pending
                else:
                    remove(path)
