"""Other layouts than those of the corpus, reports that contradict themselves, and what is not a report."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import excguard
from excguard import crash_reports
from excguard.crash_reports import Report

GUIDE = """\
Exception Type:    EXC_GUARD (SIGKILL)
Exception Subtype: GUARD_TYPE_MACH_PORT
Exception Message: INVALID_NAME on mach port 9987 (guarded with 0x0000000000000000)
Exception Codes:   0x0000000000002703, 0x0000000000000000
Termination Reason: GUARD 2305845208236959491
"""


def _codes(report: Report) -> list[tuple[int | None, int | None]]:
    return [(found.code, found.subcode) for found in report.violations]


def test_the_example_of_apples_guide() -> None:
    report = excguard.crash_reports.read(GUIDE)

    assert _codes(report) == [(2305845208236959491, 0)]
    assert (
        report.file,
        report.format,
        report.exception_type,
        report.error,
    ) == ("-", "crash", "EXC_GUARD", None)
    assert report.violations[0].flavor_name == "INVALID_NAME"
    assert {check.name: check.ok for check in report.checks} == {
        "exception_codes": True,
        "guard_type": True,
        "words": True,
        "target": True,
        "subcode": True,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Termination Reason: GUARD 2305845208236959491", [(0x2000020000002703, None)]),
        ("Namespace GUARD, Code 2305845208236959491", [(0x2000020000002703, None)]),
        ("Termination Reason:  Namespace GUARD, Code 0x2000020000002703", [(0x2000020000002703, None)]),
        ("* thread #3, stop reason = EXC_GUARD (code=4611686022722355200, subcode=0x8fd4dbfade2dead)",
         [(0x4000000100000000, 0x08FD4DBFADE2DEAD)]),
        ("Thread 1: EXC_GUARD (code=-6917529023346114560, subcode=0x104f2c000)",
         [(0xA000000100000000, 0x104F2C000)]),
        (
            ("12:00:00.1 0x1a2 Default kernel: ERROR: [Foo Bar:12] EXC_GUARD AST: type=0x2 flavor=0x1 "
            "target=0x5 code=0x4000000100000005 subcode=0xabc"),
            [(0x4000000100000005, 0xABC)],
        ),
        ("EXC_GUARD AST: type=0x5 flavor=0x1 target=0x0", [(0xA000000100000000, None)]),
        ("[exc] type=12 code0=0xa000000100000000 code1=0x280000000", [(0xA000000100000000, 0x280000000)]),
        ("saw 2305845208236959491 in the log", [(0x2000020000002703, None)]),
        ("CLOSE on file descriptor 14 (guarded with 0x08fd4dbfade2dead)",
         [(0x400000010000000E, 0x08FD4DBFADE2DEAD)]),
        ("ILLEGAL_MOVE on mach port 259 (guarded with 0x0)", [(0x2000002000000103, 0)]),
        ("OVER_DEALLOC on mach port 259 (guarded with 0x0100000000000000)", [(0x2000000200000103, 1 << 56)]),
        ("> **Exception Type:**  EXC_GUARD\n> **Exception Codes:** 0x4000000200000001, 0x00007fff83fa6c48",
         [(0x4000000200000001, 0x7FFF83FA6C48)]),
        (GUIDE + "\n" + GUIDE.replace("2305845208236959491", "2305845208236959492"),
         [(0x2000020000002703, 0), (0x2000020000002704, 0)]),
    ],
)  # fmt: skip
def test_lines_in_hand(text: str, expected: list[tuple[int, int | None]]) -> None:
    assert _codes(crash_reports.read(text)) == expected


# As people pasted them into issues, whole enough to settle.
SEEN = {
    "iOS 15 .ips, amid other text": (
        (
            '"exception" : {"port":78611,"signal":"SIGKILL","guardId":0,'
            '"codes":"0x0000000000013313, 0x0000000000000000","violations":["INVALID_NAME"],'
            '"message":" INVALID_NAME on mach port 78611 (guarded with 0x0000000000000000)",'
            '"subtype":"GUARD_TYPE_MACH_PORT","type":"EXC_GUARD","rawCodes":[78611,0]},\n'
            ' "termination" : {"namespace":"GUARD","flags":2,"code":2305845208237028115}'
        ),
        ("INVALID_NAME", 0x2000020000013313, 78611, 0),
    ),
    "iOS 26, codes packed as EXC_CRASH does": (
        (
            "OS Version:          iPhone OS 26.1 (23B85)\n"
            "Exception Type:  EXC_GUARD (SIGKILL)\n"
            "Exception Subtype: GUARD_TYPE_MACH_PORT\n"
            "Exception Message:  SET_EXCEPTION_BEHAVIOR on mach port 2147483651 "
            "(guarded with 0x00000000000009ce)\n"
            "Exception Codes:   0x0000000009c00003, 0x00000000000009ce\n"
            "Termination Reason:  Namespace GUARD, Code 2305843037130981379, \n"
        ),
        ("EXCEPTION_BEHAVIOR_ENFORCE", 2305843037130981379, 0x80000003, 0x9CE),
    ),
    "underscores escaped for Markdown": (
        (
            "Exception Type:        EXC\\_GUARD (SIGKILL)\n"
            "Exception Subtype:     GUARD\\_TYPE\\_MACH\\_PORT\n"
            "Exception Codes:       0x0000000000000000, 0x0000000000000000\n"
            "Termination Reason:    Namespace GUARD, Code 2305843030688530432\n"
        ),
        ("THREAD_SET_STATE", 2305843030688530432, 0, 0),
    ),
    "memory, words only": (
        (
            "Exception Type:  EXC_GUARD (SIGKILL)\n"
            "Exception Subtype: GUARD_TYPE_VIRT_MEMORY\n"
            "Exception Message: offset=0x000000010f819000, flavor=0x00000001 (DEALLOC_GAP)\n"
        ),
        ("DEALLOC_GAP", 0xA000000100000000, 0, 0x10F819000),
    ),
    "simulated, the flavor's name empty": (
        (
            "Exception Type:  EXC_GUARD\n"
            "Exception Subtype: GUARD_TYPE_MACH_PORT\n"
            "Exception Message:  on mach port 84999 (guarded with 0x0000000000000000)\n"
            "Exception Codes: 0x0000000000014c07, 0x0000000000000000\n"
            "Exception Note:  SIMULATED (this is NOT a crash)\n"
        ),
        (None, None, 84999, 0),
    ),
    "the kernel's line, cut short": (
        (
            "2026-09-12 16:18:38.347 E  kernel[0:2373f9a] ERROR: [adb:96399] EXC_GUARD AST: type=0x1 "
            "flavor=0x200 target=0x2d33"
        ),
        ("INVALID_NAME", 0x2000020000002D33, 0x2D33, None),
    ),
}


@pytest.mark.parametrize(("text", "expected"), SEEN.values(), ids=SEEN.keys())
def test_layouts_seen_elsewhere(text: str, expected: tuple[object, ...]) -> None:
    report = crash_reports.read(text)

    assert [(v.flavor_name, v.code, v.target, v.subcode) for v in report.violations] == [expected]
    assert report.exception_type == "EXC_GUARD"
    assert [check for check in report.checks if not check.ok] == []


@pytest.mark.parametrize(
    ("line", "flavor", "said"),
    [
        ("EXC_GUARD AST: type=0x7 flavor=0x3 target=0x5", 3, "guard type 0x7, which is not known"),
        ("EXC_GUARD AST: type=0x1 flavor=0x3333", 0x3333, "leaves the code out"),
        ("EXC_GUARD AST: type=0x1 flavor=0xffffffff target=0x5", None, "0xffffffff does not fit a code"),
        (
            "Exception Subtype: GUARD_TYPE_MACH_P\nException Message: offset=0x0, flavor=0xa",
            0xA,
            "leaves the code out",
        ),
    ],
)
def test_a_flavor_without_a_code_is_kept(line: str, flavor: int | None, said: str) -> None:
    (found,) = crash_reports.read(line).violations

    assert (found.flavor, found.flavor_name, found.code) == (flavor, None, None)
    assert said in " ".join(found.notes)


def test_the_kernels_line_names_the_process() -> None:
    line = "ERROR: [Foo Bar:12] EXC_GUARD AST: type=0x1 flavor=0x200 target=0x1 code=0x2000020000000001"
    report = crash_reports.read(line)

    assert (report.process, report.pid, report.format) == ("Foo Bar", 12, "kernel-log")


def test_translated_and_full_report_in_one_paste_are_one_violation() -> None:
    body = {
        "procName": "App",
        "exception": {"type": "EXC_GUARD", "subtype": "GUARD_TYPE_MACH_PORT", "rawCodes": [0x2703, 0]},
        "termination": {"namespace": "GUARD", "code": 2305845208236959491},
    }
    paste = f'Process: App [7]\n{GUIDE}\nFull Report\n\n{{"bug_type":"309"}}\n{json.dumps(body, indent=1)}'

    assert _codes(crash_reports.read(paste)) == [(2305845208236959491, 0)]


@pytest.mark.parametrize(
    ("old", "new", "check", "said"),
    [
        ("INVALID_NAME on", "INCORRECT_GUARD on", "words", "lags behind"),
        ("mach port 9987", "mach port 9988", "target", "the code is used"),
        (
            "(guarded with 0x0000000000000000)",
            "(guarded with 0x1)",
            "subcode",
            "the second exception code is used",
        ),
        (
            "0x0000000000002703,",
            "0x0000000000002704,",
            "exception_codes",
            "the termination reason is used",
        ),
        ("GUARD_TYPE_MACH_PORT", "GUARD_TYPE_FD", "guard_type", "the code is used"),
    ],
)
def test_a_report_that_contradicts_itself(old: str, new: str, check: str, said: str) -> None:
    assert old in GUIDE
    report = crash_reports.read(GUIDE.replace(old, new))

    assert _codes(report) == [(2305845208236959491, 0)]
    assert [(c.name, said in c.detail) for c in report.checks if not c.ok] == [(check, True)]


def test_reportcrashs_word_is_no_contradiction() -> None:
    text = GUIDE.replace("INVALID_NAME", "SET_EXCEPTION_BEHAVIOR").replace(
        "2305845208236959491", "2305843035517099779"
    )
    (found,) = (report := crash_reports.read(text)).violations

    assert found.flavor_name == "EXCEPTION_BEHAVIOR_ENFORCE"
    assert all(check.ok for check in report.checks if check.name == "words")


def test_the_release_of_the_report_names_the_flavor_and_os_overrides_it() -> None:
    text = "OS Version: macOS 10.14.6 (18G103)\nException Type: EXC_GUARD\nTermination Reason: GUARD "
    text += str(1 << 61 | 0x20000 << 32 | 7)

    assert crash_reports.read(text).violations[0].flavor_name == "SEND_INVALID_RIGHT"
    assert crash_reports.read(text, "15.0").violations[0].flavor_name == "SEND_INVALID_VOUCHER"


def test_a_release_that_cannot_be_placed_is_said() -> None:
    (found,) = crash_reports.read("OS Version: Plan 9\n" + GUIDE).violations

    assert found.release is None
    assert any("Plan 9" in note for note in found.notes)


def test_exc_crash_that_hides_a_guard() -> None:
    report = crash_reports.read(
        "Exception Type: EXC_CRASH (SIGKILL)\nException Codes: 0x0000000009c27b83, 0x0"
    )
    (found,) = report.violations

    assert (found.code, found.guard_type, report.exception_type) == (None, None, "EXC_CRASH")
    assert any("signal 9" in note and "0x27b83" in note for note in found.notes)


@pytest.mark.parametrize(
    "text",
    [
        "Exception Type: EXC_BAD_ACCESS (SIGSEGV)\nException Codes: KERN_INVALID_ADDRESS at 0x10\n",
        "Exception Type: EXC_CRASH (SIGABRT)\nException Codes: 0x0000000000000000, 0x0000000000000000\n",
        '{"bug_type":"309"}\n{"exception":{"type":"EXC_BREAKPOINT","rawCodes":[1,2]}}',
    ],
)
def test_other_crashes_are_no_violations_and_no_errors(text: str) -> None:
    report = crash_reports.read(text)

    assert (report.violations, report.error) == ([], None)
    assert "not a guard violation" in report.notes[0]


def test_a_jetsam_event_is_said_to_be_one() -> None:
    text = (
        '{"bug_type":"298","timestamp":"x","os_version":"iPhone OS 17.4 (21E219)"}\n{"processes":[{"pid":1}]}'
    )
    report = crash_reports.read_bytes(text.encode())

    assert (report.kind, report.violations, report.error) == ("JetsamEvent", [], None)
    assert report.notes == ["a JetsamEvent report: it has no exception"]


FRAMES = """\
Process:               App [7]
OS Version:            macOS 26.4 (25E246)
Triggered by Thread:   1
Exception Type:        EXC_GUARD
Termination Reason:    Namespace GUARD, Code 2305845208236959491

