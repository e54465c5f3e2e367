"""The form of a layout: rows that say what a target or a payload holds, on which releases.

A guard type's module lists rows from the newest to the oldest; the first one that fits a release and a value
is its reading. `excguard.decoding` splits values into fields by them, and `excguard explain` draws them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from excguard.knowledge.record import Record
from excguard.knowledge.releases import NEWEST

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DOCUMENTED = "documented"
HEADER = "header"
OBSERVED = "observed"
INFERRED = "inferred"
CONFIDENCES = {
    DOCUMENTED: "stated by Apple's documents",
    HEADER: "read in Apple's headers or kernel sources",
    OBSERVED: "seen in real reports",
    INFERRED: "concluded from the above",
}

NO_VALUES: Mapping[int, str] = {}


class When(Record):
    """A condition on a value.

    Attributes:
        words: For `explain`: "reason 2".
        holds: Whether a value meets it.
        hidden: Not for `explain`: what is left when no other row holds.
    """

    words: str
    holds: Callable[[int], bool]
    hidden: bool = False


ZERO = When("0", lambda value: value == 0)
ANY = When("", lambda _value: True)


def rest(holds: Callable[[int], bool]) -> When:
    """Values that no row before this one explains."""
    return When("", holds, hidden=True)


def reason(*numbers: int) -> When:
    """A payload with one of these numbers in its top byte."""
    return When(f"reason {_either(numbers)}", lambda value: value >> 56 in numbers)


def bare(*numbers: int) -> When:
    """A payload that is one of these numbers, with nothing in the higher bits."""
    return When(f"the whole payload is {_either(numbers)}", lambda value: value in numbers)


def _either(numbers: tuple[int, ...]) -> str:
    shown = [f"{number:#x}" for number in numbers]
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


class Part(Record):
    """Some bits of a payload.

    Attributes:
        high: The highest bit, counted from 0; likewise low.
        name: The name of the field.
        text: What it holds, for `explain`.
        values: The meaning of its values, where they are few.
        words: (value, release) -> the value in words; in place of `values`.
        confidence: A key of CONFIDENCES.
        optional: Not a field when 0.
        shift: How far the field's value stays above bit 0: constants of ie_bits are masks of the whole word.
        meant: The bits of the value that have a meaning; None for all.
    """

    high: int
    low: int
    name: str
    text: str
    values: Mapping[int, str] = NO_VALUES
    words: Callable[[int, int], str] | None = None
    confidence: str = DOCUMENTED
    optional: bool = False
    shift: int = 0
    meant: int | None = None


class Payload(Record):
    """What a payload holds: its parts in the order of their fields; none for a payload that is always 0.

    Attributes:
        parts: The parts. Where two overlap, the narrower one belongs to the other's bits.
        first: The first release with this layout.
        before: The first release without it.
        when: For which payloads it stands.
        target: The target that it stands for; None for any.
    """

    parts: tuple[Part, ...]
    first: int = 0
    before: int = NEWEST + 1
    when: When = ANY
    target: int | None = None

    @property
    def current(self) -> bool:
        """Whether the newest release has it."""
        return self.before > NEWEST


class Target(Record):
    """What a target is.

    Attributes:
        text: For `explain`: "the file descriptor".
        meaning: In full, with %(value)d, %(signed)d and %(words)s: "file descriptor %(signed)d".
        short: Likewise, for the summary: "on fd %(signed)d"; "" where the target is not to be in it.
        words: (value, release) -> the value in words.
        confidence: A key of CONFIDENCES.
        first: The first release with this meaning.
        before: The first release without it.
        when: For which targets it stands.
    """

    text: str
    meaning: str
    short: str = ""
    words: Callable[[int, int], str] | None = None
    confidence: str = DOCUMENTED
    first: int = 0
    before: int = NEWEST + 1
    when: When = ANY

    @property
    def current(self) -> bool:
        """Whether the newest release has it."""
        return self.before > NEWEST


ALWAYS_ZERO = (Payload(()),)
UNSTATED: tuple[Payload, ...] = ()
"""No source says what the payload is."""

ALWAYS_ZERO_TARGET = Target("always 0", "always zero for this flavor", when=ZERO)
UNEXPECTED_TARGET = Target(
    "always 0", "%(value)#x; zero was expected, no source says what else it can be", confidence=INFERRED
)
UNSTATED_TARGET = Target(
    "no source says", "%(value)#x; no source says what the target of this flavor is", confidence=INFERRED
)
