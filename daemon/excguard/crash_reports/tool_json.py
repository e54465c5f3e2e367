"""Guard violations in the JSON of other tools.

Sentry's events, KSCrash's reports, minidump-stackwalk's output, MetricKit's payloads, rows of osquery's
crashes, log(1)'s entries, xcresulttool's output, OTLP logs, and any JSON with a report in a string. Objects
are recognized by their own keys wherever they are, not by the document around them: tools wrap that.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from excguard.crash_reports import ips
from excguard.crash_reports.draft import TOP_FRAMES, Draft
from excguard.crash_reports.evidence import EXC_GUARD, Evidence
from excguard.crash_reports.limits import LimitReachedError
from excguard.crash_reports.log_lines import named_in_words, read_line
from excguard.crash_reports.marks import may_have_guard
from excguard.crash_reports.messages import read_message, read_termination
from excguard.crash_reports.numbers import number, whole
from excguard.crash_reports.report import Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from excguard.crash_reports.limits import Limits

MAX_DEPTH = 128
"""Objects in objects that are read."""

_PROCESS_KEYS = ("process_name", "processName", "procName", "app_name", "appName", "CFBundleExecutable")
_CPU_KEYS = ("cpu_arch", "cpuType", "cpu", "platformArchitecture", "arch")


_BODY_KEYS = frozenset({"exception", "termination", "threads"})
_OF_PROCESS = frozenset({"exception_type", "exceptionType", "procName", "process_name", "crash_info"})
"""Keys of objects whose "pid" is the process's own."""


@dataclass(frozen=True)
class _Context:
    """What the objects around one say of the process and its system."""

    process: str | None = None
    pid: int | None = None
    os: str | None = None
    cpu: str | None = None
    frames: tuple[Frame, ...] = ()


def documents(value: object, read_text: Callable[[str], list[Draft]], limits: Limits) -> list[Draft]:
    """The documents in a JSON value, in its order.

    Args:
        value: The decoded value; its lists are emptied.
        read_text: Reads the documents in a string.
        limits: Of the file that the value is in.
    """
    walk = _Walk(read_text, limits)
    with suppress(LimitReachedError):
        _read_roots(value, walk)
    return walk.drafts


def _read_roots(value: object, walk: _Walk) -> None:
    head: dict[str, Any] | None = None
    for root in _emptied(value) if isinstance(value, list) else [value]:
        if isinstance(root, dict) and "bug_type" in root and not root.keys() & _BODY_KEYS:
            head = root  # of an .ips report, whose body is next
            continue
        walk.root(root if head is None or not isinstance(root, dict) else head | root)
        head = None


def _emptied(values: list[object]) -> Iterator[object]:
    """The elements of a list, each removed from it, so that it is freed as soon as it is read."""
    values.reverse()
    while values:
        yield values.pop()


class _Walk:
    """Goes through a JSON value and collects the documents in it."""

    def __init__(self, read_text: Callable[[str], list[Draft]], limits: Limits) -> None:
        self.drafts: list[Draft] = []
        self._limits = limits
        self._read_text = read_text
        self._seen: set[tuple[object, ...]] = set()

    def root(self, value: object) -> None:
        """Read a value that is a document by itself: what it says two times is one violation."""
        self._seen = set()
        self._walk(value, _around(value, _Context()), 0)

    def _walk(self, value: object, context: _Context, depth: int) -> None:
        if depth > MAX_DEPTH:
            if may_have_guard(msgspec.json.encode(value)):
                self._limits.reach(f"objects in objects are read to a depth of {MAX_DEPTH}")
            return
        if isinstance(value, str):
            self._string(value, context)
            return
        children: Iterable[object] = ()
        if isinstance(value, dict):
            context = _context(value, context)
            if draft := _known(value, context):
                self._add(draft)
                return
            children = value.values()
        elif isinstance(value, list):
            children = _emptied(value)
        for child in children:
            if isinstance(child, (dict, list, str)):
                self._walk(child, context, depth + 1)

    def _string(self, text: str, context: _Context) -> None:
        if len(text) > 8:
            for draft in self._read_text(text):  # counted by its reader
                _complete(draft, context)
                if not self._is_known(draft):
                    self.drafts.append(draft)

    def _add(self, draft: Draft) -> None:
        if not self._is_known(draft):
            self._limits.take()
            self.drafts.append(draft)

    def _is_known(self, draft: Draft) -> bool:
        """Whether the document says what another one of the same root said."""
        if len(draft.evidence) != 1:
            return False
        one = draft.evidence[0]
        what = (one.code, one.codes, one.subcode, one.guard_type, one.flavor_name)
        key = (*what, draft.report.process, draft.report.pid)
        if one.origin in {"json", "text"} and key in self._seen:
            return True
        self._seen.add(key)
        return False


