"""What one place of a text says of one guard violation, and the violation that follows from it.

The readers of this package gather what a report prints into `Evidence`; `settle` makes a violation of it and
compares what is printed twice. Reports print the same numbers several times, in part, and not always
correctly:

* the whole code is in the termination reason (namespace GUARD), in debugger and kernel lines, and, for USER
  guards, for soft guards on macOS 26 and on OS X 10.9 and 10.10, in the first of the exception codes;
* otherwise the first exception code holds the low 20 bits of the code, plain up to macOS 15, and packed as
  EXC_CRASH does it (signal, exception type, 20 bits) on macOS 26;
* the words ("INVALID_NAME on mach port 9987") are those of the ReportCrash of that release, which can be
  older than its kernel.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from excguard.crash_reports.report import Check
from excguard.decoding.code import FLAVOR_MASK, FLAVOR_SHIFT, TARGET_MASK, TYPE_SHIFT, join
from excguard.decoding.decode import decode, decode_words
from excguard.decoding.violation import PartialViolation
from excguard.knowledge import flavors, guards, releases
from excguard.knowledge.flavors import canonical

if TYPE_CHECKING:
    from excguard.decoding.violation import Violation

LOW_BITS = 0xFFFFF
"""What EXC_CRASH keeps of an exception code (bsd/kern/kern_exit.c, xnu-11417.121.6)."""

EXC_GUARD = 12
"""The exception's number (mach/exception_types.h)."""

_WHOLE_LINES = frozenset({"lldb", "kernel-log", "text", "minidump", "json"})
"""Origins whose code is whole even where its guard type bits are 0."""


class Evidence(msgspec.Struct, kw_only=True, gc=False):
    """What one place of a text says of one violation; None and empty for what it leaves out.

    Attributes:
        origin: "report", "ips", "lldb", "kernel-log", "minidump", "json", "text", "number" or "name".
        exception_type: "EXC_GUARD", ...
        code: The whole code.
        subcode: The whole subcode.
        codes: The exception codes as printed: often only parts of the code.
        guard_type: "MACH_PORT", ...
        flavor: Its number.
        flavor_name: Its name, with or without a prefix.
        target: The port name, file descriptor, pid ...
        guard: The payload in words ("guarded with").
        release: The system, as printed.
        simulated: Whether the process went on.
        unknown_type: Whether the text says that the guard type is unknown.
        notes: What else is known.
    """

    origin: str
    exception_type: str | None = None
    code: int | None = None
    subcode: int | None = None
    codes: tuple[int, ...] = ()
    guard_type: str | None = None
    flavor: int | None = None
    flavor_name: str | None = None
    target: int | None = None
    guard: int | None = None
    release: str | None = None
    simulated: bool = False
    unknown_type: bool = False
    notes: list[str] = []


def settle(evidence: Evidence, release: str | None) -> tuple[PartialViolation | None, list[Check]]:
    """The violation that the evidence is of, and how its parts agree; None when it is of none.

    Args:
        evidence: What was printed.
        release: The release to read the numbers by, in place of the printed one; None to use the printed one.
    """
    if not _is_of_guard(evidence):
        return None, []
    at = release if release is not None else _placeable(evidence.release)
    if evidence.flavor_name:
        evidence.flavor_name = canonical(evidence.flavor_name)
    if evidence.flavor is not None and evidence.flavor > FLAVOR_MASK:
        evidence.notes.append(f"the flavor {evidence.flavor:#x} does not fit a code, and is left out")
        evidence.flavor = None
    code = _whole_code(evidence)
    subcode = evidence.subcode if evidence.subcode is not None else evidence.guard
    if code is not None:
        violation = decode(code, subcode, _release_of_words(evidence, code, at))
        return _noted(violation, evidence, at), [
            *_code_checks(evidence, violation),
            *_subcode_check(evidence),
        ]
    if evidence.flavor is not None and evidence.guard_type in guards.NUMBERS:
        target = _assumed_target(evidence)
        number = guards.NUMBERS[evidence.guard_type]
        if target is None:
            partial = _without_target(evidence, evidence.flavor, subcode, at)
            return _noted(partial, evidence, at), _subcode_check(evidence)
        code = join(number, evidence.flavor, target)
        violation = decode(code, subcode, _release_of_words(evidence, code, at))
        return _noted(violation, evidence, at), _subcode_check(evidence)
    said = decode_words(evidence.guard_type, _known_name(evidence), _assumed_target(evidence), subcode, at)
    if evidence.flavor is not None and said.flavor is None:
        kind = said.guard_type or "guard"
        summary = f"{kind} violation of flavor {evidence.flavor:#x}, of a guard type that is not known."
        said = said.replace(flavor=evidence.flavor, summary=summary)
    return _noted(said, evidence, at), _subcode_check(evidence)


