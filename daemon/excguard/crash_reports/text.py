"""Guard violations in text.

Crash reports of every layout since OS X 10.9, debugger and kernel log lines, and whatever else people paste,
whole or in part. Lines are taken one by one: a report may be cut off anywhere, and stand amid other text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from excguard.crash_reports.report import Found, Frame, Report
from excguard.decoding.code import DecodeError, parse_number
from excguard.knowledge import flavors, guards

if TYPE_CHECKING:
    from collections.abc import Iterator

_NUMBER = r"(?:0[xX][0-9a-fA-F]{1,16}|-?\d{1,20})(?![0-9a-zA-Z])"
_HEX = r"0[xX][0-9a-fA-F]{1,16}"

# A line of a report: "Exception Type:  EXC_GUARD (SIGKILL)", also quoted or in a list.
_KEY = re.compile(
    r"[\s>*#|-]*(Exception Type|Exception Codes?|Exception Subtype|Exception Message|Exception Note"
    r"|Termination Reason|Process|OS Version|Code Type|Incident Identifier"
    r"|Triggered by Thread|Crashed Thread)"
    r"[\s*]*:[\s*]*(.*)"
)
_CODES = re.compile(rf"\s*({_NUMBER})(?:\s*(?:,|at)\s*({_NUMBER}))?")
_EXCEPTION_NAME = re.compile(r"\bEXC_[A-Z_]+[A-Z]")
_TYPE_NAME = re.compile(r"GUARD_TYPE_([A-Z_]*[A-Z])")
_TERMINATION = re.compile(rf"\bGUARD\b[\s,:]*(?:[Cc]ode\s*:?\s*)?({_NUMBER})")
_PROCESS = re.compile(r"(.*?)\s*\[(\d{1,10})\]")

# Single lines of debuggers, of the kernel, of handlers that print what they got, and of crash services.
_LLDB = re.compile(
    rf"EXC_GUARD\s*\(\s*(?:exc_)?code\s*=\s*({_NUMBER})\s*,\s*(?:exc_)?subcode\s*=\s*({_NUMBER})"
)
_KERNEL = re.compile(
    rf"(?:\[([^\[\]]{{1,64}}):(\d{{1,10}})\]\s*)?EXC_GUARD AST:\s*type=({_HEX})(?:\s+flavor=({_HEX}))?"
    rf"(?:\s+target=({_HEX}))?(?:\s+code=({_HEX}))?(?:\s+subcode=({_HEX}))?"
)
_HANDLER = re.compile(
    rf"\btype\s*=\s*(?:12|EXC_GUARD)\b,?\s+code0?\s*=\s*({_NUMBER}),?\s*code1\s*=\s*({_NUMBER})"
)
_SERVICE = re.compile(rf"\bEXC_GUARD:?\s+({_HEX})(?![0-9a-zA-Z])")

# ReportCrash's words.
_ON_TARGET = re.compile(
    r"(?:\b([A-Z][A-Z_]*[A-Z]) |^\s*)on (mach port|file descriptor)(?:\s+(-?\d{1,10})\b)?"
)
_GUARDED = re.compile(rf"\(guarded with ({_HEX}|\d{{1,20}})\b")
_MEMORY = re.compile(rf"offset=({_HEX}),?\s*flavor=({_HEX})(?:\s*\(([A-Z_]+)\))?")
_NAMESPACE = re.compile(rf"namespc (\d{{1,10}}) reason_code ({_HEX}|\d{{1,20}})")

# A whole code amid other text (guard types 1 to 6), with the subcode where that ends the line.
_LONE = re.compile(
    r"(?<![0-9a-zA-Z_.])(0[xX][2-9a-dA-D][0-9a-fA-F]{15}|-?\d{18,20})(?![0-9a-zA-Z_.])"
    rf"(?:(?:\s*,\s*|[ \t]+)(?:subcode\s*=\s*)?({_NUMBER})[ \t]*(?:\)[ \t]*)?$)?",
    re.MULTILINE,
)

_THREAD = re.compile(r"\s*Thread (\d{1,6})( Crashed)?:")
_IMAGE = re.compile(r"\s*(0x[0-9a-fA-F]{1,16})\s+-\s+(0x[0-9a-fA-F]{1,16})\s")
_FRAME = re.compile(r"\s*(\d{1,4})\s+(\S.*?)\s+(0x[0-9a-fA-F]{1,16})\s+(.*)")
_SYMBOL = re.compile(r"(.*?)\s*\+\s*(\d{1,12})(?:\s+\(.*\))?\s*")

_HEADER_KEYS = frozenset(
    {"Process", "Incident Identifier", "OS Version", "Code Type", "Triggered by Thread", "Crashed Thread"}
)
_LONGEST_LINE = 4096
_TOP_FRAMES = 5


def number(text: str | None) -> int | None:
    """The number that text prints, as unsigned 64 bits; None when it prints none."""
    try:
        return None if text is None else parse_number(text)
    except DecodeError:
        return None


def words(message: str, found: Found) -> bool:
    """Put into `found` what ReportCrash's message says; False when it says nothing of a guard."""
    if match := _ON_TARGET.search(message):
        found.guard_type = found.guard_type or ("MACH_PORT" if match[2] == "mach port" else "FD")
        found.flavor_name = found.flavor_name or match[1]
        found.target = _word32(match[3])
        if guarded := _GUARDED.search(message, match.end()):
            found.guard = number(guarded[1])
    elif match := _MEMORY.search(message):
        found.guard_type = found.guard_type or "VIRT_MEMORY"
        found.guard, found.flavor, found.target = number(match[1]), _word32(match[2]), 0
        found.flavor_name = found.flavor_name or match[3]
    elif match := _NAMESPACE.search(message):
        found.guard_type = found.guard_type or "USER"
        found.target, found.guard = _word32(match[1]), number(match[2])
    else:
        return False
    return True


