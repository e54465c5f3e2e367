"""Single lines that are of a violation by themselves.

They are those of the kernel's log, of debuggers, of programs that print the Mach exception that they
received, and of crash services. Common to them are EXC_GUARD (or exception 12) and named numbers on one line.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from excguard.crash_reports.evidence import Evidence
from excguard.crash_reports.messages import read_message, read_stackwalk, read_termination, termination_code
from excguard.crash_reports.numbers import HEX, NUMBER, code_number, number, word32
from excguard.decoding.code import FLAVOR_MASK, FLAVOR_SHIFT, TYPE_SHIFT
from excguard.knowledge import flavors, guards
from excguard.knowledge.flavors import canonical

# "ERROR: [Mail:4711] EXC_GUARD AST: type=0x1 flavor=0x200 ...": macOS 26 (guard_ast, osfmk/kern/thread.c)
KERNEL = re.compile(
    rf"(?:(?:ERROR: \[(.{{1,64}}?)|\[([^\[\]]{{1,64}})):(\d{{1,10}})\]\s?)?"
    rf"EXC_GUARD AST:\s{{0,4}}type=({NUMBER})"
    rf"(?:\s{{1,4}}flavor=({NUMBER}))?(?:\s{{1,4}}target=({NUMBER}))?(?:\s{{1,4}}code=({NUMBER}))?"
    rf"(?:\s{{1,4}}subcode=({NUMBER}))?"
)
_EXCEPTION = re.compile(
    r"(?<![A-Za-z0-9_])EXC_GUARD(?![A-Z0-9_])|\b(?:type|[Ee]xception|[Ee]xc(?:eption)?_?[Tt]ype|exc)\s?[=:]?\s?(?:12|0xc)\b"
)
_NAMED_NUMBER = re.compile(
    rf"\b((?:exc_|mach_|exception_|exception)?(?:sub_?)?codes?)([ _]?\[\d\]|\d)?\s{{0,4}}[=:,]?\s{{0,4}}"
    rf"(-?{HEX}|-?\d{{1,20}}|[0-9a-fA-F]{{8,16}})(?![0-9a-zA-Z.])",
    re.IGNORECASE,
)
_CODE_LIST = re.compile(
    rf"(?:\bcodes?(?:\[2\]\s{{0,4}}[=:]?|\s{{0,4}}[=:]?\s{{0,4}}[\[({{])|EXC_GUARD:?\s?[\[({{])\s{{0,4}}"
    rf"({NUMBER}),?\s{{0,4}}({NUMBER})"
)
# "EXC_GUARD code zero: 0x9C02703 -> 0x2000020000002703", a line of ReportCrash's log: printed and whole code
_REPORTCRASH = re.compile(rf"\bEXC_GUARD code zero: {HEX} -> ({HEX})\b")
# The exit reason of a process; namespace 23 is OS_REASON_GUARD (bsd/sys/reason.h), its code is the guard's:
# "domain:guard(23) code:0x20..." of runningboardd, "namespace 23 subcode 0x20..." of panics
_EXIT_REASON = re.compile(
    rf"\b(?:domain:\s?guard\(23\)|namespace:?\s?23\b)[\s,]{{0,4}}(?:sub)?code:?\s{{0,4}}({NUMBER})"
)
_BEHIND = re.compile(
    rf"(?<![A-Za-z0-9_])EXC_GUARD:?\s{{1,4}}({HEX}|\d{{16,20}})(?![0-9a-zA-Z])(?:[,\s]{{1,4}}({NUMBER}))?"
)
_SECOND = re.compile(rf"\s{{0,4}},\s{{0,4}}({NUMBER})")
_LLDB = re.compile(r"stop reason|\(code=|Thread \d+: EXC_")
_PID = re.compile(r"\bpid[ =:]{1,3}(\d{1,10})\b")

_GUARD_TYPE = re.compile(r"GUARD_TYPE_([A-Z][A-Z_]*[A-Z])")
_NAME = re.compile(r"(?<![A-Za-z0-9_])(?:k?GUARD_EXC_|VNG_)?([A-Z][A-Z0-9_]{1,60}[A-Z0-9])(?![a-z0-9_])")
_BESIDE = re.compile(r"EXC_GUARD[`*'\"]{0,3}\s{0,3}[/(:,\-\u2013\u2014]\s{0,3}[`*'\"]{0,3}$")
_BARE_GUARD = re.compile(r"(?<![A-Za-z0-9_])EXC_GUARD(?![A-Z0-9_])")


class Line(NamedTuple):
    """A line that is of a violation.

    Attributes:
        evidence: What it says of it.
        process: The process that it names; None when it names none, likewise pid.
        part: It has a form that lines of a report have too.
    """

    evidence: Evidence
    process: str | None = None
    pid: int | None = None
    part: bool = False


def read_line(line: str) -> Line | None:
    """The violation that a line is of; None when it is of none."""
    if "EXC_GUARD AST" in line and (match := KERNEL.search(line)):
        return Line(_kernel(match), match[1] or match[2], int(match[3]) if match[3] else None)
    if found := _numbers(line):
        return found
    evidence = Evidence(origin="text", exception_type="EXC_GUARD")
    if read_message(line, evidence):
        known = (
            evidence.guard is not None or evidence.code is not None or evidence.guard_type == "REJECTED_SC"
        )
        if known or (evidence.flavor_name and guards.named(canonical(evidence.flavor_name))):
            return Line(evidence, part=True)
        return None
    if match := _BEHIND.search(line):
        _single_number(number(match[1]), evidence)
        if evidence.code is not None:
            evidence.subcode = number(match[2])
        return Line(evidence)
    if match := _REPORTCRASH.search(line) or _EXIT_REASON.search(line):
        termination_code(number(match[1]), evidence)
    elif "GUARD" in line:
        read_termination(line, evidence)
    return Line(evidence, part=True) if evidence.code is not None else None


def _kernel(match: re.Match[str]) -> Evidence:
    evidence = Evidence(origin="kernel-log", exception_type="EXC_GUARD")
    evidence.code, evidence.subcode = number(match[7]), number(match[8])
    kind, evidence.flavor, evidence.target = word32(match[4]), word32(match[5]), word32(match[6])
    evidence.guard_type = guards.NAMES.get(kind or 0)
    if evidence.guard_type is None and evidence.code is None:
        evidence.notes.append(f"the line says guard type {match[4]}, which is not known")
    return evidence


def _named_numbers(line: str) -> dict[str, int]:
    """The numbers of a line by their roles, as `_role` has them."""
    named: dict[str, int] = {}
    for match in _NAMED_NUMBER.finditer(line):
        value = code_number(match[3])
        if value is None and len(match[3]) <= 16:
            value = int(match[3], 16)  # without 0x, and with letters
        if value is None:
            continue
        role = _role(match[1].lower(), match[2])
        named.setdefault(role, value)
        if role == "code" and (second := _SECOND.match(line, match.end())):
            named.setdefault("1", number(second[1]) or 0)
        if len(named) >= 8:
            break
    return named


def _single_number(value: int | None, evidence: Evidence) -> None:
    """Put the one number of a line into `evidence`: the code if it can be, else the guard's (Crashlytics)."""
    kind = guards.NAMES.get((value or 0) >> TYPE_SHIFT)
    if value and kind and flavors.with_value(kind, value >> FLAVOR_SHIFT & FLAVOR_MASK):
        evidence.code = value
    else:
        evidence.guard = value


