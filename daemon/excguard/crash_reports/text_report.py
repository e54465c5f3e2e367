"""Documents of lines: crash reports since OS X 10.9, debugger sessions, logs and the text of other tools.

Lines are taken one by one: a report may be cut off anywhere, and stand in a quotation, a table or a chat. A
document begins where a key of a report's header or of its exception comes again.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from excguard.crash_reports import ips, kinds
from excguard.crash_reports.draft import TOP_FRAMES, Draft
from excguard.crash_reports.evidence import Evidence
from excguard.crash_reports.keys import DECORATION, HINTS, cells, pairs
from excguard.crash_reports.log_lines import Line, named_in_words, names_guard, read_line
from excguard.crash_reports.messages import ending_note, other_namespace, read_message, read_termination
from excguard.crash_reports.numbers import NUMBER, number, ungrouped
from excguard.crash_reports.stack_text import parse_frame
from excguard.decoding.code import TARGET_MASK, TYPE_SHIFT
from excguard.knowledge import guards

if TYPE_CHECKING:
    from excguard.crash_reports.limits import Limits

MAX_LINE = 4096
"""Characters of a line that are read."""
MAX_EVIDENCE = 1000
"""Violations in one document; a log with more is several documents."""

_CODES = re.compile(rf"({NUMBER})(?:[`\s]{{0,40}},[`\s]{{0,40}}({NUMBER}))?")
_SYSTEM = re.compile(r"(?:Mac )?(?:mac|i|iPad|tv|watch|vision)?OS(?: X)? v?\d|iPhone OS \d")
_GUARD_NUMBER = re.compile(r"(?:12|0xc)\b")
_EXCEPTION_NAME = re.compile(r"\bEXC_[A-Z_]+[A-Z]")
_UNFINISHED = re.compile(r"\b(?:GUARD,?|Code|guarded with|mach port|file descriptor)$")
"""What a value ends with whose line was wrapped."""
_HEX_ALONE = re.compile(r"0[xX][0-9a-fA-F]{8,16}")
_RESOURCE_TYPE = re.compile(r"RESOURCE_TYPE_([A-Z]+)")
_TYPE_NAME = re.compile(r"GUARD_TYPE_([A-Z_]*[A-Z])")
_PROCESS = re.compile(r"(.{1,400}?)\s{0,8}\[(\d{1,10})\]")
_STOPPED = re.compile(r"\bProcess (\d{1,10}) (?:stopped|launched: '([^'\n]{1,1000})')")
_SESSION = re.compile(
    r"\(lldb\) |\bTarget \d{1,4}: \((.{1,255})\) stopped|\bExecutable module set to \"([^\"\n]{1,1000})\""
)
_THREAD = re.compile(r"[\s>|*#+\-]{0,40}Thread ?\[?(\d{1,6})\]?(.*)")
_IMAGE = re.compile(r"[\s>|*#+\-]{0,60}(0x[0-9a-fA-F]{1,16})\s++-\s++(0x[0-9a-fA-F]{1,16})\b")
_SYSTEM_VERSION = re.compile(r"\s{2,}(\d{1,3}\.\d{1,3}(?:\.\d{1,3})?)(?:\s+(\w{4,10}))?\s*")
_ESCAPED = re.compile(r"\\([_\[\]()#*<>~`|+.!-])")
_PANIC = re.compile(r"\bpanic\(cpu \d{1,3} caller")
_INTEREST = re.compile(
    r"[:|=\t]|GUARD|0x|code|Thread|Process|Exception |Termination |OS V|Full Report|panic|syscall|mach"
    r"|on file|namespc|lldb|Executable module"
)
_LINE_HINTS = (
    *("GUARD", "Thread", "code", "syscall", "mach", "on file", "namespc", "panic", "Images"),
    *("guard(23)", "lldb", "Executable module", "Target "),
)
_HINTS = tuple(
    hint.encode() for hint in (*HINTS, *_LINE_HINTS, "id=", "offset=", "type=", "type =", "\\n", "{\\")
)
_AT_START = re.compile(
    rb"^[\s>|*#+\-]{0,40}(?:OS|Crash|Command|Path|Event|PID|Platform|CPU|pid|path)\b", re.MULTILINE
)
_BELOW = 64
"""Lines below an exception in which a stack without a heading is looked for."""
_SINGLE = re.compile(
    r"GUARD|code|type ?=|on (?:mach|file)|syscall |mach_trap |namespc |id=|offset=|msgh_id|xception 12"
)

_PROCESS_KEYS = {"Process", "Parent Process", "Incident Identifier", "CrashReporter Key", "Code Type"}
_SYSTEM_KEYS = {"OS Version", "Operating system", "Report Version", "Date/Time", "Hardware Model"}
_STARTS = _PROCESS_KEYS | _SYSTEM_KEYS | {"PID", "Path", "Command"}
"""Keys that stand before the exception of a report: behind one they begin another report."""
_WHOLE = frozenset({"Report Version", "Date/Time"})
"""Keys of reports that end with a list of images."""
_IGNORED = frozenset({"Responsible", "Responsible Process", "Terminating Process", "Launch Time"})
_COLUMNS = {"exception_type": "Exception Type", "exception_codes": "Exception Codes",
            "exception_notes": "Exception Note", "pid": "PID", "path": "Command"}  # fmt: skip


def may_be_read(part: bytes) -> bool:
    """Whether one of the lines of a text can be of interest by itself."""
    return any(hint in part for hint in _HINTS) or _AT_START.search(part) is not None


class TextReader:
    """Takes the lines of a text one by one and collects its documents."""

    def __init__(self, limits: Limits) -> None:
        """Begin with no report open; `limits` are those of the file."""
        self._limits = limits
        self._drafts: list[Draft] = []
        self._columns: list[str] = []
        self._stopped: tuple[int, str] | None = None
        self._named_above = False  # whether the line before is EXC_GUARD alone
        self._asked = False  # whether the debugger shows more of the stop before
        self._in_stack: Draft | None = None
        self._names: set[tuple[str | None, str | None]] = set()
        self._begin()

    def _begin(self) -> None:
        self._open: Draft | None = None
        self._header: dict[str, str] = {}
        self._block: Evidence | None = None  # the exception of the open report
        self._seen: set[str] = set()  # its keys
        self._subtype = self._ending = ""
        self._waiting: str | None = None  # a key whose value is on the next line
        self._wrapped = ""  # what of it is on its own line
        self._crashed = ""
        self._thread_seen = False
        self._below = 0  # lines since the exception
        self._in_images = False
        self._in_stack = None

    def head(self, header: dict[str, Any]) -> None:
        """Begin with the header line of a report whose body is text."""
        ips.identify_by_header(self._report().report, header)

    def feed(self, line: str) -> None:
        """Read one more line.

        Raises:
            LimitReachedError: It begins a document more than is read.
        """
        if not (self.takes_any_line or _INTEREST.search(line)):
            return
        self._below += 1
        if "GUARD" in line:
            line = ungrouped(line)
        if self._named_above and _HEX_ALONE.fullmatch(line.strip(DECORATION)):
            line = "EXC_GUARD " + line.strip(DECORATION)  # Crashlytics: the number below the name
        self._named_above = line.strip(DECORATION) == "EXC_GUARD"
        if "panic(" in line and _PANIC.search(line):
            self._panic(line)
            return
        if "\\" in line:
            line = _ESCAPED.sub(r"\1", line)  # as Markdown has it
        if self._keyed(line) or self._continued(line) or self._stack(line):
            return
        if _SINGLE.search(line):
            self._single(line)
        self._session(line)

    @property
    def takes_any_line(self) -> bool:
        """Whether the next line can be of interest whatever it is."""
        if self._waiting or self._in_stack or self._in_images:
            return True
        return self._block is not None and not self._thread_seen and self._below < _BELOW

    def close(self) -> list[Draft]:
        """The documents, in the order of the text."""
        self._close()
        kept: list[Draft] = []
        for draft in self._drafts:
            if draft.says_something or not kept or not _complete(kept[-1], draft):
                kept.append(draft)
        return kept

    def _report(self) -> Draft:
        """The report that is open, or a new one."""
        if self._open is None:
            if not (self._drafts[-2:] and _are_headers(self._drafts[-2:])):
                self._limits.take()
            else:
                self._drafts.pop()  # of a header behind another header nothing is kept
            self._open = Draft()
            self._drafts.append(self._open)
        return self._open

    def _close(self) -> None:
        if self._open and self._block:
            report = self._open.report
            if len(self._block.codes) > 1 and self._block.subcode is None:
                self._block.subcode = self._block.codes[1]
            self._block.release = report.os
            if self._block.exception_type == "EXC_GUARD" and (other := other_namespace(self._ending)):
                self._block.notes.append(ending_note(other, self._ending, self._block))
            report.format = "minidump-stackwalk" if "Crash reason" in self._seen else "crash"
            if self._block.exception_type is None and (
                self._block.code is not None or self._block.guard_type
            ):
                self._block.exception_type = "EXC_GUARD"  # the excerpt begins below its type
            report.exception_type = self._block.exception_type
            report.kind = kinds.of_exception(report.kind, report.exception_type, self._subtype)
            if report.process is None and (path := self._header.get("Path", "")).startswith("/"):
                report.process = path.rpartition("/")[2] or None
            report.truncated = bool(self._header.keys() & _WHOLE) and not self._in_images
            self._open.evidence.append(self._block)
        self._begin()

    # Lines "Key: value"

    def _keyed(self, line: str) -> bool:
        tabular = "|" in line or self._columns or ("exception_type" in line and "," in line)
        if tabular and self._row(cells(line)):
            return True
        found = pairs(line)
        if found:
            self._waiting, self._wrapped = None, ""
        for key, value in found:
            if not value:
                self._waiting = key
            elif key.startswith(("Exception", "Termination")):
                self._exception(key, value)
                if _UNFINISHED.search(value):
                    self._waiting, self._wrapped = key, value
            elif key == "Crash reason":
                self._crash_reason(value)
            elif key not in _IGNORED:
                self._head(key, value)
        return bool(found)

    def _continued(self, line: str) -> bool:
        """Take the value of a key on the line before."""
        if self._waiting is None:
            return False
        key, self._waiting = self._waiting, None
        wrapped, self._wrapped = self._wrapped, ""
        value = f"{wrapped} {line.strip(DECORATION + '`')}".strip()
        if key == "Operating system" and self._open and (match := _SYSTEM_VERSION.fullmatch(line)):
            build = f" ({match[2]})" if match[2] else ""
            self._open.report.os = f"{self._open.report.os} {match[1]}{build}"
            return True
        if key == "Exception Codes" and not _CODES.match(value) and not _TYPE_NAME.search(value):
            return False
        if (key == "Process" and _PROCESS.fullmatch(value)) or (key == "OS Version" and _SYSTEM.match(value)):
            self._head(key, value)
            return True
        if not key.startswith(("Exception", "Termination")):
            return False
        self._exception(key, value, again=bool(wrapped))
        return True

    def _row(self, row: list[str]) -> bool:
        """Read a row of a table whose columns are named as osquery names those of `crashes`."""
        if "exception_type" in row and "|" not in self._columns:
            self._columns = row
            return True
        if not self._columns or len(row) != len(self._columns):
            if any(cell.strip("+- ") for cell in row):
                self._columns = []  # the table has ended
            return False
        self._close()
        for name, value in zip(self._columns, row, strict=True):
            if name in {"pid", "path"} and value:
                self._head(_COLUMNS[name], value.rpartition("/")[2])
            elif name in _COLUMNS and value:
                self._exception(_COLUMNS[name], value)
        self._close()
        return True

    def _head(self, key: str, value: str) -> None:
        if key in self._header or (key in _STARTS and self._block):
            self._close()
        self._header[key] = value
        report = self._report().report
        match key:
            case "OS Version":
                report.os = self._system(value)
            case "OS" if report.os is None and _SYSTEM.match(value := value.replace("|", " ")):
                report.os = value
            case "Operating system":
                report.os, self._waiting = value, key
            case "Process":
                match = _PROCESS.match(value)
                report.process, report.pid = (match[1], int(match[2])) if match else (value, None)
            case "Triggered by Thread" | "Crashed Thread":
                self._crashed = value.split(maxsplit=1)[0].rstrip(",")
            case "Event":
                report.kind = kinds.of_event(value) or report.kind
            case "Command" | "PID" | "Path":
                self._of_osquery(key, value)
            case "Code Type" | "CPU" if key == "Code Type" or "Operating system" in self._header:
                report.cpu = value

    def _of_osquery(self, key: str, value: str) -> None:
        """Read keys of spindump and of osquery that name the process."""
        report = self._report().report
        if key == "PID":
            if report.pid is None and value.isdigit() and len(value) <= 10:
                report.pid = int(value)
        elif report.process is None and key == "Command":
            report.process = value

    def _system(self, value: str) -> str:
        of_ios = value[:1].isdigit() and "ios" in self._header.get("Platform", "").lower()  # Crashlytics
        return f"iOS {value}" if of_ios else value

    def _exception(self, key: str, value: str, *, again: bool = False) -> None:
        """Read a line of a report's exception; `again` with what was wrapped to the next line."""
        repeated = not again and key in self._seen and key not in {"Exception Codes", "Exception Note"}
        other = "Crash reason" in self._seen
        if self._block and (repeated or other or (self._open and self._open.report.frames)):
            self._close()
        self._close_panic()
        self._report()
        self._block = block = self._block or Evidence(origin="report")
        self._seen.add(key)
        self._below = 0
        if match := _TYPE_NAME.search(value):
            block.guard_type = block.guard_type or match[1]
        match key:
            case "Exception Type":
                name = _EXCEPTION_NAME.search(value)
                by_number = _GUARD_NUMBER.match(value)
                kind = name[0] if name else "EXC_GUARD" if by_number else value[:40]
                block.exception_type = sys.intern(kind)
                if by_number or (name and name[0] == "EXC_GUARD"):
                    _read_rest(value[by_number.end() if by_number else name.end() :], block)  # type: ignore[union-attr]
            case "Exception Codes":
                self._codes(value, block)
            case "Termination Reason":
                read_termination(value, block)
                self._ending = value[:400]
            case "Exception Subtype":
                self._subtype = value
            case "Exception Note" if "SIMULATED" in value:
                block.simulated = True
                block.notes.append("a simulated report: the process was not killed")
        read_message(value, block)

    def _codes(self, value: str, block: Evidence) -> None:
        value = value.partition(" at ")[0]  # an address: KSCrash's, PLCrashReporter's and Sentry's form
        match = _CODES.match(value) or (_CODES.search(value) if "GUARD_TYPE" in value else None)
        if match:
            block.codes = tuple(code for code in map(number, match.groups()) if code is not None)
        elif not block.codes:
            self._waiting = "Exception Codes"

    def _crash_reason(self, value: str) -> None:
        """Read minidump-stackwalk's "EXC_GUARD / GUARD_TYPE_FD / GUARD_EXC_CLOSE"."""
        if self._block:
            self._close()
        self._close_panic()
        report = self._report().report
        if not names_guard(value):
            name = _EXCEPTION_NAME.search(value)
            report.exception_type = name[0] if name else None
            resource = _RESOURCE_TYPE.search(value)
            report.kind = kinds.of_exception(report.kind, report.exception_type, resource and resource[1])
            return
        self._block = Evidence(origin="report", exception_type="EXC_GUARD")
        self._seen.add("Crash reason")
        _read_rest(value.partition("EXC_GUARD")[2], self._block)

    # Stacks and images

    def _stack(self, line: str) -> bool:
        """Take the frames of the crashed thread, and their offsets where the images are; False for others."""
        if self._in_images and self._open and (match := _IMAGE.match(line)):
            _add_offsets(self._open, int(match[1], 16), int(match[2], 16))
            return True
        if "Binary Images:" in line:
            self._in_images, self._in_stack = True, None
            return True
        if line.lstrip(DECORATION).startswith("Crashed: "):  # Crashlytics
            above = [draft for draft in self._drafts[-2:] if draft.line and not draft.report.frames]
            self._in_stack = above[-1] if above and self._block is None else self._report()
            return True
        if "Thread" in line and (match := _THREAD.match(line)) and self._thread(match[1], match[2]):
            return True
        return self._frame(line)

    def _frame(self, line: str) -> bool:
        draft = self._in_stack
        bare = draft is None and self._block is not None and not self._thread_seen and self._below < _BELOW
        if bare:  # a stack without a heading, below the exception
            draft = self._open
        if draft is None or (bare and draft.report.frames):
            return False
        frames = draft.report.frames
        frame = parse_frame(line, len(frames))
        if frame is None:
            return False
        frames.append(frame)
        if bare:
            self._thread_seen = True
        self._in_stack = draft if len(frames) < TOP_FRAMES else None
        return True

    def _thread(self, index: str, rest: str) -> bool:
        """Read the heading of a thread; False when the line is another one that begins with the word."""
        heading = rest.strip(" :").lower()
        if heading.startswith("crashed with"):  # the registers
            self._in_stack = None
            return True
        headed = rest.startswith(":") or not heading or heading.startswith(("crashed", "(crashed)"))
        crashed = heading.startswith(("crashed", "(crashed)")) or index == self._crashed
        if rest.startswith((" EXC_", "EXC_")):  # lldb's crashlog: "Thread[0] EXC_GUARD (SIGKILL)"
            headed = crashed = True
        if not headed or "EXC_GUARD (code" in rest:
            return False
        self._thread_seen = True
        wanted = crashed and not (self._open and self._open.report.frames)
        self._in_stack = self._report() if wanted else None
        return True

    # Lines by themselves

    def _single(self, line: str) -> None:
        """Read a line without a key: it can be of a violation by itself, or add to the open report."""
        found = read_line(line)
        if found is None:
            if names_guard(line):
                self._name(line)
        elif not self._adds_to_report(found, line):
            self._line(found)

    def _adds_to_report(self, found: Line, line: str) -> bool:
        """Add a line that has a form of a report's own lines to the open report, where it lacks that."""
        block = self._block
        if block is None or self._open is None or self._open.report.frames or "EXC_GUARD" in line:
            return False
        one = found.evidence
        if not _agree(block, one):
            return False
        if one.code is None:
            bare = block.target is None and block.guard is None and block.flavor_name is None
            return found.part and bare and read_message(line, block)
        # "Exception 12, Code ..., Subcode ...": Sentry prints it inside of a report
        if block.code is not None or not (
            found.part or (block.exception_type == "EXC_GUARD" and "12," in line)
        ):
            return False
        block.code, block.subcode = one.code, block.subcode if one.subcode is None else one.subcode
        return True

    def _line(self, found: Line) -> None:
        """Add a document of one line, or one line more to the document before."""
        self._close_panic()
        header = self._open.report if self._open and not self._block else None
        evidence = found.evidence
        self._limits.take()
        draft = Draft(line=True, evidence=[evidence])
        report = draft.report
        report.format, report.exception_type = evidence.origin, evidence.exception_type
        report.process, report.pid = found.process and sys.intern(found.process), found.pid
        if evidence.origin == "lldb":
            if self._asked and self._stopped is None and (shown := self._last_stop(evidence)):
                self._in_stack = shown
                return
            if self._stopped:
                report.pid, report.process = self._stopped[0], self._stopped[1] or None
            self._stopped, self._asked = None, False
        at = len(self._drafts)
        if self._open and header and header.frames and not self._open.evidence:  # as Crashlytics has it
            evidence.release = header.os
            self._open.evidence.append(evidence)
            header.format, header.exception_type = report.format, report.exception_type
            return
        if header:
            evidence.release = report.os = header.os
            report.process, report.cpu = report.process or header.process, header.cpu
            report.pid = header.pid if report.pid is None else report.pid
            at -= self._drafts[-1] is self._open  # the header is that of the lines below it
        last = self._drafts[at - 1] if at else None
        if last and _continues(last, draft):
            last.evidence.append(evidence)
        else:
            self._drafts.insert(at, draft)
            last = draft
        if evidence.origin == "lldb":
            self._in_stack = last

    def _last_stop(self, evidence: Evidence) -> Draft | None:
        """The document of the stop before, where a line of a debugger is of that too."""
        last = self._drafts[-1] if self._drafts else None
        if last is None or last.report.format != "lldb":
            return None
        one = last.evidence[-1]
        return last if (one.code, one.subcode) == (evidence.code, evidence.subcode) else None

    def _name(self, line: str) -> None:
        """Read a line that names the exception: names without numbers."""
        evidence = Evidence(origin="name", exception_type="EXC_GUARD")
        if not named_in_words(line, evidence):
            return
        block = self._block
        bare = block and block.code is None and block.target is None and not block.flavor_name
        if block and bare and block.guard_type in {None, evidence.guard_type}:
            block.guard_type, block.flavor_name = evidence.guard_type, evidence.flavor_name
            return
        if (evidence.guard_type, evidence.flavor_name) in self._names:
            return
        self._names.add((evidence.guard_type, evidence.flavor_name))
        self._limits.take()
        numbered = evidence.code is not None or evidence.target is not None or evidence.guard is not None
        draft = Draft(weak=not numbered, evidence=[evidence])
        draft.report.exception_type = "EXC_GUARD"
        self._drafts.append(draft)

    def _session(self, line: str) -> None:
        """Read lines that say something of the lines behind them."""
        if "Process " in line and (match := _STOPPED.search(line)):
            name = (match[2] or "").rpartition("/")[2]
            if self._stopped and self._stopped[0] == int(match[1]):
                name = name or self._stopped[1]
            self._stopped = (int(match[1]), name)
        elif ("lldb" in line or '"' in line or "Target " in line) and (match := _SESSION.search(line)):
            self._debugger(match[1], match[2])
        elif "Full Report Below" in line:  # Console: a readable report, with its JSON behind it
            self._close()
            self._report().translated = True
        elif "Full Report" in line and line.strip(DECORATION) == "Full Report":
            for draft in self._drafts[-1:]:
                draft.translated = not draft.line and not draft.weak
        elif "/usr/bin/sample" in line and "Analysis Tool" in line:
            self._report().report.kind = "sample"

    def _panic(self, line: str) -> None:
        """Read the first line of a panic: the end of the first process, by a guard or not, is one."""
        if self._block:
            self._close()
        draft = self._report()
        draft.report.kind = "panic"
        if found := read_line(line):
            if draft.evidence:
                self._limits.take()
            draft.evidence.append(found.evidence)
            draft.report.exception_type = found.evidence.exception_type
            if "initproc" in line:
                draft.report.process, draft.report.pid = "launchd", 1

    def _close_panic(self) -> None:
        """Close the report of a panic: it has no exception."""
        if self._open and self._open.report.kind == "panic":
            self._close()

    def _debugger(self, target: str | None, module: str | None) -> None:
        """Read lines that a debugger prints below a stop."""
        self._asked = True
        if module and self._stopped:
            self._stopped = (self._stopped[0], module.rpartition("/")[2])
        last = self._drafts[-1].report if self._drafts else None
        if target and last and last.format == "lldb" and last.process is None:
            last.process = target


