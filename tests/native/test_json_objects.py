"""The C core finds the objects of a JSON list as crash_reports does, and reports read the same with it."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from excguard import crash_reports
from excguard.crash_reports import json_lists
from excguard.native.json_objects import objects

PIECES = [
    "{",
    "}",
    "[",
    "]",
    ",",
    " ",
    "\n",
    '"',
    "\\",
    "a",
    "1",
    '{"a":"b"}',
    '{"a":[{}]}',
    " " * 61,
    '"\\""',
    "é",
]


@given(st.lists(st.sampled_from(PIECES), max_size=40), st.integers(0, 3))
@example(["{", "}", "]"], 0)
@example(["{", "}", ",", "{", "}", "]", "x"], 2)
@example([" " * 61, '{"a":[{}]}', "]"], 1)
def test_any_text(pieces: list[str], start: int) -> None:
    text = b"[" * (start + 1) + "".join(pieces).encode()
    found = objects(text, start)

    assert (None if found is None else list(found)) == json_lists.objects(text, start)


@given(
    st.lists(st.recursive(st.text(max_size=70), st.lists, max_leaves=8), max_size=12),
    st.sampled_from([None, 1, 2]),
)
def test_valid_lists(values: list[Any], indent: int | None) -> None:
    listed = [{"key": value} for value in values]
    text = json.dumps(listed, indent=indent).encode()
    found = objects(text + b', "next": [1]', 0)

    assert found is not None
    assert found[-1] == len(text)
    spans = zip(found[:-1:2], found[1::2], strict=True)
    assert [json.loads(text[begin:end]) for begin, end in spans] == listed


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[1]", b"[{}, 1]", b"[{},]", b"[{} {}]", b"[[]]", b"[{]}]", b'[{"}]']
)
def test_other_text(text: bytes) -> None:
    assert objects(text, 0) is None
    assert json_lists.objects(text, 0) is None


def test_the_largest_list() -> None:
    most = json_lists.MAX_OBJECTS
    for count in (most, most + 1):
        text = b"[" + b",".join([b"{}"] * count) + b"]"
        found = objects(text, 0)

        assert (None if found is None else list(found)) == json_lists.objects(text, 0)
        assert (found is not None) == (count == most)


FRAMES = st.fixed_dictionaries(
    {"imageIndex": st.integers(-1, 8)},
    optional={
        "imageOffset": st.integers(0, 2**40),
        "symbol": st.text(max_size=8),
        "symbolLocation": st.integers(0, 99),
    },
)
THREADS = st.fixed_dictionaries(
    {"id": st.integers(0, 9), "frames": st.lists(FRAMES, max_size=7)},
    optional={
        "triggered": st.booleans(),
        "queue": st.sampled_from(["com.apple.main-thread", '"threads"', "]}", "\\", "true"]),
        "threadState": st.just({"x": [{"value": 1}], "flavor": "ARM_THREAD_STATE64"}),
    },
)
IMAGES = st.fixed_dictionaries(
    {"name": st.sampled_from(["App", "libsystem_kernel.dylib", '{"a"}'])},
    optional={
        "base": st.integers(0, 2**48),
        "path": st.sampled_from(["/Applications/App", "/usr/lib/system/libsystem_kernel.dylib"]),
        "uuid": st.just("4c4c44d8-5555-3144-a1a5-6c4b2a3a6d39"),
    },
)
EXCEPTION = {
    "type": "EXC_GUARD",
    "subtype": "GUARD_TYPE_MACH_PORT",
    "message": " INVALID_NAME on mach port 9987 (guarded with 0x0000000000000000)",
    "violations": ["INVALID_NAME"],
    "port": 9987,
    "guardId": 0,
    "rawCodes": [163587843, 0],
}


@st.composite
def bodies(draw: st.DrawFn) -> str:
    """The body of a report, with its keys in ReportCrash's order or in another one."""
    body: dict[str, Any] = {
        "procName": "App",
        "pid": 77,
        "exception": EXCEPTION,
        "termination": {"namespace": "GUARD", "flags": 2, "code": 2305845208236959491},
        "faultingThread": draw(st.integers(-1, 4)),
        "threads": draw(st.lists(THREADS, max_size=4)),
        "usedImages": draw(st.lists(IMAGES, max_size=9)),
        "sharedCache": {"base": 1, "uuid": "u"},
        "vmSummary": 'ReadOnly: "threads" : [{}]',
    }
    if draw(st.booleans()):
        body = {key: body[key] for key in draw(st.permutations(list(body)))}
    return json.dumps(body, indent=draw(st.sampled_from([None, 1, 2])))


def both(data: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    whole = crash_reports.documents_of_bytes(data)
    outlined = crash_reports.documents_of_bytes(data, objects=objects)
    return [report.to_dict() for report in whole], [report.to_dict() for report in outlined]


HEAD = '{"app_name":"App","bug_type":"309","os_version":"macOS 26.4 (25E246)"}\n'


@given(bodies(), st.sampled_from(["", HEAD]))
def test_reports(body: str, head: str) -> None:
    whole, outlined = both((head + body).encode())

    assert outlined == whole
    assert whole[0]["violations"][0]["code"] == "0x2000020000002703"
    assert not whole[0]["truncated"]


@given(bodies(), st.data())
def test_damaged_reports(body: str, data: st.DataObject) -> None:
    text = HEAD + body
    at = data.draw(st.integers(0, len(text)))
    until = data.draw(st.integers(at, min(len(text), at + 40)) | st.just(len(text)))
    inserted = data.draw(
        st.text(max_size=3) | st.sampled_from([*PIECES, '"threads":[{}]', '"usedImages":[', "true"])
    )
    whole, outlined = both((text[:at] + inserted + text[until:]).encode())

    assert outlined == whole


def test_damage_in_a_thread_that_does_not_matter() -> None:
    threads = '"threads":[{"id":1,,,"frames":[]},{"triggered":true,"frames":[{"imageIndex":0,"symbol":"f"}]}]'
    body = json.dumps({"exception": EXCEPTION})[:-1] + f',{threads},"usedImages":[{{"name":"App"}}]}}'
    whole, outlined = both((HEAD + body).encode())

    assert outlined == whole
    assert [frame["symbol"] for frame in whole[0]["frames"]] == ["f"]
    assert not whole[0]["truncated"]
