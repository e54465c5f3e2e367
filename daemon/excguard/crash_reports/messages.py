"""The messages that ReportCrash prints of a guard violation.

They hold, in words, what the code holds in bits: the flavor by name or number, the target, and the payload
("guarded with"). The forms are those of ReportCrash of macOS 10.9 to 27.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from excguard.crash_reports.lazy_pattern import LazyPattern
from excguard.crash_reports.numbers import CODE, HEX, NUMBER, code_number, number, word32
from excguard.knowledge import guards, names

if TYPE_CHECKING:
    import re
    from collections.abc import Callable

    from excguard.crash_reports.evidence import Evidence

_NAME = r"(?:k?GUARD_(?:EXC_)?|VNG_)?[A-Z][A-Z0-9_]*[A-Z0-9]"

# "INVALID_NAME on mach port 9987 (guarded with 0x0)"; the name can be missing, the number can be "..."
_ON_TARGET = LazyPattern(
    rf"(?:(?<![\w.])({_NAME}) |(?:^|(?<=[\s|>:\"]))\s*)on (mach port|file descriptor)"
    rf"(?:\s+({NUMBER}))?"
)
_GUARDED = LazyPattern(rf"\(guarded with ({HEX}|\d{{1,20}})\b")
# "CLOSE on fd 7", "INVALID_NAME on port 0x2703": as people shorten it
_ON_SHORT = LazyPattern(rf"(?<![\w.])({_NAME}) on (port|fd) ({NUMBER})")
# "Unknown GUARD_TYPE_MACH_PORT flavor 11 on mach port 4611 (guarded with 0x7)": newer than that ReportCrash
_UNKNOWN_FLAVOR = LazyPattern(
    rf"[Uu]nknown GUARD_TYPE_([A-Z_]*[A-Z]) flavor ({NUMBER})(?: on [a-z ]{{1,24}}?({NUMBER}))?"
    rf"(?: in code ({NUMBER}))?"
)
_UNKNOWN_TYPE = LazyPattern(rf"[Uu]nknown guard type \(({NUMBER}),\s*({NUMBER})\)")
# "id=0xdeadbeef, pid=512, process=cleaner, flavor=0x00000004 (VNG_UNLINK)": the pid is the offender's
_VNODE = LazyPattern(
    rf"\bid=({HEX}),\s*pid=(-?\d{{1,10}})(?:,\s*process=([^,\n]{{0,64}}))?"
    rf"(?:,\s*flavor=({HEX})(?:\s*\(({_NAME})\))?)?"
)
# A memory guard's: offset 0x000000010f819000, flavor 0x00000001, and its name in parentheses
_MEMORY = LazyPattern(rf"\boffset=({HEX}),?\s*flavor=({HEX})(?:\s*\(({_NAME})\))?")
_SYSCALL = LazyPattern(rf"(?:^|(?<=[\s|>:\"]))syscall ({NUMBER})\s*$")
_TRAP = LazyPattern(rf"\bmach_trap (\d{{1,10}}) number ({NUMBER})")
_NAMESPACE = LazyPattern(rf"\bnamespc (\d{{1,10}}) reason_code ({NUMBER})")
_LEGACY_TRAP = LazyPattern(r"\bmach_msg\w*\(\) called with msgh_id (-?\d{1,10})\b")

# "EXC_GUARD / GUARD_TYPE_FD / GUARD_EXC_CLOSE file descriptor: 11 guard identifier: 3735928559", decimal; for
# flavors that it does not have the whole code and subcode (rust-minidump, minidump/src/minidump.rs)
_STACKWALK = LazyPattern(r"\bEXC_GUARD / GUARD_TYPE_[A-Z_]{1,20} ?/ ")
_STACKWALK_TARGET = LazyPattern(r"\b(?:port name|file descriptor|namespace|pid): (\d{1,10})\b")
_STACKWALK_PAYLOAD = LazyPattern(r"\b(?:guard identifier|subcode|offset|syscall): (\d{1,20})\b")
# "EXC_GUARD / 0x40000001", the upper half of the code: minidump's exception_flags
_STACKWALK_FLAGS = LazyPattern(r"\bEXC_GUARD / 0x([0-9a-fA-F]{8})(?![0-9a-zA-Z])")
_STACKWALK_CODES = LazyPattern(rf" / ({HEX}) / ({HEX})\b")

_TERMINATION = LazyPattern(
    r"\bGUARD\b[\s,:;'\"(]{0,8}(?:flags\W{1,8}\d{1,10}[\s,;'\"]{1,8})?(?:[Cc]ode['\"\s:=]{0,8})?"
    rf"({CODE})"
)

_ENDING = LazyPattern(
    r"^(?:Namespace\s{1,4})?([A-Z][A-Z_]{1,40}|<0x[0-9A-F]{1,8}>),?\s{1,4}(?:Code\s{1,4})?(?:0x|\d)"
)


def read_message(message: str, evidence: Evidence) -> bool:
    """Put what a message says into `evidence`; False when it is not a message of a guard violation."""
    for mark, pattern, read in _FORMS:
        if mark in message and (match := pattern.search(message)):
            read(match, evidence)
            return True
    return False


def _unknown_type(match: re.Match[str], evidence: Evidence) -> None:
    evidence.code, evidence.subcode = number(match[1]), number(match[2])
    evidence.unknown_type = True


def _vnode(match: re.Match[str], evidence: Evidence) -> None:
    evidence.guard_type = evidence.guard_type or "VN"
    evidence.guard, evidence.target = number(match[1]), word32(match[2])
    evidence.flavor = word32(match[4])
    evidence.flavor_name = evidence.flavor_name or match[5]
    if match[3]:
        evidence.notes.append(f"the process that broke the rule is {match[3].strip()} (pid {match[2]})")


def _memory(match: re.Match[str], evidence: Evidence) -> None:
    evidence.guard_type = evidence.guard_type or "VIRT_MEMORY"
    evidence.guard, evidence.flavor = number(match[1]), word32(match[2])
    evidence.flavor_name = evidence.flavor_name or match[3]


def _unknown_flavor(match: re.Match[str], evidence: Evidence) -> None:
    evidence.guard_type = evidence.guard_type or match[1]
    evidence.flavor, evidence.target = word32(match[2]), word32(match[3])
    if match[4]:
        evidence.code = number(match[4])
    _guarded(match, evidence)


def _on_target(match: re.Match[str], evidence: Evidence) -> None:
    evidence.guard_type = evidence.guard_type or ("MACH_PORT" if match[2].endswith("port") else "FD")
    evidence.flavor_name = evidence.flavor_name or match[1]
    evidence.target = word32(match[3])
    _guarded(match, evidence)


def _trap(match: re.Match[str], evidence: Evidence) -> None:
    evidence.guard_type = evidence.guard_type or "REJECTED_SC"
    evidence.target, evidence.guard = word32(match[1]), number(match[2])


def _syscall(match: re.Match[str], evidence: Evidence) -> None:
    evidence.guard_type = evidence.guard_type or "REJECTED_SC"
    evidence.target, evidence.guard = 0, number(match[1])


def _namespace(match: re.Match[str], evidence: Evidence) -> None:
    evidence.guard_type = evidence.guard_type or "USER"
    evidence.target, evidence.guard = word32(match[1]), number(match[2])


def _legacy_trap(match: re.Match[str], evidence: Evidence) -> None:
    evidence.guard_type = evidence.guard_type or "MACH_PORT"
    evidence.flavor_name = evidence.flavor_name or "INVALID_OPTIONS"
    evidence.target = word32(match[1])
    _guarded(match, evidence)


def _guarded(match: re.Match[str], evidence: Evidence) -> None:
    if payload := _GUARDED.search(match.string, match.end()):
        evidence.guard = number(payload[1])


_FORMS: tuple[tuple[str, LazyPattern, Callable[[re.Match[str], Evidence], None]], ...] = (
    ("nknown guard type", _UNKNOWN_TYPE, _unknown_type),
    ("id=", _VNODE, _vnode),
    ("offset=", _MEMORY, _memory),
    ("GUARD_TYPE_", _UNKNOWN_FLAVOR, _unknown_flavor),
    ("on ", _ON_TARGET, _on_target),
    ("on ", _ON_SHORT, _on_target),
    ("mach_trap ", _TRAP, _trap),
    ("syscall ", _SYSCALL, _syscall),
    ("namespc ", _NAMESPACE, _namespace),
    ("msgh_id", _LEGACY_TRAP, _legacy_trap),
)
"""Forms of messages: what is in each of them, what matches them, and what reads a match."""


def read_stackwalk(reason: str, evidence: Evidence) -> None:
    """Put into `evidence` the numbers of a crash reason of minidump-stackwalk."""
    if flags := _STACKWALK_FLAGS.search(reason):
        upper = int(flags[1], 16)
        evidence.guard_type = guards.NAMES.get(upper >> 29)
        evidence.flavor = upper & 0x1FFFFFFF if evidence.guard_type else None
    if not _STACKWALK.search(reason):
        return
    if codes := _STACKWALK_CODES.search(reason):
        evidence.code, evidence.subcode = number(codes[1]), number(codes[2])
    if target := _STACKWALK_TARGET.search(reason):
        evidence.target = word32(target[1])
    if payload := _STACKWALK_PAYLOAD.search(reason):
        evidence.guard = number(payload[1])


def read_termination(reason: str, evidence: Evidence) -> None:
    """Put into `evidence` the code of a termination reason whose namespace is GUARD."""
    if match := _TERMINATION.search(reason):
        termination_code(code_number(match[1]), evidence)


def other_namespace(reason: str) -> str | None:
    """The namespace of a termination reason, where it is not GUARD: "LIBXPC" of "LIBXPC 2 XPC_EXIT_..."."""
    match = _ENDING.search(reason)
    return match[1] if match and match[1] != "GUARD" else None


def ending_note(namespace: str, said: str, evidence: Evidence) -> str:
    """What to note of a termination reason of another namespace than GUARD.

    That of a USER guard is its own.
    """
    own = evidence.guard_type == "USER" and (
        evidence.target is None or names.NAMESPACES.get(evidence.target) == namespace
    )
    return f"termination reason: {said}" if own else f"the termination reason is of another namespace: {said}"


def termination_code(code: int | None, evidence: Evidence) -> None:
    """Put into `evidence` the code of a GUARD termination, unless it was cut off."""
    if code is not None and code >> 61:
        evidence.code = code
    elif code:
        evidence.notes.append(f"the termination reason's number {code} is not a guard code: it was cut off")
