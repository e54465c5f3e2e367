"""Reports as they are on disk, in pieces and whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from excguard.sources.report_file import read
from excguard.sources.report_state import IncompleteReportError

HEADER = {"app_name": "Mail", "bug_type": "309", "os_version": "macOS 26.4 (25E246)"}
BODY = {
    "pid": 4711,
    "procName": "Mail",
    "procLaunch": "2026-07-31 19:27:47.6289 +0300",
    "captureTime": "2026-07-31 19:28:23.7343 +0300",
    "exception": {
        "codes": "0x0000000000000000, 0x0000000000000000",
        "rawCodes": [0, 0],
        "type": "EXC_GUARD",
        "subtype": "GUARD_TYPE_MACH_PORT",
        "violations": ["THREAD_SET_STATE"],
        "message": " THREAD_SET_STATE on mach port 0 (guarded with 0x0000000000000000)",
        "port": 0,
        "guardId": 0,
        "signal": "SIGKILL",
    },
    "termination": {"namespace": "GUARD", "flags": 2, "code": 2305843030688530432},
}
TEXT = """Process:             dota2 [2166]
Date/Time:           2026-07-31 19:28:23.7343 +0300
Launch Time:         2026-07-31 19:27:47.6289 +0300
OS Version:          macOS 26.5.2 (25F84)

Exception Type:    EXC_GUARD
Exception Subtype: GUARD_TYPE_MACH_PORT
Exception Message:  INVALID_OPTIONS on mach port 0 (guarded with 0x8001430200000003)
Exception Codes:   0x0000000009c00000, 0x8001430200000003

Termination Reason:  Namespace GUARD, Code 2305843022098595840,

Thread 0:: MainThrd Dispatch queue: com.apple.main-thread

Binary Images:
"""


def ips(**changes: object) -> str:
    body = {key: value for key, value in {**BODY, **changes}.items() if value is not None}
    return json.dumps(HEADER) + "\n" + json.dumps(body, indent=2)


def written(directory: Path, text: str, name: str = "a.ips") -> Path:
    path = directory / name
    path.write_text(text)
    return path


def test_whole_report(tmp_path) -> None:
    hit = read(written(tmp_path, ips()))

    assert hit is not None
    assert (hit.pid, hit.process) == (4711, "Mail")
    assert (hit.code, hit.subcode) == (0x2000000500000000, 0)
    assert hit.started_ns == 1_785_515_267_628_900_000
    assert hit.time_ns == 1_785_515_303_734_300_000


def test_no_part_of_a_report_is_taken_for_the_whole(tmp_path) -> None:
    whole = ips()
    for end in range(1, len(whole) - 1):
        with pytest.raises(IncompleteReportError):
            read(written(tmp_path, whole[:end]))


def test_report_of_text_is_whole_with_its_binary_images(tmp_path) -> None:
    hit = read(written(tmp_path, TEXT, "a.crash"))
    assert hit is not None
    assert (hit.pid, hit.process, hit.code) == (2166, "dota2", 0x2000000300000000)
    assert hit.started_ns == 1_785_515_267_628_900_000
    with pytest.raises(IncompleteReportError):
        read(written(tmp_path, TEXT[: TEXT.index("Binary")], "a.crash"))


def test_crash_of_another_kind_is_none_of_ours(tmp_path) -> None:
    other = {"type": "EXC_BAD_ACCESS", "signal": "SIGSEGV", "codes": "0x1, 0x0", "rawCodes": [1, 0]}

    assert (
        read(written(tmp_path, ips(exception=other, termination={"namespace": "SIGNAL", "code": 11}))) is None
    )


def test_times_may_be_missing_or_nonsense(tmp_path) -> None:
    path = written(tmp_path, ips(procLaunch=None, captureTime="yesterday"))
    hit = read(path)

    assert hit is not None
    assert hit.started_ns is None
    assert hit.time_ns == path.stat().st_mtime_ns


def test_report_without_the_code_never_becomes_a_hit(tmp_path) -> None:
    exception = {"type": "EXC_GUARD", "subtype": "GUARD_TYPE_MACH_PORT", "signal": "SIGKILL"}
    with pytest.raises(IncompleteReportError, match="leaves out the code"):
        read(written(tmp_path, ips(exception=exception, termination=None)))


def test_the_readers_of_reports_are_loaded_with_the_first_report() -> None:
    """`excguard serve` and `run` may never see one."""
    code = (
        "import sys, excguard.cli.run, excguard.cli.serve\n"
        "print(*(name for name in sys.modules if name.startswith('excguard.crash_reports')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []
