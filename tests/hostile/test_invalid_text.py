"""JSON and TOML of others that is not UTF-8, or nested without end: an error in one line, or nothing read."""

from pathlib import Path

import pytest

from excguard.cli import run_journal
from excguard.crash_reports.metadata import Metadata, metadata
from excguard.crash_reports.symbolicated_copy import symbolicated_copy
from excguard.fleet import inventory
from excguard.fleet.store import StoreError, open_store
from excguard.gate import baseline
from excguard.gate.baseline import BaselineError
from excguard.sources.report_file import identify

INVALID = [b'{"name":"\xff"}', b'{"\xff":1}', b'["\xff"]', b"[" * 100_000, b'{"a":' * 100_000]


@pytest.mark.parametrize("text", INVALID, ids=range(len(INVALID)))
def test_run_without_a_readable_description(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "run.json").write_bytes(text)

    assert run_journal.about(tmp_path / "journal") is None


@pytest.mark.parametrize("text", INVALID, ids=range(len(INVALID)))
def test_reports(text: bytes) -> None:
    assert symbolicated_copy(b"{}\n" + text, lambda *_: None) is None
    assert identify(b"{}\n" + text).pid == 0
    assert metadata(text) == Metadata()


@pytest.mark.parametrize("text", INVALID, ids=range(len(INVALID)))
def test_manifest_of_an_inventory(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(text)

    with pytest.raises(StoreError, match="not an S3 Inventory manifest"):
        list(inventory.keys(open_store(str(tmp_path)), "manifest.json"))


@pytest.mark.parametrize("text", [b"a=" + b"[" * 100_000, b'site = "\xff"', b"\x00"], ids=range(3))
def test_baseline(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "b.toml"
    path.write_bytes(text)

    with pytest.raises(BaselineError, match=r"b\.toml"):
        baseline.load(path)
