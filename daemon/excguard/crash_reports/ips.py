"""Guard violations in .ips reports: a line of JSON and a body of JSON, whole, cut off or edited by hand.

Valid JSON is read here, its body by `ips_body`. Everything else is for `ips_pieces`.
"""

import re
from typing import Any

import msgspec

from excguard.crash_reports import ips_body, kinds
from excguard.crash_reports.draft import Draft
from excguard.crash_reports.evidence import Evidence
from excguard.crash_reports.json_lists import Objects
from excguard.crash_reports.messages import ending_note, read_message, termination_code
from excguard.crash_reports.numbers import number, whole
from excguard.crash_reports.report import Report

_MAX_HEADER = 16384


class _Head(msgspec.Struct):
    """The keys of a header that are used, where they are beside those of the body."""

    os_version: msgspec.Raw = ips_body.NULL
    app_name: msgspec.Raw = ips_body.NULL
    is_simulated: msgspec.Raw = ips_body.NULL


_decode_head = msgspec.json.Decoder(_Head).decode
_decode_any = msgspec.json.Decoder().decode


def well_formed(
    data: bytes | memoryview, header: dict[str, Any] | None = None, objects: Objects | None = None
) -> Draft | None:
    """The report that valid JSON is; None when it is not one.

    Args:
        data: The file, or the body alone where `header` is given.
        header: The object before the body.
        objects: As for `crash_reports.documents_of_bytes`.
    """
    head, body_bytes = ({}, data) if header is not None else _split(data)
    head = header or head
    found = ips_body.read(body_bytes, objects)
    if found is None:
        return None
    body = found.keys
    exception, ending = (
        ips_body.decoded_object(body.exception) or _member(head, "exception"),
        ips_body.decoded_object(body.termination),
    )
    if not (exception or ending or head or body.bug_type != ips_body.NULL):
        return None
    if not head and not _is_report(exception, ending, body):
        return None
    if not head and len(body_bytes) <= ips_body.SMALL:
        head = _merged_head(body_bytes)
    draft = Draft()
    _identify(draft.report, body, head)
    report = draft.report
    if not exception and not ending:
        if report.kind == "panic":
            draft.evidence += _panic(report, _text(ips_body.decoded(body.panic)) or "")
        return None if UNNAMED.search(data) else draft
    report.exception_type = _text(exception.get("type"))
    report.kind = kinds.of_exception(report.kind, report.exception_type, exception.get("subtype"))
    evidence = gather(exception, ending)
    if fault := _fault(ips_body.decoded_object(body.fault)):
        evidence.notes.append(fault)
    evidence.release = report.os
    evidence.simulated = report.kind == kinds.SIMULATED
    report.frames = found.frames()
    draft.evidence.append(evidence)
    return draft


UNNAMED = re.compile(rb'"(?:violations|flavors|guardId)"\s*:|"subtype"\s*:\s*"GUARD_TYPE_')


def _is_report(exception: dict[str, Any], ending: dict[str, Any], body: ips_body.Keys) -> bool:
    """Whether an object without a header is a report's body: other JSON has an "exception" too."""
    said = (exception.get("type"), exception.get("subtype"), exception.get("codes"), ending.get("namespace"))
    return (
        any(isinstance(text, str) for text in said)
        or body.bug_type != ips_body.NULL
        or is_exception(exception)
    )


_GLANCE = re.compile(
    rb'"exception"\s*:\s*\{([^{}]*"type"\s*:\s*"EXC_([A-Z_]+)"[^{}]*)\}'
    rb'\s*,\s*"termination"\s*:\s*\{([^{}]*)\}'
)
_NO_CODE = re.compile(rb'"rawCodes"\s*:\s*\[\s*0\s*,')


