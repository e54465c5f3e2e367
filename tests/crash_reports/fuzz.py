"""Fuzzes the readers of reports with atheris.

`python tests/crash_reports/fuzz.py text|json|minidump [libFuzzer options]`. Seeds are the corpus. Every
exception that gets out is a bug: readers answer in a Report's `error`. Not collected by pytest; the suite
has hypothesis.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import atheris

from excguard import crash_reports

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parents[1] / "data"


def text(data: bytes) -> None:
    """The reader of text."""
    _judge(crash_reports.read_text(data.decode("utf-8", "surrogateescape")))


def structured(data: bytes) -> None:
    """The reader of .ips files: JSON, or what is left of it."""
    _judge(crash_reports.read_bytes(b"{" + data))
    _judge(crash_reports.read_bytes(b'{"bug_type":"309"}\n{"exception":' + data))


def minidump(data: bytes) -> None:
    """The reader of minidumps."""
    _judge(crash_reports.read_file(io.BytesIO(b"MDMP" + data)))


def _judge(report: crash_reports.Report) -> None:
    assert report.violations or report.error or report.notes
    assert "\n" not in (report.error or "")
    json.dumps(report.to_dict())


def seeds(directory: Path) -> None:
    """Write the corpus as seeds."""
    for number, line in enumerate((DATA / "reports.jsonl").read_text().splitlines()):
        entry = json.loads(line)
        text = "\n".join(f"{key}: {value}" for key, value in entry.items() if isinstance(value, str))
        (directory / f"{number}.txt").write_text(text)
        (directory / f"{number}.json").write_text(
            json.dumps({"exception": entry["ips_exception"], **entry})[1:]
        )
    for line in (DATA / "pasted.jsonl").read_text().splitlines():
        case = json.loads(line)
        (directory / case["name"]).write_text(case["text"])
    for path in (DATA / "reports").iterdir():
        (directory / path.name).write_bytes(path.read_bytes())


TARGETS: dict[str, Callable[[bytes], None]] = {"text": text, "json": structured, "minidump": minidump}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python {sys.argv[0]} {'|'.join(TARGETS)} [libFuzzer options]")
    with tempfile.TemporaryDirectory() as temporary:
        seeds(Path(temporary))
        atheris.instrument_all()  # an editable install keeps atheris from instrumenting imports
        atheris.Setup([sys.argv[0], temporary, *sys.argv[2:]], TARGETS[sys.argv[1]])
        atheris.Fuzz()