def _known(value: dict[str, Any], context: _Context) -> Draft | None:
    """The document that an object is of by its own keys."""
    exception, ending = value.get("exception"), value.get("termination")
    if isinstance(exception, dict) and (ips.is_exception(exception) or _is_termination(ending)):
        if "threads" in value and (draft := ips.well_formed(msgspec.json.encode(value))) and draft.evidence:
            _complete(draft, context)
            return draft
        return _ips(exception, ending if isinstance(ending, dict) else {}, value, context)
    if ips.is_exception(value):
        return _ips(value, {}, value, context)
    if _is_termination(value):
        return _ips({}, value, {}, context)
    if evidence := _sentry(value) or _mach(value) or _crash_info(value) or _row(value):
        draft = Draft(evidence=[evidence])
        draft.report.format, draft.report.exception_type = "json", evidence.exception_type
        _complete(draft, context)
        return draft
    return None


def _is_termination(value: object) -> bool:
    return isinstance(value, dict) and value.get("namespace") == "GUARD" and "code" in value


def _ips(exception: dict[str, Any], ending: dict[str, Any], body: dict[str, Any], context: _Context) -> Draft:
    evidence = ips.gather(exception, ending)
    draft = Draft(evidence=[evidence])
    draft.report.format = "ips"
    draft.report.exception_type = evidence.exception_type
    if body.get("isSimulated") or body.get("is_simulated"):
        draft.report.kind, evidence.simulated = "simulated", True
    _complete(draft, context)
    return draft


def _mach(value: dict[str, Any]) -> Evidence | None:
    """A Mach exception: {"exception": 12, "code": ..., "subcode": ...} under one of several names."""
    kind = next(
        (value[key] for key in ("exception", "exceptionType", "exception_number", "number") if key in value),
        None,
    )
    named = any(value.get(key) == "EXC_GUARD" for key in ("name", "exception_name", "type", "exceptionName"))
    if whole(kind, 32) != EXC_GUARD and not named:
        return None
    code = next((value[key] for key in ("code", "exceptionCode", "code0") if key in value), None)
    codes = value.get("codes")
    if isinstance(codes, list) and codes and code is None:
        code = codes[0]
    evidence = Evidence(origin="json", exception_type="EXC_GUARD", code=whole(code, 64))
    subcode = next((value[key] for key in ("subcode", "exceptionSubcode", "code1") if key in value), None)
    if subcode is None and isinstance(codes, list) and len(codes) > 1:
        subcode = codes[1]
    evidence.subcode = whole(subcode, 64)
    if isinstance(code, float):
        evidence.notes.append("the code was written as a floating-point number and has lost its low bits")
    if isinstance(reason := value.get("terminationReason"), str):
        read_termination(reason, evidence)
    return evidence if evidence.code is not None else None


def _sentry(value: dict[str, Any]) -> Evidence | None:
    """An exception of Sentry's: {"type": ..., "mechanism": {"meta": {"mach_exception": {...}}}}."""
    mechanism = value.get("mechanism")
    meta = mechanism.get("meta") if isinstance(mechanism, dict) else None
    mach = meta.get("mach_exception") if isinstance(meta, dict) else None
    return _mach(mach) if isinstance(mach, dict) else None


def _crash_info(value: dict[str, Any]) -> Evidence | None:
    """minidump-stackwalk's crash_info: {"type": "EXC_GUARD / GUARD_TYPE_FD / GUARD_EXC_CLOSE", ...}."""
    words = value.get("type") or value.get("crash_reason")
    if not isinstance(words, str) or not words.startswith("EXC_GUARD /"):
        return None
    found = read_line(words)
    evidence = found.evidence if found else Evidence(origin="json", exception_type="EXC_GUARD")
    evidence.origin = "json"
    named_in_words(words, evidence)
    return evidence


