"""What a crash report says of a guard violation, and how its numbers are told apart.

The readers of this package gather what a report prints into `Found`; `settle` makes a violation of it and
checks what is printed twice against itself. Reports print the same numbers several times, in part, and not
always rightly:

* the whole code is in the termination reason (namespace GUARD), in debugger and kernel lines, and, for USER
  guards and on OS X 10.9 and 10.10, in the first of the exception codes;
* otherwise the first exception code holds the low 20 bits of the code, plain up to macOS 15, and packed as
  EXC_CRASH does it (signal, exception type, 20 bits) on macOS 26;
* the words ("INVALID_NAME on mach port 9987") lag behind the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from excguard.decoding.code import FLAVOR_MASK, FLAVOR_SHIFT, TARGET_MASK, TYPE_SHIFT, join
from excguard.decoding.decode import decode, decode_words
from excguard.decoding.violation import PartialViolation, Violation
from excguard.knowledge import flavors, guards, releases

LOW_BITS = 0xFFFFF
"""What EXC_CRASH keeps of an exception code (bsd/kern/kern_exit.c, xnu-11417.121.6)."""

EXC_GUARD = 12


class Check(msgspec.Struct, frozen=True):
    """Whether two places of a report agree.

    Attributes:
        name: What was compared: "exception_codes", "guard_type", "words", "target", "subcode", "code".
        ok: Whether they agree.
        detail: What they say, and when they differ which one is believed and why.
    """

    name: str
    ok: bool
    detail: str


class Frame(msgspec.Struct, frozen=True):
    """One frame of the thread that broke the rule.

    Attributes:
        index: 0 is the innermost.
        image: The library or program; "" when not known.
        offset: Bytes from the image's start; None when not known.
        address: The program counter; None when not known.
        symbol: The function; "" when not known.
        symbol_offset: Bytes from the function's start; None when not known.
    """

    index: int
    image: str
    offset: int | None = None
    address: int | None = None
    symbol: str = ""
    symbol_offset: int | None = None

    def __str__(self) -> str:
        """The frame on one line: "0 libsystem_kernel.dylib+0x1214 mach_msg2_trap + 8"."""
        place = self.image or "?"
        if self.offset is not None:
            place += f"+{self.offset:#x}"
        elif self.address is not None:
            place += f" {self.address:#x}"
        symbol = f" {self.symbol}" + ("" if self.symbol_offset is None else f" + {self.symbol_offset}")
        return f"{self.index} {place}{symbol if self.symbol else ''}"


@dataclass(kw_only=True)
class Found:
    """What one place of a report says of one violation; None and empty for what it leaves out."""

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
    notes: list[str] = field(default_factory=list)


class Report(msgspec.Struct, kw_only=True):
    """A crash report, a debugger's line or any other text, read.

    Attributes:
        file: Where it came from, "-" for text.
        format: "ips", "crash", "lldb", "kernel-log", "minidump", "text".
        kind: "crash", "simulated" (not a crash), or another kind of report by name ("JetsamEvent").
        process: Its name.
        pid: Its process id.
        os: The system it ran on, as printed.
        cpu: The kind of processor, as printed.
        exception_type: "EXC_GUARD", ...
        violations: Every guard violation in it; `excguard.Violation`, or a PartialViolation where the report
            leaves numbers out.
        checks: What was compared.
        frames: The top frames of the thread.
        notes: What else there is to know.
        error: Why nothing could be read, in one line; None when something was.
    """

    file: str = "-"
    format: str = "text"
    kind: str = "crash"
    process: str | None = None
    pid: int | None = None
    os: str | None = None
    cpu: str | None = None
    exception_type: str | None = None
    violations: list[PartialViolation] = []
    checks: list[Check] = []
    frames: list[Frame] = []
    notes: list[str] = []
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The object that `--json` prints; violations as `decode --json` prints them."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        found["violations"] = [violation.to_dict() for violation in self.violations]
        for frame in found["frames"]:
            for name in ("offset", "address"):
                frame[name] = None if frame[name] is None else f"{frame[name]:#x}"
        return found


def settle(found: Found, release: str | None) -> tuple[PartialViolation | None, list[Check]]:
    """The violation that `found` tells of, and how its parts agree; None when it tells of none.

    Args:
        found: What was printed.
        release: Where to read it by, in place of what the report says; None to go by the report.
    """
    if not _tells_of_guard(found):
        return None, []
    at = release if release is not None else _placeable(found.release)
    if found.flavor is not None and found.flavor > FLAVOR_MASK:
        found.notes.append(f"the flavor {found.flavor:#x} does not fit a code, and is left out")
        found.flavor = None
    code = _whole_code(found)
    subcode = found.subcode if found.subcode is not None else found.guard
    if code is None:
        if found.flavor is not None and found.guard_type in flavors.TYPE_NUMBERS and found.target is not None:
            code = join(flavors.TYPE_NUMBERS[found.guard_type], found.flavor, found.target)
            return decode(code, subcode, at), []
        told = decode_words(found.guard_type, _known_name(found), found.target, subcode, at)
        if found.flavor is not None and told.flavor is None:
            told = _partial_number(found, found.flavor, told, at)
        return _noted(told, found, at), _subcode_check(found)
    violation = decode(code, subcode, at)
    return _noted(violation, found, at), [*_code_checks(found, violation), *_subcode_check(found)]


def _tells_of_guard(found: Found) -> bool:
    if found.code is not None or found.guard_type or found.flavor_name or found.exception_type == "EXC_GUARD":
        return True
    if found.exception_type is None:
        return bool(found.codes) and found.codes[0] >> TYPE_SHIFT in flavors.GUARD_TYPES
    if _hides_guard(found):
        signal, _exception, low = unpack_crash(found.codes[0])
        found.notes.append(
            f"EXC_CRASH hides the guard: it keeps signal {signal}, EXC_GUARD and the low 20 bits of the "
            f"code, {low:#x}; guard type and flavor are lost"
        )
        return True
    return False


def _hides_guard(found: Found) -> bool:
    """Whether this is an EXC_CRASH whose first code packs an EXC_GUARD."""
    if found.exception_type != "EXC_CRASH" or not found.codes or found.codes[0] >> 32:
        return False
    signal, exception, _low = unpack_crash(found.codes[0])
    return exception == EXC_GUARD and signal != 0


def unpack_crash(code: int) -> tuple[int, int, int]:
    """What EXC_CRASH packs into its first code: signal, exception type, low 20 bits of that one's code."""
    return code >> 24 & 0xFF, code >> 20 & 0xF, code & LOW_BITS


