"""What people paste: excerpts, quotations, other tools' output, each with the violations that are in it."""

import json
from pathlib import Path
from typing import Any

import pytest

from excguard import crash_reports
from excguard.crash_reports import Report

DATA = Path(__file__).parents[1] / "data"
CASES = [json.loads(line) for line in (DATA / "pasted.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_every_violation_of_a_paste_is_found_once(case: dict[str, Any]) -> None:
    reports = crash_reports.read_all(case["text"])
    found = [(report, violation) for report in reports for violation in report.violations]

    assert len(found) == len(case["expect"]), [report.to_dict() for report in reports]
    assert case.get("kind") in {None, reports[0].kind}
    assert all(check.ok for report in reports for check in report.checks)
    for (report, violation), expected in zip(found, case["expect"], strict=True):
        assert not violation.summary.startswith("None")
        for key, value in expected.items():
            assert _has(report, violation, key, value), (key, value, report.to_dict())


def _has(report: Report, violation: Any, key: str, value: Any) -> bool:
    fields = [field.text for field in violation.payload_fields]
    derived = {
        "words": lambda: value in " ".join([violation.summary, *violation.notes, *fields]),
        "frame": lambda: value in {frame.symbol for frame in report.frames},
        "mismatches": lambda: sum(not check.ok for check in report.checks) == value,
        "os": lambda: (violation.release or "").startswith(value),
        "no_pid": lambda: report.pid is None,
        "subcode": lambda: violation.subcode == int(value, 16),
    }
    if key in derived:
        return derived[key]()
    of_report = key in {"kind", "process", "pid", "format", "truncated", "cpu"}
    return bool(getattr(report if of_report else violation, key) == value)
