"""`excguard run --collect`: one directory with everything of a run, for a build server to keep.

* ``events.jsonl``: what happened, as `--events` writes it;
* ``summary.json`` and ``summary.md``: the run as `--report` writes it, and as a page;
* ``journal/``: the journal. It is there from the start, for `excguard recover` when the run is killed;
* ``crash_reports/``: the reports of the run's processes, byte for byte;
* ``symbolicated/``: copies of them with the names that a symbolizer has found, and each in words.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from excguard import crash_reports
from excguard.cli.report import report_lines
from excguard.crash_reports.symbolicate import symbolicate
from excguard.crash_reports.symbolicated_copy import symbolicated_copy
from excguard.files import atomic, bounded
from excguard.files.errors import reason
from excguard.files.escaping import printable
from excguard.files.off_loop import OffLoop
from excguard.sources.crash_reports import directories
from excguard.sources.process_reports import ProcessReports
from excguard.sources.report_state import MAX_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from excguard.config import Config
    from excguard.crash_reports.symbols.symbol import Symbolizer
    from excguard.sources.own_process import OwnProcess
    from excguard.sources.process_reports import FoundReport

WAIT: Final = 60.0
"""Seconds that reports are waited for unless the configuration says: ReportCrash takes up to a minute."""

_LOOK: Final = 0.25  # seconds between two looks for reports
_DEADLINE: Final = 20.0  # seconds for one look
_MAX_REPORTS: Final = 1000
_MAX_JOURNAL: Final = 1 << 30  # bytes


class Collected(msgspec.Struct, frozen=True):
    """A report that was taken.

    Attributes:
        file: its path in the collection.
        pid: its process.
        complete: whether all of it was there.
    """

    file: str
    pid: int
    complete: bool


class Collection:
    """The directory of one run.

    Attributes:
        path: the directory.
        events: the file for the events.
        journal: the directory for the journal.
    """

    def __init__(self, path: Path) -> None:
        """Make the directory, or take an empty one.

        Raises:
            click.UsageError: it is not empty, not a directory of this user alone, or cannot be written.
        """
        self.path = path
        self.events = path / "events.jsonl"
        self.journal = path / "journal"
        self._reports = path / "crash_reports"
        self._taken: dict[Path, Collected] = {}  # by the path of the original
        self._contents: dict[str, bytes] = {}  # by name: digests of what was taken
        self._missing: list[int] = []
        self._began_ns = time.time_ns()
        try:
            with contextlib.suppress(FileExistsError):
                path.mkdir(0o775)
            self._check()
            self._mode = stat.S_IMODE(path.stat().st_mode) & 0o666
            self.journal.mkdir()
            self._reports.mkdir()
        except OSError as error:
            shown = printable(str(path))
            raise click.UsageError(f"--collect {shown}: cannot be written: {reason(error)}") from None

    def _check(self) -> None:
        """Whether the directory may be used. It is not followed: another user may have put a link there."""
        status = self.path.lstat()
        problem = ""
        if not stat.S_ISDIR(status.st_mode):
            link = "a symbolic link, " if stat.S_ISLNK(status.st_mode) else ""
            problem = f"{link}not a directory: name another one, which is made if it does not exist"
        elif status.st_uid != os.geteuid():
            problem = f"belongs to user {status.st_uid}: name a directory that does not exist, which is made"
        elif status.st_mode & stat.S_IWOTH:
            problem = "other users can write to it: chmod o-w, or name a directory that does not exist"
        elif any(self.path.iterdir()):
            problem = "not empty: name another directory, or remove what is in it"
        if problem:
            raise click.UsageError(f"--collect {printable(str(self.path))}: {problem}")

    async def gather(
        self,
        config: Config,
        processes: Callable[[], Iterable[OwnProcess]],
        due: Callable[[set[int]], Iterable[int]],
        *,
        seconds: float,
        stopping: Callable[[], bool],
    ) -> None:
        """Take the crash reports of the run's processes, and wait for those that must come.

        Args:
            config: names the directories of reports.
            processes: those of the run, as far as they are known.
            due: given the processes whose reports are there, those whose reports are missing; 0 for one that
                has no known process id.
            seconds: how long to wait.
            stopping: whether not to wait any longer.

        Raises:
            OSError: the collection cannot be written.
        """
        reports = ProcessReports(directories(config), since_ns=self._began_ns, parent=os.getpid())
        off_loop = OffLoop(_DEADLINE)
        end = asyncio.get_running_loop().time() + seconds
        while True:
            try:
                if not await off_loop.call(lambda: reports.exist):
                    break  # nothing writes reports here, so none is missing
                for found in await off_loop.call(reports.look, processes()):
                    self._take(found)
            except TimeoutError:
                self._missing = list(due(self._complete))
                break
            self._missing = list(due(self._complete))
            waiting = self._missing or any(not one.complete for one in self._taken.values())
            if not waiting or stopping() or asyncio.get_running_loop().time() >= end:
                break
            await asyncio.sleep(_LOOK)

    @property
    def _complete(self) -> set[int]:
        return {one.pid for one in self._taken.values() if one.complete}

    @property
    def reports(self) -> list[Path]:
        """The reports that were taken."""
        return [self.path / one.file for one in self._taken.values()]

    def to_dict(self) -> dict[str, Any]:
        """For the summary."""
        return {
            "directory": str(self.path),
            "crash_reports": msgspec.to_builtins(list(self._taken.values())),
            "crash_reports_missing": self._missing,
        }

    def sentences(self) -> list[str]:
        """What a person should know."""
        many = len(self._taken)
        found = [f"{self.path} has everything of this run, with {many} crash report{'s' * (many != 1)}."]
        if self._missing:
            pids = ", ".join(str(pid) for pid in self._missing if pid)
            of = f" of pid {pids}" if pids else " of a process that a signal has ended"
            found.append(f"No crash report{of} came ([crash_reports] wait = SECONDS waits longer).")
        found += [f"{one.file} is incomplete." for one in self._taken.values() if not one.complete]
        return found

    def keep_journal(self, journal: Path) -> None:
        """Copy a journal that the configuration has placed elsewhere, with those of other sources.

        Raises:
            OSError: a file cannot be read or written.
        """
        for path in sorted(journal.parent.glob(f"{journal.name}*")):
            if path.is_file():
                self._write(self.journal / path.name, bounded.read(path, _MAX_JOURNAL))

    def finish(self, summary: dict[str, Any], page: str, symbolizer: Symbolizer | None) -> None:
        """Write the summary, and the symbolicated copies.

        Raises:
            OSError: the collection cannot be written.
        """
        self._write(self.path / "summary.json", msgspec.json.format(msgspec.json.encode(summary)) + b"\n")
        self._write(self.path / "summary.md", page.encode())
        for path in self.journal.iterdir():  # for whoever uploads it: a run of root leaves it to a user
            path.chmod(self._mode)
        if symbolizer is None:
            return
        directory = self.path / "symbolicated"
        for path in self.reports:
            data = bounded.read(path, MAX_SIZE, follow=False)
            report = crash_reports.read_bytes(data, path.name)
            copy = symbolicated_copy(data, symbolizer)
            named = symbolicate(report, symbolizer)
            if copy is None and not named:
                continue
            directory.mkdir(exist_ok=True)
            if copy is not None:
                self._write(directory / path.name, copy)
            lines = "\n".join(click.unstyle(line) for line in report_lines(report))
            self._write(directory / f"{path.name}.txt", f"{lines}\n".encode())

    def _take(self, found: FoundReport) -> None:
        before = self._taken.get(found.path)
        if before is not None:
            target = self.path / before.file
        else:
            name = self._name(found)
            if name is None or len(self._taken) >= _MAX_REPORTS:
                return
            target = self._reports / name
        self._write(target, found.data)
        file = str(target.relative_to(self.path))
        self._taken[found.path] = Collected(file, found.identity.pid, found.identity.complete)
        self._contents[target.name] = _digest(found.data)

    def _name(self, found: FoundReport) -> str | None:
        """A free name for a report; None when it was taken from where it lay before it was moved."""
        stem, suffix = found.path.stem, found.path.suffix
        name, number = found.path.name, 1
        while name in self._contents:
            if self._contents[name] == _digest(found.data):
                return None
            number += 1
            name = f"{stem}-{number}{suffix}"
        return name

    def _write(self, path: Path, data: bytes) -> None:
        atomic.write(path, data, mode=self._mode)


def _digest(data: bytes) -> bytes:
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which most runs do not need

    return hashlib.sha256(data).digest()
