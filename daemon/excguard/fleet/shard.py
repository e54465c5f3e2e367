"""The work on one shard, in a worker: read its keys, find the violations, write them, mark it as done."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
from pyarrow import compute, parquet

from excguard.crash_reports import ips
from excguard.fleet.batch import SCHEMA, violations
from excguard.fleet.plan import Done, Shard, done_path, keys_of
from excguard.fleet.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from excguard.fleet.store import Key

_BATCH_BYTES = 32 << 20
"""Contents that are held at a time; one report more than that is possible."""

_UNKNOWN = "__HIVE_DEFAULT_PARTITION__"
"""The directory of a value that is not known, as Hive names it; Arrow, DuckDB and Spark read it as null."""


def scan_shard(source: str, output: str, shard: Shard) -> bytes:
    """Scan one shard. Running it again, even while it runs elsewhere, gives the same files.

    Args:
        source: URL of the reports' store.
        output: URL of the results' store, which holds the plan.
        shard: which one.

    Returns:
        A `Done` as JSON: what is also written to `done_path`.
    """
    results = open_store(output)
    keys = keys_of(results, shard)
    table = pa.Table.from_batches(list(_results(source, keys)), SCHEMA)
    parts = []
    for directory, rows in _partitions(table):
        path = f"{directory}/part-{shard.name}.parquet"
        buffer = io.BytesIO()
        parquet.write_table(rows, buffer, compression="zstd")
        results.put(path, buffer.getvalue())
        parts.append(path)
    errors = len(table) - table.column("error").null_count
    done = msgspec.json.encode(Done(shard.number, len(keys), len(table) - errors, errors, parts))
    results.put(done_path(shard), done)
    return done


def _results(source: str, keys: Sequence[Key]) -> Iterator[pa.RecordBatch]:
    paths: list[str] = []
    etags: list[str | None] = []
    contents: list[bytes] = []
    unread: list[dict[str, Any]] = []
    size = 0
    for key, content, error in open_store(source).read(keys, enough=ips.other_crash):
        if content is None:
            unread.append({"path": key.path, "etag": key.etag or None, "error": error})
            continue
        paths.append(key.path)
        etags.append(key.etag or None)
        contents.append(content)
        size += len(content)
        if size > _BATCH_BYTES:
            yield violations(_batch(paths, etags, contents))
            paths, etags, contents, size = [], [], [], 0
    yield violations(_batch(paths, etags, contents))
    yield pa.RecordBatch.from_pylist(unread, SCHEMA)


def _batch(paths: list[str], etags: list[str | None], contents: list[bytes]) -> pa.RecordBatch:
    columns = [
        pa.array(paths, pa.string()),
        pa.array(etags, pa.string()),
        pa.array(contents, pa.binary()),
    ]
    return pa.RecordBatch.from_arrays(columns, names=["path", "etag", "bytes"])


def _partitions(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The rows by directory, ``os_major=26/date=2026-03-01``; the file leaves the two columns out."""
    if not len(table):
        return
    dates = compute.strftime(table.column("report_time"), "%Y-%m-%d")
    names = [
        f"os_major={_UNKNOWN if major is None else major}/date={_UNKNOWN if day is None else day}"
        for major, day in zip(table.column("os_major").to_pylist(), dates.to_pylist(), strict=True)
    ]
    labels = pa.array(names)
    table = table.drop_columns(["os_major"])
    for name in sorted(set(names)):
        yield name, table.filter(compute.equal(labels, name))
