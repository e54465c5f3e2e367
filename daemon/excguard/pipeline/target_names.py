"""Which target a number in the journal stands for.

Records and counters carry a target's number; its name can be any text of any length. The table of both lies
beside the journal, as JSON, and is written (to another file that then takes its place) before a number is
first used. Numbers are never given to another name, so counters keep their meaning for as long as the
journal lives.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from excguard.pipeline.journal import JournalError


class _File(msgspec.Struct, forbid_unknown_fields=True):
    targets: dict[str, int]
    version: int = 1


class TargetNames:
    """The table, as of the last start and with this one's targets."""

    def __init__(self, journal: Path, used: Iterable[int]) -> None:
        """Read the table of ``journal``. Numbers that are ``used`` in the journal are not given out again.

        Raises:
            JournalError: there is a table, and it cannot be read.
        """
        self.path = journal.with_name(journal.name + ".targets.json")
        try:
            self._ids = msgspec.json.decode(self.path.read_bytes(), type=_File).targets
        except FileNotFoundError:
            self._ids = {}
        except (OSError, msgspec.MsgspecError) as error:
            raise JournalError(
                f"{self.path}: cannot be read: {error}; move it away to go on without the old names"
            ) from error
        self._names = {number: name for name, number in self._ids.items()}
        self._next = max([0, *self._names, *used]) + 1

    def number(self, names: Iterable[str]) -> list[int]:
        """The numbers of ``names``; new names get new numbers, which are on disk when this returns.

        Raises:
            JournalError: the table cannot be written.
        """
        names = list(names)
        new = [name for name in dict.fromkeys(names) if name not in self._ids]
        for name in new:
            self._ids[name] = self._next
            self._names[self._next] = name
            self._next += 1
        if new:
            self._write()
        return [self._ids[name] for name in names]

    def name(self, number: int) -> str:
        """The name of ``number``; "target-3" for one whose name is not known any more."""
        return self._names.get(number) or f"target-{number}"

    def _write(self) -> None:
        beside = self.path.with_name(self.path.name + ".new")
        try:
            with beside.open("wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(_File(self._ids))) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise JournalError(f"{self.path}: cannot be written: {reason}") from error
