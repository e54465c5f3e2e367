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
_GROUP = 2048  # rows of a row group of Parquet


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
        self._pyarrow = pyarrow()
        kinds = dict.fromkeys(_WHOLE, self._pyarrow.int64()) | {"truncated": self._pyarrow.bool_()}
        self._schema = self._pyarrow.schema(
            [(name, kinds.get(name, self._pyarrow.string())) for name in _COLUMNS]
        )
        self._writer = _parquet_writer(file, self._schema)
        self._rows: list[Row] = []

    def write(self, rows: list[Row]) -> None:
        self._rows += rows
        if len(self._rows) >= _GROUP:
            self._write()

    def finish(self) -> None:
        self._write()
        self._writer.close()

    def _write(self) -> None:
        columns = [
            self._pyarrow.array([getattr(row, field.name) for row in self._rows], field.type)
            for field in self._schema
        ]
        self._rows.clear()
        self._writer.write_table(self._pyarrow.Table.from_arrays(columns, schema=self._schema))


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


def pyarrow() -> Any:  # noqa: ANN401 - it has no types
    """Pyarrow. Raises click.UsageError."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # its others keep 10 MB more for themselves
    try:
        return import_module("pyarrow")
    except ImportError:
        raise click.UsageError("Parquet needs pyarrow: pip install pyarrow") from None


def _parquet_writer(file: IO[bytes], schema: Any) -> Any:  # noqa: ANN401 - pyarrow has no types
    """A writer of Parquet: `pyarrow.parquet.ParquetWriter`, or what it wraps.

    pyarrow.parquet loads the modules of all file systems, which take 10 MB. What it wraps needs none of them,
    but may change with any release of pyarrow.
    """
    try:
        return import_module("pyarrow._parquet").ParquetWriter(
            file,
            schema,
            version="2.6",
            compression="snappy",
            use_dictionary=True,
            write_statistics=True,
            writer_engine_version="V2",
        )
    except (ImportError, AttributeError, TypeError, ValueError):
        return import_module("pyarrow.parquet").ParquetWriter(file, schema)
