"""The objects that an S3 Inventory lists: what stands for the listing of a bucket of many objects."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import msgspec

from excguard.fleet.store import Key, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from excguard.fleet.store import Store


def keys(store: Store, manifest: str, *, prefix: str = "") -> Iterator[Key]:
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