def _numbers(line: str) -> Line | None:
    """A line with EXC_GUARD and its numbers, each behind its name: (code=..., subcode=...)."""
    exception = _EXCEPTION.search(line)
    if exception is None:
        return None
    evidence = Evidence(origin="lldb" if _LLDB.search(line) else "text", exception_type="EXC_GUARD")
    pid = _PID.search(line)
    if pair := _CODE_LIST.search(line):
        evidence.code, evidence.subcode = number(pair[1]), number(pair[2])
        return Line(evidence, pid=int(pid[1]) if pid else None)
    named = _named_numbers(line)
    if not named:
        return None
    if "1" in named and "2" in named and "code" not in named and "0" not in named:  # counted from 1
        named = {"code": named["1"], "subcode": named["2"]} | named
    code = named.get("code", named.get("0"))
    evidence.subcode = named.get("subcode", named.get("1"))
    if code is None and evidence.subcode is None:
        return None
    evidence.code = code
    named_in_words(line, evidence)
    if code is None and not (evidence.flavor_name or evidence.guard_type or exception[0] == "EXC_GUARD"):
        return None
    return Line(evidence, pid=int(pid[1]) if pid else None)


def _role(name: str, index: str | None) -> str:
    """Whether a number is the "code", the "subcode", or at which index of a list of codes it is."""
    if "sub" in name:
        return "subcode"
    return index.strip("[] _") if index else "code"


def named_in_words(line: str, evidence: Evidence) -> bool:
    """Put into `evidence` the guard type and the flavor that a line names; False when it names neither.

    The flavors of some guard types have names that are plain words (CLOSE, DUP, LINK): those count only
    beside EXC_GUARD or where the line names the guard type.
    """
    kind = _GUARD_TYPE.search(line)
    if kind and kind[1] in guards.NUMBERS:
        evidence.guard_type = evidence.guard_type or kind[1]
    if "EXC_GUARD / " in line:
        read_stackwalk(line, evidence)
    for match in _NAME.finditer(line):
        if match[1].startswith(("GUARD_TYPE_", "EXC_", "SIG", "KERN_SUCCESS")) or match[1] == "GUARD":
            continue
        name = canonical(match[0])
        known = guards.named(name, evidence.guard_type)
        if not known:
            continue
        beside = _BESIDE.search(line, max(0, match.start() - 24), match.start())
        if evidence.guard_type or "_" in name or match[0] != name or beside:
            evidence.flavor_name = name
            evidence.guard_type = evidence.guard_type or known[0].guard_type
            break
    return bool(evidence.flavor_name or evidence.guard_type)


def names_guard(line: str) -> bool:
    """Whether a line names the exception or a guard type at all."""
    return bool(_BARE_GUARD.search(line) or _GUARD_TYPE.search(line))