def unpack_crash(code: int) -> tuple[int, int, int]:
    """What EXC_CRASH packs into its first code: signal, exception type, low 20 bits of that one's code."""
    return code >> 24 & 0xFF, code >> 20 & 0xF, code & LOW_BITS


def _is_of_guard(evidence: Evidence) -> bool:
    if evidence.code is not None or evidence.guard_type or evidence.flavor_name:
        return True
    if evidence.exception_type == "EXC_GUARD":
        return True
    if evidence.exception_type is None:
        return bool(evidence.codes) and evidence.codes[0] >> TYPE_SHIFT in guards.NAMES
    if _hides_guard(evidence):
        signal, _exception, low = unpack_crash(evidence.codes[0])
        evidence.notes.append(
            f"EXC_CRASH hides the guard: it keeps signal {signal}, EXC_GUARD and the low 20 bits of the "
            f"code, {low:#x}; guard type and flavor are lost"
        )
        return True
    return False


def _hides_guard(evidence: Evidence) -> bool:
    """Whether this is an EXC_CRASH whose first code packs an EXC_GUARD."""
    if evidence.exception_type != "EXC_CRASH" or not evidence.codes or evidence.codes[0] >> 32:
        return False
    signal, exception, _low = unpack_crash(evidence.codes[0])
    return exception == EXC_GUARD and signal != 0


def _whole_code(evidence: Evidence) -> int | None:
    if evidence.code is not None and (evidence.code >> TYPE_SHIFT or evidence.unknown_type):
        return evidence.code
    if evidence.codes and evidence.codes[0] >> TYPE_SHIFT:
        return evidence.codes[0]
    if evidence.code is not None and evidence.origin in _WHOLE_LINES:
        return evidence.code  # type 0: not a guard, and decode says so
    if (
        evidence.codes
        and evidence.origin == "report"
        and evidence.codes[0] >> FLAVOR_SHIFT
        and not evidence.guard_type
    ):
        return evidence.codes[0]  # a 32-bit process: the type bits are missing, and decode says so
    return None


def _assumed_target(evidence: Evidence) -> int | None:
    """The target; a message of a memory guard leaves it out, and it is 0 but for the newest flavors."""
    if evidence.target is None and evidence.guard_type == "VIRT_MEMORY" and evidence.guard is not None:
        return 0
    return evidence.target


def _placeable(release: str | None) -> str | None:
    if release is None:
        return None
    try:
        releases.parse(release)
    except releases.ReleaseError:
        return None
    return release


def _release_of_words(evidence: Evidence, code: int, at: str | None) -> str | None:
    """The release to read a code by: without one, one on which its number has the name that was printed."""
    kind = guards.NAMES.get(code >> TYPE_SHIFT)
    if at is not None or kind is None or not evidence.flavor_name:
        return at
    value = code >> FLAVOR_SHIFT & FLAVOR_MASK
    meanings = flavors.with_value(kind, value)
    named = [flavor for flavor in guards.named(evidence.flavor_name, kind) if flavor in meanings]
    if not named or named[0].name == meanings[0].name or meanings[0] in named:
        return None
    flavor = named[0]
    shown = releases.show(flavor.last if flavor.last != releases.NEWEST else flavor.first)
    evidence.notes.append(
        f"read as macOS {shown}: on that release the number {value:#x} has the name that the report prints"
    )
    return f"macOS {shown}"


def _known_name(evidence: Evidence) -> str | None:
    if evidence.flavor_name and guards.named(evidence.flavor_name, evidence.guard_type):
        return evidence.flavor_name
    return None


