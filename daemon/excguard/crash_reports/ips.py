"""Guard violations in .ips reports: a line of JSON and a body of JSON, whole, cut off or edited by hand.

Two readers: `well_formed` decodes only what is needed (most of a report are threads and images of no interest
here), `fragments` takes anything else and picks the objects out of the text wherever they are.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from excguard.crash_reports.report import Found, Frame, Report
from excguard.crash_reports.text import number, termination_code, words

if TYPE_CHECKING:
    from collections.abc import Iterator

_KINDS = {
    "109": "crash",
    "309": "crash",
    "308": "crash",
    "385": "simulated",
    "298": "JetsamEvent",
    "115": "reset counter",
    "142": "CPU resource",
    "144": "wakeups resource",
    "145": "disk writes resource",
    "202": "CPU resource",
    "206": "wakeups resource",
    "210": "panic",
    "288": "stackshot",
}
"""bug_type of the header: which kind of report it is. Others are shown by number: each system adds some."""

_LONGEST_HEADER = 16384
_TOP_FRAMES = 5


class _Thread(msgspec.Struct):
    triggered: bool = False
    frames: msgspec.Raw = msgspec.Raw(b"[]")


class _Body(msgspec.Struct):
    """The keys of a body that are used; the others are skipped without being decoded."""

    exception: Any = None
    termination: Any = None
    os_version: Any = msgspec.field(default=None, name="osVersion")
    process: Any = msgspec.field(default=None, name="procName")
    pid: Any = None
    cpu: Any = msgspec.field(default=None, name="cpuType")
    translated: Any = None
    simulated: Any = msgspec.field(default=None, name="isSimulated")
    faulting: Any = msgspec.field(default=None, name="faultingThread")
    bug_type: Any = None
    threads: list[_Thread] = []
    images: list[msgspec.Raw] = msgspec.field(default_factory=list, name="usedImages")


class _Frame(msgspec.Struct):
    offset: int | None = msgspec.field(default=None, name="imageOffset")
    image: int = msgspec.field(default=-1, name="imageIndex")
    symbol: str = ""
    symbol_offset: int | None = msgspec.field(default=None, name="symbolLocation")


class _Image(msgspec.Struct):
    name: str = ""
    base: int | None = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_any = msgspec.json.Decoder().decode
_decode_frames = msgspec.json.Decoder(list[_Frame]).decode
_decode_image = msgspec.json.Decoder(_Image).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)


def well_formed(data: bytes | memoryview, report: Report) -> list[Found] | None:
    """The violations of a report of valid JSON; None when it is not one.

    Args:
        data: The file.
        report: Gets what the report says besides.
    """
    head, body_bytes = _split(data)
    try:
        body = _decode_body(body_bytes)
    except _UNREADABLE:
        return None
    exception = body.exception if isinstance(body.exception, dict) else {}
    ending = body.termination if isinstance(body.termination, dict) else {}
    if not (exception or ending or head or body.bug_type):
        return None
    _identify(report, body, head)
    if not exception and not ending:
        return None if _UNNAMED_BYTES.search(data) else []
    report.exception_type = _text(exception.get("type"))
    found = gather(exception, ending)
    found.release = report.os
    report.frames = _frames(body)
    return [found]


_GLANCE = re.compile(
    rb'"exception"\s*:\s*\{([^{}]*"type"\s*:\s*"EXC_([A-Z_]+)"[^{}]*)\}'
    rb'\s*,\s*"termination"\s*:\s*\{([^{}]*)\}'
)
_NO_CODE = re.compile(rb'"rawCodes"\s*:\s*\[\s*0\s*,')


def other_crash(head: bytes | bytearray | memoryview) -> bool:
    """Whether the first bytes of a report are enough to tell that it is a crash without a guard in it.

    ReportCrash writes exception and termination before the threads, which make up most of a report; a scan of
    many reports need not read those. False when in doubt.
    """
    match = _GLANCE.search(head)
    if match is None or match[2] == b"GUARD" or b"GUARD" in match[3]:
        return False
    before = bytes(head[: match.start()])
    if before.count(b"{") - before.count(b"}") != 1:  # not a key of the body itself
        return False
    return match[2] != b"CRASH" or _NO_CODE.search(match[1]) is not None


def gather(exception: dict[str, Any], ending: dict[str, Any]) -> Found:
    """What the exception and termination objects say."""
    found = Found(origin="ips", exception_type=_text(exception.get("type")), codes=_codes(exception))
    if len(found.codes) > 1:
        found.subcode = found.codes[1]
    found.guard_type = _guard_type(exception)
    violations = exception.get("violations")
    if isinstance(violations, list) and violations and isinstance(violations[0], str):
        found.flavor_name = violations[0]
        if len(violations) > 1:
            found.notes.append(f"the report lists {len(violations)} violations; the first is shown")
    words(_text(exception.get("message")) or "", found)
    target_key, guard_key = ("namespc", "reason") if found.guard_type == "USER" else ("port", "guardId")
    if found.target is None:
        found.target = _whole(exception.get(target_key), 32)
    if found.guard is None:
        found.guard = _whole(exception.get(guard_key), 64)
    if ending.get("namespace") == "GUARD":
        termination_code(_whole(ending.get("code"), 64), found)
    elif namespace := _text(ending.get("namespace")):
        code, indicator = _whole(ending.get("code"), 64), _text(ending.get("indicator"))
        told = [
            namespace,
            *([f"code {code}"] if code is not None else []),
            *([indicator] if indicator else []),
        ]
        found.notes.append(f"the termination reason is of another namespace: {', '.join(told)}")
    return found


def _guard_type(exception: dict[str, Any]) -> str | None:
    subtype = _text(exception.get("subtype")) or ""
    if subtype.startswith("GUARD_TYPE_"):
        return subtype.removeprefix("GUARD_TYPE_")
    if "port" in exception and "guardId" in exception:  # only Mach port guards have both
        return "MACH_PORT"
    return None


_OBJECT = re.compile(r'"(exception|termination)"\s*:\s*(?=\{)')
_UNNAMED = re.compile(r'"(?:violations|guardId)"\s*:|"subtype"\s*:\s*"GUARD_TYPE_')
_UNNAMED_BYTES = re.compile(_UNNAMED.pattern.encode())
_STRING = r'"{}"\s*:\s*"((?:[^"\\]|\\.)*)'
_LONGEST_OBJECT = 65536


def fragments(text: str, report: Report) -> tuple[list[Found], str]:
    """Violations in exception and termination objects amid any text, and the text without these objects."""
    groups: list[dict[str, dict[str, Any]]] = []
    rest, cut = [], 0
    for start, name, opening in _objects(text):
        if start < cut:
            continue
        value, end = _object(text, opening)
        if not groups or name in groups[-1]:
            groups.append({})
        groups[-1][name] = value
        rest.append(text[cut:start])
        cut = end
    rest.append(text[cut:])
    if groups:
        _identify_text(report, text)
    found = []
    for group in groups:
        exception = group.get("exception", {})
        report.exception_type = report.exception_type or _text(exception.get("type"))
        found.append(gather(exception, group.get("termination", {})))
        found[-1].release = report.os
    return found, "\n".join(rest)


def _objects(text: str) -> Iterator[tuple[int, str, int]]:
    """Where objects of interest are: the start of their key, their name, and their opening brace."""
    keyed = False
    for match in _OBJECT.finditer(text):
        keyed = True
        yield match.start(), match[1], match.end()
    if not keyed and (key := _UNNAMED.search(text)):  # an exception object that was quoted without its key
        opening = text.rfind("{", 0, key.start())
        if opening >= 0:
            yield opening, "exception", opening


def _object(text: str, start: int) -> tuple[dict[str, Any], int]:
    """The object at `start` and where it ends; what can be made out of one that is cut off or broken."""
    window = text[start : start + _LONGEST_OBJECT]
    try:
        value, length = json.JSONDecoder().raw_decode(window)
    except (ValueError, RecursionError):
        value = {}
        end = window.find("}")
        window = window if end < 0 else window[: end + 1]
        for key in ("type", "subtype", "codes", "message", "namespace"):
            if match := re.search(_STRING.format(key), window):
                value[key] = match[1]
        for key in ("port", "guardId", "code", "namespc", "reason"):
            if match := re.search(rf'"{key}"\s*:\s*(\d{{1,20}})(?:[\s,}}]|$)', window):
                value[key] = int(match[1])
        if match := re.search(r'"violations"\s*:\s*\[\s*"([A-Z_]+)"', window):
            value["violations"] = [match[1]]
        return value, start + len(window)
    return value if isinstance(value, dict) else {}, start + length


def _split(data: bytes | memoryview) -> tuple[dict[str, Any], bytes | memoryview]:
    """The header line, where there is one before the body, and the body; neither is copied."""
    start = bytes(data[:_LONGEST_HEADER])
    line, newline, rest = start.partition(b"\n")
    if newline and line.rstrip().endswith(b"}") and rest.lstrip()[:1] == b"{":
        try:
            head = _decode_any(line)
        except _UNREADABLE:
            return {}, data
        if isinstance(head, dict):
            return head, memoryview(data)[len(line) + 1 :]
    return {}, data


def _identify(report: Report, body: _Body, head: dict[str, Any]) -> None:
    report.format = "ips"
    kind = _text(head.get("bug_type")) or _text(body.bug_type)
    report.kind = _KINDS.get(kind or "309") or f"bug_type {kind}"
    if body.exception is not None and report.kind.startswith("bug_type"):
        report.kind = "crash"
    if body.simulated:
        report.kind = "simulated"
    report.process = _text(body.process) or _text(head.get("app_name")) or _text(head.get("name"))
    report.pid = _whole(body.pid, 32)
    system = body.os_version if isinstance(body.os_version, dict) else {}
    train, build = _text(system.get("train")), _text(system.get("build"))
    report.os = _text(head.get("os_version")) or (f"{train} ({build})" if train and build else train)
    report.cpu = _text(body.cpu)
    if report.cpu and body.translated is True:
        report.cpu += " (Translated)"


def _identify_text(report: Report, text: str) -> None:
    report.format = "ips"

    def string(key: str) -> str | None:
        match = re.search(_STRING.format(key), text)
        return match[1] if match else None

    report.process = report.process or string("procName") or string("app_name")
    train, build = string("train"), string("build")
    report.os = report.os or string("os_version") or (f"{train} ({build})" if train and build else train)
    report.cpu = report.cpu or string("cpuType")
    if report.pid is None and (match := re.search(r'"pid"\s*:\s*(\d{1,10})\b', text)):
        report.pid = int(match[1])


def _frames(body: _Body) -> list[Frame]:
    thread = next((thread for thread in body.threads if thread.triggered), None)
    if thread is None:
        faulting = body.faulting
        if not isinstance(faulting, int) or not 0 <= faulting < len(body.threads):
            return []
        thread = body.threads[faulting]
    try:
        decoded = _decode_frames(thread.frames)[:_TOP_FRAMES]
    except _UNREADABLE:
        return []
    found = []
    for index, frame in enumerate(decoded):
        image = _Image()
        if 0 <= frame.image < len(body.images):
            with suppress(*_UNREADABLE):
                image = _decode_image(body.images[frame.image])
        address = image.base + frame.offset if image.base is not None and frame.offset is not None else None
        found.append(Frame(index, image.name, frame.offset, address, frame.symbol, frame.symbol_offset))
    return found


def _codes(exception: dict[str, Any]) -> tuple[int, ...]:
    raw = exception.get("rawCodes")
    if isinstance(raw, list):
        codes = [_whole(code, 64) for code in raw[:2]]
    else:
        codes = [number(part) for part in (_text(exception.get("codes")) or "").split(",")[:2]]
    return tuple(code for code in codes if code is not None)


def _text(value: object) -> str | None:
    return value[:4096] if isinstance(value, str) and value else None


def _whole(value: object, width: int) -> int | None:
    """A whole number of so many bits, unsigned; None for anything else (floats have lost bits by then)."""
    if isinstance(value, str):
        value = number(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return int(value & 2**width - 1) if -(2 ** (width - 1)) <= value < 2**width else None
