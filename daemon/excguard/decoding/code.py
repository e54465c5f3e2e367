"""The 64-bit code of EXC_GUARD: its fields, and reading it from text."""

from __future__ import annotations

import re
from operator import index

from excguard.knowledge import guards

TYPE_SHIFT, FLAVOR_SHIFT, FLAVOR_MASK, TARGET_MASK = 61, 32, 0x1FFFFFFF, 0xFFFFFFFF
"""Layout of a code (osfmk/kern/exc_guard.h): type in bits 63..61, flavor in 60..32, target in 31..0."""

MTE_TAG_FAULT = 0x106
"""EXC_ARM_MTE_TAGCHECK_FAIL, a machine code of EXC_BAD_ACCESS (mach/arm/exception.h)."""

_LONGEST = 400

# Compiled by `re` when first used: most numbers are in a form that `_plain` reads.
_BEGINS = r"[+-]?(?:\d|[0-9a-fA-F]{16}(?!\w))"
_NUMBER = r"""(?x)(?P<sign>[+-])?
    (?:0[xX](?P<hex>[0-9a-fA-F][0-9a-fA-F_]*)
    |(?P<grouped>\d{1,3}(?:(?:,\d{3})+|(?:'\d{3})+|(?:\.\d{3}){2,}|(?:\ \d{3}){2,}))(?![.,']\d|\ \d{3}(?!\w))
    |(?P<plain>\d[\d_]*)(?=[uUlL]{0,3}(?!\w))
    |(?P<bare>(?=\d|[0-9a-fA-F]{16}(?!\w))[0-9a-fA-F]{8,16})(?!\w)
    )
    [uUlL]{0,3}
    (?:$|\s*[,;:/]\s*|\s+)"""
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")


class DecodeError(ValueError):
    """The text or number is not a 64-bit code; the message says what is accepted."""


def split(code: int) -> tuple[int, int, int]:
    """The guard type number, flavor and target of an unsigned code."""
    return code >> TYPE_SHIFT, code >> FLAVOR_SHIFT & FLAVOR_MASK, code & TARGET_MASK


def join(guard_type: int, flavor: int, target: int) -> int:
    """The code with these three fields; bits that do not fit are dropped."""
    return (guard_type & 7) << TYPE_SHIFT | (flavor & FLAVOR_MASK) << FLAVOR_SHIFT | target & TARGET_MASK


def parse_number(text: str) -> int:
    """A text that is one number, as `parse_numbers` reads it; raises DecodeError for anything else."""
    numbers = parse_numbers(text)
    if len(numbers) != 1:
        raise _not_a_number(text)
    return numbers[0]


def parse_numbers(text: str) -> list[int]:
    """The numbers of a text that holds one or two and nothing else, as 64 unsigned bits: code, then subcode.

    Read are decimal and negative decimal numbers, 0x hex, decimal numbers in groups of three
    ("2,305,845,208,236,959,491", with points, spaces, apostrophes or underscores alike), and hex digits
    without 0x where they cannot be decimal. The first of 16 decimal digits are taken as hex when only that
    gives a guard type ("2000020000002703"). Between two numbers a comma, a space, a colon or a slash does.

    Returns:
        [] when the text holds something else: a word that does not begin like a number.

    Raises:
        DecodeError: every word begins like a number, but they are not one or two; or one does not fit.
    """
    if len(text) > _LONGEST:
        if (digits := text.strip()).isdecimal():
            raise DecodeError(f"a number of {len(digits)} digits does not fit 64 bits")
        return []
    if not text.isascii():
        import unicodedata  # noqa: PLC0415 - a library of its own, for the few numbers with such digits

        text = unicodedata.normalize("NFKC", text).replace("\u2212", "-")
    stripped = text.strip().strip('()[]{}"`;,')
    words = stripped.split()
    plain = [_plain(word) for word in words]
    if len(plain) in {1, 2} and None not in plain:
        return [unsigned(number, "the number") for number in plain if number is not None]
    if not words or not all(re.match(_BEGINS, word) for word in words):
        return []
    found: list[int] = []
    at = 0
    number = re.compile(_NUMBER)
    while at < len(stripped):
        match = number.match(stripped, at)
        if match is None or len(found) == 2:
            raise _not_a_number(stripped)
        found.append(_value(match, first=not found))
        at = match.end()
    return found


def _plain(word: str) -> int | None:
    """The number of decimal digits, or of hex digits after 0x, with one reading; None for another word."""
    if not 0 < len(word) <= 40 or not word.isascii():
        return None
    if word[:2] in {"0x", "0X"}:
        return int(word, 16) if len(word) > 2 and _HEX_DIGITS.issuperset(word[2:]) else None
    return int(word) if word.isdecimal() and len(word) != 16 else None


def _value(match: re.Match[str], *, first: bool) -> int:
    sign, digits, base = match["sign"] or "", "", 10
    if prefixed := match["hex"]:
        digits, base = prefixed.replace("_", ""), 16
    elif match["bare"]:
        digits, base = match["bare"], 16
    else:
        digits = re.sub(r"\D", "", match["grouped"] or match["plain"])
        if (
            first
            and match["plain"]
            and not sign
            and len(digits) == 16
            and int(digits, 16) >> TYPE_SHIFT in guards.BY_NUMBER
        ):
            base = 16  # below 10^16 no decimal code has a guard type
    if len(digits) > 40:
        raise DecodeError(f"a number of {len(digits)} digits does not fit 64 bits")
    return unsigned(int(sign + digits, base), "the number")


def _not_an_integer(value: object, what: str) -> str:
    hint = ""
    if isinstance(value, str):
        hint = "; excguard.reports.read_text finds codes in text"
    elif isinstance(value, float):
        hint = ", which has lost its low bits"
    return f"{what} must be an int, not {type(value).__name__}{hint}"


def _not_a_number(text: str) -> DecodeError:
    shown = " ".join(text[:60].split())
    if re.fullmatch(r"[+-]?\d(\.\d+)?[eE]\+?\d+", text.strip()[:60]):
        return DecodeError(f"{shown} was rounded by another program: write all digits, in decimal or 0x hex")
    return DecodeError(f"not a number: {shown!r} (write decimal or 0x hex)")


def unsigned(value: int, what: str) -> int:
    """The number as 64 unsigned bits.

    Raises:
        DecodeError: it does not fit; the text names it `what`, as that of the other.
        TypeError: it is not an integer.
    """
    try:
        value = index(value)
    except TypeError:
        raise TypeError(_not_an_integer(value, what)) from None
    if not -(2**63) <= value < 2**64:
        shown = str(value) if value.bit_length() <= 128 else "of more than 128 bits"
        raise DecodeError(f"{what} {shown} does not fit 64 bits: -2^63 to 2^64-1 is accepted")
    return value & 2**64 - 1
