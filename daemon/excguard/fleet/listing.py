"""The keys of a job: of a prefix, of an inventory or of standard input; and its part of an array."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import msgspec

from excguard.files import suffixes
from excguard.fleet.store import Key, StoreError, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from excguard.fleet.store import Store


class Part(msgspec.Struct, frozen=True):
    """One job of an array: it reads the keys whose path hashes to its index.

    Attributes:
        index: 0 to count - 1.
        count: jobs of the array.
    """

    index: int = 0
    count: int = 1

    def has(self, key: Key) -> bool:
        """Whether the key is this job's. CRC-32 of the path: the same on every machine."""
        return zlib.crc32(key.path.encode("utf-8", "surrogateescape")) % self.count == self.index

    def of(self, keys: Iterator[Key]) -> Iterator[Key]:
        """Those of the keys that are this job's."""
        return keys if self.count == 1 else filter(self.has, keys)


_WHOLE = Part()


class Selection(msgspec.Struct, frozen=True):
    """The keys of a scan, before they are divided among the jobs of an array.

    Attributes:
        source: URL or directory of the reports.
        inventory: path of the manifest.json of an S3 Inventory in the source's bucket; "" to list the source.
        paths: the keys themselves, as lines of a file; None to list.
        since: only keys that were modified then or later; None for all.
        everything: whatever their names are. Otherwise those of a prefix must be names of reports, and not of
            archives: work is divided, limited and resumed by the key, and an archive can hold any number.
    """

    source: str
    inventory: str = ""
    paths: Iterable[bytes] | None = None
    since: datetime | None = None
    everything: bool = False

    def description(self) -> str:
        """What a resumed scan must have in common with the first run, in one line."""
        how = f"inventory {self.inventory}" if self.inventory else "list" if self.paths is None else "paths"
        limit = f", since {self.since.isoformat()}" if self.since else ""
        return f"{self.source} ({how}{limit}{', all names' if self.everything else ''})"

    def keys(self, after: str = "", planned: int = 0, *, part: Part = _WHOLE) -> Iterator[Key]:
        """The keys of one job that an earlier run did not plan.

        Args:
            after: the last one that is planned, "" for none.
            planned: how many are.
            part: the job.

        Raises:
            StoreError: the source or the inventory cannot be read, or a list is not that of the earlier run.
        """
        listed = self.paths is None and not self.inventory
        if self.paths is not None:
            found = of_lines(self.paths)
        elif self.inventory:
            bucket, prefix = _split(self.source)
            found = of_inventory(open_store(bucket), self.inventory, prefix=prefix)
        else:
            found = open_store(self.source).keys(after, times=self.since is not None)
            if not self.everything:
                reports = (*suffixes.REPORTS, "/")  # and directories that cannot be listed
                found = (
                    key for key in found if key.path.endswith(reports) or key.path.lower().endswith(reports)
                )
        if self.since is not None:
            earliest = self.since.timestamp()
            found = (key for key in found if not key.modified or key.modified >= earliest)
        found = part.of(found)
        return found if listed else _unplanned(found, after, planned)


def _unplanned(keys: Iterator[Key], after: str, planned: int) -> Iterator[Key]:
    """The rest of a list, by the number of its keys: it has no order, and may have a key several times."""
    last = ""
    for key in islice(keys, planned):
        last = key.path
    if last != after:
        raise StoreError(
            f"the list of paths is not that of the first run, which had {after!r} in place {planned:,}: "
            "give the same list, or choose another output"
        )
    yield from keys