def termination(reason: str, found: Found) -> None:
    """Put into `found` the code of a termination reason whose namespace is GUARD."""
    if match := _TERMINATION.search(reason):
        termination_code(number(match[1]), found)


def termination_code(code: int | None, found: Found) -> None:
    """Put into `found` the code of a GUARD termination, unless it was cut off."""
    if code is not None and code >> 61:
        found.code = code
    elif code:
        found.notes.append(f"the termination reason's number {code} is no guard code: it was cut off")


def scan(text: str, report: Report) -> Iterator[Found]:
    """Every violation that text tells of, and into `report` what else it says.

    Args:
        text: Any text.
        report: Gets process, system, processor, exception type and frames.
    """
    text = text.replace("\\_", "_")  # as Markdown has it
    reader = _Reader(text.splitlines(), report)
    yield from reader.read()
    if not reader.anything:
        yield from _lone(text)


class _Reader:
    """Takes the lines of a text one by one."""

    def __init__(self, lines: list[str], report: Report) -> None:
        self.lines = lines
        self.report = report
        self.header: dict[str, str] = {}  # of the report that the lines are in
        self.block: Found | None = None  # its exception, once it began
        self.goes_on = False  # the exception codes may stand on the next line
        self.anything = False

    def read(self) -> Iterator[Found]:
        for index, whole in enumerate(self.lines):
            line = whole[:_LONGEST_LINE]
            if match := _KEY.match(line):
                yield from self._keyed(match[1], match[2].strip())
            elif self.goes_on and self.block and _CODES.match(line):
                _take(self.block, "Exception Codes", line)
                self.goes_on = False
            elif line:
                yield from self._other(line)
                self._stack(index, line)
        yield from self._close()

    def _keyed(self, key: str, value: str) -> Iterator[Found]:
        """A line "Key: value" of a report."""
        starts_report = key in {"Process", "Incident Identifier"} and key in self.header
        if self.block and (starts_report or (key == "Exception Type" and self.block.exception_type)):
            yield from self._close()
        if starts_report:
            self.header = {}
        if key in _HEADER_KEYS:
            self.header[key] = value
            _head(self.report, key, value)
            return
        self.block = self.block or Found(origin="report")
        _take(self.block, key, value)
        self.anything = True
        self.goes_on = key.startswith("Exception Code") and not self.block.codes

    def _other(self, line: str) -> Iterator[Found]:
        """Any other line: it may tell of a violation by itself, or add to the report's."""
        for found in _single(line, self.block):
            self.anything = True
            found.release = self.header.get("OS Version")
            if self.report.process is None and (match := _KERNEL.search(line)) and match[1]:
                self.report.process, self.report.pid = match[1], int(match[2])
            yield found

    def _stack(self, index: int, line: str) -> None:
        """Take the top frames where the crashed thread starts, and their offsets where the images do."""
        following = self.lines[index + 1 :] if line.startswith(("Thread ", "Binary Images:")) else []
        if not self.report.frames and (thread := _THREAD.match(line)):
            crashed = self.header.get("Triggered by Thread", self.header.get("Crashed Thread", ""))
            if thread[2] or crashed.split(maxsplit=1)[:1] == [thread[1]]:
                self.report.frames = frames(following[: 4 * _TOP_FRAMES])
        elif self.report.frames and line.startswith("Binary Images:"):
            self.report.frames = _with_offsets(self.report.frames, following)

    def _close(self) -> Iterator[Found]:
        if self.block:
            if len(self.block.codes) > 1:
                self.block.subcode = self.block.codes[1]
            self.block.release = self.header.get("OS Version")
            yield self.block
        self.block = None


