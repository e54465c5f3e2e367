"""The work on one shard, in a worker: read its keys, find the violations, write them, mark it as done."""

from __future__ import annotations

import io
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
from pyarrow import parquet

from excguard.fleet.batch import SCHEMA, rows_of
from excguard.fleet.plan import Done, File, Shard, done_path, keys_of
from excguard.fleet.store import open_store
from excguard.knowledge import guards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BATCH_ROWS = 10_000  # held as Python objects at a time; Arrow needs a tenth of their memory
_COLUMNS = SCHEMA.remove(SCHEMA.get_field_index("os_major"))
_REQUESTS = 8  # at a time

_UNKNOWN = "__HIVE_DEFAULT_PARTITION__"
"""The directory of a value that is not known, as Hive names it; Arrow, DuckDB and Spark read it as null."""


def scan_shard(
    source: str, output: str, shard: Shard, *, when_computed: Callable[[], object] = lambda: None
) -> None:
    """Scan one shard. Running it again, even while it runs elsewhere, gives the same files; last, a `Done`.

    Args:
        source: URL of the reports' store.
        output: URL of the results' store, which holds the plan.
        shard: which one.
        when_computed: called when what is left is mostly waiting, for the disk or the network.
    """
    results = open_store(output)
    keys = keys_of(results, shard)
    parts = _Parts()
    for key, content, error in open_store(source).read(keys):
        etag = key.etag or None
        if content is None:
            parts.add([{"path": key.path, "etag": etag, "error": error}])
        else:
            parts.add(rows_of(key.path, etag, content))
    files = {f"{directory}/part-{shard.name}.parquet": content for directory, content in parts.files()}
    if results.remote:  # each file is a request
        when_computed()
        with ThreadPoolExecutor(_REQUESTS) as pool:
            list(pool.map(results.put, files, files.values()))
    else:
        for path, content in files.items():
            results.put(path, content, sync=False)
        when_computed()
    sizes = [File(path, len(content)) for path, content in files.items()]
    done = msgspec.json.encode(
        Done(shard.number, len(keys), parts.violations, parts.errors, parts.telemetry, sizes)
    )
    results.put(done_path(shard), done)


class _Parts:
    """Rows by their directory of the output, ``os_major=26/date=2026-03-01``.

    Attributes:
        violations, errors, telemetry: as of `Done`.
    """

    def __init__(self) -> None:
        self.violations = self.errors = self.telemetry = 0
        self._rows: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self._batches: defaultdict[str, list[pa.RecordBatch]] = defaultdict(list)
        self._waiting = 0

    def add(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            major, time = row.get("os_major"), row.get("report_time")
            day = _UNKNOWN if time is None else time.date().isoformat()
            self._rows[f"os_major={_UNKNOWN if major is None else major}/date={day}"].append(row)
            if row.get("error") is not None:
                self.errors += 1
            elif guards.is_policy_telemetry(row["guard_type_name"], row["flavor"]):
                self.telemetry += 1
            else:
                self.violations += 1
        self._waiting += len(rows)
        if self._waiting >= _BATCH_ROWS:
            self._convert()

    def files(self) -> Iterator[tuple[str, bytes]]:
        """The contents of each directory's file; it leaves out what the name of the directory says."""
        self._convert()
        for directory, batches in self._batches.items():
            file = io.BytesIO()
            parquet.write_table(pa.Table.from_batches(batches, _COLUMNS), file)
            yield directory, file.getvalue()

    def _convert(self) -> None:
        for directory, rows in self._rows.items():
            self._batches[directory].append(pa.RecordBatch.from_pylist(rows, _COLUMNS))
        self._rows.clear()
        self._waiting = 0