Thread 0::  Dispatch queue: com.apple.main-thread
0   libsystem_kernel.dylib        	       0x188fc6214 read + 8

Thread 1:: worker
0   libsystem_kernel.dylib        	       0x188fc6218 mach_port_deallocate + 12
1   App                           	       0x102b73039 0x102b70000 + 12345
2   Other Kit                     	       0x188fd0000 -[Thing go:] (Thing.m:12)

Binary Images:
       0x188fc0000 -        0x188ffffff libsystem_kernel.dylib (*) <0> /usr/lib/system/libsystem_kernel.dylib
       0x102b70000 -        0x102b7ffff com.app (1.0) <0000> /Applications/App.app/Contents/MacOS/App
"""


def test_frames_of_the_triggering_thread() -> None:
    frames = crash_reports.read(FRAMES).frames

    assert [(f.index, f.image, f.offset, f.symbol) for f in frames] == [
        (0, "libsystem_kernel.dylib", 0x6218, "mach_port_deallocate"),
        (1, "App", 12345, ""),
        (2, "Other Kit", 0x10000, "-[Thing go:] (Thing.m:12)"),
    ]


def test_frames_of_an_ips() -> None:
    body = {
        "exception": {"type": "EXC_GUARD", "subtype": "GUARD_TYPE_FD", "rawCodes": [0, 5]},
        "termination": {"namespace": "GUARD", "code": 0x4000000100000000},
        "faultingThread": 0,
        "threads": [
            {"frames": [{"imageOffset": 16, "symbol": "close", "symbolLocation": 8, "imageIndex": 1}]}
        ],
        "usedImages": [{"name": "a", "base": 1}, {"name": "libsystem_kernel.dylib", "base": 4096}],
    }
    (frame,) = crash_reports.read_bytes(json.dumps(body).encode()).frames

    assert str(frame) == "0 libsystem_kernel.dylib+0x10 close + 8"
    assert frame.address == 4112


def test_a_frame_of_libdispatch_names_the_cause() -> None:
    report = crash_reports.read_text(
        "Exception Type: EXC_GUARD\nTermination Reason: Namespace GUARD, Code 2305845208236950019\n\n"
        "Thread 0 Crashed:\n0   libdispatch.dylib  0x188fc6214 _dispatch_bug_kevent_vanished + 8\n"
    )

    assert any("_dispatch_bug_kevent_vanished among the frames" in note for note in report.notes)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b" \n\t\n", "empty"),
        (b"\0\1\2\3" * 100, "binary"),
        (b"\x7fELF\0\0\0", "binary"),
        (b"hello", "no guard violation"),
        (b"{" * 100_000, "no guard violation"),
        (b'{"exception":' * 50_000, "no guard violation"),
        (b"[" * 100_000, "no guard violation"),
        (b'{"exception":{"type":NaN}}', "no guard violation"),
        (b"\xff\xfe\xff", "no guard violation"),
        (b"MDMP", "cut off"),
        (b"MDMP" + b"\xff" * 400, "streams"),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else value,
)
def test_bad_input_is_one_clear_error(data: bytes, said: str) -> None:
    report = crash_reports.read_file(io.BytesIO(data))

    assert report.violations == []
    assert said in (report.error or " ".join(report.notes))
    assert "\n" not in (report.error or "")


def test_a_missing_file(tmp_path: Path) -> None:
    assert "cannot be read: no such file" in str(crash_reports.read(tmp_path / "none.ips").error)
    for place in (tmp_path, str(tmp_path)):
        assert "a directory; `excguard scan` reads" in str(crash_reports.read(place).error)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    huge = tmp_path / "huge.ips"
    with huge.open("wb") as file:
        file.write(b"{")
        file.truncate(1 << 30)  # sparse
    report = crash_reports.read(huge)

    assert "64 MiB" in str(report.error)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_other_encodings(encoding: str) -> None:
    assert _codes(crash_reports.read_bytes(("Pröcess\n" + GUIDE).encode(encoding))) == [
        (2305845208236959491, 0)
    ]


def test_odd_json_values() -> None:
    """Strings, floats, negatives, true, nesting where numbers are due."""
    for odd in ('"x"', "1.5", "true", "null", "[1]", "{}", "-1", "1e400", "99999999999999999999999"):
        text = f"""{{"bug_type":"309"}}
        {{"pid":{odd},"procName":{odd},"osVersion":{odd},"faultingThread":{odd},
        "exception":{{"type":"EXC_GUARD","port":{odd},"guardId":{odd},"rawCodes":[{odd}],"violations":[{odd}]}},
        "termination":{{"namespace":"GUARD","code":2305845208236959491}}}}"""

        assert [c for c, _ in _codes(crash_reports.read_bytes(text.encode()))] == [2305845208236959491]


def test_duplicate_keys_take_the_last() -> None:
    text = '{"exception":{"type":"EXC_CRASH","type":"EXC_GUARD"},"termination":{"namespace":"GUARD","code":1,'
    text += '"code":2305845208236959491}}'

    assert _codes(crash_reports.read_bytes(text.encode())) == [(2305845208236959491, None)]


PIECES = st.sampled_from(
    [
        "Exception Type: EXC_GUARD",
        "Exception Subtype: GUARD_TYPE_MACH_P",
        "Exception Message: offset=0x1, flavor=0xffffffff (DEALLOC_GAP)",
        "EXC_GUARD AST: type=0x7 flavor=0x3",
        "Exception Codes: 0x4000000200000001, 0x1",
        "Exception Message: CLOSE on file descriptor 3 (guarded with 0x1)",
        "Termination Reason: Namespace GUARD, Code 2305845208236959491",
        "OS Version: macOS 14.4 (23E214)",
        "EXC_GUARD AST: type=0x1 flavor=0x200 target=0x2d33",
        '"exception" : {"type":"EXC_GUARD","rawCodes":[1,2]}',
        '"termination":{"namespace":"GUARD","code":',
        "Thread 0 Crashed:",
        "0   a  0x1 b + 1",
        "Binary Images:",
    ]
)


@given(st.lists(PIECES | st.text(max_size=40), max_size=12).map("\n".join))
def test_any_text_is_read(text: str) -> None:
    report = crash_reports.read_text(text)

    assert report.violations or report.error or report.notes
    json.dumps(report.to_dict())


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "subtype",
                    "codes",
                    "rawCodes",
                    "violations",
                    "message",
                    "port",
                    "guardId",
                    "namespace",
                    "code",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["exception", "termination", "osVersion", "procName", "pid", "threads", "usedImages", "bug_type"]
        ),
        JSON_VALUES,
    ),
    st.integers(0, 400),
)
def test_any_json_is_read(body: dict[str, object], cut: int) -> None:
    data = json.dumps(body).encode()
    for part in (data, data[:cut], b'{"bug_type":"309"}\n' + data):
        report = crash_reports.read_bytes(part)
        report.to_dict()

        assert report.violations or report.error or report.notes


@given(st.binary(max_size=300))
def test_any_bytes_are_read(data: bytes) -> None:
    for part in (data, b"MDMP" + data):
        report = crash_reports.read_file(io.BytesIO(part))

        assert report.violations or report.error or report.notes
