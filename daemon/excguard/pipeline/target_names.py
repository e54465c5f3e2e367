"""Which target a number in the journal stands for.

Records and counters carry a target's number; its name can be any text of any length. The table of both lies
beside the journal, as JSON, and is written (to another file that then takes its place) before a number is
first used. Numbers are never given to another name, so counters keep their meaning for as long as the
journal lives.
"""

import itertools
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final

import msgspec

from excguard.files import atomic, bounded, errors
from excguard.files.set_aside import set_aside
from excguard.pipeline.journal import JournalError

MAX_SIZE: Final = 4 << 20
"""Bytes of the table: 60,000 names of usual length. Each takes about 200 bytes of memory."""

_MAX_NUMBER: Final = (1 << 32) - 1  # as in a record
_Number = Annotated[int, msgspec.Meta(ge=1, le=_MAX_NUMBER)]


class _File(msgspec.Struct, forbid_unknown_fields=True):
    targets: dict[str, _Number]
    version: int = 1


class DamagedTableError(Exception):
    """The table is not one; the text says what is wrong."""


def table_of(journal: Path) -> Path:
    """The path of the table of a journal."""
    return journal.with_name(journal.name + ".targets.json")


def read_table(path: Path) -> dict[str, int]:
    """The numbers of a table, by name.

    Raises:
        DamagedTableError: the file is not a table of names.
        OSError: it cannot be read.
    """
    try:
        return msgspec.json.decode(bounded.read(path, MAX_SIZE), type=_File).targets
    except (bounded.NotARegularFileError, bounded.FileTooLargeError) as error:
        raise DamagedTableError(errors.reason(error)) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedTableError(str(error) or "nested too deeply") from None


class TargetNames:
    """The table, as of the last start and with this one's targets."""

    def __init__(self, journal: Path, used: Iterable[int]) -> None:
        """Read the table of ``journal``. Numbers that are ``used`` in the journal are not given out again.

        A damaged table is set aside: what it named goes on as "target-3".

        Raises:
            JournalError: there is a table, and it can neither be read nor set aside.
        """
        self.path = table_of(journal)
        self.set_aside: tuple[Path, str] | None = None
        """Where a damaged table was moved to, and what was wrong with it."""
        self._ids = self._read()
        self._names = {number: name for name, number in self._ids.items()}
        self._used = {*self._names, *used}
        self._next = max(self._used, default=0) + 1
        self._unsaved: set[str] = set()
        self._saving = threading.Lock()

    def _read(self) -> dict[str, int]:
        try:
            return read_table(self.path)
        except FileNotFoundError:
            return {}
        except DamagedTableError as error:
            problem = str(error)
        except OSError as error:
            raise JournalError(
                f"{self.path}: cannot be read: {error}; move it away to go on without it"
            ) from error
        try:
            self.set_aside = set_aside(self.path), problem
        except OSError as error:
            raise JournalError(
                f"{self.path}: cannot be read: {problem}; move it away to go on without the old names"
            ) from error
        return {}

    def number(self, names: Iterable[str]) -> list[int]:
        """The numbers of ``names``; new names get new numbers, which are on disk when this returns.

        Raises:
            JournalError: the table cannot be written.
        """
        names = list(names)
        self.add(names)
        self.save()
        return [self._ids[name] for name in names]

    def add(self, names: Iterable[str]) -> None:
        """Give new names numbers, which may be used as soon as `save` has returned."""
        for name in names:
            if name not in self._ids:
                number = self._new_number()
                self._unsaved.add(name)
                self._ids[name] = number
                self._names[number] = name

    def _new_number(self) -> int:
        if self._next > _MAX_NUMBER:  # a file gave out the last one
            self._next = next(number for number in itertools.count(1) if number not in self._used)
        number = self._next
        self._used.add(number)
        self._next = number + 1 if number + 1 not in self._used else _MAX_NUMBER + 1
        return number

    def saved(self, name: str) -> int | None:
        """The number of a name; None when it has none that is on disk."""
        return None if name in self._unsaved else self._ids.get(name)

    def save(self) -> None:
        """Write what is new to the disk; from any thread.

        Raises:
            JournalError: the table cannot be written.
        """
        with self._saving:
            new = self._unsaved.copy()
            if not new:
                return
            table = _File(self._ids.copy())
            try:
                atomic.write(self.path, msgspec.json.format(msgspec.json.encode(table)) + b"\n")
            except OSError as error:
                raise JournalError(f"{self.path}: cannot be written: {errors.reason(error)}") from error
            self._unsaved -= new

    def __len__(self) -> int:
        """How many names have numbers."""
        return len(self._ids)

    def name(self, number: int) -> str:
        """The name of ``number``; "target-3" for one whose name is not known any more."""
        return self._names.get(number) or f"target-{number}"
