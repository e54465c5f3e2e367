"""Splits targets and payloads into fields, by the rows of `knowledge.guards`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from excguard.knowledge.guards.layout import ANY, INFERRED, OBSERVED
from excguard.knowledge.record import Record
from excguard.knowledge.releases import NEWEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from excguard.knowledge.guards.layout import Part, Payload
    from excguard.knowledge.guards.layout import Target as TargetRow


class Field(Record):
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


class Target(Record):
    """What the target is.

    Attributes:
        short: For use in a sentence: "on port 0x2703", "on fd 3"; "" when the target says nothing.
        meaning: What it is, in full.
        confidence: A key of knowledge.guards.layout.CONFIDENCES.
    """

    short: str
    meaning: str
    confidence: str


class TargetReader:
    """Says what targets of one flavor mean on one release; NEWEST stands for an unknown release."""

    def __init__(self, rows: Iterable[TargetRow], release: int) -> None:
        """Choose the rows of the release once: reading a value is the part that is done often."""
        self._release = release
        self._rows: list[_TargetRow] = [
            (
                None if row.when is ANY else row.when.holds,
                _Text(row.short),
                _Text(row.meaning),
                row.words,
                INFERRED if release == NEWEST and not row.current else row.confidence,
            )
            for row in rows
            if release == NEWEST or row.first <= release < row.before
        ]

    def read(self, value: int) -> Target:
        """What a target means."""
        _, short, meaning, words, confidence = self._row(value)
        if short.is_of_value and meaning.is_of_value:
            return Target(short.of_value(value), meaning.of_value(value), confidence)
        shown = self._shown(value, words)
        return Target(short.text(shown), meaning.text(shown), confidence)

    def short(self, value: int) -> str:
        """No more than `Target.short` of a target."""
        _, short, _, words, _ = self._row(value)
        return short.of_value(value) if short.is_of_value else short.text(self._shown(value, words))

    def _row(self, value: int) -> _TargetRow:
        for row in self._rows:
            if row[0] is None or row[0](value):
                break
        return row

    def _shown(self, value: int, words: _Words) -> tuple[object, ...]:
        """The values of `_Text`."""
        signed = value - 0x1_0000_0000 if value >> 31 else value
        return value, signed, words(value, self._release) if words else None


class _Text:
    """A text with `%(value)`, `%(signed)` and `%(words)`, split once: filling it in is done often."""

    __slots__ = ("_form", "_of", "is_of_value", "of_value")

    _KEYS = ("value", "signed", "words")

    def __init__(self, text: str) -> None:
        first, *rest = text.split("%(")
        named = [part.partition(")") for part in rest]
        self._of = [self._KEYS.index(key) for key, _, _ in named]
        self._form = "%".join([first, *(after for _, _, after in named)])
        self.is_of_value = self._of == [0]
        """Whether it has the value alone: then `of_value` fills it in."""
        self.of_value = self._form.__mod__

    def text(self, shown: tuple[object, ...]) -> str:
        """The text with the values of `_KEYS`."""
        of = self._of
        if len(of) == 1:
            return self._form % (shown[of[0]],)
        return self._form % tuple([shown[place] for place in of])


_Words: TypeAlias = "Callable[[int, int], str] | None"
_TargetRow: TypeAlias = "tuple[Callable[[int], bool] | None, _Text, _Text, _Words, str]"


class PayloadReader:
    """Splits payloads of one flavor on one release into fields; NEWEST stands for an unknown release."""

    def __init__(self, rows: tuple[Payload, ...], release: int) -> None:
        """Choose the rows of the release once: reading a value is the part that is done often."""
        self._release = release
        self._stated = bool(rows)
        self._rows = [
            (
                None if row.when is ANY else row.when.holds,
                row.target,
                release == NEWEST and not row.current and not row.parts,  # for 0 only
                tuple(_prepared(part, inferred=release == NEWEST and not row.current) for part in row.parts),
            )
            for row in rows
            if release == NEWEST or row.first <= release < row.before
        ]

    def read(self, value: int, target: int) -> tuple[Field, ...]:
        """The fields of a payload; one field whole where no row explains the value."""
        parts = self._parts(value, target)
        if parts is None:
            return self._unread(value, zero_expected=False)
        return self._fields(parts, value) if parts else self._unread(value, zero_expected=True)

    def explained(self, value: int, target: int) -> tuple[Field, ...]:
        """As `read`; no fields where no row explains the value."""
        parts = self._parts(value, target)
        return self._fields(parts, value) if parts else ()

    def first(self, value: int, target: int, names: frozenset[str]) -> Field | None:
        """The first of those fields, if it has one of ``names`` or was observed; otherwise None."""
        for part in self._parts(value, target) or ():
            if value >> part[0] & part[1] or not part[8]:  # not optional
                if part[4] not in names and part[7] != OBSERVED:  # its name and confidence
                    return None
                (field, *_) = self._fields((part,), value & part[1] << part[0])
                return field if part[4] in names or field.confidence == OBSERVED else None
        return None

    def _parts(self, value: int, target: int) -> tuple[_Prepared, ...] | None:
        """The parts of the row that holds for a payload; None when there is no such row."""
        for holds, of_target, only_zero, parts in self._rows:
            if (
                (of_target is None or of_target == target)
                and not (only_zero and value)
                and (holds is None or holds(value))
            ):
                return parts
        return None

    def _unread(self, value: int, *, zero_expected: bool) -> tuple[Field, ...]:
        if value == 0:
            return ()
        text = "no source says what the payload of this flavor is"
        if self._stated:
            text = "zero was expected for this flavor" if zero_expected else "no source explains this value"
        return (Field("payload", value, text, INFERRED),)

    def _fields(self, parts: tuple[_Prepared, ...], value: int) -> tuple[Field, ...]:
        found = []
        rest = value
        release = self._release
        for low, mask, meant, shift, name, words, values, confidence, optional in parts:
            bits = value >> low & mask
            rest &= meant
            if not bits and optional:
                continue
            bits <<= shift
            text = words(bits, release) if words else values.get(bits)
            if text is None:
                found.append(Field(name, bits, f"unknown {name.replace('_', ' ')}", INFERRED))
            else:
                found.append(Field(name, bits, text, confidence))
        if rest:
            found.append(Field("unknown_bits", rest, "bits without a known meaning", INFERRED))
        return tuple(found)


_Prepared: TypeAlias = "tuple[int, int, int, int, str, _Words, Mapping[int, str], str, bool]"
"""A part as it is read: lowest bit, mask, what clears its bits from what is left of a value, shift, name,
words, values, confidence, and whether it is optional."""


def _prepared(part: Part, *, inferred: bool) -> _Prepared:
    mask = (2 << part.high - part.low) - 1
    meant = mask if part.meant is None else part.meant
    return (
        part.low,
        mask,
        ~(meant << part.low),
        part.shift,
        part.name,
        part.words,
        part.values,
        INFERRED if inferred else part.confidence,
        part.optional,
    )