def _whole_code(found: Found) -> int | None:
    if found.code is not None and found.code >> TYPE_SHIFT:
        return found.code
    if found.codes and found.codes[0] >> TYPE_SHIFT:
        return found.codes[0]
    if found.code is not None and found.origin in {"lldb", "kernel-log", "handler-log", "minidump"}:
        return found.code  # type 0: not a guard, and decode says so
    if found.codes and found.origin == "report" and found.codes[0] >> FLAVOR_SHIFT and not found.guard_type:
        return found.codes[0]  # a 32-bit process: the type bits are missing, and decode says so
    return None


def _placeable(release: str | None) -> str | None:
    if release is None:
        return None
    try:
        releases.parse(release)
    except releases.ReleaseError:
        return None
    return release


def _known_name(found: Found) -> str | None:
    if found.flavor_name and guards.named(found.flavor_name, found.guard_type):
        return found.flavor_name
    return None


def _partial_number(found: Found, flavor: int, told: PartialViolation, at: str | None) -> PartialViolation:
    """What `told` is when the line gives the flavor's number, but not all of the code."""
    number = flavors.TYPE_NUMBERS.get(found.guard_type or "")
    if number is None:
        summary = f"{told.guard_type or 'guard'} violation of flavor {flavor:#x}, of a guard type not known."
        return msgspec.structs.replace(told, flavor=flavor, summary=summary)
    whole = decode(join(number, flavor, 0), told.subcode, at)
    summary = f"{whole.flavor_name}: {whole.summary.partition(': ')[2]}" if whole.known else whole.summary
    values = {name: getattr(whole, name) for name in whole.__struct_fields__}
    values |= {
        "target": None,
        "code": None,
        "summary": summary,
        "target_meaning": "the line leaves the target out",
        "notes": (*whole.notes, "the line leaves the code out"),
    }
    return PartialViolation(**values)


def _noted(violation: PartialViolation, found: Found, at: str | None) -> PartialViolation:
    notes = list(found.notes)
    if found.release and at is None:
        notes.append(f"the release {found.release[:60]!r} cannot be placed; read by the newest table")
    if not notes:
        return violation
    return msgspec.structs.replace(violation, notes=(*violation.notes, *notes))


def _code_checks(found: Found, violation: Violation) -> list[Check]:
    """How what is printed in parts and in words agrees with the code."""
    checks = []
    if found.codes:
        checks.append(_codes_check(found.codes[0], violation.code))
    if found.guard_type and violation.guard_type:
        words, code = f"GUARD_TYPE_{found.guard_type}", f"GUARD_TYPE_{violation.guard_type}"
        checks.append(_compare("guard_type", words, code, "the code is believed: the kernel made it"))
    if found.flavor_name and violation.flavor_name:
        checks.append(_words_check(found.flavor_name, violation))
    if found.target is not None and violation.guard_type:
        words, code = f"{found.target:#x}", f"{violation.target:#x}"
        checks.append(_compare("target", words, code, "the code is believed: the words are ReportCrash's"))
    return checks


def _subcode_check(found: Found) -> list[Check]:
    if found.guard is None or found.subcode is None:
        return []
    why = "the second exception code is believed: it is the kernel's"
    return [_compare("subcode", f"{found.guard:#x}", f"{found.subcode:#x}", why)]


def _compare(name: str, words: str, numbers: str, why: str) -> Check:
    if words == numbers:
        return Check(name, ok=True, detail=f"the report's words and its numbers both say {words}")
    return Check(name, ok=False, detail=f"the report's words say {words}, its numbers {numbers}; {why}")


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
            "the termination reason is believed: it alone holds the whole code"
        )
        return Check("exception_codes", ok=False, detail=detail)
    return Check("exception_codes", ok=True, detail=detail)


def _words_check(printed: str, violation: Violation) -> Check:
    """ReportCrash's name for the flavor against the code's."""
    own = violation.flavor_name
    if printed == own:
        return Check("words", ok=True, detail=f"the report and the code both say {own}")
    if any(flavor.value == violation.flavor for flavor in guards.named(printed, violation.guard_type)):
        return Check("words", ok=True, detail=f"{printed} is another name of {own}")
    detail = (
        f"the report says {printed}, but flavor {violation.flavor:#x} is {own} on this release; "
        "the code is believed: ReportCrash lags behind the kernel"
    )
    return Check("words", ok=False, detail=detail)