def _split(url: str) -> tuple[str, str]:
    """`s3://bucket/some/prefix` -> `s3://bucket`, `some/prefix`."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url, ""
    host, _, prefix = rest.partition("/")
    return f"{scheme}://{host}", prefix


def of_lines(lines: Iterable[bytes]) -> Iterator[Key]:
    """One path a line, relative to the store; empty lines are passed over."""
    for line in lines:
        path = line.rstrip(b"\r\n").decode("utf-8", "backslashreplace")  # as the names of files
        if path:
            yield Key(path)


def of_inventory(store: Store, manifest: str, *, prefix: str = "") -> Iterator[Key]:
    """The objects that an S3 Inventory lists (CSV or Parquet).

    Args:
        store: the one that holds manifest.json and the data files, at the paths that the manifest gives.
        manifest: path of manifest.json.
        prefix: the directory of the reports, which the paths are relative to; objects elsewhere are left out.

    Raises:
        StoreError: the manifest is not one, or a data file is missing, or not a list.

    Source: docs.aws.amazon.com, "Amazon S3 Inventory list" (manifest.json: fileFormat, fileSchema,
    files[].key).
    """
    try:
        found = msgspec.json.decode(_required(store, manifest), type=_Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoreError(f"{store.url}/{manifest}: not an S3 Inventory manifest: {error}") from None
    readers: dict[str, Callable[[bytes, _Manifest], Iterator[dict[str, Any]]]] = {
        "CSV": _csv_rows,
        "Parquet": _parquet_rows,
    }
    read = readers.get(found.file_format)
    if read is None:
        raise StoreError(f"{store.url}/{manifest}: fileFormat {found.file_format!r}: expected CSV or Parquet")
    below = f"{prefix.rstrip('/')}/" if prefix else ""
    for file in found.files:
        try:
            for row in read(_required(store, file.key), found):
                # A bucket with versions has a row for each; an older one is not what its key gives.
                if row.get("is_delete_marker") in _TRUE or row.get("is_latest") in _FALSE:
                    continue
                key = _key(row)
                if key.path.startswith(below):
                    yield msgspec.structs.replace(key, path=key.path[len(below) :])
        except _UNREADABLE as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise StoreError(
                f"{store.url}/{file.key}: not a list of an S3 Inventory ({found.file_format}): {reason}"
            ) from None


class _File(msgspec.Struct):
    key: str


class _Manifest(msgspec.Struct, rename="camel"):
    file_format: str
    file_schema: str
    files: list[_File]


_TRUE, _FALSE = {True, "true"}, {False, "false"}
_UNREADABLE = (
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    csv.Error,
    zlib.error,
)
"""What a list that is damaged, or not one, raises; pyarrow's errors are among them."""


def _key(row: dict[str, Any]) -> Key:
    """The object that a row is of. Raises one of `_UNREADABLE`."""
    path, etag = row["key"], row.get("e_tag") or ""
    if not isinstance(path, str) or not isinstance(etag, str):
        raise TypeError("the columns Key and ETag have to be text")
    modified = row.get("last_modified_date")
    return Key(path, int(row.get("size") or -1), _seconds(modified) if modified else 0.0, etag.strip('"'))


def _required(store: Store, path: str) -> bytes:
    content = store.get(path)
    if content is None:
        raise StoreError(f"{store.url}/{path}: there is no such file")
    return content


def _csv_rows(content: bytes, manifest: _Manifest) -> Iterator[dict[str, Any]]:
    # "Bucket, Key, Size, LastModifiedDate, ETag": the columns; keys are URL-encoded in CSV alone.
    names = [_snake(name.strip()) for name in manifest.file_schema.split(",")]
    if "key" not in names:
        raise KeyError("fileSchema has no column Key")
    text = io.TextIOWrapper(gzip.GzipFile(fileobj=io.BytesIO(content)), encoding="utf-8", newline="")
    for row in csv.reader(text):
        fields = dict(zip(names, row, strict=False))
        fields["key"] = unquote_plus(fields["key"])
        yield fields


def _parquet_rows(content: bytes, _manifest: _Manifest) -> Iterator[dict[str, Any]]:
    from pyarrow import parquet  # noqa: PLC0415 - only for this format

    for batch in parquet.ParquetFile(io.BytesIO(content)).iter_batches():
        yield from batch.to_pylist()


def _snake(name: str) -> str:
    """`LastModifiedDate` -> `last_modified_date`: as the Parquet form has the names."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _seconds(value: str | datetime) -> float:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
