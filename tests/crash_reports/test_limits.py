"""What is not read of a text is said, whichever limit it is."""

import io
import json
import zipfile

import pytest
from click.testing import CliRunner

from excguard import crash_reports
from excguard.cli import main
from excguard.crash_reports import documents, json_spans, limits, tool_json
from excguard.crash_reports.scan import scan
from excguard.crash_reports.text_report import MAX_LINE

LINE = "[App:%d] EXC_GUARD AST: type=0x1 flavor=0x200 target=0x2703 code=0x2000020000002703 subcode=%#x\n"


def _log(lines: int) -> str:
    return "".join(LINE % (number % 7, number) for number in range(lines))


def _violations(reports: list[crash_reports.Report]) -> int:
    return sum(len(report.violations) for report in reports)


def test_a_text_within_the_limit_is_read_whole() -> None:
    reports = crash_reports.read_all(_log(limits.LEAST_VIOLATIONS))

    assert _violations(reports) == limits.LEAST_VIOLATIONS
    assert [report.error for report in reports if report.error] == []


@pytest.mark.parametrize("lines", [6_000, 30_000])
def test_the_limit_grows_with_the_text_and_is_said(lines: int) -> None:
    text = _log(lines)
    allowed = min(10_000, 2_000 + len(text) // 216)

    *reports, last = crash_reports.read_all(text)

    assert _violations(reports) == allowed
    assert last.error == f"only the first {allowed} violations and reports in it are read"
    assert crash_reports.read(text).notes[-1] == last.error


def test_panics_count_too() -> None:
    text = "panic(cpu 1 caller 0x1): initproc exited, namespace 23 subcode 0x2000020000002703\n" * 6_000
    allowed = 2_000 + len(text) // 216

    assert _violations(crash_reports.read_all(text)) == allowed


def test_log_lines_of_the_usual_length_are_all_read() -> None:
    stamp = "2026-01-01 12:00:00.123456+0100 0x1a2b Error 0x0 0 0 kernel: "
    text = "".join(stamp + line + "\n" for line in _log(7_000).splitlines())

    reports = crash_reports.read_all(text)

    assert _violations(reports) == 7_000


def test_a_scan_has_a_row_for_what_was_not_read(tmp_path) -> None:
    path = tmp_path / "storm.txt"
    path.write_text(_log(6_000))

    rows = [row for part in scan([str(path)]) for row in part.rows]

    assert [row.error for row in rows if row.error] == [
        f"only the first {len(rows) - 1} violations and reports in it are read"
    ]


def test_the_members_of_an_archive_share_the_limit() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(30):
            archive.writestr(f"{number}.txt", _log(1_000))

    *reports, last = crash_reports.documents_of_bytes(file.getvalue(), "a.zip")

    assert 3_000 < _violations(reports) < 6_000
    assert last.file == "a.zip"
    assert last.error == f"only the first {_violations(reports)} violations and reports in it are read"


def test_headers_without_reports_take_nothing_from_the_limit() -> None:
    text = (
        "Process: App [5]\n" * 50_000
        + "Exception Type: EXC_GUARD\nException Codes: 0x4000000200000001, 0x1\n"
    )

    assert [violation.code for violation in crash_reports.read(text).violations] == [0x4000000200000001]


def test_other_limits_are_said_where_a_violation_can_be_beyond_them() -> None:
    nested = json.dumps({"message": "EXC_GUARD code=2305845208236959491"})
    for _ in range(6):
        nested = json.dumps({"text": nested})
    deep: object = {"exception": 12, "code": 2305845208236959491}
    for _ in range(tool_json.MAX_DEPTH + 2):
        deep = {"a": deep}
    texts = {
        f"only the first {MAX_LINE} characters of a line": "x" * MAX_LINE
        + " EXC_GUARD code=2305845208236959491",
        f"only the first {json_spans.MAX_BROKEN} incomplete values of JSON": '{"a\n' * 10_001 + "EXC_GUARD",
        f"only the first {documents.MAX_NUMBERS} numbers": "2305845208236959491\n" * 1_001,
        "strings in strings are read to a depth of 4": nested,
        f"objects in objects are read to a depth of {tool_json.MAX_DEPTH}": json.dumps(deep),
    }
    for expected, text in texts.items():
        errors = [report.error for report in crash_reports.read_all(text) if report.error]

        assert any(error.startswith(expected) for error in errors), (expected, errors)


@pytest.mark.parametrize("text", ["x" * 10_000 + "\nEXC_GUARD\n", "EXC_GUARD\n" + '{"a\n' * 20_000])
def test_limits_that_hide_nothing_are_not_said(text: str) -> None:
    assert [report.error for report in crash_reports.read_all(text)] == [None]


def test_decode_and_report_name_the_limit_on_standard_error(tmp_path) -> None:
    path = tmp_path / "storm.txt"
    path.write_text(_log(6_000))
    reports = crash_reports.documents_of_path(path)
    expected = f"only the first {_violations(reports)} violations and reports in it are read\n"

    decoded = CliRunner().invoke(main, ["decode"], input=path.read_bytes())
    reported = CliRunner().invoke(main, ["report", "--json", str(path)])

    assert (decoded.exit_code, decoded.stderr) == (0, f"excguard: {expected}")
    assert json.loads(reported.stdout.splitlines()[-1])["error"] == expected.rstrip()


def test_nested_json_is_followed_up_to_a_number_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_STEPS", 1_000)
    monkeypatch.setattr(json_spans, "MAX_STEPS", 1_000)
    text = "[[[1]]],\n" * 5_000 + '{"exception":12,"code":2305845208236959491}\n'

    *_, last = crash_reports.read_all(text)

    assert last.error == "only the first 1000 nested values of JSON in it are read"


def test_flat_json_takes_no_steps() -> None:
    taken = limits.Limits()
    text = b'{"EXC_GUARD":[' + b'[],{"a":1},' * 10_000 + b"[]]}"

    (span,) = json_spans.spans(text, 0, len(text), taken)

    assert (span.start, span.end, span.whole) == (0, len(text), True)
    assert limits.MAX_STEPS - taken.steps < 10


def test_strings_of_a_large_value_of_json_are_read() -> None:
    report = "Exception Type: EXC_GUARD\nException Codes: 0x4000000200000001, 0x1\n"
    texts = [
        json.dumps({"attachments": [{"name": "a" * 40, "data": "x" * (1 << 21)}], "crash": report}),
        json.dumps([report, {"data": "x" * (1 << 21)}]),
        json.dumps(["EXC_GUARD code=0x4000000200000001", {"data": "x" * (1 << 21)}]),
    ]
    for text in texts:
        assert [violation.code for violation in crash_reports.read(text).violations] == [0x4000000200000001]


def test_escapes_are_undone_from_the_left() -> None:
    escaped = rb"\\u0041 \u0041 C:\\new \\\\ \/ \" \u00e9 \n"

    assert documents._unescape(escaped) == rb'\u0041 A C:\new \\ / " ' + "é \n".encode()