def _row(value: dict[str, Any]) -> Evidence | None:
    """A row of osquery's crashes."""
    kind, codes = value.get("exception_type"), value.get("exception_codes")
    if not isinstance(kind, str) or "EXC_GUARD" not in kind:
        return None
    evidence = Evidence(origin="json", exception_type="EXC_GUARD")
    notes = value.get("exception_notes")
    for text in (kind, codes, notes, value.get("exception_message"), value.get("exception_subtype")):
        if isinstance(text, str):
            named_in_words(text[:4096], evidence)
            read_message(text[:4096], evidence)
            read_termination(text[:4096], evidence)
    if isinstance(codes, str):
        words = codes.replace(",", " ").split()
        evidence.codes = tuple(code for word in words[:8] if (code := number(word)) is not None)[:2]
        if len(evidence.codes) > 1:
            evidence.subcode = evidence.codes[1]
    if isinstance(reason := value.get("termination_reason"), str):
        read_termination(reason[:4096], evidence)
    return evidence


def _context(value: dict[str, Any], context: _Context) -> _Context:
    """What an object adds to what is known of the process."""
    found: dict[str, Any] = {}
    if (process := _first(value, _PROCESS_KEYS)) or (
        "crash_path" in value and (process := _base(value.get("path")))
    ):
        found["process"] = process
    if value.keys() & _OF_PROCESS:
        pid = whole(value.get("pid", value.get("process_id")), 32)
        if pid is not None:
            found["pid"] = pid
    if cpu := _first(value, _CPU_KEYS):
        found["cpu"] = cpu
    if system := _system(value):
        found["os"] = system
    if stack := _stack(value):
        found["frames"] = stack
    return replace(context, **found) if found else context


def _around(root: object, context: _Context) -> _Context:
    """What the objects beside the exception say: KSCrash's and Sentry's documents have them apart."""
    if not isinstance(root, dict):
        return context
    found = context
    parts: list[object] = [root.get("system"), root.get("system_info"), root.get("report"), root.get("os"),
                           root.get("device"), root.get("app"), root.get("diagnosticMetaData")]  # fmt: skip
    if isinstance(contexts := root.get("contexts"), dict):
        parts += [contexts.get("os"), contexts.get("app"), contexts.get("device")]
    for part in parts:
        if isinstance(part, dict):
            found = _context(part, found)
    main, modules = root.get("main_module"), root.get("modules")
    if found.process is None and isinstance(main, int) and isinstance(modules, list):
        names = [
            _base(module.get("filename")) for module in modules[main : main + 1] if isinstance(module, dict)
        ]
        found = replace(found, process=names[0] if names and main >= 0 else None)
    if not found.frames and (stack := _crashed_stack(root)):
        found = replace(found, frames=stack)
    return found


def _system(value: dict[str, Any]) -> str | None:
    """The system that an object names, in one of several ways."""
    if isinstance(version := value.get("osVersion"), dict):
        train, build = version.get("train"), version.get("build")
        return f"{train} ({build})" if isinstance(train, str) and isinstance(build, str) else _text(train)
    if isinstance(version := value.get("os_version"), str) and not version[:1].isdigit():
        return version
    for name_key, version_key, build_key in (
        ("system_name", "system_version", "os_version"),
        ("os", "os_ver", ""),
        ("osName", "osVersion", "osBuild"),
        ("os_name", "os_version", "os_build"),
        ("platformType", "osVersion", ""),
        ("name", "version", "build"),
    ):
        name, version = value.get(name_key), value.get(version_key)
        if not isinstance(name, str) or not isinstance(version, str) or not version[:1].isdigit():
            continue
        if name_key == "name" and name.lower() not in {
            "macos",
            "ios",
            "mac os x",
            "ipados",
            "tvos",
            "watchos",
            "visionos",
        }:
            continue
        build = value.get(build_key)
        number_, _, rest = version.partition(" ")
        shown = build if isinstance(build, str) and build else rest.strip("()")
        return f"{name} {number_}" + (f" ({shown})" if shown else "")
    version = value.get("osVersion")  # MetricKit: "iPhone OS 17.4 (21E219)"
    return version if isinstance(version, str) and " " in version else None