def _without_target(evidence: Evidence, flavor: int, subcode: int | None, at: str | None) -> PartialViolation:
    """A flavor by its number, where the target is not printed and the code is therefore not known."""
    whole = decode(join(guards.NUMBERS[evidence.guard_type or ""], flavor, 0), subcode, at)
    summary = f"{whole.flavor_name}: {whole.summary.partition(': ')[2]}" if whole.known else whole.summary
    values = whole.as_dict() | {
        "target": None,
        "code": None,
        "summary": summary,
        "target_meaning": "the line leaves the target out",
        "notes": (*whole.notes, "the line leaves the code out"),
    }
    return PartialViolation(**values)


def _noted(violation: PartialViolation, evidence: Evidence, at: str | None) -> PartialViolation:
    notes = list(evidence.notes)
    if evidence.release and at is None:
        notes.append(f"the release {evidence.release[:60]!r} cannot be placed; read by the newest table")
    if not notes:
        return violation
    return violation.replace(notes=(*violation.notes, *notes))


def _code_checks(evidence: Evidence, violation: Violation) -> list[Check]:
    """How what is printed in parts and in words agrees with the code."""
    checks = []
    if evidence.codes:
        checks.append(_codes_check(evidence.codes[0], violation.code))
    if evidence.guard_type and violation.guard_type:
        words, code = f"GUARD_TYPE_{evidence.guard_type}", f"GUARD_TYPE_{violation.guard_type}"
        checks.append(_compare("guard_type", words, code, "the code is used: the kernel made it"))
    if evidence.flavor is not None and violation.guard_type == evidence.guard_type:
        words, code = f"flavor {evidence.flavor:#x}", f"flavor {violation.flavor:#x}"
        checks.append(_compare("flavor", words, code, "the code is used: the kernel made it"))
    if evidence.flavor_name and violation.flavor_name:
        checks.append(_words_check(evidence.flavor_name, violation))
    if evidence.target is not None and violation.guard_type:
        words, code = f"{evidence.target:#x}", f"{violation.target:#x}"
        checks.append(_compare("target", words, code, "the code is used: the words are ReportCrash's"))
    return checks


def _subcode_check(evidence: Evidence) -> list[Check]:
    if evidence.guard is None or evidence.subcode is None:
        return []
    why = "the second exception code is used: it is the kernel's"
    return [_compare("subcode", f"{evidence.guard:#x}", f"{evidence.subcode:#x}", why)]


@lru_cache(maxsize=256)
def _check(name: str, detail: str, *, ok: bool) -> Check:
    """A check; the same object for the same text, since most violations of a log have equal ones."""
    return Check(name, ok, detail)


def _compare(name: str, words: str, numbers: str, why: str) -> Check:
    if words == numbers:
        return _check(name, f"the report's words and its numbers both say {words}", ok=True)
    return _check(name, f"the report's words say {words}, its numbers {numbers}; {why}", ok=False)


def _codes_check(printed: int, code: int) -> Check:
    """The first exception code against the whole code: it holds part of it, in one of several ways."""
    low = code & LOW_BITS
    signal, exception, bits = unpack_crash(printed)
    if printed == code:
        detail = "the first exception code is the whole code"
    elif printed == low:
        detail = f"the first exception code is the low 20 bits of the code, {low:#x}"
    elif printed == code & TARGET_MASK:
        detail = "the first exception code is the code's target"
    elif printed >> 32 == 0 and exception == EXC_GUARD and bits == low:
        detail = f"the first exception code packs signal {signal}, EXC_GUARD and the low 20 bits, {low:#x}"
    else:
        detail = (
            f"the first exception code {printed:#x} does not hold the low 20 bits of the code, {low:#x}; "
            "the termination reason is used: it alone holds the whole code"
        )
        return _check("exception_codes", detail, ok=False)
    return _check("exception_codes", detail, ok=True)


def _words_check(printed: str, violation: Violation) -> Check:
    """ReportCrash's name for the flavor against the code's."""
    own = violation.flavor_name
    if printed == own:
        return _check("words", f"the report and the code both say {own}", ok=True)
    if any(flavor.value == violation.flavor for flavor in guards.named(printed, violation.guard_type)):
        return _check("words", f"{printed} is another name of {own}", ok=True)
    detail = (
        f"the report says {printed}, but flavor {violation.flavor:#x} is {own} on this release; "
        "the code is used: ReportCrash lags behind the kernel"
    )
    return _check("words", detail, ok=False)
