"""Splits targets and payloads into fields, by the rows of `knowledge.guards`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from excguard.knowledge.guards.layout import INFERRED
from excguard.knowledge.names import signed
from excguard.knowledge.releases import NEWEST

if TYPE_CHECKING:
    from collections.abc import Iterable

    from excguard.knowledge.guards.layout import Part, Payload
    from excguard.knowledge.guards.layout import Target as TargetRow


class Field(msgspec.Struct, frozen=True):
    """One field of a payload.

    Attributes:
        name: "reason", "disposition", "user_references" ...
        value: The bits of the field, as an unsigned number.
        text: What they mean.
        confidence: A key of knowledge.guards.layout.CONFIDENCES.
    """

    name: str
    value: int
    text: str
    confidence: str


class Target(msgspec.Struct, frozen=True):
    """What the target is.

    Attributes:
        short: For use in a sentence: "on port 0x2703", "on fd 3"; "" when the target says nothing.
        meaning: What it is, in full.
        confidence: A key of knowledge.guards.layout.CONFIDENCES.
    """

    short: str
    meaning: str
    confidence: str


def target(rows: Iterable[TargetRow], value: int, release: int) -> Target:
    """What a target means by the rows of its flavor; NEWEST stands for an unknown release."""
    row = next(row for row in rows if row.fits(release, value))
    shown = {"value": value, "signed": signed(value, 32), "words": row.words and row.words(value, release)}
    confidence = INFERRED if release == NEWEST and not row.current else row.confidence
    return Target(row.short.format(**shown), row.meaning.format(**shown), confidence)


def fields(rows: tuple[Payload, ...], value: int, release: int, of_target: int = 0) -> tuple[Field, ...]:
    """The fields of a payload by the rows of its flavor; one field whole where no row explains the value.

    Args:
        rows: The layouts that the flavor has.
        value: The payload.
        release: The release; NEWEST for an unknown one.
        of_target: The target, which decides for some guard types.
    """
    row = next((row for row in rows if row.fits(release, value, of_target)), None)
    if row is None or not row.parts:
        if value == 0:
            return ()
        expected = "zero was expected for this flavor" if row else "no source explains this value"
        text = expected if rows else "no source says what the payload of this flavor is"
        return (Field("payload", value, text, INFERRED),)
    inferred = release == NEWEST and not row.current
    found = []
    rest = value
    for part in row.parts:
        mask = (2 << part.high - part.low) - 1
        bits = value >> part.low & mask
        rest &= ~((mask if part.meant is None else part.meant) << part.low)
        if bits or not part.optional:
            found.append(_field(part, bits << part.shift, release, inferred=inferred))
    if rest:
        found.append(Field("unknown_bits", rest, "bits without a known meaning", INFERRED))
    return tuple(found)


def _field(part: Part, value: int, release: int, *, inferred: bool) -> Field:
    text = part.words(value, release) if part.words else part.values.get(value)
    if text is None:
        return Field(part.name, value, f"unknown {part.name.replace('_', ' ')}", INFERRED)
    return Field(part.name, value, text, INFERRED if inferred else part.confidence)