def frames(lines: list[str]) -> list[Frame]:
    """The top frames of a thread whose lines these are."""
    found: list[Frame] = []
    for line in lines:
        if not (match := _FRAME.match(line[:_LONGEST_LINE])):
            if found:
                break
            continue
        index, image, address, rest = int(match[1]), match[2], int(match[3], 16), match[4].strip()
        symbol = _SYMBOL.fullmatch(rest)
        if symbol and symbol[1].startswith("0x"):
            found.append(Frame(index, image, int(symbol[2]), address))  # base and offset, no symbol
        elif symbol:
            name = symbol[1].removesuffix(f"(in {image})").strip()
            found.append(Frame(index, image, None, address, name, int(symbol[2])))
        else:
            found.append(Frame(index, image, None, address, rest[:200]))
        if len(found) == _TOP_FRAMES:
            break
    return found


def _with_offsets(stack: list[Frame], lines: list[str]) -> list[Frame]:
    """The frames with offsets into their images, from the report's list of images."""
    found = list(stack)
    for line in lines:
        match = _IMAGE.match(line[:_LONGEST_LINE])
        if match is None:
            if line.strip():
                break
            continue
        first, last = int(match[1], 16), int(match[2], 16)
        for at, frame in enumerate(found):
            if frame.offset is None and frame.address is not None and first <= frame.address <= last:
                found[at] = msgspec.structs.replace(frame, offset=frame.address - first)
    return found


def _take(block: Found, key: str, value: str) -> None:
    """A line of a report's exception."""
    if match := _TYPE_NAME.search(value):
        block.guard_type = block.guard_type or match[1]
    if key == "Exception Type":
        name = _EXCEPTION_NAME.search(value)
        block.exception_type = name[0] if name else value[:40] or None
    elif key.startswith("Exception Code"):
        if match := _CODES.match(value):
            block.codes = tuple(code for code in (number(match[1]), number(match[2])) if code is not None)
    elif key == "Termination Reason":
        termination(value, block)
    elif key == "Exception Note" and "SIMULATED" in value:
        block.simulated = True
        block.notes.append("a simulated report: the process was not killed")
    words(value, block)


def _single(line: str, block: Found | None) -> list[Found]:
    """Violations that one line tells by itself; into `block` what a line without a code adds to it."""
    if match := _KERNEL.search(line):
        found = Found(origin="kernel-log", exception_type="EXC_GUARD")
        found.code, found.subcode = number(match[6]), number(match[7])
        kind, found.flavor, found.target = _word32(match[3]), _word32(match[4]), _word32(match[5])
        found.guard_type = flavors.GUARD_TYPES.get(kind or 0)
        if found.guard_type is None and found.code is None:
            found.notes.append(f"the line says guard type {match[3]}, which is not known")
        return [found]
    for origin, pattern in (("lldb", _LLDB), ("handler-log", _HANDLER)):
        if match := pattern.search(line):
            found = Found(origin=origin, exception_type="EXC_GUARD")
            found.code, found.subcode = number(match[1]), number(match[2])
            return [found]
    if block:
        words(line, block)
        return []
    found = Found(origin="text", exception_type="EXC_GUARD")
    if words(line, found):
        return [found] if found.guard is not None or guards.named(found.flavor_name or "") else []
    if match := _SERVICE.search(line):
        found.guard = number(match[1])
    elif "GUARD" in line:
        termination(line, found)
    return [found] if found.guard is not None or found.code is not None else []


def _lone(text: str) -> Iterator[Found]:
    """Whole codes amid text that tells of no violation otherwise; only those that a table knows."""
    for match in _LONE.finditer(text):
        code = number(match[1])
        if code is None:
            continue
        guard_type = flavors.GUARD_TYPES.get(code >> 61)
        if guard_type and (flavors.with_value(guard_type, code >> 32 & 0x1FFFFFFF)):
            found = Found(origin="number", code=code, subcode=number(match[2]))
            found.notes.append("found as a number amid text that says nothing else of it")
            yield found


def _head(report: Report, key: str, value: str) -> None:
    if key == "OS Version":
        report.os = report.os or value or None
    elif key == "Code Type":
        report.cpu = report.cpu or value or None
    elif key == "Process" and report.process is None:
        match = _PROCESS.match(value)
        report.process = (match[1] if match else value) or None
        report.pid = int(match[2]) if match else None


def _word32(text: str | None) -> int | None:
    """A 32-bit number, hex or decimal; None when it is none or does not fit."""
    value = number(text)
    if value is None:
        return None
    if text and text.startswith("-") and value >= 2**64 - 2**31:
        return value & 0xFFFFFFFF
    return value if value < 2**32 else None
