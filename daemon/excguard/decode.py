"""(code, subcode, release) -> Violation: the one place that reads the tables.

`import excguard; excguard.decode(code, subcode, "14.4")` works as well as
`from excguard.decode import decode`: the module can be called.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from types import ModuleType
from typing import Any, cast

import msgspec

from excguard.knowledge import flavors, releases


class DecodeError(ValueError):
    """The numbers are no EXC_GUARD code and subcode; the message says what is accepted."""


class Reading(msgspec.Struct, frozen=True):
    """Another meaning of the same number.

    Attributes:
        flavor_name: "SEND_INVALID_RIGHT".
        kernel_name: "kGUARD_EXC_SEND_INVALID_RIGHT".
        releases: On which releases, for people: "macOS 10.14.1 to 10.14.6".
        first: The first of them ("10.14.1").
        last: The last of them ("10.14.6"), None when it still stands.
        severity: "fatal", "optional" or "soft" there.
    """

    flavor_name: str
    kernel_name: str
    releases: str
    first: str
    last: str | None
    severity: str | None


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One guard violation, decoded.

    Attributes:
        guard_type: "MACH_PORT", "FD", "USER", "VN", "VIRT_MEMORY", "REJECTED_SC"; None for no known type.
        guard_type_number: Bits 63..61 of the code.
        flavor: Bits 60..32 of the code: which rule of the guard type.
        flavor_name: "INVALID_NAME"; None when no table knows the number, and for guard types without flavors.
        kernel_name: "kGUARD_EXC_INVALID_NAME", or None likewise.
        target: Bits 31..0 of the code.
        payload: The subcode under its kernel name; None when it was not given.
        code: The whole 64-bit code, unsigned.
        subcode: The whole 64-bit subcode, unsigned; None when it was not given.
        severity: "fatal" (the kernel always kills), "optional" (it kills when the task's flags say so),
            "soft" (it never kills); None for a guard type that is not known.
        summary: One sentence.
        advice: How to mend it; None where the tables have nothing to say.
        release: The release the numbers were read for ("macOS 14.4"); None when none was given.
        readings: Every other meaning of the number; empty when a release settled it or it only ever had one.
        notes: What a reader should know of how this was read ("newer than the newest table").
        known: Whether a table knows the number.
    """

    guard_type: str | None
    guard_type_number: int
    flavor: int
    flavor_name: str | None
    kernel_name: str | None
    target: int
    payload: int | None
    code: int
    subcode: int | None
    severity: str | None
    summary: str
    release: str | None
    readings: tuple[Reading, ...] = ()
    notes: tuple[str, ...] = ()
    known: bool = True
    advice: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The object that `--json` prints.

        64-bit numbers are hex strings, since many JSON readers lose their low bits; 32-bit ones are numbers.
        """
        found = cast("dict[str, Any]", msgspec.to_builtins(self))
        for name in ("payload", "code", "subcode"):
            value = found[name]
            found[name] = None if value is None else f"{value:#x}"
        return found


def decode(code: int, subcode: int | None = None, release: str | None = None) -> Violation:
    """Decode the two numbers of an EXC_GUARD exception.

    Args:
        code: The 64-bit code, signed or unsigned (-2**63 to 2**64 - 1).
        subcode: The 64-bit subcode likewise; None when it is not known.
        release: The release the numbers come from, in any form that `knowledge.releases.parse` takes; without
            it the newest meaning is given, and the others in `readings`.

    Raises:
        DecodeError: a number out of range.
        knowledge.releases.ReleaseError: a release that cannot be placed.
    """
    return _decode(
        _unsigned(code, "code"), None if subcode is None else _unsigned(subcode, "subcode"), release
    )


def parse_number(text: str) -> int:
    """A code as people write it: decimal, negative decimal, 0x hex. Raises DecodeError."""
    try:
        value = int(text.strip().replace("_", ""), 0)
    except ValueError:
        raise DecodeError(f"not a number: {text[:60]!r} (write decimal or 0x hex)") from None
    return _unsigned(value, "the number")


def _unsigned(value: int, what: str) -> int:
    if not -(2**63) <= value < 2**64:
        raise DecodeError(
            f"{what} {value if abs(value) < 10**40 else '(huge)'} does not fit 64 bits: -2^63 to 2^64-1"
        )
    return value & (2**64 - 1)


@lru_cache(maxsize=4096)
def _decode(code: int, subcode: int | None, release: str | None) -> Violation:
    placed = releases.parse(release) if release is not None else None
    at = placed.version if placed else releases.NEWEST
    number = code >> 61
    flavor = code >> 32 & 0x1FFFFFFF
    target = code & 0xFFFFFFFF
    guard_type = flavors.GUARD_TYPES.get(number)
    names = flavors.with_value(guard_type, flavor) if guard_type else []
    here = flavors.at(guard_type, flavor, at) if guard_type else []
    chosen = here[0] if here else names[0] if names and placed is None else None
    if chosen and placed is None:
        at = min(at, chosen.last)
    others = tuple(
        _reading(name)
        for name in names
        if name is not chosen and (placed is None or name in here or not here)
    )
    known = chosen is not None or (guard_type in flavors.WITHOUT_FLAVORS and flavor == 0)
    return Violation(
        guard_type=guard_type,
        guard_type_number=number,
        flavor=flavor,
        flavor_name=chosen.name if chosen else None,
        kernel_name=chosen.kernel_name if chosen else None,
        target=target,
        payload=subcode,
        code=code,
        subcode=subcode,
        severity=flavors.severity(guard_type, flavor, at) if guard_type else None,
        summary=_summary(guard_type, number, chosen.name if chosen else None, flavor, target, subcode),
        release=placed.text if placed else None,
        readings=others,
        known=known,
    )


def _summary(
    guard_type: str | None, number: int, name: str | None, flavor: int, target: int, subcode: int | None
) -> str:
    shown = guard_type or f"guard type {number}"
    rule = name or (guard_type if guard_type in flavors.WITHOUT_FLAVORS else f"unknown flavor {flavor:#x}")
    payload = "" if subcode is None else f", payload {subcode:#x}"
    return f"{rule}: {shown} target {target:#x}{payload}."


def _reading(flavor: flavors.Flavor) -> Reading:
    first = releases.show(flavor.first)
    last = None if flavor.last == releases.NEWEST else releases.show(flavor.last)
    spoken = (
        f"macOS {first} and later"
        if last is None
        else f"macOS {first}" + (f" to {last}" if last != first else "")
    )
    at = min(flavor.last, releases.NEWEST)
    return Reading(
        flavor.name,
        flavor.kernel_name,
        spoken,
        first,
        last,
        flavors.severity(flavor.guard_type, flavor.value, at),
    )


class _Callable(ModuleType):
    """Lets `excguard.decode` be both this module and the function that everybody wants of it."""

    def __call__(self, code: int, subcode: int | None = None, release: str | None = None) -> Violation:
        """`decode`."""
        return decode(code, subcode, release)


sys.modules[__name__].__class__ = _Callable
