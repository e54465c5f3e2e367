"""A guard violation, decoded, and the one form in which JSON, the log, the page and files show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from excguard.knowledge.guards.layout import INFERRED
from excguard.knowledge.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

    from excguard.decoding.payload import Field
    from excguard.knowledge.severity import Severity

_HEX = frozenset({"payload", "code", "subcode"})

PER_HIT = ("guard_target", "payload", "code", "subcode")
"""What may differ between two hits of one site: left out where a line stands for many hits."""

TEXTS = frozenset({"summary", "target_meaning", "target_confidence", "payload_fields", "payload_readings"})
"""What is put into words for each target and payload: most of the cost of decoding, and often not read."""


class Reading(Record):
    """Another meaning of the same number.

    Attributes:
        flavor_name: "SEND_INVALID_RIGHT".
        kernel_name: "kGUARD_EXC_SEND_INVALID_RIGHT".
        releases: On which releases, as text: "macOS 10.14.1 to 10.14.6".
        first: The first of them ("10.14.1").
        last: The last of them ("10.14.6"); None while it is current.
        severity: The severity there.
    """

    flavor_name: str
    kernel_name: str
    releases: str
    first: str
    last: str | None
    severity: Severity | None


class PayloadReading(Record):
    """Another meaning of the same payload.

    Attributes:
        releases: On which releases, as text: "macOS 26.0 to 26.3".
        fields: The payload there, field by field.
    """

    releases: str
    fields: tuple[Field, ...]


class PartialViolation(Record, kw_only=True):
    """A guard violation whose source leaves numbers out.

    As `Violation`, but the code and the fields of the code may be None.
    """

    guard_type: str | None
    guard_type_number: int | None
    flavor: int | None
    flavor_name: str | None
    kernel_name: str | None
    target: int | None
    payload: int | None
    code: int | None
    subcode: int | None
    severity: Severity | None
    summary: str
    release: str | None
    readings: tuple[Reading, ...] = ()
    target_meaning: str = ""
    target_confidence: str = INFERRED
    payload_fields: tuple[Field, ...] = ()
    payload_readings: tuple[PayloadReading, ...] = ()
    aliases: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    advice: str = ""
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    known: bool = True

    @property
    def guard_target(self) -> int | None:
        """The target under the key that log, page and files use, where "target" is the watched program."""
        return self.target

    def to_dict(self) -> dict[str, Any]:
        """Everything, as `--json` prints it: the fields in their order, and `guard_target`.

        The code, the subcode and the values of payload fields are hex strings, since many JSON readers lose
        the low bits of 64-bit numbers; guard type, flavor and target are numbers.
        """
        found = self.as_dict() | self.select(_HEX)
        found["severity"] = None if self.severity is None else self.severity.value
        found["readings"] = tuple(
            {**reading.as_dict(), "severity": reading.severity and reading.severity.value}
            for reading in self.readings
        )
        found["payload_fields"] = _plain(self.payload_fields)
        found["payload_readings"] = tuple(
            {"releases": reading.releases, "fields": _plain(reading.fields)}
            for reading in self.payload_readings
        )
        found["guard_target"] = self.guard_target
        return found

    def select(self, names: Iterable[str]) -> dict[str, Any]:
        """Some of the plain fields by name, in the form and under the keys of `to_dict`."""
        found = {}
        for name in names:
            value = getattr(self, name)
            found[name] = f"{value:#x}" if name in _HEX and value is not None else value
        return found


class Violation(PartialViolation, kw_only=True):
    """One guard violation, decoded.

    Attributes:
        guard_type: "MACH_PORT", "FD", "USER", "VN", "VIRT_MEMORY", "REJECTED_SC"; None for an unknown type.
        guard_type_number: Bits 63..61 of the code.
        flavor: Bits 60..32 of the code: which rule of the guard type.
        flavor_name: "INVALID_NAME"; None for a number in no table, and for guard types without flavors.
        kernel_name: "kGUARD_EXC_INVALID_NAME", or None likewise.
        target: Bits 31..0 of the code.
        payload: The subcode under its kernel name; None when it was not given.
        code: The whole 64-bit code, unsigned.
        subcode: The whole 64-bit subcode, unsigned; None when it was not given.
        severity: A `knowledge.severity.Severity`, equal to its word: "fatal", "optional" or "soft"; None for
            an unknown guard type.
        summary: One sentence.
        release: The release the numbers were read for ("macOS 14.4"); None when none was given.
        readings: Every other meaning of the number; empty when a release settled it or it only ever had one.
        target_meaning: What the target is.
        target_confidence: How sure that is: a key of knowledge.guards.layout.CONFIDENCES.
        payload_fields: The payload, field by field.
        payload_readings: What the payload holds on other releases; empty when a release was given.
        aliases: Other names in use: the kernel's, ReportCrash's, those of Apple's documentation.
        causes: Usual causes.
        advice: How to fix it ("" for a number in no table).
        sources: Where these facts are from.
        notes: Remarks on how the numbers were read ("newer than the newest table").
        known: Whether a table has the number.
    """

    guard_type_number: int
    flavor: int
    target: int
    code: int

    @classmethod
    def with_texts_later(cls, values: dict[str, Any], texts: Callable[[Violation], dict[str, Any]]) -> Self:
        """A violation whose texts are composed when one of them is first read.

        Args:
            values: Its fields, but for `TEXTS`.
            texts: Gives these.
        """
        made = cls.__new__(cls)
        made.__dict__.update(values)
        made.__dict__["_texts"] = texts
        return made

    if not TYPE_CHECKING:  # else every name would be an attribute

        def __getattr__(self, name: str) -> object:
            """Compose the texts that were left for later; several threads may do so at the same time."""
            if name not in TEXTS:
                raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
            self.__dict__.update(self._texts(self))
            return self.__dict__[name]


def _plain(fields: Iterable[Field]) -> tuple[dict[str, Any], ...]:
    return tuple({**field.as_dict(), "value": f"{field.value:#x}"} for field in fields)