def _read_rest(rest: str, block: Evidence) -> None:
    """What tools print behind the exception's name: other names, or the codes in parentheses."""
    if not rest.strip():
        return
    if found := read_line("EXC_GUARD" + rest):
        one = found.evidence
        block.code, block.subcode, block.target = one.code, one.subcode, one.target
        block.guard, block.guard_type, block.flavor_name = one.guard, one.guard_type, one.flavor_name
    named_in_words("EXC_GUARD" + rest, block)


def _agree(one: Evidence, other: Evidence) -> bool:
    """Whether the code of one of two can be that of what the other says in words."""
    code, words = (one.code, other) if one.code is not None else (other.code, one)
    if code is None:
        return True
    kind = guards.NAMES.get(code >> TYPE_SHIFT)
    return words.guard_type in {None, kind} and words.target in {None, code & TARGET_MASK}


def _are_headers(drafts: list[Draft]) -> bool:
    """Whether these are two documents that say nothing of themselves."""
    return len(drafts) == 2 and not (drafts[0].says_something or drafts[1].says_something)


def _continues(last: Draft, draft: Draft) -> bool:
    """Whether a line is of the same process as the lines before."""
    if not last.line or len(last.evidence) >= MAX_EVIDENCE or last.report.frames:
        return False
    return all(
        getattr(last.report, name) == getattr(draft.report, name)
        for name in ("format", "process", "pid", "os")
    )


def _complete(draft: Draft, header: Draft) -> bool:
    """Add a header that stands behind its report to it; False when it is not its header."""
    mine, other = draft.report, header.report
    if mine.process or mine.os or mine.pid is not None or draft.line or not draft.evidence:
        return False
    mine.process, mine.pid, mine.os, mine.cpu = other.process, other.pid, other.os, mine.cpu or other.cpu
    for evidence in draft.evidence:
        evidence.release = evidence.release or other.os
    return True


def _add_offsets(draft: Draft, first: int, last: int) -> None:
    frames = draft.report.frames
    for at, frame in enumerate(frames):
        if frame.offset is None and frame.address is not None and first <= frame.address <= last:
            frames[at] = msgspec.structs.replace(frame, offset=frame.address - first)
