"""One Arrow batch of files -> one Arrow batch of violations.

Pure: it reads nothing but the batch, keeps nothing, and works in any thread or process, without the C
extension. Codes are hexadecimal strings, with guard type, flavor and target beside them as small integers:
unsigned 64-bit integers do not survive many readers of Parquet.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from excguard import crash_reports
from excguard.crash_reports import ips
from excguard.crash_reports.metadata import Metadata, metadata

if TYPE_CHECKING:
    from excguard.crash_reports import Report
    from excguard.decoding.violation import PartialViolation

SCHEMA_VERSION: Final = 1
"""Of `SCHEMA`: raised when a column changes; new columns at the end leave it as it is."""

SCHEMA: Final = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("etag", pa.string()),
        pa.field("report_time", pa.timestamp("us", "UTC")),
        pa.field("process", pa.string()),
        pa.field("pid", pa.int64()),
        pa.field("bundle_id", pa.string()),
        pa.field("app_version", pa.string()),
        pa.field("app_build", pa.string()),
        pa.field("incident_id", pa.string()),
        pa.field("os", pa.string()),
        pa.field("os_major", pa.int16()),
        pa.field("cpu", pa.string()),
        pa.field("format", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("release", pa.string()),
        pa.field("site_id", pa.string()),
        pa.field("site_precision", pa.string()),
        pa.field("image", pa.string()),
        pa.field("symbol", pa.string()),
        pa.field("code", pa.string()),
        pa.field("subcode", pa.string()),
        pa.field("guard_type", pa.int8()),
        pa.field("guard_type_name", pa.string()),
        pa.field("flavor", pa.int32()),
        pa.field("flavor_name", pa.string()),
        pa.field("guard_target", pa.int64()),
        pa.field("severity", pa.string()),
        pa.field("summary", pa.string()),
        pa.field("error", pa.string()),
    ],
    metadata={"excguard.schema_version": str(SCHEMA_VERSION)},
)
"""One row a violation; a file that cannot be read is one row with `path` and `error`.

Telemetry of an IPC policy (`guards.is_policy_telemetry`) has a row too, with the flavor name "NONE" and
without a severity, as in the rows of a scan.
"""

_BINARY: Final = (pa.binary(), pa.large_binary(), pa.binary_view())
_STRINGS: Final = (pa.string(), pa.large_string(), pa.string_view(), pa.null())
_OS_MAJOR = re.compile(r"(?:macOS|OS X|iOS|iPhone OS|Mac OS X|watchOS|tvOS|visionOS)\D{0,3}(\d{1,2})\b")


def violations(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The guard violations in a batch of files.

    Args:
        batch: columns ``path`` (string) and ``bytes`` (binary: the whole file); ``etag`` (string) is copied
            where it is there, other columns are passed over.

    Returns:
        Rows of `SCHEMA` in the order of the files. A file without a violation has no row; one that is null,
        not a report, or cut off before its exception has one with ``error``.

    Raises:
        KeyError: a column is missing.
        TypeError: a column has another type.
    """
    paths, contents, etags = _columns(batch)
    rows: list[dict[str, Any]] = []
    for index, path in enumerate(paths):
        etag = etags[index] if etags is not None else None
        content = contents[index].as_buffer()
        if content is None:
            rows.append({"path": path, "etag": etag, "error": "no contents"})
            continue
        view = memoryview(content)
        if not ips.other_crash(view):
            rows += rows_of(path, etag, view)
    return pa.RecordBatch.from_pylist(rows, SCHEMA)


def _columns(batch: pa.RecordBatch) -> tuple[list[str], pa.Array, list[str | None] | None]:
    for name in ("path", "bytes"):
        if name not in batch.schema.names:
            raise KeyError(f"the batch has no column {name!r}: expected path (string) and bytes (binary)")
    contents = batch.column("bytes")
    if contents.type not in _BINARY:
        raise TypeError(f"the column 'bytes' is {contents.type}: expected binary")
    paths = [path or "" for path in _texts(batch, "path")]
    return paths, contents, _texts(batch, "etag") if "etag" in batch.schema.names else None


def _texts(batch: pa.RecordBatch, name: str) -> list[str | None]:
    column = batch.column(name)
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if kind not in _STRINGS:
        raise TypeError(f"the column {name!r} is {column.type}: expected string")
    texts: list[str | None] = column.to_pylist()
    return texts


def rows_of(path: str, etag: str | None, content: bytes | memoryview) -> list[dict[str, Any]]:
    """The rows of one file, columns of `SCHEMA` by name; those that are left out are null."""
    try:
        reports = crash_reports.documents_of_bytes(content, path)
    except (ValueError, RecursionError) as error:  # one file in a million must not end the job
        return [{"path": path, "etag": etag, "error": f"{type(error).__name__}: {error}"[:200]}]
    # The head of a file of several documents speaks for the first one only.
    about = metadata(content) if len(reports) == 1 else Metadata()
    rows = []
    for report in reports:
        rows += [_row(report, violation, etag, about) for violation in report.violations]
        if report.error and report.error != crash_reports.NOTHING:
            rows.append({"path": path, "etag": etag, "format": report.format, "error": report.error})
    return rows


_SELECTED = ("code", "subcode", "flavor", "flavor_name", "guard_target", "severity", "summary", "release")


def _row(report: Report, violation: PartialViolation, etag: str | None, about: Metadata) -> dict[str, Any]:
    place = report.site(violation).place
    major = _OS_MAJOR.search(report.os or "")
    return {
        "path": report.file,
        "etag": etag,
        "report_time": None if about.time is None else datetime.fromtimestamp(about.time, UTC),
        "process": report.process,
        "pid": report.pid,
        "bundle_id": about.bundle_id,
        "app_version": about.app_version,
        "app_build": about.app_build,
        "incident_id": about.incident_id,
        "os": report.os,
        "os_major": int(major[1]) if major else None,
        "cpu": report.cpu,
        "format": report.format,
        "kind": report.kind,
        "image": place.image_name if place else None,
        "symbol": (place.symbol or None) if place else None,
        "guard_type": violation.guard_type_number,
        "guard_type_name": violation.guard_type,
        **report.site_fields(violation),
        **violation.select(_SELECTED),
    }
