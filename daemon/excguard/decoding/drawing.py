"""The rows of `knowledge.guards` as `explain` and the documentation show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from excguard.knowledge import releases
from excguard.knowledge.guards.layout import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from excguard.knowledge.guards.layout import Part, Payload, Target


class Bits(msgspec.Struct, frozen=True):
    """Some bits of a payload.

    Attributes:
        high: The highest bit, counted from 0; likewise low.
        name: As the field that `payload.fields` makes of it.
        text: What it holds.
        values: The meaning of its values, where they are few.
    """

    high: int
    low: int
    name: str
    text: str
    values: dict[int, str] = {}


class Layout(msgspec.Struct, frozen=True):
    """What a payload holds on some releases.

    Attributes:
        releases: Which releases: "macOS 26.0 and later", "up to macOS 15.6"; "" for all.
        when: For which payloads: "reason 0x2"; "" for all.
        bits: The bits, from the highest down, without overlaps; () where the payload is always 0.
        current: Whether the newest release has it.
    """

    releases: str
    when: str
    bits: tuple[Bits, ...]
    current: bool


class TargetEra(msgspec.Struct, frozen=True):
    """What a target is on some releases; fields as of `Layout`."""

    releases: str
    text: str
    current: bool


def layouts(rows: Iterable[Payload], placed: releases.Release | None = None) -> list[Layout]:
    """The layouts of a flavor, newest first; with a release those of that release."""
    found = []
    for row in rows:
        if row.when.hidden or (row.when is ZERO and not row.parts):
            continue
        if placed and not row.first <= placed.version < row.before:
            continue
        when = row.when.words if row.target is None else f"target {row.target}"
        found.append(Layout(_span(row.first, row.before), when, _bits(row.parts), row.current))
    return found


def targets(rows: Iterable[Target], placed: releases.Release | None = None) -> list[TargetEra]:
    """What a flavor's target can be, newest first; with a release on that release."""
    found = [
        TargetEra(_span(row.first, row.before), row.text, row.current)
        for row in rows
        if placed is None or row.first <= placed.version < row.before
    ]
    return list(dict.fromkeys(found))


def _bits(parts: Sequence[Part]) -> tuple[Bits, ...]:
    """The parts cut where they overlap: a bit belongs to the narrowest one."""
    owners = [
        min((part for part in parts if part.low <= bit <= part.high), key=lambda part: part.high - part.low)
        if any(part.low <= bit <= part.high for part in parts)
        else None
        for bit in range(64)
    ]
    found: list[Bits] = []
    high = 63
    for low in range(63, -1, -1):
        owner = owners[low]
        if low and owners[low - 1] is owner:
            continue
        if owner is not None:
            found.append(Bits(high, low, owner.name, owner.text, dict(owner.values)))
        high = low - 1
    return tuple(found)


def _span(first: int, before: int) -> str:
    last = releases.NEWEST if before > releases.NEWEST else releases.preceding(before)
    if first == 0:
        return "" if last == releases.NEWEST else f"up to macOS {releases.show(last)}"
    return releases.span(first, last)