def other_crash(head: bytes | bytearray | memoryview) -> bool:
    """Whether the first bytes of a report show that it is a crash without a guard in it.

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


_EXCEPTION_KEYS = frozenset({"codes", "rawCodes", "message", "violations", "flavors", "guardId", "signal"})
_TARGET_KEYS = {"USER": "namespc", "FD": "fd", "VN": "pid", "MACH_PORT": "port"}
_GUARD_KEYS = {"USER": "reason", "VIRT_MEMORY": "offset"}


def gather(exception: dict[str, Any], ending: dict[str, Any]) -> Evidence:
    """What the exception and termination objects of a report say."""
    evidence = Evidence(origin="ips", exception_type=_text(exception.get("type")), codes=_codes(exception))
    if len(evidence.codes) > 1:
        evidence.subcode = evidence.codes[1]
    evidence.guard_type = _guard_type(exception)
    listed = exception.get("violations") or exception.get("flavors")
    if isinstance(listed, list) and listed and isinstance(listed[0], str):
        if not (listed[0].startswith("Unknown ") and read_message(listed[0][:200], evidence)):
            evidence.flavor_name = listed[0][:200]
        if len(listed) > 1:
            evidence.notes.append(f"the report lists {len(listed)} violations; the first is shown")
    said = read_message(_text(exception.get("message")) or "", evidence)
    _read_keys(exception, evidence)
    if evidence.guard_type == "VN" and not said:
        _offender(exception, evidence)
    if ending.get("namespace") == "GUARD":
        termination_code(whole(ending.get("code"), 64), evidence)
    elif namespace := _text(ending.get("namespace")):
        evidence.notes.append(ending_note(namespace[:64], _said(namespace, ending), evidence))
    return evidence


def _read_keys(exception: dict[str, Any], evidence: Evidence) -> None:
    """Read the target and the payload from the keys that the guard type has for them."""
    kind = evidence.guard_type or ""
    if kind == "REJECTED_SC":
        _rejected(exception, evidence)
    if evidence.target is None:
        evidence.target = whole(exception.get(_TARGET_KEYS.get(kind, "port")), 32)
    if evidence.guard is None:
        evidence.guard = whole(exception.get(_GUARD_KEYS.get(kind, "guardId")), 64)


def _offender(exception: dict[str, Any], evidence: Evidence) -> None:
    """Note the process that a vnode guard is about: it need not be the one that the report is of."""
    name, pid = _text(exception.get("process")), whole(exception.get("pid"), 32)
    if name:
        known = f" (pid {pid})" if pid is not None else ""
        evidence.notes.append(f"the process that broke the rule is {name[:64]}{known}")


def _rejected(exception: dict[str, Any], evidence: Evidence) -> None:
    """A rejected system call: machTrap 1 and a trap number, or a system call number."""
    trap = whole(exception.get("machTrap"), 32)
    call = whole(exception.get("syscall"), 64)
    if evidence.target is None and (trap is not None or call is not None):
        evidence.target = 1 if trap else 0
    if evidence.guard is None:
        evidence.guard = whole(exception.get("number"), 64) if call is None else call


def _member(head: dict[str, Any], name: str) -> dict[str, Any]:
    """An object of the line before the body: excerpts have exception and termination on a line each."""
    value = head.get(name)
    return value if isinstance(value, dict) else {}


def _merged_head(data: bytes | memoryview) -> dict[str, Any]:
    """What a header says whose object was put together with the body's."""
    try:
        head = _decode_head(data)
    except ips_body.UNREADABLE:
        return {}
    found = {name: ips_body.decoded(getattr(head, name)) for name in head.__struct_fields__}
    return {name: value for name, value in found.items() if value is not None}


def _panic(report: Report, panic: str) -> list[Evidence]:
    """The violation that ended the first process, and with it the system."""
    from excguard.crash_reports.log_lines import read_line  # noqa: PLC0415 - crash reports do not need it

    found = read_line(panic[:4096])
    if found is None:
        return []
    if "initproc" in panic:
        report.process, report.pid = report.process or "launchd", 1
    report.exception_type = found.evidence.exception_type
    found.evidence.release = report.os
    return [found.evidence]


def _fault(fault: dict[str, Any]) -> str | None:
    """What a program said of a fault of its own; None when it said nothing."""
    keys = ("subsystem", "category", "message")
    said = [f"{key} {text[:200]}" for key in keys if (text := _text(fault.get(key)))]
    return f"os_fault: {', '.join(said)}" if said else None


