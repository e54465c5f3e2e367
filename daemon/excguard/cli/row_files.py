"""The rows of a scan in a file, written as they come: memory does not grow with their number."""

from __future__ import annotations

import csv
import io
import os
from contextlib import contextmanager
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any, Protocol

import click
import msgspec

from excguard.crash_reports.scan import Row
from excguard.files import atomic
from excguard.files.escaping import csv_cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_COLUMNS = [field.name for field in msgspec.structs.fields(Row)]
_WHOLE = {"pid", "flavor", "target", "guard_target"}
_GROUP = 4096  # rows of a row group of Parquet


class RowFile(Protocol):
    """A file that takes rows."""

    def write(self, rows: list[Row]) -> None:
        """Add rows. Raises OSError."""

    def finish(self) -> None:
        """Write what is left. Raises OSError."""


class _Lines:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._encoder = msgspec.json.Encoder()

    def write(self, rows: list[Row]) -> None:
        self._file.write(self._encoder.encode_lines(rows))

    def finish(self) -> None:
        """There is nothing left."""


class _Csv:
    def __init__(self, file: IO[bytes]) -> None:
        self._text = io.TextIOWrapper(file, newline="", encoding="utf-8", errors="replace")
        self._writer = csv.writer(self._text)
        self._writer.writerow(_COLUMNS)

    def write(self, rows: list[Row]) -> None:
        self._writer.writerows(map(csv_cell, msgspec.structs.astuple(row)) for row in rows)

    def finish(self) -> None:
        self._text.detach()  # flushes; the file is closed by its owner


class _Parquet:
    def __init__(self, file: IO[bytes]) -> None:
        self._pyarrow, parquet = pyarrow()
        kinds = dict.fromkeys(_WHOLE, self._pyarrow.int64()) | {"truncated": self._pyarrow.bool_()}
        self._schema = self._pyarrow.schema(
            [(name, kinds.get(name, self._pyarrow.string())) for name in _COLUMNS]
        )
        self._writer = parquet.ParquetWriter(file, self._schema)
        self._rows: list[Row] = []

    def write(self, rows: list[Row]) -> None:
        self._rows += rows
        if len(self._rows) >= _GROUP:
            self._write()

    def finish(self) -> None:
        self._write()
        self._writer.close()

    def _write(self) -> None:
        found = [msgspec.structs.asdict(row) for row in self._rows]
        self._rows.clear()
        self._writer.write_table(self._pyarrow.Table.from_pylist(found, self._schema))


FORMS: dict[str, Callable[[IO[bytes]], RowFile]] = {".jsonl": _Lines, ".csv": _Csv, ".parquet": _Parquet}
"""By the end of the file's name."""


@contextmanager
def open_rows(path: Path) -> Iterator[RowFile]:
    """Write rows to a file, which is replaced when all are written.

    Args:
        path: it ends in one of `FORMS`.

    Raises:
        OSError: it cannot be written.
        click.UsageError: pyarrow is needed and not installed.
    """
    umask = os.umask(0)
    os.umask(umask)
    with atomic.writer(path, mode=0o666 & ~umask) as file:
        rows = FORMS[path.suffix](file)
        yield rows
        rows.finish()


def pyarrow() -> tuple[Any, Any]:
    """Pyarrow and its Parquet module. Raises click.UsageError."""
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise click.UsageError("Parquet needs pyarrow: pip install pyarrow") from None
