"""Real reports: every line of the corpus, as printed text and as JSON, and whole headers of reports."""

import json
from pathlib import Path
from typing import Any

import pytest

from excguard import crash_reports

DATA = Path(__file__).parents[1] / "data"
CORPUS = [json.loads(line) for line in (DATA / "reports.jsonl").read_text().splitlines()]
LABELS = {
    "os_version": "OS Version",
    "exception_type": "Exception Type",
    "exception_subtype": "Exception Subtype",
    "exception_message": "Exception Message",
    "exception_codes": "Exception Codes",
    "termination_reason": "Termination Reason",
}


def _printed(entry: dict[str, Any]) -> str:
    """As ReportCrash prints it; an ips entry as the translated report that Console shows of it."""
    if entry["format"] in {"lldb-stop", "kernel-log", "debug-log", "crashlytics"}:
        return str(entry["exception_message"])
    values = dict(entry)
    if exception := entry["ips_exception"]:
        values |= {
            "exception_type": exception.get("type"),
            "exception_subtype": exception.get("subtype"),
            "exception_message": exception.get("message"),
            "exception_codes": exception.get("codes"),
        }
    if (termination := entry["ips_termination"]) and "code" in termination:
        values["termination_reason"] = f"Namespace {termination['namespace']}, Code {termination['code']} "
    lines = []
    for key, label in LABELS.items():
        if values[key] is not None:
            lines += [f"{label + ':':<24}{part}" for part in str(values[key]).split("\n")]
    return "\n".join(lines)


def _json(entry: dict[str, Any], *, pretty: bool) -> str:
    """As an .ips file holds it."""
    exception = entry["ips_exception"]
    termination = entry["ips_termination"]
    if exception is None and entry["format"] == "text" and (entry["code"] or 0) >> 61:
        subtype = entry["exception_subtype"] or (entry["exception_codes"] or "").split("\n")[0]
        exception = {
            "type": "EXC_GUARD",
            "subtype": subtype,
            "rawCodes": [entry["code"] & 0xFFFFF, entry["subcode"] or 0],
        }
        termination = {"namespace": "GUARD", "flags": 2, "code": entry["code"]}
    head = {"app_name": "App", "bug_type": "309", "os_version": entry["os_version"] or ""}
    body = {"procName": "App", "pid": 77, "exception": exception, "termination": termination}
    return json.dumps(head) + "\n" + json.dumps(body, indent=2 if pretty else None)


PRINTED = [entry for entry in CORPUS if entry["format"] != "ips" or entry["ips_exception"]]
"""All but one excerpt, of which nothing but a piece of JSON is left (`test_the_cut_off_excerpt`)."""

IN_JSON = [entry for entry in CORPUS if '"exception": null' not in _json(entry, pretty=False)]
"""Those that say enough for an .ips file."""


def test_most_of_the_corpus_is_tried() -> None:
    assert (len(CORPUS), len(PRINTED), len(IN_JSON)) == (41, 40, 22)


@pytest.mark.parametrize("entry", PRINTED, ids=[entry["source"][:60] for entry in PRINTED])
def test_as_printed(entry: dict[str, Any]) -> None:
    report = crash_reports.read_text(_printed(entry))

    assert len(report.violations) == 1, report
    assert report.error is None
    found = report.violations[0]
    if entry["code"] is not None:
        assert found.code == entry["code"]
    if entry["subcode"] is not None:
        assert found.subcode == entry["subcode"]
    assert all(check.ok for check in report.checks), report.checks


@pytest.mark.parametrize("pretty", [True, False])
@pytest.mark.parametrize("entry", IN_JSON, ids=[entry["source"][:60] for entry in IN_JSON])
def test_as_json(entry: dict[str, Any], *, pretty: bool) -> None:
    whole = _json(entry, pretty=pretty)
    closing = 3 if pretty else 2  # braces and line ends; what was cut off then can still be inferred
    for text, cut in (
        (whole, 0),
        (whole, closing),
        ("```json\n" + whole.replace("\n{", "\n\n{", 1) + "\n```", 0),
    ):
        report = crash_reports.read_bytes(text[: len(text) - cut].encode())

        assert len(report.violations) == 1, report
        found = report.violations[0]
        if entry["code"] is not None:
            assert found.code == entry["code"]
        if entry["subcode"] is not None:
            assert found.subcode == entry["subcode"]


def test_the_cut_off_excerpt() -> None:
    """asmvik/yabai 1297: an exception object that ends amid its violations."""
    text = (
        '{"port":0,"signal":"SIGKILL","guardId":0,"codes":"0x0000000000000000, 0x0000000000000000",'
        '"violations":["TH'
    )
    (found,) = crash_reports.read_text(text).violations

    assert (found.guard_type, found.subcode, found.code) == ("MACH_PORT", 0, None)


@pytest.mark.parametrize(
    ("name", "process", "flavor", "code", "release", "frame"),
    [
        (
            "text_01_macos14.4_arm64_two_codes_lines.txt",
            ("AltTab", 65402),
            "EXCEPTION_BEHAVIOR_ENFORCE",
            2305843035777557328,
            "macOS 14.4",
            "mach_msg2_trap",
        ),
        (
            "text_04_macos26.5.2_subtype_message.txt",
            ("dota2", 2166),
            "INVALID_OPTIONS",
            2305843022098595840,
            "macOS 26.5.2",
            None,
        ),
        (
            "text_05_osx10.9.3_whole_code.txt",
            ("GitX", 34697),
            "DUP",
            0x4000000200000000,
            "macOS 10.9.3",
            "dup",
        ),
        (
            "text_06_ios12_fd_simulated.txt",
            ("our_app", 389),
            "CLOSE",
            0x4000000100000000,
            "iOS 12.1.2 (as macOS 10.14.1)",
            "close",
        ),
        (
            "ips_01_thread_set_state.fragment.json",
            (None, None),
            "THREAD_SET_STATE",
            2305843030688530432,
            None,
            None,
        ),
        ("ips_03_user_simulated.fragment.json", (None, None), None, 6917529027641081874, None, None),
    ],
)
def test_headers_of_whole_reports(
    *,
    name: str,
    process: tuple[str | None, int | None],
    flavor: str | None,
    code: int,
    release: str | None,
    frame: str | None,
) -> None:
    report = crash_reports.read(DATA / "reports" / name)
    (found,) = report.violations

    assert process == (report.process, report.pid)
    assert (flavor, code, release) == (found.flavor_name, found.code, found.release)
    assert all(check.ok for check in report.checks)
    assert frame == (report.frames[0].symbol if report.frames else None)


def test_a_truncated_kernel_pointer_is_no_port() -> None:
    report = crash_reports.read(DATA / "reports" / "text_01_macos14.4_arm64_two_codes_lines.txt")

    assert "not a port name" in report.violations[0].target_meaning