def _said(namespace: str, ending: dict[str, Any]) -> str:
    """A termination reason of another namespace than GUARD, in words."""
    said = [namespace[:64]]
    if (code := whole(ending.get("code"), 64)) is not None:
        said.append(f"code {code}")
    reasons = ending.get("reasons")
    texts = (ending.get("indicator"), *(reasons if isinstance(reasons, list) else [reasons])[:5])
    said += [shown[:200] for text in texts if (shown := _text(text))]
    return ", ".join(said)


def _guard_type(exception: dict[str, Any]) -> str | None:
    subtype = _text(exception.get("subtype")) or ""
    if subtype.startswith("GUARD_TYPE_"):
        return subtype.removeprefix("GUARD_TYPE_")[:64]
    if "port" in exception and "guardId" in exception:  # only Mach port guards have both
        return "MACH_PORT"
    if "fd" in exception and "guardId" in exception:
        return "FD"
    return None


def is_exception(value: dict[str, Any]) -> bool:
    """Whether an object is a report's exception object of a guard violation, without its key."""
    subtype = value.get("subtype")
    if isinstance(subtype, str) and subtype.startswith("GUARD_TYPE_"):
        return True
    if value.get("type") == "EXC_GUARD":
        return bool(value.keys() & _EXCEPTION_KEYS)
    return "guardId" in value and bool(value.keys() & {"port", "fd", "violations", "flavors", "codes"})


_HEADER = re.compile(rb"([^\n]*+)\n\s*+\{")


def _split(data: bytes | memoryview) -> tuple[dict[str, Any], bytes | memoryview]:
    """The header line, where there is one before the body, and the body; neither is copied."""
    found = _HEADER.match(data, 0, _MAX_HEADER)
    if found and found[1].rstrip().endswith(b"}"):
        try:
            head = _decode_any(found[1])
        except ips_body.UNREADABLE:
            return {}, data
        if isinstance(head, dict):
            return head, memoryview(data)[found.end(1) + 1 :]
    return {}, data


def _identify(report: Report, body: ips_body.Keys, head: dict[str, Any]) -> None:
    report.format = "ips"
    report.kind = kinds.of_bug_type(
        _number_text(head.get("bug_type")) or _number_text(ips_body.decoded(body.bug_type))
    )
    if ips_body.decoded(body.simulated) or head.get("is_simulated") in {1, "1"}:
        report.kind = kinds.SIMULATED
    report.process = (
        _text(ips_body.decoded(body.process)) or _text(head.get("app_name")) or _text(head.get("name"))
    )
    report.pid = whole(ips_body.decoded(body.pid), 32)
    report.os = _text(head.get("os_version")) or _system(ips_body.decoded_object(body.os_version))
    report.cpu = _text(ips_body.decoded(body.cpu))
    if report.cpu and ips_body.decoded(body.translated) is True:
        report.cpu += " (Translated)"


def _system(version: dict[str, Any]) -> str | None:
    train, build = _text(version.get("train")), _text(version.get("build"))
    return f"{train} ({build})" if train and build else train


def identify_by_header(report: Report, head: dict[str, Any]) -> None:
    """Put into `report` what a header line says that the body did not."""
    report.os = report.os or _text(head.get("os_version"))
    report.process = report.process or _text(head.get("app_name")) or _text(head.get("name"))
    if report.kind == "crash":
        kind = kinds.of_bug_type(_number_text(head.get("bug_type")))
        report.kind = "crash" if kind.startswith("bug_type") else kind
    if head.get("is_simulated") in {1, "1"}:
        report.kind = kinds.SIMULATED


def _codes(exception: dict[str, Any]) -> tuple[int, ...]:
    raw = exception.get("rawCodes")
    if isinstance(raw, list):
        codes = [whole(code, 64) for code in raw[:2]]
    else:
        codes = [number(part) for part in (_text(exception.get("codes")) or "").split(",")[:2]]
    return tuple(code for code in codes if code is not None)


def _number_text(value: object) -> str | None:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _text(value: object) -> str | None:
    return value[:4096] if isinstance(value, str) and value else None
