"""Which target a number in the journal stands for.

Records and counters carry a target's number; its name can be any text of any length. The table of both lies
beside the journal, as JSON, and is written (to another file that then takes its place) before a number is
first used. Numbers are never given to another name, so counters keep their meaning for as long as the
journal lives.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final

import msgspec

from excguard.files import atomic, bounded, errors
from excguard.files.set_aside import set_aside
from excguard.pipeline.journal import JournalError

MAX_SIZE: Final = 64 << 20
"""Bytes of the table."""

_Number = Annotated[int, msgspec.Meta(ge=1, lt=1 << 32)]  # as in a record


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
        DamagedTableError: see there.
        OSError: it cannot be read.
    """
    try:
        return msgspec.json.decode(bounded.read(path, MAX_SIZE), type=_File).targets
    except (bounded.NotARegularFileError, bounded.FileTooLargeError) as error:
        raise DamagedTableError(errors.reason(error)) from None
    except (msgspec.MsgspecError, RecursionError) as error:
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
        self._next = max([0, *self._names, *used]) + 1

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
        try:
            atomic.write(self.path, msgspec.json.format(msgspec.json.encode(_File(self._ids))) + b"\n")
        except OSError as error:
            raise JournalError(f"{self.path}: cannot be written: {errors.reason(error)}") from error
