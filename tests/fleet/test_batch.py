"""The one function: an Arrow batch of files in, an Arrow batch of violations out."""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - pytest reads the annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excguard import crash_reports
from excguard.fleet import SCHEMA, violations
from tests.fleet.conftest import CODE, report


def batch(*contents: bytes | str | None) -> pa.RecordBatch:
    encoded = [content.encode() if isinstance(content, str) else content for content in contents]
    names = [f"{index}.ips" for index in range(len(encoded))]
    return pa.RecordBatch.from_pydict({"path": names, "bytes": pa.array(encoded, pa.binary())})


def test_a_violation_is_one_row_with_every_column() -> None:
    (row,) = violations(batch(report(0, guard=True))).to_pylist()

    assert row["report_time"] == datetime(2026, 3, 1, 11, 0, 0, 500_000, UTC)
    assert len(row["site_id"]) == 12
    expected = {
        "path": "0.ips",
        "etag": None,
        "process": "App",
        "pid": 1000,
        "bundle_id": "org.example.App",
        "app_version": "1.0",
        "app_build": "77",
        "incident_id": "00000000-0000-4000-8000-000000000000",
        "os": "macOS 26.4 (25E246)",
        "os_major": 26,
        "release": "macOS 26.4",
        "site_precision": "symbol",
        "image": "libvendor.dylib",
        "symbol": "close_0",
        "code": f"{CODE:#x}",
        "subcode": "0x0",
        "guard_type": 1,
        "guard_type_name": "MACH_PORT",
        "flavor": 0x200,
        "flavor_name": "INVALID_NAME",
        "guard_target": 0x2703,
        "severity": "optional",
        "error": None,
    }
    assert {name: row[name] for name in expected} == expected


def test_other_crashes_give_no_row_and_unreadable_files_an_error() -> None:
    found = violations(batch(report(1, guard=False), b"", None, report(2, guard=True)))

    assert found.schema.equals(SCHEMA, check_metadata=True)
    assert [row["path"] for row in found.to_pylist() if row["error"]] == ["1.ips", "2.ips"]
    assert [row["path"] for row in found.to_pylist() if row["code"]] == ["3.ips"]


def test_sites_are_equal_for_equal_places_only() -> None:
    rows = violations(batch(*(report(number, guard=True) for number in range(6)))).to_pylist()

    ids = [row["site_id"] for row in rows]
    assert ids[:3] == ids[3:]
    assert len(set(ids)) == 3


def test_etags_are_kept() -> None:
    columns = {"path": ["a"], "bytes": [report(0, guard=True).encode()], "etag": ["e1"], "other": [1]}

    assert violations(pa.RecordBatch.from_pydict(columns)).column("etag").to_pylist() == ["e1"]


@pytest.mark.parametrize("columns", [{"path": ["a"]}, {"bytes": [b"a"]}])
def test_missing_columns_are_named(columns: dict[str, list[object]]) -> None:
    with pytest.raises(KeyError, match="no column"):
        violations(pa.RecordBatch.from_pydict(columns))


def test_another_type_is_named() -> None:
    with pytest.raises(TypeError, match="expected binary"):
        violations(pa.RecordBatch.from_pydict({"path": ["a"], "bytes": [1]}))


@pytest.mark.parametrize("kind", [pa.int64(), pa.binary()])
@pytest.mark.parametrize("name", ["path", "etag"])
def test_another_type_of_a_text_is_named(name: str, kind: pa.DataType) -> None:
    columns = {"path": pa.array(["a"]), "bytes": pa.array([b""]), name: pa.array([None], kind)}

    with pytest.raises(TypeError, match=f"the column '{name}' is {kind}: expected string"):
        violations(pa.RecordBatch.from_pydict(columns))


@pytest.mark.parametrize(
    ("texts", "binaries"),
    [(pa.large_string(), pa.large_binary()), (pa.string_view(), pa.binary_view()), (pa.null(), pa.binary())],
)
def test_every_form_of_text_and_bytes_is_read(texts: pa.DataType, binaries: pa.DataType) -> None:
    path = None if texts == pa.null() else "a.ips"
    contents = pa.array([report(0, guard=True).encode()], binaries)
    found = violations(pa.RecordBatch.from_pydict({"path": pa.array([path], texts), "bytes": contents}))

    assert found.column("path").to_pylist() == [path or ""]
    assert found.column("code").to_pylist() == [f"{CODE:#x}"]
    found.validate(full=True)


def test_it_can_be_pickled_and_called_by_threads() -> None:
    again = pickle.loads(pickle.dumps(violations))  # noqa: S301 - our own function
    asked = batch(*(report(number, guard=True) for number in range(20)))
    expected = violations(asked)

    with ThreadPoolExecutor(4) as pool:
        assert all(found == expected for found in pool.map(again, [asked] * 8))


def test_it_works_without_the_c_extension() -> None:
    code = """
import sys
sys.modules["excguard.native"] = None
from excguard import fleet
print(fleet.SCHEMA_VERSION)
"""

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout == "1\n"


@settings(deadline=None)  # the first example imports the readers
@given(st.lists(st.binary(max_size=300), max_size=5))
def test_any_bytes_are_read(contents: list[bytes]) -> None:
    names = {f"{index}.ips" for index in range(len(contents))}

    assert {row["path"] for row in violations(batch(*contents)).to_pylist()} <= names


def test_it_reads_what_report_reads(reports: Path) -> None:
    for path in sorted(reports.rglob("*.ips")):
        rows = violations(batch(path.read_bytes())).to_pylist()
        read = crash_reports.read(path)
        assert [row["code"] for row in rows if row["code"]] == [f"{one.code:#x}" for one in read.violations]