def _crashed_stack(root: dict[str, Any]) -> tuple[Frame, ...]:
    """The frames of the thread that is marked as crashed, in the documents of KSCrash and Sentry."""
    info, listed = root.get("crash_info"), root.get("threads")
    if isinstance(info, dict) and isinstance(listed, list):  # minidump-stackwalk
        index = whole(info.get("crashing_thread"), 32)
        if index is not None and index < len(listed) and isinstance(listed[index], dict):
            return _listed(listed[index].get("frames"))
    for holder in (root, root.get("crash"), listed, root.get("crashing_thread")):
        if not isinstance(holder, dict):
            continue
        threads = holder.get("threads", holder.get("values"))
        if isinstance(threads, list):
            for thread in threads[:4096]:
                if isinstance(thread, dict) and thread.get("crashed") is True and (stack := _stack(thread)):
                    return stack
        if stack := _stack(holder):
            return stack
    return ()


def _stack(value: dict[str, Any]) -> tuple[Frame, ...]:
    """The top frames that an object holds: KSCrash's backtrace, Sentry's stacktrace, minidump-stackwalk's."""
    backtrace, trace = value.get("backtrace"), value.get("stacktrace")
    if isinstance(backtrace, dict) and isinstance(contents := backtrace.get("contents"), list):
        return _listed(contents)
    if isinstance(trace, dict) and isinstance(frames := trace.get("frames"), list):
        return _listed(frames[-TOP_FRAMES:][::-1])  # the innermost is the last
    if isinstance(tree := value.get("callStackTree"), dict):
        return _attributed(tree)
    crashing = value.get("crashing_thread")
    if isinstance(crashing, dict) and isinstance(frames := crashing.get("frames"), list):
        return _listed(frames)
    return ()


def _attributed(tree: dict[str, Any]) -> tuple[Frame, ...]:
    """The stack of MetricKit's callStackTree that the crash is of: a frame holds the one that called it."""
    stacks = tree.get("callStacks")
    for stack in stacks[:4096] if isinstance(stacks, list) else []:
        if not isinstance(stack, dict) or stack.get("threadAttributed") is not True:
            continue
        frames: list[Any] = []
        level = stack.get("callStackRootFrames")
        while isinstance(level, list) and level and isinstance(level[0], dict) and len(frames) < TOP_FRAMES:
            frames.append(level[0])
            level = level[0].get("subFrames")
        return _listed(frames)
    return ()


def _listed(frames: object) -> tuple[Frame, ...]:
    found: list[Frame] = []
    for frame in frames[:TOP_FRAMES] if isinstance(frames, list) else []:
        if not isinstance(frame, dict):
            break
        image = _base(_first(frame, ("object_name", "package", "module", "binaryName"))) or ""
        symbol = _first(frame, ("symbol_name", "function", "symbol")) or ""
        address = whole(_any(frame, ("instruction_addr", "offset", "address")), 64)
        start = whole(_any(frame, ("symbol_addr", "symbol_address")), 64)
        base = whole(_any(frame, ("object_addr", "image_addr")), 64)
        offset = whole(_any(frame, ("module_offset", "offsetIntoBinaryTextSegment")), 64)
        if offset is None and address is not None and base is not None and address >= base:
            offset = address - base
        inside = whole(frame.get("function_offset"), 64)
        if inside is None and address is not None and start is not None and address >= start > 0:
            inside = address - start
        found.append(Frame(len(found), image[:200], offset, address, symbol[:1000], inside))
    return tuple(found)


def _complete(draft: Draft, context: _Context) -> None:
    """Add what surrounds a document where it says nothing of it itself."""
    report = draft.report
    report.process = report.process or context.process
    if report.pid is None:
        report.pid = context.pid
    report.cpu = report.cpu or context.cpu
    if report.os is None and context.os:
        report.os = context.os
        for evidence in draft.evidence:
            evidence.release = evidence.release or context.os
    if not report.frames and draft.evidence:
        report.frames = list(context.frames)


def _first(value: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    return next((found[:400] for key in keys if isinstance(found := value.get(key), str) and found), None)


def _any(value: dict[str, Any], keys: tuple[str, ...]) -> object:
    return next((value[key] for key in keys if key in value), None)


def _base(path: object) -> str | None:
    return path.rpartition("/")[2][:400] or None if isinstance(path, str) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
