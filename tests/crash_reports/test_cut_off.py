"""Reports cut off at any place are read as far as they go."""

import json

import pytest

from excguard import crash_reports

CODE = 0x2000020000002703
BODY = {
    "procName": "App",
    "pid": 77,
    "osVersion": {"train": "macOS 26.4", "build": "25E246"},
    "exception": {
        "type": "EXC_GUARD",
        "subtype": "GUARD_TYPE_MACH_PORT",
        "message": " INVALID_NAME on mach port 9987 (guarded with 0x0000000000000000)",
        "violations": ["INVALID_NAME"],
        "port": 9987,
        "guardId": 0,
        "rawCodes": [163587843, 0],
    },
    "termination": {"namespace": "GUARD", "flags": 2, "code": CODE},
    "faultingThread": 0,
    "threads": [
        {"triggered": True, "frames": [{"imageOffset": 1, "symbol": "mach_port_deallocate", "imageIndex": 0}]}
    ],
    "usedImages": [{"name": "libsystem_kernel.dylib", "base": 4096}],
}
HEAD = '{"app_name":"App","bug_type":"309","os_version":"macOS 26.4 (25E246)"}\n'


@pytest.mark.parametrize("indent", [None, 2])
def test_json_cut_off_anywhere(indent: int | None) -> None:
    whole = HEAD + json.dumps(BODY, indent=indent)
    behind_code = whole.index(str(CODE)) + len(str(CODE))
    for keep in range(len(HEAD), len(whole)):
        reports = crash_reports.documents_of_bytes(whole[:keep].encode())
        found = [violation for report in reports for violation in report.violations]

        assert len(found) <= 1
        if keep >= behind_code:
            assert [violation.code for violation in found] == [CODE]
        if found:
            assert reports[0].truncated
            assert (reports[0].process, reports[0].os) == ("App", "macOS 26.4 (25E246)")
        else:
            assert reports[0].error or reports[0].notes


def test_a_whole_report_is_not_cut_off() -> None:
    for whole in (HEAD + json.dumps(BODY), HEAD + json.dumps(BODY, indent=2)):
        (report,) = crash_reports.documents_of_bytes(whole.encode())

        assert not report.truncated
        assert [frame.symbol for frame in report.frames] == ["mach_port_deallocate"]


def test_a_report_behind_one_that_is_cut_off_is_read_by_itself() -> None:
    other = HEAD.replace('"App"', '"Other"') + json.dumps(BODY | {"procName": "Other"})
    whole = HEAD + json.dumps(BODY, indent=2)
    for keep in range(whole.index('"termination"'), len(whole), 7):
        reports = crash_reports.read_all(whole[:keep] + "\n" + other)

        assert [report.process for report in reports][-1] == "Other"
        assert reports[-1].violations[0].code == CODE
